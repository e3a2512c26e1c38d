"""Runs of a sweep in their folders: begun with the base they share, gone on with, and refused where they are others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from turngym._checksums import seal, verify_sealed
from turngym._errors import InputError
from turngym.trainers.config import TrainConfig, sections, with_algorithm, with_overrides
from turngym.trainers.launch.resuming import changes
from turngym.trainers.launch.run_folder import run_config
from turngym.trainers.sweeps import PlannedRun, begin, check_begun, makes_base, share_base, state_of
from turngym.trainers.sweeps import bases as bases_module


def at(root: Path, name: str, algorithm: str = "grpo", **overrides: dict[str, object]) -> TrainConfig:
    config = with_algorithm(with_overrides(TrainConfig(), overrides), algorithm)
    return with_overrides(config, {"run": {"root": str(root), "name": name}})


def made_base(root: Path) -> PlannedRun:
    """Return a base as its run leaves it."""
    base = PlannedRun(config=at(root, "base-seed0", "astarpo"))
    assert state_of(base) == "new"
    begin(base)
    assert state_of(base) == "begun"
    (base.folder / "base").mkdir()
    (base.folder / "base" / "model.safetensors").write_bytes(b"weights")
    (base.folder / "base" / "config.json").write_text("{}")
    seal(base.folder / "base")
    assert state_of(base) == "done"
    return base


def test_a_run_begins_with_the_base_it_shares(tmp_path: Path) -> None:
    base = made_base(tmp_path)
    run = PlannedRun(config=at(tmp_path, "grpo-seed0"), base=base.folder)
    begin(run)
    assert state_of(run) == "begun" and run_config(run.folder) == run.config
    assert (run.folder / "base" / "model.safetensors").samefile(base.folder / "base" / "model.safetensors")
    verify_sealed(run.folder / "base")
    (run.folder / "result.json").write_text("{}")
    assert state_of(run) == "done"


def test_a_run_that_was_killed_before_it_had_its_base_gets_it(tmp_path: Path) -> None:
    base = made_base(tmp_path)
    run = PlannedRun(config=at(tmp_path, "grpo-seed0"), base=base.folder)
    begin(PlannedRun(config=run.config))  # as a kill leaves it between the configuration and the base
    (run.folder / ".base.0.tmp").mkdir()
    begin(run)
    assert {path.name for path in run.folder.iterdir()} == {"base", "config.toml", "config.used.toml", "run.lock"}


def test_a_base_is_copied_where_no_link_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    base = made_base(tmp_path)
    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "other").mkdir()
    share_base(base.folder, tmp_path / "other")
    verify_sealed(tmp_path / "other" / "base")
    (tmp_path / "other" / "base" / "config.json").write_text("own")
    share_base(base.folder, tmp_path / "other")  # what has one keeps it
    assert (tmp_path / "other" / "base" / "config.json").read_text() == "own"
    assert (base.folder / "base" / "config.json").read_text() == "{}"


def test_what_touches_no_learning_is_changed_and_the_rest_refused(tmp_path: Path) -> None:
    base = made_base(tmp_path)
    run = PlannedRun(config=at(tmp_path, "grpo-seed0"), base=base.folder)
    begin(run)
    free = replace(run, config=with_overrides(run.config, {"evaluation": {"episodes": 7}}))
    check_begun(free)
    begin(free)
    assert run_config(run.folder).evaluation.episodes == 7
    other = replace(run, config=with_overrides(run.config, {"learning": {"steps": 9}}))
    with pytest.raises(InputError, match=r"grpo-seed0 was begun with learning\.steps 150, not 9: give this sweep"):
        check_begun(other)
    check_begun(replace(run, config=at(tmp_path, "absent")))


def test_a_base_is_known_by_what_it_is_made_by(tmp_path: Path) -> None:
    base = made_base(tmp_path)
    check_begun(PlannedRun(config=at(tmp_path, "base-seed0", "rloo", learning={"steps": 9})))
    with pytest.raises(InputError, match=r"warm_start\.mistake_rate"):
        check_begun(PlannedRun(config=at(tmp_path, "base-seed0", warm_start={"mistake_rate": 0.9})))
    moved = base.folder.rename(tmp_path / "moved")
    check_begun(PlannedRun(config=at(tmp_path, moved.name, "astarpo")))


def test_a_run_from_a_checkpoint_shows_the_day_of_its_base(tmp_path: Path) -> None:
    model = {"path": str(tmp_path / "weights")}
    base = PlannedRun(config=at(tmp_path, "base-seed0", model={**model, "date": "2026-01-02"}))
    begin(base)
    (base.folder / "base").mkdir()
    (base.folder / "base" / "config.json").write_text("{}")
    run = PlannedRun(config=at(tmp_path, "grpo-seed0", model={**model, "date": "2026-01-03"}), base=base.folder)
    begin(run)
    assert run_config(run.folder).model.date == "2026-01-02"
    check_begun(run)


def test_every_setting_that_may_change_a_base_is_known() -> None:
    known = {f"{name}.{part}" for name, section in sections(TrainConfig()).items() for part in vars(section)}
    assert known >= bases_module.BASE_SETTINGS | bases_module.UNREAD
    assert not any(map(makes_base, changes(at(Path(), "a", "grpo"), at(Path(), "b", "astarpo"))))
    assert json.dumps(sorted(filter(makes_base, ["run.seed", "learning.steps", "env.kwargs", "env.isolate"]))) == (
        '["env.kwargs", "run.seed"]'
    )

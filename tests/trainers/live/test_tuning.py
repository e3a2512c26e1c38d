"""Runs that are tuned while they learn: what is taken and refused, and the same bits after a stop and in a replay."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import copied, instance_baseline, metric_lines, run_both_stages, with_learning

from turngym._errors import InputError
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import run_checkpoints
from turngym.trainers.baselines.baseline import Baseline, make_baseline
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.config import ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.live.changes import read_changes
from turngym.trainers.live.files import read_echo
from turngym.trainers.loop import Loop
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import TrainingRun
from turngym.trainers.stage_one.sampling import StageOneSetup, estimate
from turngym.trainers.stage_one.stage import read_stage_one
from turngym.trainers.stage_one.store import ValueStore

Edits = Mapping[int, str]
"""What `live.toml` holds after some steps."""


class Teacher(SilentProgress):
    """Edits `live.toml` after some steps, and maybe stops the run in one."""

    def __init__(self, folder: Path, edits: Edits, stop: int | None = None) -> None:
        self.folder, self.edits, self.stop = folder, edits, stop
        self.notes: list[str] = []

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Come after a step."""
        if "loss" not in numbers:
            return
        self.step = getattr(self, "step", 0) + 1
        if self.step in self.edits:
            put(self.folder, self.edits[self.step])
        if self.step == self.stop:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


def put(folder: Path, text: str) -> None:
    """Write a `live.toml` that has lain there for a while."""
    (folder / "live.toml").write_text(text)
    written = time.time() - 60 + time.monotonic() % 1
    os.utime(folder / "live.toml", (written, written))


def new(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def left(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how a run came to its end."""
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    files = [*last.rglob("*.safetensors"), last / "optimizer.json", last / "state.json"]
    return {str(path.relative_to(last)): path.read_bytes() for path in files} | {"lines": metric_lines(folder)}


RUNS: dict[str, tuple[str, dict[str, Any], Edits]] = {
    "followed values, and a new reference": (
        "astarpo",
        {"reset_every": 3},
        {2: "[objective]\nbeta = 0.3\n[shaping]\nstep_cost = 0.05\n",
         3: "[learning]\nlearning_rate = 1e-3\ntemperature = 0.8\n[values]\nbeta_value = 0.2\n",
         4: '[objective]\nbeta = "auto"\n[shaping]\npotential_weight = 0.5\n'},
    ),
    "values of states": (
        "astarpo_lambda",
        {},
        {2: "[objective]\nbeta = 0.3\n", 4: "[shaping]\nstep_cost = 0.05\nautomatic_weight = 0.5\n"},
    ),
    "groups": (
        "grpo",
        {},
        {2: '[objective]\ngroup_size = 2\nkl_coef = 0.01\nfilter = "mixed"\n',
         4: '[objective]\nfilter = "top_std"\nfilter_share = 0.5\n[learning]\nfresh_share = 1\n'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_or_replayed_ends_in_the_same_bits(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path, name: str
) -> None:
    algorithm, settings, edits = RUNS[name]
    config = with_learning(replace(tiny, values=ValueConfig(instances=8, samples=2, extra_samples=0)), **settings)
    config = with_learning(tiny, algorithm, **settings) if algorithm == "grpo" else with_learning(config, algorithm)
    alone, halted, again = (new(tmp_path, folder) for folder in ("alone", "halted", "again"))
    run_both_stages(model, config, alone, Teacher(alone, edits))
    taken = read_changes(alone / "live.jsonl")
    assert [change.step for change in taken] == [*edits]
    assert [line["step"] for line in metric_lines(alone, "live")] == [*edits]
    last = latest_checkpoint(alone / "checkpoints")
    assert last is not None
    decoding = Decoding.read(last / "policy")
    assert decoding and decoding.temperature == (0.8 if "temperature" in "".join(edits.values()) else 1.0)

    with pytest.raises(KeyboardInterrupt):
        run_both_stages(model, config, halted, Teacher(halted, edits, stop=5))
    assert len(read_changes(halted / "live.jsonl")) == len(edits), "the last one is not in the checkpoint of step 4"
    (halted / "live.toml").unlink()
    run_both_stages(model, config, halted, SilentProgress())
    assert left(halted) == left(alone)

    (again / "live.jsonl").write_bytes((alone / "live.jsonl").read_bytes())
    put(again, "[learning]\nlearning_rate = 0.5\n")  # an edit waits until what is on record is taken
    run_both_stages(model, config, again, Teacher(again, {max(edits): ""}))
    assert left(again) == left(alone)


def test_what_is_refused_changes_nothing_but_the_echo(tiny: TrainConfig, model: LanguageModel, tmp_path: Path) -> None:
    config = with_learning(tiny, steps=5)
    plain, tuned = new(tmp_path, "plain"), new(tmp_path, "tuned")
    run_both_stages(model, config, plain, SilentProgress())
    teacher = Teacher(tuned, {
        1: "[objective]\nbeta = ", 2: "[objective]\nbeat = 1", 3: "[objective]\nbeta = 0", 4: "[model]\nlayers = 3",
    })  # fmt: skip
    run_both_stages(model, config, tuned, teacher)
    assert left(tuned) == left(plain) and not (tuned / "live.jsonl").exists()
    told = [note.partition(": ")[2] for note in teacher.notes if note.startswith("live: ")]
    said = ["not valid TOML", "did you mean 'beta'", "must be above 0", "the weights have this shape"]
    assert len(told) == 4
    for step, (note, words) in enumerate(zip(told, said, strict=True), start=1):
        assert note.startswith(f"refused at step {step}: ") and words in note
    echo = read_echo(tuned)
    assert echo is not None and (echo["answer"], echo["step"]) == ("refused", 4)
    assert "the weights have this shape" in echo["said"][0] and echo["settings"]["objective.beta"] == "auto"
    assert (read_echo(plain) or {})["answer"] == "watching"


# Values -------------------------------------------------------------------------------------------------------------


def begun(config: TrainConfig, model: LanguageModel, folder: Path) -> TrainingRun:
    folder.mkdir(exist_ok=True)
    return TrainingRun(copied(model), config, folder, Metrics(folder / "metrics.jsonl"), SilentProgress())


def told(folder: Path) -> str:
    """Return what the run says of the last edit."""
    echo = read_echo(folder)
    assert echo is not None
    return ": ".join([echo["answer"], *echo["said"]])


def follow(loop: Loop) -> Baseline:
    """Let the baseline see an episode that it has not seen yet; return it."""
    baseline = instance_baseline(loop)
    baseline.means.update(0, 100.0)
    return baseline


@pytest.mark.parametrize("baseline", ["tracker", "vstar"])
def test_v_star_is_computed_anew_from_the_stored_returns(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path, baseline: str
) -> None:
    training = begun(with_learning(tiny, baseline=baseline), model, tmp_path)
    before = {index: instance_baseline(training.loop).first_value(index) for index in range(24)}
    follow(training.loop)
    put(tmp_path, "[values]\nbeta_value = 0.1\n[shaping]\nstep_cost = 0.01\npotential_weight = 0.5\n")
    training._tune()
    changed = replace(tiny, values=replace(tiny.values, beta_value=0.1),
                      shaping=ShapingConfig(step_cost=0.01, potential_weight=0.5))  # fmt: skip
    with ValueStore(tmp_path / "values.sqlite", None) as store:
        expected = estimate(store, StageOneSetup.of(changed, tiny))
        turns = list(store.turns())
    after = instance_baseline(training.loop)
    found = np.array([after.first_value(index) for index in range(24)])
    assert found.tolist() == expected.values.tolist() and not np.allclose(found, [*before.values()])
    assert after.value(0) < 1.0, "what it followed under the other reward is forgotten"
    assert turns, "and what is stored stays"
    assert told(tmp_path).startswith("taken: values.beta_value 0.5 -> 0.1: shaping.potential_weight 0.0 -> 0.5")


def test_a_baseline_that_follows_begins_anew_at_another_beta(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path
) -> None:
    for name in ("tracker", "vstar"):
        training = begun(with_learning(tiny, baseline=name), model, tmp_path / name)
        first, moved = instance_baseline(training.loop).state_dict(), follow(training.loop)
        put(tmp_path / name, "[objective]\nbeta = 0.2\n")
        training._tune()
        assert instance_baseline(training.loop).state_dict() == (first if name == "tracker" else moved.state_dict())
        assert training.loop.schedule.moment().beta == 0.2
        put(tmp_path / name, "[objective]\nbeta = 0.2\n# again\n")
        training._tune()
        assert told(tmp_path / name) == "nothing to change"


@pytest.mark.parametrize(
    ("algorithm", "settings", "text", "sentence"),
    [
        (
            "astarpo",
            {"baseline": "vstar"},
            "[learning]\ntemperature = 0.5",
            "objective.baseline tracker, which follows",
        ),
        ("grpo", {}, "[shaping]\nautomatic_weight = 1", "this run has played no stage 1"),
        ("grpo", {}, "[values]\nbeta_value = 1", "values.beta_value is not read"),
        ("astarpo", {}, "[shaping]\ninvalid_penalty = 0.1", "do not tell replies that the game refuses"),
        (
            "astarpo",
            {},
            "[shaping]\nautomatic_weight = 1\n[learning]\ntemperature = 0.5",
            "set the weight to 0 with it",
        ),
    ],
)
def test_where_v_star_cannot_be_computed_the_change_is_refused(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path, algorithm: str, settings: dict[str, Any], text: str,
    sentence: str,
) -> None:  # fmt: skip
    training = begun(with_learning(tiny, algorithm, **settings), model, tmp_path)
    put(tmp_path, text)
    training._tune()
    assert told(tmp_path).startswith("refused: ") and sentence in told(tmp_path)
    assert read_changes(tmp_path / "live.jsonl") == []


def test_automatic_shaping_comes_and_goes(tiny: TrainConfig, model: LanguageModel, tmp_path: Path) -> None:
    training = begun(tiny, model, tmp_path)
    baseline, shaped = follow(training.loop), []
    for weight in ("0.5", '"auto"'):
        put(tmp_path, f"[shaping]\nautomatic_weight = {weight}\n")
        training._tune()
        shaped.append(training.loop.shaping is not None)
    assert shaped == [True, False] and training.loop.baseline is baseline, "whose values do not depend on it"


# Rollbacks and damage -----------------------------------------------------------------------------------------------


def test_a_rollback_takes_nothing_back(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back to before the change, the values of that time are not those of the settings that are held."""
    monkeypatch.setattr(run_checkpoints, "CHECKPOINTS_KEPT", 10)
    training = begun(tiny, model, tmp_path)
    training._progress = Teacher(tmp_path, {3: "[objective]\nbeta = 0.2\n[shaping]\nstep_cost = 0.05\n"})
    training.learn()
    training.roll_back(tmp_path / "checkpoints" / "step-000002")
    loop = training.loop
    assert (loop.schedule.step, loop.schedule.moment().beta, loop.rollouts.shaping.step_cost) == (2, 0.2, 0.05)
    with ValueStore(tmp_path / "values.sqlite", None) as store:
        expected = make_baseline(training.loop.schedule.objective, read_stage_one(store, training._setup),  # type: ignore[arg-type]
                                 tiny.values, easier=0, middle=0.5)  # fmt: skip
    assert loop.baseline is not None and loop.baseline.state_dict() == expected.state_dict()
    assert loop.monitors.state_dict()["last_returns"] == []

    resumed = begun(tiny, model, tmp_path).loop
    assert resumed.baseline is not None and resumed.baseline.state_dict() == expected.state_dict()
    assert (resumed.schedule.step, resumed.schedule.moment(), resumed.rollouts) == (
        2, loop.schedule.moment(), loop.rollouts,
    )  # fmt: skip


def test_a_record_that_is_lost_is_written_again_and_a_wrong_one_refused(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path
) -> None:
    run_both_stages(model, with_learning(tiny, steps=3), tmp_path, Teacher(tmp_path, {1: "[objective]\nbeta = 0.2\n"}))
    record = tmp_path / "live.jsonl"
    text = record.read_text()
    record.unlink()
    assert begun(with_learning(tiny, steps=3), model, tmp_path).loop.schedule.moment().beta == 0.2
    assert record.read_text() == text
    record.write_text(text.replace("0.2", "0.3"))
    with pytest.raises(InputError, match="is not the record that the last checkpoint was saved with"):
        begun(with_learning(tiny, steps=3), model, tmp_path)

"""Run folders come from the volume as they are, in place of what came earlier and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deploy.fetching import attempts_at, check_idle, fetch, finished
from deploy.ledger import Attempt
from tests.deploy.shelf import Shelf

from turngym._errors import InputError
from turngym.trainers.run_lock import RunInUse, run_lock

DAY = "2026-11-29T12:00:00+00:00"
SPENT = json.dumps([
    {"began": DAY, "price": 0.5, "seconds": 8.0, "end": "timed out"}, {"began": DAY, "price": 1.0, "seconds": 2.0},
])  # fmt: skip


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    run = tmp_path / "volume" / "rented" / "run"
    for name in ("config.toml", "checkpoints/step-000002/state.json", "checkpoints/.step-000004.1f.tmp/state.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    (run / "empty.jsonl").touch()
    (run.parent / "spent.json").write_text(SPENT)
    return tmp_path / "volume"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("slash", [True, False])
def test_a_run_folder_is_fetched_with_what_it_has_cost(volume: Path, tmp_path: Path, slash: bool) -> None:
    folder = fetch(Shelf(volume, slash=slash), "rented", tmp_path / "runs")
    assert folder == tmp_path / "runs" / "rented"
    assert files(folder) == {"config.toml", "checkpoints/step-000002/state.json", "empty.jsonl", "spent.json"}
    assert (folder / "checkpoints" / "step-000002" / "state.json").read_text() == "checkpoints/step-000002/state.json"
    assert (folder / "spent.json").read_text() == SPENT


def test_what_was_fetched_earlier_is_replaced(volume: Path, tmp_path: Path) -> None:
    shelf, out = Shelf(volume), tmp_path / "runs"
    fetch(shelf, "rented", out)
    checkpoints = volume / "rented" / "run" / "checkpoints"
    (checkpoints / "step-000002").rename(checkpoints / "step-000004")
    fetch(shelf, "rented", out)
    assert {path.name for path in (out / "rented" / "checkpoints").iterdir()} == {"step-000004"}
    assert [path.name for path in out.iterdir()] == ["rented"]


def test_a_run_of_this_machine_is_left_alone(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "rented").mkdir(parents=True)
    (tmp_path / "runs" / "rented" / "config.toml").write_text("mine")
    with pytest.raises(
        InputError, match=re.escape("is there already and was not fetched: move it away, or name another")
    ):
        fetch(Shelf(volume), "rented", tmp_path / "runs")
    assert (tmp_path / "runs" / "rented" / "config.toml").read_text() == "mine"


def test_a_run_that_is_in_use_here_is_left_alone(volume: Path, tmp_path: Path) -> None:
    folder = fetch(Shelf(volume), "rented", tmp_path / "runs")
    assert folder is not None
    with run_lock(folder), pytest.raises(RunInUse):
        fetch(Shelf(volume), "rented", tmp_path / "runs")


def test_a_fetch_that_breaks_off_leaves_what_was_there(volume: Path, tmp_path: Path) -> None:
    shelf = Shelf(volume)
    folder = fetch(shelf, "rented", tmp_path / "runs")
    assert folder is not None
    before = files(folder)

    class Broken(Shelf):
        def read_file(self, path: str) -> Iterator[bytes]:
            if "checkpoints" in path:
                raise ConnectionError("the line is cut")
            return super().read_file(path)

    with pytest.raises(ConnectionError):
        fetch(Broken(volume), "rented", tmp_path / "runs")
    assert files(tmp_path / "runs") == {f"rented/{name}" for name in before}


def test_a_run_that_was_never_begun_is_no_run(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert fetch(shelf, "rented", tmp_path / "runs") is None and not (tmp_path / "runs").exists()
    assert attempts_at(shelf, "rented") == [] and not finished(shelf, "rented")
    check_idle([], "rented")


def test_what_was_spent_and_whether_all_is_done(volume: Path) -> None:
    shelf = Shelf(volume)
    assert [attempt.dollars for attempt in attempts_at(shelf, "rented")] == [4.0, 2.0]
    assert not finished(shelf, "rented")
    (volume / "rented" / "run" / "result.json").touch()
    assert finished(shelf, "rented")
    (volume / "rented" / "spent.json").write_text("[")
    with pytest.raises(InputError, match=r"rented/spent\.json does not say what was spent"):
        attempts_at(shelf, "rented")


def test_a_run_that_somebody_works_on_is_left_to_them() -> None:
    now = datetime.now(UTC).isoformat()
    check_idle([Attempt(began=now, price=1.0, seconds=500.0, end="timed out")], "rented")
    check_idle([Attempt(began=DAY.replace("2026", "2025"), price=1.0, seconds=500.0)], "rented")  # it was killed
    with pytest.raises(InputError, match=r"^another attempt at rented is under way, by its record until \d\d:\d\d"):
        check_idle([Attempt(began=now, price=1.0, seconds=500.0)], "rented")

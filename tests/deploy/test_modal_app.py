"""The app as the client of the service builds it, and what it does, as far as neither needs an account.

These tests are skipped where the client is not installed: pip install -e '.[modal]'.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from deploy.attempt import AT_THE_CAP, FINISHED, GoOn, Outcome
from deploy.job import MOST_HOURS, Job
from deploy.ledger import Ledger
from tests.deploy.conftest import outcome
from tests.deploy.shelf import Shelf
from tests.test_packaging import TOP_LEVEL

modal = pytest.importorskip("modal", reason="the client of Modal is not installed (the extra modal)")
modal_app: Any = pytest.importorskip(
    "deploy.modal_app", reason="the client of Modal is not installed (the extra modal)"
)

ASKED = ["--preset", "frozen_lake", "--max-dollars", "25", "--gpu", "L4", "--run.name", "rented"]
ROOT = Path(__file__).parents[2]


# What the client builds ---------------------------------------------------------------------------------------------


def test_the_app_is_built_by_the_client_that_is_installed() -> None:
    assert isinstance(modal_app.app, modal.App) and isinstance(modal_app.train, modal.Function)
    assert isinstance(modal_app.build_image(), modal.Image)
    assert {type(volume) for volume in (modal_app.runs, modal_app.weights)} == {modal.Volume}


def test_the_image_gets_the_folders_that_links_lead_to() -> None:
    """An upload of src/turngym passes over its links, so each folder is sent on its own."""
    links = {path.name for path in (ROOT / "src" / "turngym").iterdir() if path.is_symlink()}
    assert set(modal_app.PARTS) == set(TOP_LEVEL) == links


def test_a_machine_is_rented_with_limits_that_bound_its_price() -> None:
    wanted = modal_app.plan([*ASKED, "--cpu", "3", "--memory", "10", "--retries", "4", "--price-per-hour", "3.6"])
    asked = modal_app.options(wanted, 0.0)
    assert (asked["gpu"], asked["cpu"], asked["memory"]) == ("L4", (3.0, 3.0), (10240, 10240))
    assert asked["retries"].max_retries == 4
    assert asked["timeout"] == 25_000 - 60
    assert modal_app.options(wanted, 24.0)["timeout"] == 1000 - 60, "what is left of the money"
    longer = replace(wanted, job=replace(wanted.job, max_dollars=1000.0))
    assert modal_app.options(longer, 0.0)["timeout"] == 3600 * MOST_HOURS - 60, "what the service allows"
    assert modal_app.options(modal_app.plan([*ASKED, "--gpu", "none"]), 0.0)["gpu"] is None
    modal_app.train.with_options(**asked)  # which the client checks and keeps


def test_the_client_itself_takes_cards_that_do_not_exist() -> None:
    """Why names and times are checked here; once the client refuses them, these checks can go."""
    modal_app.train.with_options(gpu="H10", timeout=-1)


# What it does -------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volume as a folder of this machine."""
    monkeypatch.setattr(modal_app, "RUNS", str(tmp_path / "volume"))
    monkeypatch.setattr(modal_app, "WORK", str(tmp_path / "machine"))
    monkeypatch.setattr(modal_app, "runs", Shelf(tmp_path / "volume"))
    return tmp_path / "volume"


@pytest.mark.timeout(1200)  # it loads torch in a process of its own
@pytest.mark.filterwarnings("ignore:The train function is executing locally")  # without the volume, which is meant
def test_the_function_trains_to_the_same_end_as_turngym_itself(job: Job, alone: dict[str, Any], here: Path) -> None:
    answer = modal_app.train.local(asdict(job))
    assert json.loads(json.dumps(answer)) == answer and Outcome(**answer).end == FINISHED
    assert outcome(here / "rented" / "run") == alone


class Rented:
    """The function of the service, which runs here and is seen being rented."""

    def __init__(self, does: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.does, self.asked = does, list[dict[str, Any]]()

    def with_options(self, **options: Any) -> Rented:
        self.asked.append(options)
        return self

    def remote(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.does(job)


@pytest.fixture
def rented(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rented]:
    """Return a function that puts a pretended training in the place of the rented one."""

    line = {"began": "2026-11-29T12:00:00+00:00", "price": 1.0, "end": "ended"}

    def install(end: str | Exception, dollars: float = 1.0, *, files: tuple[str, ...] = ("config.toml",)) -> Rented:
        def does(job: dict[str, Any]) -> dict[str, Any]:
            place = here / job["name"]
            for name in (f"run/{name}" for name in files):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text("{}")
            place.mkdir(parents=True, exist_ok=True)
            (place / "spent.json").write_text(json.dumps([line | {"seconds": dollars}]))
            if isinstance(end, Exception):
                raise end
            return {"end": end, "dollars": dollars}

        monkeypatch.setattr(modal_app, "train", Rented(does))
        found: Rented = modal_app.train
        return found

    return install


def test_a_finished_run_is_fetched_and_the_next_call_rents_nothing(
    rented: Callable[..., Rented], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = rented(FINISHED, files=("config.toml", "result.json"))
    words = [*ASKED, "--out", str(tmp_path / "runs")]
    for _ in range(2):
        assert modal_app.rent(words) == 0
        assert (tmp_path / "runs" / "rented" / "result.json").is_file()
    assert len(function.asked) == 1 and function.asked[0]["gpu"] == "L4"
    assert capsys.readouterr().out.count(f"Fetched: {tmp_path / 'runs' / 'rented'}, with what it has cost") == 2


def test_a_run_at_the_cap_is_fetched_and_goes_on_for_more_money(
    rented: Callable[..., Rented], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = rented(AT_THE_CAP, dollars=24.99)
    words = [*ASKED, "--out", str(tmp_path / "runs")]
    assert modal_app.rent(words) == 1
    assert "at the cap of $25; the same command with more --max-dollars goes on" in capsys.readouterr().out
    assert (tmp_path / "runs" / "rented" / "config.toml").is_file()
    assert modal_app.rent(words) == 1 and len(function.asked) == 1, "nothing is rented for what is left"
    assert modal_app.rent([*words, "--max-dollars", "50"]) == 1 and len(function.asked) == 2


def test_when_all_attempts_failed_what_is_saved_is_fetched(
    rented: Callable[..., Rented], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rented(GoOn("rented: timed out"))
    assert modal_app.rent([*ASKED, "--out", str(tmp_path / "runs")]) == 1
    assert "the last attempt ended with GoOn: rented: timed out. The same command goes on" in capsys.readouterr().err
    assert (tmp_path / "runs" / "rented" / "config.toml").is_file()


def test_two_machines_do_not_work_on_one_run(
    rented: Callable[..., Rented], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = rented(FINISHED)
    (here / "rented").mkdir(parents=True)
    Ledger(here / "rented" / "spent.json").begin(price=0.001, seconds=150.0)
    assert modal_app.rent(ASKED) == 2 and not function.asked
    assert "another attempt at rented is under way" in capsys.readouterr().err


def test_what_was_refused_leaves_nothing_to_fetch(rented: Callable[..., Rented], tmp_path: Path) -> None:
    rented("refused", files=())
    assert modal_app.rent([*ASKED, "--out", str(tmp_path / "runs")]) == 1
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_is_refused_before_anything_is_rented(
    rented: Callable[..., Rented], capsys: pytest.CaptureFixture[str]
) -> None:
    function = rented(FINISHED)
    assert modal_app.rent([*ASKED, "--gpu", "H10"]) == 2
    with pytest.raises(SystemExit) as end:
        modal_app.main("--max-dollars", "1")
    assert end.value.code == 2 and not function.asked
    assert capsys.readouterr().err.splitlines() == [
        "turngym: there is no GPU 'H10' with a known price; did you mean 'H100'?",
        "turngym: name an environment, such as FrozenLake, or --preset NAME",
    ]

"""TensorBoard and Weights & Biases hold what they were sent, once, after resumes and rollbacks too; nothing leaves."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turngym.extras import install_command
from turngym.trainers.reporting import trackers
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.sent import markdown_table
from turngym.trainers.reporting.trackers import (
    TensorBoardTracker,
    Tracker,
    TrackerError,
    WandbTracker,
    make_trackers,
)

CONFIG = {"env": {"id": "turngym/FrozenLake-v0", "kwargs": {"size": 3}}, "run": {"seed": 7, "name": ""}}
COLUMNS = ("agent", "success")
ROWS = [["random", "0.031"], ["trained | greedy", "0.912"]]


class Notebook:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, dict[str, Any]]] = []

    def scalars(self, phase: str, step: int, numbers: Mapping[str, Any]) -> None:
        self.told.append((phase, step, dict(numbers)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        raise NotImplementedError

    def picture(self, name: str, path: Path) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def learn(metrics: Metrics, steps: range, rollbacks: int = 0) -> None:
    """Write lines as stage 2 does."""
    for step in steps:
        loss = math.nan if step == 2 else step / 4 + rollbacks
        metrics.add("learning", {"loss": loss, "step": step, "rollbacks": rollbacks})


def interrupted_run(folder: Path, make: Any) -> None:
    """Learn with an interruption after step 4, a resume from step 2, a rollback from step 5 to 3, and another resume.

    Every part opens and closes its tracker, as a process does.
    """
    path = folder / "metrics.jsonl"
    tracker = make()
    metrics = Metrics(path, [tracker])
    metrics.add("warm_start", {"step": 1500, "seconds": 2.0, "success": 0.5})
    metrics.add("values", {"seconds": 1.5, "filter": None})
    metrics.add("values", {"seconds": 0.5})
    learn(metrics, range(1, 5))
    tracker.close()

    tracker = make()
    metrics = Metrics(path, [tracker])
    metrics.rewind(2, 0)
    learn(metrics, range(3, 6))
    for kind in ("kl_tax", "drift"):
        metrics.add("alarm", {"alarm": kind, "step": 5, "figure": 0.25, "rollbacks": 0})
    learn(metrics, range(4, 5), rollbacks=1)
    tracker.close()

    Metrics(path).add("learning", {"loss": 3.0, "step": 5, "rollbacks": 1})  # its tracker was lost in a crash
    tracker = make()
    metrics = Metrics(path, [tracker])
    metrics.add("reset", {"step": 5, "round": 2, "rollbacks": 1})
    tracker.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of 6 by 4 pixels, green."""
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    path = tmp_path / "curve.png"
    image.new("RGB", (6, 4), (0, 255, 0)).save(path)
    return path


# Whom metrics tell ----------------------------------------------------------------------------------------------------


def test_metrics_tell_what_is_there_and_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Metrics(path).add("values", {"seconds": 1.0})
    notebook = Notebook()
    metrics = Metrics(path, [notebook])
    metrics.add("values", {"seconds": 2.0})
    metrics.add("learning", {"step": 8, "loss": 0.5})
    assert notebook.told == [
        ("values", 1, {"seconds": 1.0}), ("values", 2, {"seconds": 2.0}), ("learning", 8, {"step": 8, "loss": 0.5})
    ]  # fmt: skip
    assert [line["phase"] for line in metrics.lines()] == ["values", "values", "learning"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_an_absent_package_is_named_with_the_command(
    name: trackers.TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda wanted: None)
    with pytest.raises(TrackerError, match=f"^tracking with {name} needs .*: {re.escape(install_command(name))}$"):
        make_trackers([name], tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_nobody_is_tracked_by_default(tmp_path: Path) -> None:
    assert make_trackers([], tmp_path / "run", CONFIG) == []
    assert not (tmp_path / "run").exists()


def test_the_module_loads_none_of_the_packages() -> None:
    program = "import sys, turngym.trainers.reporting.trackers; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "tensorboard", "wandb", "PIL"} & set(result.stdout.split())


# TensorBoard --------------------------------------------------------------------------------------------------------


@pytest.fixture
def board() -> Any:
    """Skip without TensorBoard, else return its reader of event files."""
    reason = "tensorboard is not installed: pip install -e '.[tensorboard]'"
    pytest.importorskip("tensorboard", reason=reason)
    return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)


def read_board(board: Any, folder: Path) -> Any:
    """Read one run of TensorBoard's, all of it."""
    accumulator = board.EventAccumulator(str(folder), size_guidance={board.SCALARS: 0, board.TENSORS: 0})
    accumulator.Reload()
    return accumulator


def points(accumulator: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def text(accumulator: Any, tag: str) -> str:
    (event,) = accumulator.Tensors(f"{tag}/text_summary")
    (written,) = event.tensor_proto.string_val
    return str(written.decode())


def test_tensorboard_has_every_line_once(board: Any, tmp_path: Path) -> None:
    interrupted_run(tmp_path, lambda: TensorBoardTracker(tmp_path, CONFIG))
    before = read_board(board, tmp_path / "tensorboard")
    (first, second, *rest) = points(before, "learning/loss")
    assert (first, second[0], math.isnan(second[1])) == ((1, 0.25), 2, True)
    assert rest == [(3, 0.75), (4, 1.0), (5, 1.25)]
    assert points(before, "warm_start/success") == [(1500, 0.5)]
    assert points(before, "values/seconds") == [(1, 1.5), (2, 0.5)]
    assert points(before, "alarm/kl_tax/figure") == points(before, "alarm/drift/figure") == [(5, 0.25)]
    assert not [tag for tag in before.Tags()["scalars"] if tag.endswith("/step") or "filter" in tag]
    after = read_board(board, tmp_path / "tensorboard" / "rollback-1")
    assert points(after, "learning/loss") == [(4, 2.0), (5, 3.0)]
    assert points(after, "reset/round") == [(5, 2.0)]


def test_tensorboard_has_configuration_table_and_picture_once(board: Any, tmp_path: Path, picture: Path) -> None:
    for _ in range(2):
        (tracker,) = make_trackers(["tensorboard", "tensorboard"], tmp_path, CONFIG)
        tracker.table("result", COLUMNS, ROWS)
        tracker.picture("learning_curve", picture)
        tracker.close()
    read = read_board(board, tmp_path / "tensorboard")
    assert "| env.kwargs.size | 3 |" in text(read, "config").splitlines()
    assert text(read, "result") == markdown_table(COLUMNS, ROWS)
    (image,) = read.Images("learning_curve")
    assert (image.width, image.height) == (6, 4)
    assert image.encoded_image_string.startswith(b"\x89PNG")


# Weights & Biases ---------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Skip without wandb; else take it offline, and fail if it or a process of its own calls anyone all the same."""
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[wandb]'")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
            monkeypatch.setenv(name.lower(), address)
        for name in ("NO_PROXY", "no_proxy", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_DIR", "WANDB_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_SILENT", "true")
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        yield
        with pytest.raises(BlockingIOError):
            trap.accept()


def read_wandb(folder: Path) -> list[Any]:
    """Read the records of a run's parts, oldest part first."""
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")
    pytest.importorskip("wandb").teardown()  # what is finished may not be written to its end before
    return [
        proto.Record.FromString(record)
        for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
        for record in read_log(path.read_bytes())
    ]


def read_log(log: bytes) -> Iterator[bytes]:
    """Yield the records of a log in the format of LevelDB's, without one that is cut off."""
    at, record = 7, b""
    while at + 7 <= len(log):
        _, size, kind = struct.unpack_from("<IHB", log, at)
        if 32768 - at % 32768 < 7 or kind == 0:  # the rest of a block
            at += 32768 - at % 32768
            continue
        record += log[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4) and at <= len(log):  # whole, or the last part
            yield record
            record = b""


def history(records: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what was logged, row by row, without the clocks."""
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows.append({name: value for name, value in items.items() if name not in ("_runtime", "_timestamp")})
    return rows


def values(rows: Sequence[dict[str, Any]], phase: str, name: str) -> list[tuple[float, float]]:
    return [(row[f"{phase}/step"], row[f"{phase}/{name}"]) for row in rows if f"{phase}/{name}" in row]


@pytest.mark.usefixtures("offline")
def test_wandb_has_every_line_once(tmp_path: Path) -> None:
    interrupted_run(tmp_path, lambda: WandbTracker(tmp_path, "lakes", "first", CONFIG))
    records = read_wandb(tmp_path)
    rows = history(records)
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    first, second, *rest = values(rows, "learning", "loss")
    assert (first, second[0], math.isnan(second[1])) == ((1, 0.25), 2, True)
    assert rest == [(3, 0.75), (4, 1.0), (5, 1.25), (4, 2.0), (5, 3.0)]
    assert [rollbacks for _, rollbacks in values(rows, "learning", "rollbacks")] == [0] * 5 + [1] * 2
    assert values(rows, "warm_start", "success") == [(1500, 0.5)]
    assert values(rows, "values", "seconds") == [(1, 1.5), (2, 0.5)]
    assert values(rows, "alarm/kl_tax", "figure") == values(rows, "alarm/drift", "figure") == [(5, 0.25)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert [(run.project, run.display_name) for run in runs] == [("lakes", "first")] * 3
    assert len({run.run_id for run in runs}) == 1
    axes = {(metric.glob_name, metric.step_metric) for metric in (record.metric for record in records)}
    assert {("learning/*", "learning/step"), ("values/*", "values/step"), ("alarm/drift/*", "alarm/drift/step")} <= axes


@pytest.mark.usefixtures("offline")
def test_wandb_has_configuration_table_and_picture_once(tmp_path: Path, picture: Path) -> None:
    folder = tmp_path / "lake-seed7"
    for _ in range(2):
        (tracker,) = make_trackers(["wandb"], folder, CONFIG)
        tracker.table("result", COLUMNS, ROWS)
        tracker.picture("learning_curve", picture)
        tracker.close()
    records = read_wandb(folder)
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("turngym", "lake-seed7")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {name: config[name] for name in CONFIG} == CONFIG
    (table,) = (folder / "wandb").glob("offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text()) == {"columns": list(COLUMNS), "data": ROWS}
    (image,) = (folder / "wandb").glob("offline-run-*/files/media/images/*.png")
    assert image.read_bytes() == picture.read_bytes()
    named = {name.partition("/")[0] for row in history(records) for name in row}
    assert {"result", "learning_curve"} <= named


KILLED = """
import os, signal, sys
from pathlib import Path
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.sent import markdown_table
from turngym.trainers.reporting.trackers import make_trackers

folder = Path(sys.argv[1])
metrics = Metrics(folder / "metrics.jsonl", make_trackers(["wandb"], folder, {}))
for step in range(1, 6):
    metrics.add("learning", {"loss": step / 4, "step": step})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("offline")
def test_wandb_has_what_a_process_that_was_killed_did_not_write(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # that of this process
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=alone, check=False)
    assert process.returncode == -signal.SIGKILL
    (tracker,) = make_trackers(["wandb"], tmp_path, {})
    Metrics(tmp_path / "metrics.jsonl", [tracker]).add("learning", {"loss": 1.5, "step": 6})
    tracker.close()
    rows = [{name: row[name] for name in ("_step", "learning/step", "learning/loss")} for row in history(
        read_wandb(tmp_path))]  # fmt: skip
    expected = [{"_step": place, "learning/step": place + 1, "learning/loss": (place + 1) / 4} for place in range(6)]
    assert rows[-6:] == expected
    assert rows[:-6] == expected[: len(rows) - 6]  # what was written all the same


@pytest.mark.usefixtures("offline")
def test_wandb_is_not_sent_what_the_server_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    logged: list[tuple[float, int]] = []

    class ResumedRun:
        starting_step = 2

        def define_metric(self, name: str, step_metric: str = "") -> None:
            assert name.startswith("learning/")

        def log(self, values: dict[str, float], step: int, commit: bool) -> None:
            assert commit
            logged.append((values["learning/step"], step))

    monkeypatch.setattr(wandb, "init", lambda **settings: ResumedRun())
    learn(Metrics(tmp_path / "metrics.jsonl"), range(1, 4))
    learn(Metrics(tmp_path / "metrics.jsonl", [WandbTracker(tmp_path, "lakes", "first", {})]), range(4, 5))
    assert logged == [(3, 2), (4, 3)]


@pytest.mark.usefixtures("offline")
def test_a_run_without_a_login_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refuse(**settings: Any) -> None:
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(
        TrackerError, match=r"refuses the run: api_key .*; log in with `wandb login`, or set WANDB_MODE"
    ):
        make_trackers(["wandb"], tmp_path, CONFIG)


# Both ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("board", "offline")
def test_tracking_draws_no_random_numbers(tmp_path: Path, picture: Path) -> None:
    """A run with trackers has the same bits as one without."""
    import torch

    def drawn() -> tuple[Any, ...]:
        return (
            random.getstate(),
            np.random.get_state(legacy=False)["state"]["key"].tolist(),
            torch.get_rng_state().tolist(),
        )

    before = drawn()
    made: list[Tracker] = make_trackers(["tensorboard", "wandb"], tmp_path, CONFIG)
    learn(Metrics(tmp_path / "metrics.jsonl", made), range(1, 4))
    for tracker in made:
        tracker.table("result", COLUMNS, ROWS)
        tracker.picture("learning_curve", picture)
        tracker.close()
    assert drawn() == before

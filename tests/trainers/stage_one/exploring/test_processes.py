"""Explorers in processes: the same store to the bit, whoever plays and whoever is killed, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.trainers.stage_one.exploring.test_explorers import explored, rows_of

from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.trainers.config import TrainConfig, ValueConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.exploring import exploration
from turngym.trainers.stage_one.exploring.exploration import Exploration
from turngym.trainers.stage_one.sampling import StageOneSetup, store_fingerprint
from turngym.trainers.stage_one.stage import run_stage_one
from turngym.trainers.stage_one.store import ValueStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are handed their connection as on POSIX")

HOT, COLD, RULE = "temperature 2.0", "temperature 0.8", "agent oracle"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "BLOCK", 20)


@pytest.fixture
def reference(model: LanguageModel) -> LanguageModel:
    """Frozen, as in a run: weights that may learn are computed with by other kernels."""
    return model.freeze()


@pytest.fixture
def config(tiny: TrainConfig) -> TrainConfig:
    """Six blocks: of two temperatures and of a script."""
    values = ValueConfig(instances=12, extra_samples=8, explorer_temperatures=[2.0, 0.8], explorer_agents=["oracle"],
                         explorer_samples=3)  # fmt: skip
    return replace(tiny, values=values)


class Notes(SilentProgress):
    """Keeps what is noted, and counts episodes."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.episodes = 0

    def note(self, text: str) -> None:
        self.texts.append(text)

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.episodes += n


def in_processes(config: TrainConfig, count: int) -> TrainConfig:
    return replace(config, values=replace(config.values, explorer_processes=count))


def fill(
    path: Path, model: LanguageModel, config: TrainConfig, begun: Callable[[list[int]], None] = lambda pids: None
) -> tuple[list[dict[str, Any]], Notes]:
    """Fill a store; what it holds, all but the reference's episodes, is compared by its rows."""
    notes = Notes()
    with (
        ValueStore(path, store_fingerprint(model, Rollouts.of(config))) as store,
        Exploration(model, store, StageOneSetup.of(config)) as exploring,
    ):
        processes = exploring._processes
        begun([process.pid for process in processes.processes] if processes else [])
        return list(exploring.blocks(notes)), notes


def killed_later(pid: int) -> None:
    """Stop a process in what it does, and kill it when the others have long played what there was."""
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(5.0, os.kill, (pid, signal.SIGKILL)).start()


def test_the_store_is_the_same_wherever_blocks_are_played_and_whoever_is_killed(
    reference: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    blocks, _ = fill(tmp_path / "here", reference, config)
    assert [block["explorer"] for block in blocks] == [HOT, HOT, COLD, COLD, RULE, RULE]
    expected = rows_of(tmp_path / "here")

    apart, notes = fill(tmp_path / "apart", reference, in_processes(config, 2))
    assert rows_of(tmp_path / "apart") == expected
    assert notes.texts == [] and notes.episodes == 3 * 12 * 3
    times = ("seconds", "lost_processes")
    told = [{key: value for key, value in block.items() if key not in times} for block in blocks]
    assert told == [{key: value for key, value in block.items() if key not in times} for block in apart]

    one, notes = fill(tmp_path / "one", reference, in_processes(config, 2), lambda pids: killed_later(pids[0]))
    assert rows_of(tmp_path / "one") == expected
    (text,) = notes.texts
    assert text.startswith("stage 1: one of 2 processes of explorers has ended (signal SIGKILL, as when memory runs ")
    assert sum(block.get("lost_processes", 0) for block in one) == 1

    def kill_all(pids: list[int]) -> None:
        for pid in pids:
            killed_later(pid)

    everyone, notes = fill(tmp_path / "none", reference, in_processes(config, 2), kill_all)
    assert rows_of(tmp_path / "none") == expected
    assert len(notes.texts) == 2 and sum(block.get("lost_processes", 0) for block in everyone) == 2


def test_a_whole_stage_one_is_the_same_and_goes_on_after_an_interruption(
    reference: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    """The explorers play beside the reference, and are stored after it."""

    class Interrupted(SilentProgress):
        exploring = False
        left = 30

        def phase(self, name: str, total: int | None) -> None:
            self.exploring = name == "stage 1: explorers"

        def advance(self, n: int = 1, **numbers: float) -> None:
            self.left -= n * self.exploring
            if self.left < 0:
                raise KeyboardInterrupt

    def run(name: str, chosen: TrainConfig, progress: SilentProgress) -> list[Any]:
        (tmp_path / name).mkdir(exist_ok=True)
        metrics = Metrics(tmp_path / name / "metrics.jsonl")
        found = run_stage_one(reference, tmp_path / name / "v", StageOneSetup.of(chosen), metrics, progress)
        assert found.transitions is None or len(found.transitions.keys)
        return rows_of(tmp_path / name / "v")

    expected = run("here", config, SilentProgress())
    with pytest.raises(KeyboardInterrupt):
        run("apart", in_processes(config, 2), Interrupted())
    assert run("apart", in_processes(config, 2), SilentProgress()) == expected


def test_what_a_process_refuses_is_raised_here(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "other")
    values = replace(config.values, explorer_temperatures=[], explorer_agents=[],
                     explorer_models=[str(tmp_path / "other")], explorer_processes=1)  # fmt: skip

    def spoil(pids: list[int]) -> None:
        (tmp_path / "other" / "model.safetensors").write_bytes(b"")

    with pytest.raises(CheckpointError, match=r"other.*model\.safetensors"):
        fill(tmp_path / "v", model, replace(config, values=values), spoil)


ALONE = """
import sys, time
from dataclasses import replace
from pathlib import Path
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import EnvConfig, ModelConfig, RunConfig, TrainConfig, ValueConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.exploring.exploration import Exploration
from turngym.trainers.stage_one.sampling import StageOneSetup, store_fingerprint
from turngym.trainers.stage_one.store import ValueStore

config = TrainConfig(
    env=EnvConfig(kwargs={"size": 3}),
    model=ModelConfig(hidden_size=32, layers=2, heads=2, context_length=512, max_reply_tokens=4),
    values=ValueConfig(instances=4096, explorer_temperatures=[2.0, 3.0], explorer_samples=8, explorer_processes=2),
)
model = load_or_build(config)
with ValueStore(Path(sys.argv[1]), store_fingerprint(model, Rollouts.of(config))) as store:
    with Exploration(model, store, StageOneSetup.of(config)) as exploring:
        print("begun", flush=True)
        time.sleep(600)
"""


def test_nobody_is_left_when_the_run_is_killed(tmp_path: Path) -> None:
    """The processes have its output open, which therefore ends with the last of them."""
    run = subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path / "v")], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "begun\n"
    run.kill()
    assert run.communicate(timeout=60)[0] == ""


def test_processes_end_when_the_block_is_left(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", store_fingerprint(model, Rollouts.of(config))) as store:
        with Exploration(model, store, StageOneSetup.of(in_processes(config, 2))) as exploring:
            assert exploring._processes is not None
            begun = exploring._processes.processes
        assert [process.returncode for process in begun] == [-signal.SIGKILL] * 2
        assert explored(model, store, config)[0]["explorer_episodes"] == 20

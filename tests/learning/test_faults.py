"""The fault sweep: whatever some episodes do, training, evaluation and rollouts end, and count them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from tests.agents.hosting.faulty import FAULTY, register_faulty

from turngym.agents.episode import read_episodes
from turngym.cli import main

RATE = 25
EPISODES = 100
TINY = {
    "warm_start.course_steps": 20, "warm_start.success_low": 0.0, "warm_start.success_high": 1.0,
    "warm_start.check_episodes": 10, "model.hidden_size": 16, "model.layers": 1, "model.heads": 2,
    "model.copying": False, "model.vocabulary_size": 300, "values.instances": 2 * RATE, "values.samples": 2,
    "values.extra_samples": 10, "learning.steps": 3, "learning.batch_size": 2 * RATE, "evaluation.episodes": 2 * RATE,
}  # fmt: skip
SWEEP = [
    *[(fault, place, False) for fault in ("raise", "hang", "exit", "os exit") for place in ("reset", "step")],
    *[(fault, "step", False) for fault in ("nan", "infinity", "interrupt")],
    *[("raise", place, False) for place in ("oracle", "sample", "optimum", "instructions", "close")],
    *[(fault, "step", True) for fault in ("kill", "os exit", "spin", "raise")],
]


@pytest.fixture(autouse=True)
def stairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    register_faulty()
    monkeypatch.chdir(tmp_path)
    yield
    del gym.registry[FAULTY]


def strict(text: str) -> Any:
    """Read JSON as everybody reads it, without numbers that are none."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "place", "isolated"), SWEEP)
def test_everything_ends_and_counts(fault: str, place: str, isolated: bool, capfd: pytest.CaptureFixture[str]) -> None:
    kwargs = json.dumps({"fault": fault, "place": place, "rate": RATE})
    limit = "3" if fault in ("hang", "spin") else "60"  # on a busy machine others may take a second too
    limits = ["--step-timeout", limit, "--isolate", "2" if isolated else "0"]
    played_by = "oracle" if place == "oracle" else "random"
    failing = place not in ("optimum", "close") and (place != "sample" or played_by == "random")

    words = ["--env-kwargs", kwargs, "--episodes", str(EPISODES), *limits]
    assert main(["evaluate", played_by, "--env", FAULTY, *words]) == int(failing)
    assert f"{EPISODES - 4} (+4 errors)" in capfd.readouterr().out or not failing
    assert main(["rollout", played_by, FAULTY, "--out", "episodes.jsonl", *words]) == int(failing)
    for line in Path("episodes.jsonl").read_text(encoding="utf-8").splitlines():
        strict(line)
    episodes = list(read_episodes(Path("episodes.jsonl")))
    assert len(episodes) == EPISODES
    assert sum(episode.status.is_error() for episode in episodes) == (4 if failing else 0)

    settings = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    limits = [word.replace("--", "--env.") for word in limits]
    assert main(["train", FAULTY, "--run.name", "run", "--env.kwargs", kwargs, *limits, *settings]) == 0
    lines = [strict(line) for line in Path("runs/run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(line["phase"] == "learning" for line in lines) == 3
    assert all(math.isfinite(line["loss"]) for line in lines if line["phase"] == "learning")
    stage_one = sum(line.get("errors", 0) for line in lines if line["phase"] == "values")
    result = strict(Path("runs/run/result.json").read_text(encoding="utf-8"))
    model_fails = failing and place not in ("oracle", "sample")
    assert stage_one == (4 if model_fails else 0)
    assert result["trained_greedy"]["errors"] == (2 if model_fails else 0)
    assert result["optimum"] == 1.0 and result["optimum_failures"] == (2 if place in ("optimum", "reset") else 0)

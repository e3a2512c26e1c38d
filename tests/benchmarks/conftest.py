from __future__ import annotations

import pytest

from turngym.benchmarks.algorithm_tasks import TASKS, Task
from turngym.trainers.config import ModelConfig, WarmStartConfig


@pytest.fixture
def small_lake(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Put a lake of four squares and a model of a few thousand weights in the place of FrozenLake."""
    task = Task(
        env_id="turngym/FrozenLake-v0",
        env_kwargs={"size": 2},
        model=ModelConfig(hidden_size=32, layers=1, heads=2, copying=False, max_reply_tokens=3),
        warm_start=WarmStartConfig(course_steps=40, batch_size=8, success_low=0.0, success_high=1.0, check_episodes=4),
        max_tokens=6000,
        slip=0.0,
    )
    monkeypatch.setitem(TASKS, "FrozenLake", task)
    return task

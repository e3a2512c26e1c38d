"""A*PO learns: success on held-out lakes rises with the true rewards, and does not with shuffled ones.

It rises as well where a server plays the policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agents.serving.model_server import serving

from turngym.agents.episode import Episode
from turngym.trainers.base_model import prepare_base
from turngym.trainers.config import (
    AstarpoConfig,
    EnvConfig,
    LearningConfig,
    ModelConfig,
    RolloutConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
)
from turngym.trainers.loop import Loop
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import TrainingRun
from turngym.trainers.served_policy import ServedPolicy
from turngym.trainers.warm_start.cloning import validate

CONFIG = TrainConfig(
    env=EnvConfig(kwargs={"size": 3}),
    model=ModelConfig(
        hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=512, max_reply_tokens=4
    ),
    warm_start=WarmStartConfig(
        batch_size=16, learning_rate=5e-3, course_steps=120, check_episodes=100, mistake_rate=0.7
    ),
    values=ValueConfig(instances=128, samples=2, extra_samples=64),
    objective=AstarpoConfig(beta=0.02, beta_final=0.02),
    learning=LearningConfig(
        steps=60,
        batch_size=32,
        fresh_share=0.5,
        learning_rate=2e-3,
        final_learning_rate=4e-4,
        warmup_steps=5,
    ),
    run=RunConfig(seed=1, threads=1, rollout_slots=64),
)
EPISODES = 400
MARGIN = 0.08
"""More than twice the standard error of a success rate near one half over the validation episodes, 0.025."""


def start(folder: Path) -> Loop:
    metrics = Metrics(folder / "metrics.jsonl")
    base = prepare_base(CONFIG, folder, metrics, SilentProgress())
    return TrainingRun(base, CONFIG, folder, metrics, SilentProgress()).loop


def gain(folder: Path, monkeypatch: pytest.MonkeyPatch, *, shuffled: bool) -> float:
    """Return by how much learning raises the sampled success on held-out lakes."""
    loop = start(folder)
    before = validate(loop.references.current, loop.rollouts, EPISODES)
    with monkeypatch.context() as patch:
        if shuffled:
            shuffle_rewards(patch)
        loop.run_round(lambda numbers, episodes: None, folder / "failed.jsonl")
    return validate(loop.learner.policy, loop.rollouts, EPISODES) - before


def shuffle_rewards(patch: pytest.MonkeyPatch) -> None:
    """Give every episode of a batch the return of another: the same rewards, which say nothing about play."""
    rng, play = np.random.default_rng(0), Rollouts.play

    def play_and_shuffle(*arguments: Any, **settings: Any) -> list[Episode]:
        episodes = play(*arguments, **settings)
        returns = rng.permutation([episode.total_reward for episode in episodes])
        for episode, total in zip(episodes, returns, strict=True):
            for turn in episode.turns:
                turn.reward = 0.0
            episode.turns[-1].reward = float(total)
        return episodes

    patch.setattr(Rollouts, "play", play_and_shuffle)


def test_success_rises_with_rewards_and_only_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gain(tmp_path, monkeypatch, shuffled=False) >= MARGIN
    assert gain(tmp_path, monkeypatch, shuffled=True) < MARGIN / 2


@pytest.mark.slow
def test_success_rises_with_what_a_server_plays(tmp_path: Path) -> None:
    loop, drifts = start(tmp_path), list[float]()
    before = validate(loop.references.current, loop.rollouts, EPISODES)
    with serving(tmp_path / "base") as server:
        loop.served = ServedPolicy(RolloutConfig(server=server.url, parallel=2), tmp_path / "served")
        loop.run_round(lambda numbers, _: drifts.append(numbers["logprob_drift"]), tmp_path / "failed.jsonl")
    assert validate(loop.learner.policy, loop.rollouts, EPISODES) - before >= MARGIN
    assert len(drifts) == len(server.read) == CONFIG.learning.steps and max(drifts) < 1e-4

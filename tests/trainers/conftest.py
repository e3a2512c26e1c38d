"""A tiny run on an easy lake, and a model for it: what the tests of the trainer share."""

from __future__ import annotations

import pytest

from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import (
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
)
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.cloning import clone


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """A whole run in seconds: 3x3 lakes, a decoder of width 32 and depth 2, six optimizer steps."""
    return TrainConfig(
        env=EnvConfig(kwargs={"size": 3}),
        model=ModelConfig(
            hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=512, max_reply_tokens=4
        ),
        warm_start=WarmStartConfig(
            success_low=0.1,
            success_high=0.7,
            batch_size=16,
            learning_rate=5e-3,
            course_steps=60,
            check_episodes=50,
            mistake_rate=0.5,
        ),
        values=ValueConfig(instances=24, samples=2, extra_samples=16),
        learning=LearningConfig(steps=6, batch_size=8, fresh_share=0.5, warmup_steps=2),
        evaluation=EvaluationConfig(episodes=20),
        run=RunConfig(threads=1, checkpoint_every=2, rollout_slots=16),
    )


@pytest.fixture(scope="session")
def _cloned(tiny: TrainConfig) -> LanguageModel:
    model = load_or_build(tiny)
    checks = list(clone(model, Rollouts.of(tiny), tiny.warm_start, SilentProgress(), seed=tiny.run.seed))
    assert checks[-1]["success"] >= 0.1
    return model


@pytest.fixture
def model(_cloned: LanguageModel) -> LanguageModel:
    """A model that solves some of the lakes; every test has its own copy."""
    return _cloned.copy()

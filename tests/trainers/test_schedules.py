"""Schedules: where they begin, how they go, and where they end."""

from __future__ import annotations

import numpy as np
import pytest
from tests.trainers.harness import with_learning

from turngym.trainers.config import AstarpoConfig, GrpoConfig, LearningConfig, TrainConfig
from turngym.trainers.schedules import scheduled_beta, scheduled_learning_rate, scheduled_temperature


def test_schedules() -> None:
    config = TrainConfig(
        objective=AstarpoConfig(beta=0.1, beta_final=0.001),
        learning=LearningConfig(steps=101, learning_rate=1.0, final_learning_rate=0.2, warmup_steps=4),
    )
    betas = [scheduled_beta(config.objective, step / 100) for step in range(101)]
    assert betas[0] == pytest.approx(0.1) and betas[50] == pytest.approx(0.01) and betas[100] == pytest.approx(0.001)
    np.testing.assert_allclose(np.diff(np.log(betas)), np.log(0.01) / 100)
    rates = [scheduled_learning_rate(config.learning, step, step / 100) for step in range(101)]
    assert rates[:4] == pytest.approx([0.25 * 1.0, 0.5 * 0.992, 0.75 * 0.984, 0.976])
    assert rates[50] == pytest.approx(0.6) and rates[100] == pytest.approx(0.2)
    cooling = with_learning(config, temperature=1.3, temperature_final=0.3)
    temperatures = [scheduled_temperature(cooling.learning, step / 100) for step in range(101)]
    np.testing.assert_allclose(temperatures, np.linspace(1.3, 0.3, 101), rtol=1e-12)
    steady = with_learning(config, temperature=1.3).learning
    assert {scheduled_temperature(steady, step / 100) for step in range(101)} == {1.3}
    single = with_learning(config, steps=1, warmup_steps=0)
    assert scheduled_beta(single.objective, 0) == pytest.approx(0.1)
    assert scheduled_learning_rate(single.learning, 0, 0.0) == 1.0
    assert scheduled_temperature(single.learning, 0.0) == 1.0


def test_an_objective_without_a_temperature_has_none() -> None:
    assert {scheduled_beta(GrpoConfig(), done) for done in (0.0, 0.5, 1.0)} == {0.0}

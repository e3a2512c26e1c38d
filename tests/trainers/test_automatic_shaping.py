"""Shaping by V* of stage 1: what it must not change, what it is when there is no value, and where it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tests.trainers.harness import total, with_learning
from tests.trainers.objectives.steps import step_params, with_advantages
from tests.trainers.test_state_learning import learn
from torch import Tensor

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import automatic_shaping
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.baselines.baseline import values_of_states
from turngym.trainers.baselines.states import State, StateValues
from turngym.trainers.config import ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.objectives import StepParams, TrainingBatch, find_objective
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.sampling import store_fingerprint
from turngym.trainers.stage_one.soft_values import Transitions

LENGTHS = (3, 1, 4, 2, 4, 3, 2, 1)
GROUPS = (0, 0, 0, 0, 1, 1, 1, 1)
SHAPE = len(LENGTHS), max(LENGTHS)


def shaping_by(potential: StateValues, weight: float) -> AutomaticShaping:
    """Return the shaping by some values of states, as if stage 1 had found them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automatic_shaping, "stage_one_states", lambda *_: potential)
        return AutomaticShaping(cast("Transitions", None), 0.5, ValueConfig(), weight)


def played() -> tuple[TrainingBatch, list[Episode], StateValues]:
    """Return episodes of two instances, two tokens a turn, with random numbers, and values of their states."""
    rng = np.random.default_rng(5)
    potential = StateValues()
    episodes, reward, value = [], np.zeros(SHAPE), np.zeros(SHAPE)
    for row, (length, group) in enumerate(zip(LENGTHS, GROUPS, strict=True)):
        turns = []
        for place in range(length):
            reward[row, place], value[row, place] = rng.normal(size=2)
            level = group / 10 if place == 0 else round(float(rng.random()), 2)
            turns.append(Turn(observation="", action="", reward=reward[row, place], task_reward=0.0, state_key="",
                              potential=level, valid=True))  # fmt: skip
            potential.add(State("", place, level), float(rng.random()))
        episodes.append(Episode(env_id="x", split="train", index=group, seed=row, turns=turns))
    places = [(row, place) for row, length in enumerate(LENGTHS) for place in range(length) for _ in range(2)]
    logp, ref, old, critic = torch.from_numpy(rng.normal(size=(4, len(places))))
    batch = TrainingBatch(
        logp_N=logp,
        ref_logp_N=ref,
        old_logp_N=old,
        critic_N=critic,
        episode_N=torch.tensor([row for row, _ in places]),
        turn_N=torch.tensor([place for _, place in places]),
        reward_BK=torch.from_numpy(reward),
        value_BK=torch.from_numpy(value),
        group_B=torch.tensor(GROUPS),
    )
    return batch, episodes, potential


def loss_and_gradient(batch: TrainingBatch, step: StepParams[Any]) -> tuple[Tensor, Tensor]:
    logp_N = batch.logp_N.clone().requires_grad_()
    name = step.config.name
    loss_B = find_objective(name).loss(replace(with_advantages(batch, name, step), logp_N=logp_N), step)
    (gradient,) = torch.autograd.grad(loss_B.sum(), logp_N)
    return loss_B.detach(), gradient


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize(("name", "turn_lambda"), [("astarpo", 1.0), ("astarpo_turn", 1.0), ("astarpo_turn", 0.5)])
def test_with_a_value_nothing_changes(name: str, turn_lambda: float, weight: float) -> None:
    batch, episodes, potential = played()
    step = step_params(name, beta=0.3, turn_lambda=turn_lambda)
    shaped = shaping_by(potential, weight).shape(batch, episodes, shift_values=True)
    assert not torch.allclose(shaped.reward_BK, batch.reward_BK, atol=0.1)
    assert same(loss_and_gradient(shaped, step), loss_and_gradient(batch, step))


def test_without_a_value_the_potential_is_the_value() -> None:
    batch, episodes, potential = played()
    step = step_params("astarpo_turn", beta=0.3, turn_lambda=0.5, baseline="none")
    none = replace(batch, value_BK=torch.zeros(SHAPE, dtype=torch.float64))
    vstar = replace(batch, value_BK=values_of_states(batch, episodes, potential))
    shaped = shaping_by(potential, 1.0).shape(none, episodes, shift_values=False)
    expected = loss_and_gradient(vstar, step)
    assert same(loss_and_gradient(shaped, step), expected)
    assert not same(loss_and_gradient(none, step), expected)


def test_whole_returns_keep_their_differences_within_a_group() -> None:
    """Exactly, in single precision too: the same returns stay the same, however many turns they were earned in."""
    batch, episodes, potential = played()
    for dtype in (torch.float64, torch.float32):
        plain = replace(batch, reward_BK=torch.zeros(SHAPE, dtype=dtype), value_BK=torch.zeros(SHAPE, dtype=dtype))
        shaped = shaping_by(potential, 0.7).shape(plain, episodes, shift_values=False)
        return_B = shaped.reward_BK.sum(1)
        start_B = 0.7 * values_of_states(plain, episodes, potential)[:, 0]
        assert torch.allclose(return_B, -start_B, atol=1e-4 if dtype == torch.float32 else 1e-12, rtol=0)
        for group in range(2):
            assert len(set(return_B[plain.group_B == group].tolist())) == 1


@pytest.mark.parametrize("name", ["rloo", "ppo"])
def test_objectives_that_weigh_whole_returns_compare_as_before(name: str) -> None:
    """RLOO's advantages are the same; those of PPO with lambda = 1 move by -Phi of the start, what its critic learns.

    The critic is to say V - Phi; then the advantages of PPO, before they are whitened, are the same too.
    """
    batch, episodes, potential = played()
    shaped = shaping_by(potential, 1.0).shape(batch, episodes, shift_values=False)
    step = step_params(name, beta=0.3)
    if name == "rloo":
        assert same(*(loss_and_gradient(one, step) for one in (batch, shaped)))
        return
    returns = find_objective(name).returns
    assert returns is not None
    before, after = returns(batch, step), returns(shaped, step)
    phi_BK = values_of_states(batch, episodes, potential)
    assert torch.allclose(after, before - batch.gather_turns(phi_BK), rtol=0, atol=1e-12)


def test_an_objective_without_values_gets_none() -> None:
    batch, episodes, potential = played()
    plain = replace(batch, value_BK=torch.empty(0))
    assert not shaping_by(potential, 1.0).shape(plain, episodes, shift_values=True).value_BK.numel()


def test_the_store_is_the_same_and_stage_one_is_asked_for(model: LanguageModel, tiny: TrainConfig) -> None:
    shaped = replace(tiny, shaping=ShapingConfig(automatic_weight=0.5))
    fingerprints = [store_fingerprint(model, Rollouts.of(config)) for config in (shaped, tiny)]
    assert fingerprints[0] == fingerprints[1]
    for name in ("rloo", "ppo", "gigpo"):
        assert not with_learning(tiny, name).needs_stage_one and with_learning(shaped, name).needs_stage_one
    assert tiny.needs_stage_one


def test_a_run_reports_what_was_added_apart(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    """One step from the same start: what is played and measured is the same, whether the objective sees shaping or not.

    With discounted rewards to go it learns something else.
    """
    automatic = replace(tiny, shaping=ShapingConfig(automatic_weight=1.0))
    ends = [
        learn(model, with_learning(config, "gigpo", steps=1, fresh_share=1.0, warmup_steps=0), tmp_path / name)
        for name, config in [("plain", tiny), ("shaped", automatic)]
    ]
    assert ends[0][0] != ends[1][0]
    (plain,), (moved,) = ends[0][1], ends[1][1]
    assert -1.0 < moved["automatic_shaping"] < 0.0 and "automatic_shaping" not in plain
    assert "potential_shaping" not in moved
    assert moved["task_return"] == plain["task_return"] and moved["kept"] == plain["kept"]
    assert total(Metrics(tmp_path / "shaped" / "metrics.jsonl"), "values", "sampled_tokens") > 0

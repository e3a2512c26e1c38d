"""Shaping by V* of stage 1: what it must not change, what it is when there is no value, and where it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainers.harness import stage
from tests.trainers.test_state_learning import learn
from torch import Tensor

from turngym.agents.episode import Episode, Turn
from turngym.agents.language_model import LanguageModel
from turngym.trainers.automatic_shaping import shape_samples
from turngym.trainers.baselines.states import State, StateValues
from turngym.trainers.batches import values_of_states
from turngym.trainers.config import ObjectivesConfig, TrainConfig
from turngym.trainers.objectives import Samples, Settings, chosen_objective, find_objective, needs_stage_one
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.stage_one.sampling import store_fingerprint

LENGTHS = (3, 1, 4, 2, 4, 3, 2, 1)
GROUPS = (0, 0, 0, 0, 1, 1, 1, 1)
SHAPE = len(LENGTHS), max(LENGTHS)


def settings(**numbers: Any) -> Settings:
    return Settings(**{**vars(ObjectivesConfig()), **numbers}, beta=0.3)


def batch() -> tuple[Samples, list[Episode], StateValues]:
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
    samples = Samples(
        logp_N=logp,
        ref_logp_N=ref,
        old_logp_N=old,
        critic_N=critic,
        row_N=torch.tensor([row for row, _ in places]),
        turn_N=torch.tensor([place for _, place in places]),
        reward_BK=torch.from_numpy(reward),
        value_BK=torch.from_numpy(value),
        group_B=torch.tensor(GROUPS),
    )
    return samples, episodes, potential


def loss_and_gradient(samples: Samples, name: str, numbers: Settings) -> tuple[Tensor, Tensor]:
    logp_N = samples.logp_N.clone().requires_grad_()
    objective = find_objective(name)
    if objective.advantages:
        samples = replace(samples, advantage_N=objective.advantages(samples, numbers))
    loss_B = objective.loss(replace(samples, logp_N=logp_N), numbers)
    (gradient,) = torch.autograd.grad(loss_B.sum(), logp_N)
    return loss_B.detach(), gradient


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize(("name", "turn_lambda"), [("astarpo", 1.0), ("astarpo_turn", 1.0), ("astarpo_turn", 0.5)])
def test_with_a_value_nothing_changes(name: str, turn_lambda: float, weight: float) -> None:
    samples, episodes, potential = batch()
    numbers = settings(turn_lambda=turn_lambda)
    shaped = shape_samples(samples, episodes, potential, weight, baseline="tracker")
    assert not torch.allclose(shaped.reward_BK, samples.reward_BK, atol=0.1)
    assert same(loss_and_gradient(shaped, name, numbers), loss_and_gradient(samples, name, numbers))


def test_without_a_value_the_potential_is_the_value() -> None:
    samples, episodes, potential = batch()
    numbers = settings(turn_lambda=0.5, baseline="none")
    none = replace(samples, value_BK=torch.zeros(SHAPE, dtype=torch.float64))
    vstar = replace(samples, value_BK=values_of_states(samples, episodes, potential))
    shaped = shape_samples(none, episodes, potential, 1.0, baseline="none")
    expected = loss_and_gradient(vstar, "astarpo_turn", numbers)
    assert same(loss_and_gradient(shaped, "astarpo_turn", numbers), expected)
    assert not same(loss_and_gradient(none, "astarpo_turn", numbers), expected)


def test_whole_returns_keep_their_differences_within_a_group() -> None:
    """Exactly, in single precision too: the same returns stay the same, however many turns they were earned in."""
    samples, episodes, potential = batch()
    for dtype in (torch.float64, torch.float32):
        plain = replace(samples, reward_BK=torch.zeros(SHAPE, dtype=dtype), value_BK=torch.zeros(SHAPE, dtype=dtype))
        shaped = shape_samples(plain, episodes, potential, 0.7, baseline="none")
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
    samples, episodes, potential = batch()
    shaped = shape_samples(samples, episodes, potential, 1.0, baseline="none")
    if name == "rloo":
        rloo = [loss_and_gradient(one, name, settings()) for one in (samples, shaped)]
        assert same(*rloo)
        return
    returns = find_objective(name).returns
    assert returns is not None
    before, after = returns(samples, settings()), returns(shaped, settings())
    phi_BK = values_of_states(samples, episodes, potential)
    assert torch.allclose(after, before - samples.of_turns(phi_BK), rtol=0, atol=1e-12)


def test_the_store_is_the_same_and_stage_one_is_asked_for(player: LanguageModel, tiny: TrainConfig) -> None:
    shaped = replace(tiny, shaping=replace(tiny.shaping, automatic_weight=0.5))
    assert store_fingerprint(player, shaped) == store_fingerprint(player, tiny)
    for name in ("rloo", "ppo", "gigpo"):
        assert not needs_stage_one(stage(tiny, objective=name)) and needs_stage_one(stage(shaped, objective=name))
    assert needs_stage_one(tiny)


def test_lambda_below_one_is_allowed_where_the_potential_stands_in(tiny: TrainConfig) -> None:
    shaped = replace(stage(tiny, objective="astarpo_turn"), shaping=replace(tiny.shaping, automatic_weight=1.0))
    for baseline, config in [("none", tiny), ("tracker", shaped)]:
        numbers = replace(tiny.objectives, baseline=baseline, turn_lambda=0.5)
        with pytest.raises(ValueError, match="turn_lambda below 1"):
            chosen_objective(replace(stage(config, objective="astarpo_turn"), objectives=numbers))
    numbers = replace(tiny.objectives, baseline="none", turn_lambda=0.5)
    assert chosen_objective(replace(shaped, objectives=numbers)).name == "astarpo_turn"


def test_a_run_reports_what_was_added_apart(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    """One step from the same start: what is played and measured is the same, whether the objective sees shaping or not.

    With discounted rewards to go it learns something else.
    """
    config = stage(tiny, objective="gigpo", steps=1, fresh_share=1.0, warmup_steps=0)
    shaped = replace(config, shaping=replace(config.shaping, automatic_weight=1.0))
    ends = [learn(player, one, tmp_path / name) for name, one in [("plain", config), ("shaped", shaped)]]
    assert ends[0][0] != ends[1][0]
    (plain,), (moved,) = ends[0][1], ends[1][1]
    assert -1.0 < moved["automatic_shaping"] < 0.0 and "automatic_shaping" not in plain
    assert "potential_shaping" not in moved
    assert moved["task_return"] == plain["task_return"] and moved["kept"] == plain["kept"]
    assert Metrics(tmp_path / "shaped" / "metrics.jsonl").total("values", "sampled_tokens") > 0

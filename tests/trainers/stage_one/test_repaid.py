"""Stored episodes by another shaping are as if they had been paid by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.agents.episode import Episode, Turn
from turngym.trainers.config import EnvConfig, ShapingConfig, TrainConfig
from turngym.trainers.shaping import shape_rewards
from turngym.trainers.stage_one.sampling import StageOneSetup, estimate, stored_returns, stored_turns
from turngym.trainers.stage_one.store import ValueStore

PAID = ShapingConfig(potential_weight=0.5, step_cost=0.02)
OTHER = ShapingConfig(potential_weight=0.2, step_cost=0.05, invalid_penalty=0.1, format_penalty=0.1)


def episodes(shaping: ShapingConfig) -> Iterator[Episode]:
    """Yield two episodes of each of three instances, with their rewards shaped; one of them has no turn."""
    for index in range(3):
        for seed, rewards in enumerate([[0.0, 1.0], [0.0, 0.0, 0.0][: index + 1] if index else []]):
            turns = [
                Turn(observation="o", action="[north]" if turn != 1 else "what", reward=reward, task_reward=reward,
                     state_key=f"{index} {turn}", potential=0.3 + 0.1 * turn, valid=turn != 1, well_formed=turn != 1,
                     span=(turn, turn + 1), logprobs=[-1.0])
                for turn, reward in enumerate(rewards)
            ]  # fmt: skip
            episode = Episode(env_id="e", split="train", index=index, seed=seed, turns=turns, token_ids=[0, 1, 2])
            shape_rewards(episode, shaping)
            yield episode


def setup_of(shaping: ShapingConfig, begun: ShapingConfig) -> StageOneSetup:
    config = TrainConfig(env=EnvConfig(kwargs={"size": 3}))
    return StageOneSetup.of(replace(config, shaping=shaping), replace(config, shaping=begun))


def test_returns_and_turns_are_those_of_the_other_shaping(tmp_path: Path) -> None:
    with (
        ValueStore(tmp_path / "paid.sqlite", {"is": "paid"}) as paid,
        ValueStore(tmp_path / "other.sqlite", {"is": "other"}) as other,
    ):
        paid.add(episodes(PAID))
        other.add(episodes(OTHER))
        again, first = setup_of(OTHER, PAID), setup_of(OTHER, OTHER)
        assert again.repaid == OTHER and first.repaid is None and again.rollouts.shaping == PAID
        for index, returns in stored_returns(other, first).items():
            assert stored_returns(paid, again)[index] == pytest.approx(returns, abs=1e-12)
        rewards = [turn.reward for turn in stored_turns(paid, again)]
        assert rewards == pytest.approx([turn.reward for turn in other.turns()], abs=1e-12)
        assert estimate(paid, again).values == pytest.approx(estimate(other, first).values)
        assert stored_returns(paid, setup_of(PAID, PAID)) == paid.returns()


@pytest.mark.parametrize("place", ["paid", "to come"])
def test_penalties_of_two_sizes_cannot_be_told_apart(tmp_path: Path, place: str) -> None:
    two = replace(PAID, invalid_penalty=0.1)
    before, after = (two, PAID) if place == "paid" else (PAID, two)
    with ValueStore(tmp_path / "paid.sqlite", {"is": "paid"}) as store:
        store.add(episodes(before))
        with pytest.raises(InputError, match="do not tell replies that the game refuses from those without an action"):
            stored_returns(store, setup_of(after, before))

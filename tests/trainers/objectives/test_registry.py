"""The registry: objectives by name, and the sums they are made of."""

from __future__ import annotations

import pytest
import torch

from turngym.trainers.objectives import OBJECTIVES, Samples, astarpo, astarpo_turn, find_objective
from turngym.trainers.objectives.registry import objective


def samples(**changes: torch.Tensor) -> Samples:
    """Two episodes: one of a single turn, one of two; their tokens stand in no order."""
    fields = {
        "logp_N": torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]),
        "ref_logp_N": torch.zeros(5),
        "row_N": torch.tensor([1, 0, 1, 1, 0]),
        "turn_N": torch.tensor([1, 0, 0, 1, 0]),
        "reward_BK": torch.zeros(2, 3),
        "value_B": torch.zeros(2),
    }
    return Samples(**{**fields, **changes})


def test_objectives_are_found_by_name() -> None:
    assert find_objective("astarpo").loss is astarpo
    assert find_objective("astarpo_turn").loss is astarpo_turn
    assert all(found.name == name and found.source for name, found in OBJECTIVES.items())


@pytest.mark.parametrize(
    ("name", "nearest"), [("astar-po", "astarpo"), ("A*PO turn", "astarpo_turn"), ("astarpo-trun", "astarpo_turn")]
)
def test_an_unknown_objective_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown objective .*did you mean '{nearest}'.*Known: astarpo, astarpo_turn"):
        find_objective(name)


def test_an_objective_registers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turngym.trainers.objectives.registry.OBJECTIVES", dict(OBJECTIVES))

    @objective("constant", source="this test")
    def constant(samples: Samples, beta: float) -> torch.Tensor:
        return samples.value_B + beta

    assert find_objective("constant").loss(samples(), 2.0).tolist() == [2.0, 2.0]
    assert "constant" not in OBJECTIVES


def test_token_quantities_are_summed_never_averaged() -> None:
    batch = samples()
    assert batch.per_episode(batch.logp_N).tolist() == [18.0, 13.0]
    assert batch.per_turn(batch.logp_N).tolist() == [[18.0, 0.0, 0.0], [4.0, 9.0, 0.0]]


def test_sums_carry_gradients_to_their_own_tokens_alone() -> None:
    batch = samples(logp_N=torch.ones(5, requires_grad=True))
    (of_episode,) = torch.autograd.grad(batch.per_episode(batch.logp_N)[0], batch.logp_N)
    (of_turn,) = torch.autograd.grad(batch.per_turn(batch.logp_N)[1, 1], batch.logp_N)
    assert of_episode.tolist() == [0, 1, 0, 0, 1]
    assert of_turn.tolist() == [1, 0, 0, 1, 0]

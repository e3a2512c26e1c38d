"""The registry: objectives by name, and the sums they are made of."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from turngym.trainers.config import ObjectivesConfig
from turngym.trainers.objectives import OBJECTIVES, Samples, Settings, astarpo, astarpo_turn, find_objective
from turngym.trainers.objectives.registry import objective


def samples(**changes: Any) -> Samples:
    """Two episodes: one of a single turn, one of two; their tokens stand in no order."""
    fields: dict[str, Any] = {
        "logp_N": torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]),
        "ref_logp_N": torch.zeros(5),
        "row_N": torch.tensor([1, 0, 1, 1, 0]),
        "turn_N": torch.tensor([1, 0, 0, 1, 0]),
        "reward_BK": torch.zeros(2, 3),
        "value_BK": torch.zeros(2, 3),
    }
    return Samples(**{**fields, **changes})


def test_objectives_are_found_by_name() -> None:
    assert find_objective("astarpo").loss is astarpo
    assert find_objective("astarpo_turn").loss is astarpo_turn
    assert all(found.name == name for name, found in OBJECTIVES.items())


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_names_its_paper_and_what_of_it(name: str) -> None:
    """An arXiv number or a year, and the number of an equation or algorithm or the formula itself."""
    source = OBJECTIVES[name].source
    assert re.search(r"arXiv:\d{4}\.\d{5}\b|\b(19|20)\d\d\b", source)
    assert re.search(r"\b(eq\. |Algorithm |section )\d|\w\)? [-+*/] \(?\w|-log pi", source)


def test_what_an_objective_leaves_out_of_its_paper_is_said() -> None:
    assert "overlong reward shaping is left out" in OBJECTIVES["dapo"].source


@pytest.mark.parametrize(
    ("name", "nearest"), [("astar-po", "astarpo"), ("A*PO turn", "astarpo_turn"), ("astarpo-trun", "astarpo_turn")]
)
def test_an_unknown_objective_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(
        ValueError, match=f"unknown objective .*did you mean '{nearest}'.*Known: astarpo, astarpo_turn, awr"
    ):
        find_objective(name)


def test_an_objective_registers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turngym.trainers.objectives.registry.OBJECTIVES", dict(OBJECTIVES))

    @objective("constant", source="this test")
    def constant(samples: Samples, settings: Settings) -> torch.Tensor:
        return samples.value_BK[:, 0] + settings.beta

    assert find_objective("constant").loss(samples(), Settings(beta=2.0)).tolist() == [2.0, 2.0]
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


def test_quantities_of_turns_reach_the_tokens() -> None:
    batch = samples()
    assert batch.of_turns(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist() == [5.0, 1.0, 4.0, 5.0, 1.0]
    assert batch.played().tolist() == [[True, False, False], [True, True, False]]
    assert batch.lengths().tolist() == [2.0, 3.0]


def test_some_episodes_of_a_batch() -> None:
    batch = samples(group_B=torch.tensor([7, 8]), tokens_per_episode=2.5)
    whole = batch.select([0, 1])
    assert whole.row_N.tolist() == [0, 0, 1, 1, 1] and whole.logp_N.tolist() == [2.0, 16.0, 1.0, 4.0, 8.0]
    turned = batch.select([1, 0])
    assert turned.row_N.tolist() == [0, 0, 0, 1, 1] and turned.logp_N.tolist() == [1.0, 4.0, 8.0, 2.0, 16.0]
    assert turned.turn_N.tolist() == [1, 0, 1, 0, 0] and turned.group_B.tolist() == [8, 7]
    single = batch.select([1])
    assert single.per_turn(single.logp_N).tolist() == [[4.0, 9.0, 0.0]]
    assert single.tokens_per_episode == 2.5 and single.state_BK.numel() == 0
    assert batch.places([1]).tolist() == [0, 2, 3]


def test_what_an_objective_asks_for() -> None:
    plain, free = ObjectivesConfig(), ObjectivesConfig(kl_weight=0.0, baseline="batch")
    reads = {name for name, one in OBJECTIVES.items() if one.reads_reference(plain)}
    assert reads - {name for name, one in OBJECTIVES.items() if one.reads_reference(free)} == {
        "grpo", "gigpo", "ppo", "awr", "weighted_sft",
    }  # fmt: skip
    assert set(OBJECTIVES) - reads == {"oapl", "rebel", "dr_grpo", "dapo", "starpo_s", "raft"}
    stage_one = {name for name, one in OBJECTIVES.items() if one.reads_stage_one(plain)}
    assert stage_one == {"astarpo", "astarpo_turn", "reinforce", "awr", "weighted_sft"}
    assert not any(one.reads_stage_one(free) for one in OBJECTIVES.values())
    assert all(one.reads_stage_one(replace(free, baseline="vstar")) for one in map(find_objective, stage_one))
    assert {name for name, one in OBJECTIVES.items() if one.groups} == {
        "oapl", "gvpo", "rebel", "rloo", "grpo", "dr_grpo", "dapo", "starpo_s", "gigpo",
    }  # fmt: skip
    assert {name for name, one in OBJECTIVES.items() if one.returns} == {"ppo"}

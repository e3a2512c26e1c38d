"""The registry: objectives by name, and the sums they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from tests.trainers.objectives.steps import step_params
from torch import Tensor

from turngym.arguments import Share
from turngym.trainers.config import (
    OBJECTIVE_CONFIGS,
    AstarpoConfig,
    Grouped,
    GrpoConfig,
    ObjectiveConfig,
    TrainConfig,
    Valued,
    parse_toml,
    with_algorithm,
    with_overrides,
)
from turngym.trainers.objectives import (
    OBJECTIVES,
    ObjectiveError,
    StepParams,
    TrainingBatch,
    astarpo,
    astarpo_turn,
    find_objective,
    objective_errors,
)
from turngym.trainers.objectives.registry import objective


def samples(**changes: Any) -> TrainingBatch:
    """Two episodes: one of a single turn, one of two; their tokens stand in no order."""
    fields: dict[str, Any] = {
        "logp_N": torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]),
        "ref_logp_N": torch.zeros(5),
        "episode_N": torch.tensor([1, 0, 1, 1, 0]),
        "turn_N": torch.tensor([1, 0, 0, 1, 0]),
        "reward_BK": torch.zeros(2, 3),
        "value_BK": torch.zeros(2, 3),
    }
    return TrainingBatch(**{**fields, **changes})


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
        ValueError, match=f"there is no objective .*did you mean '{nearest}'.*known: astarpo, astarpo_turn, oapl"
    ):
        find_objective(name)


# Objectives of other code ----------------------------------------------------------------------------------------


@pytest.fixture
def _put_back() -> Iterator[None]:
    """Take back what a test registers."""
    objectives, configs = dict(OBJECTIVES), dict(OBJECTIVE_CONFIGS)
    yield
    for entries, before in ((OBJECTIVES, objectives), (OBJECTIVE_CONFIGS, configs)):
        entries.clear()
        entries.update(before)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class NudgeConfig(Grouped):
    """Settings of an objective from elsewhere."""

    name: ClassVar[str] = "nudge"

    strength: Share = 0.25
    """How much of a return counts."""


def nudge(batch: TrainingBatch, step: StepParams[NudgeConfig]) -> Tensor:
    return -step.config.strength * batch.returns() * batch.per_episode(batch.logp_N)


@pytest.mark.usefixtures("_put_back")
def test_an_objective_without_settings_of_its_own_has_those_of_all() -> None:
    @objective("constant", source="this test")
    def constant(batch: TrainingBatch, step: StepParams[ObjectiveConfig]) -> Tensor:
        return batch.value_BK[:, 0] + step.beta

    found = find_objective("constant")
    assert found.loss(samples(), step_params("constant", beta=2.0)).tolist() == [2.0, 2.0]
    assert found.config() == found.config(group_size=1, filter="all")
    assert not (issubclass(found.config, Grouped) or found.needs_values or found.needs_reference)


@pytest.mark.usefixtures("_put_back")
def test_an_objective_with_settings_of_its_own_is_configured_by_them() -> None:
    objective("nudge", source="this test", config=NudgeConfig)(nudge)
    config = parse_toml('[objective]\nname = "nudge"\nstrength = 0.5\n', source="run.toml")
    assert config.objective == NudgeConfig(strength=0.5) and find_objective("nudge").config is NudgeConfig
    assert with_algorithm(TrainConfig(), "nudge").objective == NudgeConfig()
    with pytest.raises(ValueError, match=r"objective\.strength must be in \[0, 1\], got 2"):
        with_overrides(config, {"objective": {"strength": 2.0}})
    with pytest.raises(ValueError, match=r"nudge does not read objective\.clip_low; .*grpo"):
        with_overrides(config, {"objective": {"clip_low": 0.1}})
    batch = samples(logp_N=torch.ones(5, requires_grad=True), reward_BK=torch.tensor([[1.0, 0, 0], [2.0, 1.0, 0]]))
    loss = find_objective("nudge").loss(batch, StepParams(config=config.objective)).sum()
    (gradient_N,) = torch.autograd.grad(loss, batch.logp_N)
    assert gradient_N.tolist() == [-1.5, -0.5, -1.5, -1.5, -0.5]


@pytest.mark.usefixtures("_put_back")
def test_a_name_that_is_taken_is_refused_to_other_code() -> None:
    objective("nudge", source="this test", config=NudgeConfig)(nudge)
    objective("nudge", source="the same function once more", config=NudgeConfig)(nudge)
    assert find_objective("nudge").source == "the same function once more"
    with pytest.raises(ValueError, match="'astarpo_lambda' is the name of an algorithm already, astarpo_turn with"):
        objective("astarpo_lambda", source="this test")
    for name, config in (("nudge", NudgeConfig), ("grpo", GrpoConfig)):
        with pytest.raises(ValueError, match=f"'{name}' is registered already, by .*: choose another name"):
            objective(name, source="this test", config=config)(astarpo)

    assert find_objective("nudge").loss is nudge


@pytest.mark.usefixtures("_put_back")
def test_settings_of_another_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"NudgeConfig of objective 'shove' have the name 'nudge': .*= \"shove\""):
        objective("shove", source="this test", config=NudgeConfig)
    with pytest.raises(ValueError, match="AstarpoConfig of objective 'shove' have the name 'astarpo'"):
        objective("shove", source="this test", config=AstarpoConfig)
    assert "shove" not in OBJECTIVES and "shove" not in OBJECTIVE_CONFIGS


# Sums of a batch -------------------------------------------------------------------------------------------------


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
    assert batch.gather_turns(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist() == [5.0, 1.0, 4.0, 5.0, 1.0]
    assert batch.played().tolist() == [[True, False, False], [True, True, False]]
    assert batch.lengths().tolist() == [2.0, 3.0]


def test_some_episodes_of_a_batch() -> None:
    batch = samples(group_B=torch.tensor([7, 8]), tokens_per_episode=2.5)
    whole = batch.select([0, 1])
    assert whole.episode_N.tolist() == [0, 0, 1, 1, 1] and whole.logp_N.tolist() == [2.0, 16.0, 1.0, 4.0, 8.0]
    turned = batch.select([1, 0])
    assert turned.episode_N.tolist() == [0, 0, 0, 1, 1] and turned.logp_N.tolist() == [1.0, 4.0, 8.0, 2.0, 16.0]
    assert turned.turn_N.tolist() == [1, 0, 1, 0, 0] and turned.group_B.tolist() == [8, 7]
    single = batch.select([1])
    assert single.per_turn(single.logp_N).tolist() == [[4.0, 9.0, 0.0]]
    assert single.tokens_per_episode == 2.5 and single.state_BK.numel() == 0
    assert batch.token_positions([1]).tolist() == [0, 2, 3]


# What they ask for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_defaults_of_an_objective_suit_those_of_a_run(name: str) -> None:
    chosen = with_algorithm(TrainConfig(), name)
    assert type(chosen.objective) is OBJECTIVES[name].config is OBJECTIVE_CONFIGS[name]
    assert chosen.objective.name == name
    assert chosen.objective.group_size == (4 if issubclass(OBJECTIVES[name].config, Grouped) else 1)


def test_what_an_objective_asks_for() -> None:
    def readers(**settings: Any) -> set[str]:
        return {name for name, one in OBJECTIVES.items() if one.reads_reference(step_params(name, **settings).config)}

    reads = readers()
    assert reads - readers(kl_coef=0.0) == {"grpo", "gigpo", "ppo", "awr", "weighted_sft"}
    assert set(OBJECTIVES) - reads == {"oapl", "rebel", "dr_grpo", "dapo", "starpo_s", "raft"}
    valued = {name for name, one in OBJECTIVES.items() if one.needs_values}
    assert valued == {"astarpo", "astarpo_turn", "reinforce", "awr", "weighted_sft"}
    for baseline, reads_stage_one in {"tracker": True, "vstar": True, "batch": False, "none": False}.items():
        for name in valued:
            config = step_params(name, baseline=baseline).config
            assert isinstance(config, Valued) and config.reads_stage_one is reads_stage_one
    assert {name for name, one in OBJECTIVES.items() if issubclass(one.config, Grouped)} == {
        "oapl", "gvpo", "rebel", "rloo", "grpo", "dr_grpo", "dapo", "starpo_s", "gigpo",
    }  # fmt: skip
    assert {name for name, one in OBJECTIVES.items() if one.needs_pairs} == {"gvpo", "rebel"}
    assert {name for name, one in OBJECTIVES.items() if one.returns} == {"ppo"}


def test_code_of_an_objective_that_raises_is_named_with_its_place() -> None:
    sentence = r"the objective mine failed: KeyError: 'scale', test_registry.py line \d+"
    with pytest.raises(ObjectiveError, match=sentence), objective_errors("mine"):
        raise KeyError("scale")

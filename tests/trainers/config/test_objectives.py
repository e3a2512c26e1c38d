"""What the settings of objectives refuse, by themselves and beside those of a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.trainers.objectives.steps import step_params, with_advantages

from turngym.trainers.config import OBJECTIVE_CONFIGS, TrainConfig, with_algorithm, with_overrides
from turngym.trainers.objectives import OBJECTIVES, TrainingBatch

NAMES = list(OBJECTIVE_CONFIGS)


def config(name: str, **sections: dict[str, Any]) -> TrainConfig:
    """Return a run by an objective, with some settings of some sections."""
    return with_overrides(with_algorithm(TrainConfig(), name), sections)


@pytest.mark.parametrize("name", NAMES)
def test_groups_may_have_another_size(name: str) -> None:
    assert config(name, objective={"group_size": 2}).objective.group_size == 2


@pytest.mark.parametrize(
    ("name", "sections", "sentence"),
    [
        ("grpo", {"objective": {"group_size": 1}}, "group_size must be at least 2: grpo compares episodes of one"),
        ("rloo", {"learning": {"batch_size": 30}}, "batch_size must be a multiple of objective.group_size, 4, got 30"),
        (
            "astarpo",
            {"learning": {"batch_size": 9}, "objective": {"group_size": 2}},
            "must be a multiple of objective.group_size, 2, got 9",
        ),
        (
            "astarpo",
            {"objective": {"filter": "top_std"}},
            "group_size must be at least 2, since the filter 'top_std' compares episodes of one prompt",
        ),
        (
            "astarpo_turn",
            {"objective": {"turn_lambda": 0.9}},
            "turn_lambda below 1 trusts the value of every state, and baseline 'tracker' knows those of the starts",
        ),
        (
            "astarpo_turn",
            {"objective": {"turn_lambda": 0.9, "baseline": "state_vstar"}, "learning": {"temperature_final": 0.5}},
            r"turn_lambda below 1 needs V\* of the policy's own temperature",
        ),
        ("grppo", {}, "there is no algorithm 'grppo'; did you mean 'grpo'"),
        (
            "astarpo",
            {"objective": {"baseline": "trakcer"}},
            "objective.baseline must be one of .*, got 'trakcer'; did you mean 'tracker'",
        ),
        (
            "grpo",
            {"objective": {"filter": "top-p"}},
            "objective.filter must be one of .*, got 'top-p'; did you mean 'top_p'",
        ),
        (
            "ppo",
            {"objective": {"gae_level": "tokens"}},
            "objective.gae_level must be one of .*, got 'tokens'; did you mean 'token'",
        ),
        ("grpo", {"objective": {"filter_share": 0.5}}, "filter_share is read by the filters top_std and top_p alone"),
        (
            "ppo",
            {"objective": {"turn_gamma": 0.9}},
            "objective.turn_gamma is not read with objective.gae_level 'token'",
        ),
        (
            "ppo",
            {"objective": {"gae_level": "turn", "gamma": 0.9}},
            "objective.gamma is not read with objective.gae_level 'turn'",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    name: str, sections: dict[str, dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(name, **sections)


@pytest.mark.parametrize("beta_value", [0.0, -0.1, float("nan")])
def test_a_temperature_that_is_divided_by_must_be_above_zero(beta_value: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.beta_value must be above 0, got "):
        config("awr", objective={"beta_value": beta_value})


def test_a_temperature_of_v_star_may_be_zero() -> None:
    step = step_params("oapl", beta=0.1, beta_value=0.0)
    batch = TrainingBatch(
        logp_N=torch.zeros(3), old_logp_N=torch.zeros(3), episode_N=torch.arange(3), turn_N=torch.zeros(3).long(),
        reward_BK=torch.tensor([[0.0], [0.25], [1.0]]), group_B=torch.zeros(3),
    )  # fmt: skip
    weighed = with_advantages(batch, "oapl", step)
    assert weighed.advantage_N.tolist() == [-1.0, -0.75, 0.75]  # over the best of the others
    assert OBJECTIVES["oapl"].loss(weighed, step).isfinite().all()


@pytest.mark.parametrize("name", ["astarpo", "astarpo_turn", "reinforce", "awr", "weighted_sft", "ppo"])
def test_objectives_with_values_refuse_the_filter_on_success(name: str) -> None:
    with pytest.raises(ValueError, match=f"filter must not drop episodes for how they ended, since {name} .*raft"):
        config(name, objective={"filter": "success"})


@pytest.mark.parametrize("name", ["raft", "grpo", "rloo", "gvpo"])
def test_objectives_without_values_accept_the_filter_on_success(name: str) -> None:
    assert config(name, objective={"filter": "success"}).objective.filter == "success"


@pytest.mark.parametrize("name", NAMES)
def test_any_objective_may_be_filtered_within_groups(name: str) -> None:
    chosen = config(name, objective={"filter": "top_p", "group_size": 8}).objective
    assert (chosen.filter, chosen.group_size, chosen.share_kept) == ("top_p", 8, 0.9)

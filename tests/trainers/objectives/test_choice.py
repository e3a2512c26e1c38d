"""What a configuration makes of the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from turngym.trainers.config import TrainConfig
from turngym.trainers.loop import weigh
from turngym.trainers.objectives import OBJECTIVES, Samples, chosen_objective, group_size, step_settings


def config(objectives: dict[str, Any] | None = None, **stage: Any) -> TrainConfig:
    base = TrainConfig()
    return replace(
        base, astarpo=replace(base.astarpo, **stage), objectives=replace(base.objectives, **(objectives or {}))
    )


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_runs_with_the_defaults(name: str) -> None:
    chosen = config(objective=name)
    assert chosen_objective(chosen).name == name
    assert group_size(chosen) == (4 if OBJECTIVES[name].groups else 1)
    assert group_size(config(objective=name, group_size=2)) == 2


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (config(objective="grpo", group_size=1), "grpo compares episodes of one prompt: .* at least 2, or 0 for 4"),
        (config(objective="rloo", batch_size=30), "batch_size must be a multiple of the group size 4, got 30"),
        (config(batch_size=9, group_size=2), "must be a multiple of the group size 2"),
        (
            config({"filter": "top_std"}),
            "filter top_std compares episodes of one prompt: .*group_size must be at least 2",
        ),
        (config({"turn_lambda": 0.9}, objective="astarpo_turn"), "turn_lambda below 1 trusts the value of every state"),
        (
            config({"turn_lambda": 0.9, "baseline": "state_vstar"}, objective="astarpo_turn", temperature_final=0.5),
            r"turn_lambda below 1 needs V\* of the policy's own temperature",
        ),
        (config(objective="grppo"), "unknown objective 'grppo'; did you mean 'grpo'"),
        (config({"baseline": "trakcer"}), "objectives.baseline 'trakcer' is unknown; did you mean 'tracker'"),
        (config({"filter": "top-p"}), "objectives.filter 'top-p' is unknown; did you mean 'top_p'"),
        (config({"gae_level": "tokens"}), "objectives.gae_level 'tokens' is unknown; did you mean 'token'"),
    ],
)
def test_what_does_not_fit_is_refused(chosen: TrainConfig, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        chosen_objective(chosen)


def with_beta_value(name: str, beta_value: float) -> TrainConfig:
    chosen = config(objective=name)
    return replace(chosen, values=replace(chosen.values, beta_value=beta_value))


@pytest.mark.parametrize("beta_value", [0.0, -0.1, float("nan")])
def test_a_temperature_that_is_divided_by_must_be_above_zero(beta_value: float) -> None:
    with pytest.raises(ValueError, match=r"values.beta_value\), which must be above 0, got .*: set it, to 0.05 say"):
        chosen_objective(with_beta_value("awr", beta_value))


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "awr"])
def test_elsewhere_a_temperature_of_zero_stands_for_the_largest_return(name: str, samples: Samples) -> None:
    chosen = with_beta_value(name, 0.0)
    objective, settings = chosen_objective(chosen), step_settings(chosen, 0.1, 1.0)
    assert objective.loss(weigh(samples, objective, settings), settings).isfinite().all()


@pytest.mark.parametrize("name", ["astarpo", "astarpo_turn", "reinforce", "awr", "weighted_sft", "ppo"])
def test_what_reads_values_does_not_choose_episodes_by_their_end(name: str) -> None:
    with pytest.raises(ValueError, match=f"filter success drops episodes .* {name} .*leave the filter empty"):
        chosen_objective(config({"filter": "success"}, objective=name))


@pytest.mark.parametrize("name", ["raft", "grpo", "rloo", "gvpo"])
def test_what_reads_no_values_may(name: str) -> None:
    assert chosen_objective(config({"filter": "success"}, objective=name)).name == name


def test_any_objective_may_be_filtered_within_groups() -> None:
    for name in OBJECTIVES:
        assert chosen_objective(config({"filter": "top_p"}, objective=name, group_size=8)).name == name


def test_temperatures_are_in_units_of_reward() -> None:
    settings = step_settings(config({"turn_lambda": 0.5}), 0.02, 3.0)
    assert (settings.beta, settings.beta_value, settings.turn_lambda) == (0.06, 1.5, 0.5)

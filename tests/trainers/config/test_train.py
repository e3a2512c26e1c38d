"""A whole configuration: what its sections must agree on, and how another algorithm is put in."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.trainers.config import (
    ALGORITHMS,
    AstarpoConfig,
    AstarpoTurnConfig,
    Count,
    CurriculumConfig,
    GrpoConfig,
    LearningConfig,
    RaftConfig,
    RlooConfig,
    ShapingConfig,
    TrainConfig,
    ValueConfig,
    Valued,
    algorithm_names,
    algorithm_of,
    sections,
    with_algorithm,
    with_overrides,
)

SHAPED = ShapingConfig(automatic_weight=0.5)


def test_a_run_is_made_of_its_sections() -> None:
    run = TrainConfig()
    assert list(sections(run)) == [part.name for part in fields(run)]
    assert all(section.section == name for name, section in sections(run).items())
    assert TrainConfig() == run and with_overrides(run, {}) == run


# What sections must agree on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            {"objective": RlooConfig(), "learning": LearningConfig(batch_size=30)},
            "learning.batch_size must be a multiple of objective.group_size, 4, got 30$",
        ),
        (
            {"objective": AstarpoConfig(baseline="state_vstar"), "curriculum": CurriculumConfig(levels=[{"size": 2}])},
            "objective.baseline takes all values from stage 1, which plays no easier level: set it to state_tracker",
        ),
        (
            {"objective": AstarpoTurnConfig(turn_lambda=0.5)},
            "objective.turn_lambda below 1 trusts .* 'tracker' .*: set objective.baseline to state_tracker or state_v",
        ),
        ({"objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="none")}, "objective.turn_lambda below 1 trusts"),
        (
            {"objective": AstarpoTurnConfig(turn_lambda=0.5), "shaping": SHAPED},
            "objective.turn_lambda below 1 trusts the value of every state, and baseline 'tracker'",
        ),
        (
            {
                "objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="state_vstar"),
                "learning": LearningConfig(temperature_final=0.5),
            },
            r"objective.turn_lambda below 1 needs V\* of the policy's own temperature",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        TrainConfig(**parts)


@pytest.mark.parametrize(
    "parts",
    [
        {"objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="state_tracker")},
        {"objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="state_vstar")},
        {"objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="none"), "shaping": SHAPED},
        {
            "objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="state_vstar"),
            "learning": LearningConfig(temperature=0.7, temperature_final=0.7),
        },
        {
            "objective": AstarpoTurnConfig(turn_lambda=0.5, baseline="state_tracker"),
            "learning": LearningConfig(temperature_final=0.5),
            "curriculum": CurriculumConfig(levels=[{"size": 2}]),
        },
        {"objective": GrpoConfig(group_size=8), "learning": LearningConfig(batch_size=24)},
    ],
)
def test_sections_that_agree_are_accepted(parts: dict[str, Any]) -> None:
    config = TrainConfig(**parts)
    assert {name: getattr(config, name) for name in parts} == parts


# Stage 1 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", algorithm_names())
def test_stage_one_runs_where_objective_or_shaping_reads_it(name: str) -> None:
    config = with_algorithm(TrainConfig(), name)
    assert config.needs_stage_one == isinstance(config.objective, Valued)
    assert with_algorithm(TrainConfig(shaping=SHAPED), name).needs_stage_one


@pytest.mark.parametrize("setting", [part.name for part in fields(ValueConfig) if part.name != "instances"])
def test_settings_of_stage_one_are_refused_without_one(setting: str) -> None:
    other: Any = {"state_estimator": "soft_values", "state_potentials": False, "explorer_models": ["m"],
                  "explorer_temperatures": [2.0], "explorer_agents": ["rule"]}.get(setting, 7)  # fmt: skip
    values = ValueConfig(**{setting: other})
    for objective, words in ((GrpoConfig(), "grpo "), (AstarpoConfig(baseline="batch"), "astarpo with this baseline ")):
        with pytest.raises(ValueError, match=rf"^values\.{setting} is not read: {words}does without stage 1; leave it"):
            TrainConfig(objective=objective, values=values)
        assert TrainConfig(objective=objective, values=values, shaping=SHAPED).values == values
    assert TrainConfig(values=values).values == values


def test_the_size_of_the_pool_is_read_by_all() -> None:
    assert TrainConfig(objective=GrpoConfig(), values=ValueConfig(instances=7)).values.instances == 7


# Another algorithm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", algorithm_names())
def test_every_algorithm_runs_with_the_defaults(name: str) -> None:
    config = with_algorithm(TrainConfig(), name)
    objective, settings = ALGORITHMS.get(name, (name, {}))
    assert config.objective.name == objective
    assert all(getattr(config.objective, key) == value for key, value in settings.items())
    assert with_algorithm(config, name) == config
    untouched = {part: section for part, section in sections(config).items() if part != "objective"}
    assert untouched.items() <= sections(TrainConfig()).items()


def test_settings_of_both_objectives_are_kept() -> None:
    config = TrainConfig(objective=GrpoConfig(group_size=8, clip_low=0.1, kl_coef=0.5), values=ValueConfig(instances=7))
    gigpo: Any = with_algorithm(config, "gigpo").objective
    assert (gigpo.group_size, gigpo.clip_low, gigpo.clip_high, gigpo.kl_coef) == (8, 0.1, 0.2, 0.5)
    rloo: Any = with_algorithm(config, "rloo").objective
    assert (rloo.group_size, hasattr(rloo, "clip_low"), rloo.beta) == (8, False, 0.05)
    assert with_algorithm(with_algorithm(config, "gigpo"), "grpo") == config
    assert with_algorithm(config, "raft").values.instances == 7


def test_defaults_are_replaced_by_those_of_the_other_objective() -> None:
    assert with_algorithm(TrainConfig(objective=RaftConfig()), "grpo").objective.filter == "all"
    dapo: Any = with_algorithm(TrainConfig(objective=GrpoConfig()), "dapo").objective
    assert (dapo.filter, dapo.clip_high) == ("mixed", 0.28)
    lambda_: Any = with_algorithm(TrainConfig(objective=AstarpoConfig(baseline="batch")), "astarpo_lambda").objective
    assert (lambda_.baseline, lambda_.turn_lambda, lambda_.optimal_baseline) == ("state_tracker", 0.5, True)


def test_what_a_name_stands_for_goes_with_the_name() -> None:
    config = with_algorithm(TrainConfig(objective=AstarpoConfig(beta=0.1)), "astarpo_lambda")
    assert with_algorithm(config, "astarpo") == TrainConfig(objective=AstarpoConfig(beta=0.1))
    assert with_algorithm(config, "astarpo_turn").objective == AstarpoTurnConfig(beta=0.1)
    assert with_algorithm(config, "astarpo_lambda") == config


def test_stage_one_is_kept_where_it_is_of_use() -> None:
    config = TrainConfig(values=ValueConfig(instances=7, samples=2))
    assert with_algorithm(config, "awr").values == config.values
    assert with_algorithm(config, "grpo").values == ValueConfig(instances=7)
    assert with_algorithm(replace(config, shaping=SHAPED), "grpo").values == config.values


def test_kept_settings_that_the_other_objective_refuses_are_named() -> None:
    config = TrainConfig(objective=GrpoConfig(filter="success"))
    with pytest.raises(ValueError, match="must not drop episodes for how they ended, since astarpo"):
        with_algorithm(config, "astarpo")
    with pytest.raises(ValueError, match=r"learning\.batch_size must be a multiple of objective\.group_size, 4"):
        with_algorithm(TrainConfig(learning=LearningConfig(batch_size=9)), "grpo")


@pytest.mark.parametrize(("name", "nearest"), [("astar", "astarpo"), ("grppo", "grpo")])
def test_an_unknown_algorithm_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"there is no .* '{name}'; did you mean '{nearest}"):
        with_algorithm(TrainConfig(), name)


# Overrides --------------------------------------------------------------------------------------------------------


def test_overrides_replace_settings_of_sections() -> None:
    config = with_overrides(TrainConfig(), {"run": {"seed": 3}, "objective": {"beta": 1}, "learning": {"steps": 2}})
    assert (config.run.seed, config.learning.steps) == (3, 2)
    assert config.objective == AstarpoConfig(beta=1.0)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"runn": {}}, r"there is no section 'runn'; did you mean 'run'\?"),
        ({"run": {"sede": 1}}, r"there is no setting 'run\.sede'; did you mean 'seed'\?"),
        ({"run": {"seed": "one"}}, r"run\.seed must be a whole number, got 'one'"),
        ({"learning": {"batch_size": 6}, "objective": {"group_size": 4}}, r"learning\.batch_size must be a multiple"),
    ],
)
def test_unknown_sections_and_settings_are_refused(overrides: dict[str, dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        with_overrides(TrainConfig(), overrides)


@dataclass(frozen=True, kw_only=True)
class MoreLearning(LearningConfig):
    """A section with a setting that no configuration file has."""

    more: Count = 1
    """More."""


@pytest.mark.parametrize("section", [{"steps": 3}, ValueConfig(), MoreLearning()])
def test_a_section_is_of_its_kind(section: Any) -> None:
    with pytest.raises(InputError, match=r"^learning must be a LearningConfig, got "):
        TrainConfig(learning=section)


def test_stage_one_alone_must_not_spend_all_tokens() -> None:
    values = ValueConfig(instances=8, samples=4)
    with pytest.raises(InputError, match=r"^learning.max_tokens must be above 32, the episodes of stage 1"):
        TrainConfig(values=values, learning=LearningConfig(max_tokens=32))
    assert TrainConfig(values=values, learning=LearningConfig(max_tokens=33)).learning.max_tokens == 33


@pytest.mark.parametrize("name", algorithm_names())
def test_an_algorithm_is_called_what_it_was_named_by(name: str) -> None:
    assert algorithm_of(with_algorithm(TrainConfig(), name).objective) == name
    other = with_overrides(with_algorithm(TrainConfig(), "astarpo_lambda"), {"objective": {"turn_lambda": 0.9}})
    assert algorithm_of(other.objective) == "astarpo_turn"

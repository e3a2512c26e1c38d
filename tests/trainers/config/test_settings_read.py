"""Every objective has exactly the settings that it reads; those of another are refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, cast

import pytest
import torch
from tests.trainers.objectives.steps import with_advantages

from turngym.trainers.config import (
    OBJECTIVE_CONFIGS,
    Grouped,
    KLRegularised,
    ObjectiveConfig,
    PpoConfig,
    TrainConfig,
    Valued,
    algorithm_names,
    find_objective_config,
    readers_of,
    with_algorithm,
    with_overrides,
)
from turngym.trainers.objectives import FILTERS, OBJECTIVES, StepParams, TrainingBatch, find_objective

NAMES = list(OBJECTIVE_CONFIGS)
SHARED = {"group_size", "filter", "filter_share", "baseline", "beta", "beta_final"}
"""What is read for an objective: by what chooses prompts, filters, values and schedules."""


class Recorder:
    """Settings that remember which of them were read."""

    def __init__(self, config: ObjectiveConfig, read: set[str]) -> None:
        self._config, self._read = config, read

    def __getattr__(self, name: str) -> Any:
        self._read.add(name)
        return getattr(self._config, name)


def batch() -> TrainingBatch:
    """Return four episodes of two turns, two groups, with everything that an objective may ask for."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return TrainingBatch(
        logp_N=draw(16).requires_grad_(), old_logp_N=draw(16), ref_logp_N=draw(16), critic_N=draw(16),
        episode_N=torch.arange(4).repeat_interleave(4), turn_N=torch.arange(2).repeat_interleave(2).repeat(4),
        reward_BK=draw(4, 2), value_BK=draw(4, 2), group_B=torch.tensor([0, 0, 1, 1]),
        state_BK=torch.tensor([[0, 1], [0, 1], [2, 3], [2, 4]]), success_B=torch.tensor([True, False, True, True]),
    )  # fmt: skip


def variants(name: str) -> Iterator[ObjectiveConfig]:
    """Yield settings of an objective in which all that it can do is asked for, in turn."""
    kind = find_objective_config(name)
    if kind is PpoConfig:
        yield from (PpoConfig(gae_level="token"), PpoConfig(gae_level="turn"), PpoConfig(gae_level="bilevel"))
    else:
        yield kind()


def loss(config: ObjectiveConfig, beta: float, read: set[str]) -> torch.Tensor:
    step = StepParams(config=cast("Any", Recorder(config, read)), beta=beta)
    whole = batch()
    FILTERS[config.filter](whole, step)
    return find_objective(config.name).loss(with_advantages(whole, config.name, step), step)


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_has_exactly_the_settings_that_it_reads(name: str) -> None:
    read: set[str] = set()
    for config in variants(name):
        assert loss(config, 0.1, read).isfinite().all()
    own = {part.name for part in fields(find_objective_config(name))}
    assert read - {"share_kept"} <= own, "the share of a filter is read with its default"
    assert own - SHARED <= read


@pytest.mark.parametrize("name", [name for name in NAMES if not issubclass(OBJECTIVE_CONFIGS[name], KLRegularised)])
def test_without_a_temperature_none_is_read(name: str) -> None:
    for config in variants(name):
        assert torch.equal(loss(config, 0.1, set()), loss(config, 7.0, set()))


def test_what_an_objective_needs_follows_from_its_settings() -> None:
    for name, objective in OBJECTIVES.items():
        kind = find_objective_config(name)
        assert objective.config is kind and kind.name == name
        assert issubclass(kind, Grouped) == (kind().group_size == 4)
        assert (
            objective.needs_values == issubclass(kind, Valued) == ("baseline" in {part.name for part in fields(kind)})
        )


def test_only_objectives_have_settings_and_all_have() -> None:
    assert OBJECTIVE_CONFIGS.keys() == OBJECTIVES.keys()
    assert set(algorithm_names()) > OBJECTIVES.keys()


# What another objective reads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting", "sentence"),
    [
        ("grpo", "beta", "grpo does not read objective.beta; astarpo, astarpo_turn, oapl, gvpo, rebel, reinforce, "),
        ("astarpo", "turn_lambda", "astarpo does not read objective.turn_lambda; astarpo_turn does$"),
        ("dr_grpo", "kl_coef", "dr_grpo does not read objective.kl_coef; grpo, gigpo, ppo, awr, weighted_sft do$"),
        ("grpo", "gamma", "grpo does not read objective.gamma; gigpo, ppo do$"),
        ("ppo", "baseline", "ppo does not read objective.baseline; .* do$"),
        ("raft", "clip_low", "raft does not read objective.clip_low; .*grpo.* do$"),
        ("ppo", "vf_coeff", r"there is no setting 'objective\.vf_coeff'; did you mean 'vf_coef'\?$"),
        ("raft", "frobnicate", r"there is no setting 'objective\.frobnicate'$"),
    ],
)
def test_settings_that_are_not_read_are_refused_with_the_objectives_that_do(
    name: str, setting: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        with_overrides(with_algorithm(TrainConfig(), name), {"objective": {setting: 0.5}})


def test_every_setting_of_another_is_refused() -> None:
    settings = {part.name for kind in OBJECTIVE_CONFIGS.values() for part in fields(kind)}
    for name, kind in OBJECTIVE_CONFIGS.items():
        own = {part.name for part in fields(kind)}
        assert all((name in readers_of(setting)) == (setting in own) for setting in settings)
        for setting in settings - own:
            with pytest.raises(ValueError, match=f"^{name} does not read objective.{setting}; "):
                with_overrides(with_algorithm(TrainConfig(), name), {"objective": {setting: 0.5}})


@pytest.mark.parametrize("level", ["turn", "bilevel"])
def test_discounts_of_ppo_are_those_of_its_level(level: Any) -> None:
    assert PpoConfig(gae_level=level, turn_gamma=0.5).turn_gamma == 0.5
    assert PpoConfig(gae_level="bilevel", gamma=0.5).gamma == PpoConfig(gamma=0.5).gamma == 0.5


def test_the_share_of_a_filter_has_a_default_of_its_own() -> None:
    kind = find_objective_config("grpo")
    shares = {name: kind(filter=name).share_kept for name in ("all", "mixed", "top_std", "top_p")}
    assert shares == {"all": 1.0, "mixed": 1.0, "top_std": 0.25, "top_p": 0.9}
    assert kind(filter="top_p", filter_share=0.5).share_kept == 0.5

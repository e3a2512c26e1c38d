"""The tasks on which objectives are compared, and the settings with which each of them is run.

All share the harness, the base of a seed, the batch size, the temperatures and the budget of generated tokens, stage 1
included. An objective has its own learning rate in each game, the one that did best there on validation instances (see
`algorithms.tune`); in the three lakes it is the same, that nothing may change from one to the next but the slip. What
its paper says of clipping, filters and weights are the defaults of its settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turngym.trainers.config import (
    AstarpoConfig,
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    Overrides,
    RunConfig,
    SelfplayConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
    with_algorithm,
    with_overrides,
)
from turngym.trainers.objectives import OBJECTIVES

BATCH_SIZE = 64
SHAPE: Mapping[str, Any] = {"heads": 4, "rope_base": 1e4, "copying": False}
"""The shape of the models that were compared, as in the presets of these games."""
STAGE_ONE = ValueConfig(instances=96, samples=4, extra_samples=128, max_samples=32)
"""512 reference episodes, as many as the first steps of `astarpo_lambda` learn from: four of each instance, the rest
where the value is uncertain."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned."""

    env_id: str
    """A registered environment."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""
    model: ModelConfig
    """The model that is built as the agent."""
    warm_start: WarmStartConfig
    """What makes the base mediocre."""
    max_tokens: int
    """Generated tokens of a run, stage 1 included."""
    learning_rates: tuple[float, ...] = (6e-4, 1.2e-3, 2.4e-3, 4.8e-3)
    """What every objective is tried with."""
    slip: float | None = None
    """Probability that a move does not go where it was meant to, on a lake."""
    episodes: int = 512
    """Held-out instances that are played in the end."""
    proposes: bool = False
    """Whether the base is shown how instances are proposed, for self-play."""


def _lake(name: str, slip: float, max_tokens: int, **warm_start: Any) -> Task:
    return Task(
        env_id=f"turngym/{name}-v0", model=ModelConfig(**SHAPE, max_reply_tokens=4), max_tokens=max_tokens, slip=slip,
        warm_start=WarmStartConfig(**warm_start),
    )  # fmt: skip


TASKS = {
    "FrozenLake": _lake("FrozenLake", 0.0, 25_000, mistake_rate=0.55, course_steps=1200, flawless_share=0.85),
    "FrozenLakeWindy": _lake("FrozenLakeWindy", 0.2, 40_000, mistake_rate=0.65, course_steps=700, flawless_share=0.8),
    "FrozenLakeSlippery": _lake("FrozenLakeSlippery", 2 / 3, 50_000, mistake_rate=0.65, course_steps=500,
                                flawless_share=0.8, success_low=0.2),
    "CountdownSteps": Task(
        env_id="turngym/CountdownSteps-v0",
        model=ModelConfig(**SHAPE, digits_per_token=3, vocabulary_size=1024, max_reply_tokens=10),
        warm_start=WarmStartConfig(weight_decay=0.3, mistake_rate=0.3, course_steps=7000, flawless_share=0.75),
        max_tokens=80_000,
        learning_rates=(3e-4, 6e-4, 1.2e-3, 2.4e-3),
    ),
    "MultiplicationSteps": Task(
        env_id="turngym/MultiplicationSteps-v0",
        env_kwargs={"digit_order": "least_first"},
        model=ModelConfig(**SHAPE, max_reply_tokens=8),
        warm_start=WarmStartConfig(mistake_rate=0.14, course_steps=2300, flawless_share=0.8),
        max_tokens=70_000,
    ),
}  # fmt: skip

_SHOP = {"observation_mode": "compact", "title_words": 0, "reasoning": True, "reward_scheme": "binary"}
SELFPLAY_TASKS = {
    "CountdownSteps, proposed": Task(
        env_id="turngym/CountdownSteps-v0", proposes=True, max_tokens=150_000, learning_rates=(6e-4,),
        model=ModelConfig(hidden_size=96, layers=3, heads=3, digits_per_token=3, vocabulary_size=1024,
                          max_reply_tokens=12),
        warm_start=WarmStartConfig(course_steps=1500, mistake_rate=0.3, clone_mistakes=False, flawless_share=0.0,
                                   weight_decay=0.3, success_low=0.05, success_high=1.0),
    ),
    "WebShop, proposed": Task(
        env_id="turngym/WebShop-v0", env_kwargs=_SHOP, proposes=True, max_tokens=300_000, learning_rates=(1e-4,),
        model=ModelConfig(hidden_size=96, layers=3, heads=3, digits_per_token=3, vocabulary_size=3072,
                          max_reply_tokens=96),
        warm_start=WarmStartConfig(
            demonstrator="shopper", demonstrator_kwargs={"prices": True}, mistake_rate=0.2, clone_mistakes=False,
            flawless_share=0.0, permuted_share=0.5, success_high=1.0, batch_size=12, course_steps=600,
        ),
        episodes=385,
    ),
}  # fmt: skip
"""Those of `turngym.benchmarks.selfplay`, whose bases are short clones that can also propose."""

LAKES = tuple(name for name, task in TASKS.items() if task.slip is not None)
"""From the one without slip to the slipperiest."""
GAMES = (LAKES, *((name,) for name in TASKS if name not in LAKES))
"""Tasks in which an objective has the same learning rate."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a run learns by."""

    algorithm: str
    """As on the command line: an objective, or a name of `turngym.trainers.config.ALGORITHMS`."""
    overrides: Overrides = field(default_factory=dict)
    """Settings beyond those of the algorithm and of the task."""


SUBJECT = "astarpo_lambda"
"""The algorithm that all others are compared with."""
COMPARED = {name: Variant(algorithm=name) for name in (SUBJECT, *OBJECTIVES)}
"""By name: the algorithms, each with its defaults. All but the first are plain objectives."""


def _subject(**overrides: Mapping[str, Any]) -> Variant:
    return Variant(algorithm=SUBJECT, overrides=overrides)


_NO_POTENTIALS = {"state_potentials": False}
ABLATIONS = {
    "without potentials": _subject(values=_NO_POTENTIALS),
    "lambda 1 without potentials": _subject(values=_NO_POTENTIALS, objective={"turn_lambda": 1.0}),
    "without chosen prompts": _subject(learning={"fresh_share": 1.0}),
    "with resets of the reference": _subject(learning={"reset_every": 15}),
    "with explorers": _subject(values={"explorer_temperatures": [1.5]}),
    "without stage-1 reuse": _subject(),
    "without the optimal baseline": _subject(objective={"optimal_baseline": False}),
    "lambda 1": _subject(objective={"turn_lambda": 1.0}),
    "lambda 0": _subject(objective={"turn_lambda": 0.0}),
    **{
        f"V* by {words}{mark}": _subject(
            objective={"baseline": "state_vstar", "turn_lambda": turn_lambda}, values={"state_estimator": estimator}
        )
        for turn_lambda, mark in ((0.5, ""), (0.0, ", lambda 0"))
        for estimator, words in (("soft_values", "soft value iteration"), ("log_mean_exp", "log-mean-exp"))
    },
}
"""What `astarpo_lambda` is worth without one of its parts, with one more, or with another source of values.

The rows of `astarpo_lambda` itself were measured while it learned from the episodes of stage 1 in its first eight
steps, which had no effect and was dropped: "without stage-1 reuse" is what it is now. Compare "lambda 1", "lambda 0"
and those that take V* with that one.
"""
SHAPED = {
    f"{name} with {words}": Variant(algorithm=name, overrides={"shaping": shaping})
    for words, shaping in (
        ("potentials", {"potential_weight": 1.0}),
        ("automatic shaping", {"automatic_weight": 1.0}),
    )
    for name in ("reinforce", "ppo")
}
"""Objectives that tell turns apart, shaped by the potential that the values of `astarpo_lambda` are told, or by V* of
states, for which they pay with the tokens of stage 1. Objectives that compare whole returns of one prompt, or returns
from one state on, would gain nothing: there the potential adds up to the same number for all that are compared."""


def _drawn(levels: Sequence[Mapping[str, Any]] = ()) -> Variant:
    """Return what learns from drawn instances that are played once, those of easier levels among them."""
    return _subject(selfplay={"proposer": "none"}, learning={"fresh_share": 1.0}, curriculum={"levels": list(levels)})


SELFPLAY = {
    "drawn anew": _drawn(),
    "curriculum of small numbers": _drawn([{"number_range": [1, 10], "target_range": [1, 50]}]),
    "curriculum of smaller shops": _drawn([{"num_products": 50}, {"num_products": 200}]),
    "proposed by the rule": _subject(selfplay={"proposer": "rule"}, learning={"fresh_share": 1.0}),
    "proposed by the policy": _subject(selfplay={"proposer": "model"}, learning={"fresh_share": 1.0}),
}
"""Where the instances come from that `astarpo_lambda` learns from."""


def base_config(task: Task, seed: int) -> TrainConfig:
    """Return the configuration that makes the base of a seed."""
    return TrainConfig(
        env=EnvConfig(id=task.env_id, kwargs=dict(task.env_kwargs)),
        model=task.model,
        warm_start=task.warm_start,
        values=STAGE_ONE,
        objective=AstarpoConfig(beta=0.02, beta_final=0.005),
        learning=LearningConfig(steps=10**6, batch_size=BATCH_SIZE),
        evaluation=EvaluationConfig(episodes=task.episodes),
        selfplay=SelfplayConfig(proposer="model" if task.proposes else "none"),
        run=RunConfig(seed=seed, threads=1, checkpoint_every=10**6),
    )


def run_config(task: Task, variant: Variant, *, seed: int, learning_rate: float, share: float = 1.0) -> TrainConfig:
    """Return the configuration of one run.

    Args:
        task: What is learned.
        variant: What it learns by.
        seed: Of the base and of everything after.
        learning_rate: At the peak; it falls to a fifth of it.
        share: Of the task's budget of tokens.
    """
    budget = {"learning_rate": learning_rate, "final_learning_rate": learning_rate / 5,
              "max_tokens": round(share * task.max_tokens)}  # fmt: skip
    config = with_overrides(base_config(task, seed), {"learning": budget})
    # Shaping decides whether stage 1 is kept, so it comes before the algorithm; settings of the objective come after.
    others = {section: values for section, values in variant.overrides.items() if section != "objective"}
    config = with_algorithm(with_overrides(config, others), variant.algorithm)
    return with_overrides(config, {"objective": variant.overrides.get("objective", {})})

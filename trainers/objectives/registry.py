"""The registry of objectives, what each of them is given, and what it asks for.

An objective is one or two plain functions. `loss` maps a micro-batch to one loss per episode, with gradient. What is
computed once, over the whole batch and without gradient (groups, whitening, advantages), is what `advantages` returns.
Losses are summed over episodes and divided by their number, so a batch may be split at will.

Shapes: B episodes, N sampled tokens of these episodes, K turns (padded with zero reward).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from turngym.trainers.config import ObjectivesConfig


def _not_asked_for() -> Tensor:
    return torch.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A batch or a micro-batch as an objective sees it; what the objective did not ask for is empty."""

    logp_N: Tensor
    """Log-probability of each sampled token under the policy, with gradient in a loss."""
    row_N: Tensor
    """Which episode each token belongs to; the tokens of an episode stand in the order they were sampled."""
    turn_N: Tensor
    """Which turn of it, from 0."""
    reward_BK: Tensor
    """Reward of each turn."""
    value_BK: Tensor = field(default_factory=_not_asked_for)
    """The value of the state before each turn: a baseline, or V*; what stands after the last turn is not read."""
    ref_logp_N: Tensor = field(default_factory=_not_asked_for)
    """Log-probability of each token under the frozen reference."""
    old_logp_N: Tensor = field(default_factory=_not_asked_for)
    """The same under the policy that sampled it, as the sampler recorded it."""
    advantage_N: Tensor = field(default_factory=_not_asked_for)
    """What the objective's `advantages` returned."""
    centre_B: Tensor = field(default_factory=_not_asked_for)
    """What the objective's `centres` returned: taken off the residuals of every turn of an episode."""
    critic_N: Tensor = field(default_factory=_not_asked_for)
    """The critic's value of the stream before each token, with gradient in a loss."""
    return_N: Tensor = field(default_factory=_not_asked_for)
    """What the critic is to predict: what the objective's `returns` returned."""
    group_B: Tensor = field(default_factory=_not_asked_for)
    """Which instance was played: equal for the episodes of a group."""
    state_BK: Tensor = field(default_factory=_not_asked_for)
    """Equal for turns of a group that began in the same state."""
    success_B: Tensor = field(default_factory=_not_asked_for)
    """Whether the episode solved its task."""
    tokens_per_episode: float = 1.0
    """Sampled tokens of an episode, on average over all that share an optimizer step: a constant of the step."""

    def played(self) -> Tensor:
        """Return whether a turn has a sampled token, `[B, K]`."""
        return self.per_turn(torch.ones_like(self.logp_N)) > 0

    def lengths(self) -> Tensor:
        """Return the number of sampled tokens of each episode, `[B]`."""
        return self.per_episode(torch.ones_like(self.logp_N))

    def returns(self) -> Tensor:
        """Return the undiscounted return of each episode, added up in float64, `[B]`."""
        return self.reward_BK.sum(1, dtype=torch.float64)

    def return_scales(self) -> Tensor:
        """Return the sum of an episode's absolute rewards, in float64: what rounding errors are relative to, `[B]`."""
        return self.reward_BK.abs().sum(1, dtype=torch.float64)

    def per_episode(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each episode, `[B]`."""
        return x_N.new_zeros(len(self.reward_BK)).index_add(0, self.row_N, x_N)

    def per_turn(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each turn, `[B, K]`."""
        rows, turns = self.reward_BK.shape
        flat = x_N.new_zeros(rows * turns).index_add(0, self.row_N * turns + self.turn_N, x_N)
        return flat.view(rows, turns)

    def of_turns(self, x_BK: Tensor) -> Tensor:
        """Give every token the quantity of its turn, `[N]`."""
        return x_BK[self.row_N, self.turn_N]

    def places(self, rows: Sequence[int]) -> Tensor:
        """Return where the tokens of some episodes stand, episode by episode."""
        counts = torch.bincount(self.row_N, minlength=len(self.reward_BK)).tolist()
        by_row = torch.split(torch.argsort(self.row_N, stable=True), counts)
        return torch.cat([by_row[row] for row in rows])

    def select(self, rows: Sequence[int]) -> Samples:
        """Return some of the episodes, in the order given."""
        places_N, chosen_B = self.places(rows), torch.tensor(rows, device=self.row_N.device)
        parts: dict[str, Any] = {}
        for name in (part.name for part in fields(self) if part.name != "tokens_per_episode"):
            whole = getattr(self, name)
            if whole.numel():
                parts[name] = whole[places_N] if name.endswith("_N") else whole[chosen_B]
        rank_B = torch.empty(len(self.reward_BK), dtype=torch.long, device=self.row_N.device)
        rank_B[chosen_B] = torch.arange(len(rows), device=self.row_N.device)
        parts["row_N"] = rank_B[self.row_N[places_N]]
        return replace(self, **parts)


@dataclass(frozen=True, kw_only=True)
class Settings(ObjectivesConfig):
    """The numbers of a step: those of the configuration, and the temperatures in units of reward."""

    beta: float
    """KL temperature, in units of reward per nat, above 0."""
    beta_value: float = 0.5
    """Temperature of V*, in units of reward, at least 0; above it in "awr"."""
    reward_span: float = 1.0
    """Width of the reward range."""


Loss = Callable[[Samples, Settings], Tensor]
"""From samples to the loss of each episode, `[B]`."""
PerToken = Callable[[Samples, Settings], Tensor]
"""From a whole batch, whose `logp_N` is the sampler's, to a number for each token, `[N]`, without gradient."""

PerEpisode = Callable[[Samples, Settings], Tensor]
"""The same, to a number for each episode, `[B]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One way to learn from episodes."""

    name: str
    """How a configuration names it."""
    loss: Loss
    """The loss function."""
    source: str
    """Paper, and what of it."""
    advantages: PerToken | None = None
    """Fills `advantage_N`; None for a loss that needs the live log-ratios alone."""
    centres: PerEpisode | None = None
    """Fills `centre_B` where the configuration asks for `optimal_baseline`."""
    returns: PerToken | None = None
    """Fills `return_N`; an objective that has it gets a critic."""
    groups: bool = False
    """Whether it compares several episodes of one instance."""
    paired: bool = False
    """Whether its loss joins the live log-ratios of a group, which therefore shares a micro-batch."""
    reference: bool = False
    """Whether it needs `ref_logp_N`."""
    kl_term: bool = False
    """Whether it adds `kl_weight` times a KL term, and needs `ref_logp_N` where that weight is above 0."""
    values: bool = False
    """Whether it needs `value_BK`."""
    keep: str = "all"
    """The name of the filter that it comes with."""

    def reads_reference(self, config: ObjectivesConfig) -> bool:
        """Whether the reference has to score the tokens."""
        return self.reference or (self.kl_term and config.kl_weight > 0)

    def reads_stage_one(self, config: ObjectivesConfig) -> bool:
        """Whether the values of stage 1 are of any use to it."""
        return self.values and config.baseline not in {"batch", "none"}


OBJECTIVES: dict[str, Objective] = {}


def objective(
    name: str,
    source: str,
    *,
    advantages: PerToken | None = None,
    centres: PerEpisode | None = None,
    returns: PerToken | None = None,
    groups: bool = False,
    paired: bool = False,
    reference: bool = False,
    kl_term: bool = False,
    values: bool = False,
    keep: str = "all",
) -> Callable[[Loss], Loss]:
    """Register a loss function under `name`, with what it needs; the arguments are the fields of `Objective`."""

    def register(loss: Loss) -> Loss:
        OBJECTIVES[name] = Objective(
            name=name, loss=loss, source=source, advantages=advantages, centres=centres, returns=returns, groups=groups,
            paired=paired, reference=reference, kl_term=kl_term, values=values, keep=keep,
        )  # fmt: skip
        return loss

    return register


def find_objective(name: str) -> Objective:
    """Return the objective called `name`.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    near = difflib.get_close_matches(name, OBJECTIVES, n=1, cutoff=0.0)[0]
    raise ValueError(f"unknown objective {name!r}; did you mean {near!r}? Known: {', '.join(sorted(OBJECTIVES))}")

"""The registry of objectives, the batch that each of them is given, and the parts that it needs of it.

An objective is one or two plain functions. `loss` maps a microbatch to one loss per episode, with gradient. What is
computed once, over the whole batch and without gradient (groups, whitening, advantages), is what `advantages` returns.
Losses are summed over episodes and divided by their number, so a batch may be split at will.

Shapes: B episodes, N sampled tokens of these episodes, K turns (padded with zero reward).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from turngym._errors import WorkError
from turngym.plugins import describe
from turngym.trainers.config import ALGORITHMS, OBJECTIVE_CONFIGS, ObjectiveConfig, Valued, find_objective_config


class ObjectiveError(WorkError):
    """The code of an objective raised; the message says where."""


@contextmanager
def objective_errors(name: str) -> Iterator[None]:
    """Raise whatever the code of an objective raises within as an `ObjectiveError`.

    Args:
        name: The name of the objective.
    """
    try:
        yield
    except Exception as error:
        raise ObjectiveError(f"the objective {name} failed: {describe(error)}") from error


def _not_asked_for() -> Tensor:
    return torch.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """A batch or a microbatch; the tensors that the objective does not need are empty."""

    logp_N: Tensor
    """Log-probability of each sampled token under the policy, with gradient in a loss."""
    episode_N: Tensor
    """Which episode each token belongs to; the tokens of an episode stand in the order they were sampled."""
    turn_N: Tensor
    """Which turn of that episode each token belongs to, from 0."""
    reward_BK: Tensor
    """Reward of each turn."""
    value_BK: Tensor = field(default_factory=_not_asked_for)
    """The value of the state before each turn: a baseline, or V*; what stands after the last turn is not read."""
    ref_logp_N: Tensor = field(default_factory=_not_asked_for)
    """Log-probability of each token under the frozen reference."""
    old_logp_N: Tensor = field(default_factory=_not_asked_for)
    """The same under the policy that sampled it, as the sampler recorded it."""
    advantage_N: Tensor = field(default_factory=_not_asked_for)
    """The result of the objective's `advantages`; of a policy gradient, times `importance_N` where there are any."""
    importance_N: Tensor = field(default_factory=_not_asked_for)
    """The importance weight of each token, where a server sampled them for a policy gradient."""
    optimal_baseline_B: Tensor = field(default_factory=_not_asked_for)
    """The result of the objective's `optimal_baselines`, subtracted from the residuals of every turn of an episode."""
    critic_N: Tensor = field(default_factory=_not_asked_for)
    """The critic's value before each token, with gradient in a loss."""
    return_N: Tensor = field(default_factory=_not_asked_for)
    """The critic's target before each token: the result of the objective's `returns`."""
    group_B: Tensor = field(default_factory=_not_asked_for)
    """The instance of each episode, the same for the episodes of a group."""
    state_BK: Tensor = field(default_factory=_not_asked_for)
    """The state before each turn as a number, the same for turns of a group that began in the same state."""
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
        """Return the sum of an episode's absolute rewards, in float64, the scale of rounding errors, `[B]`."""
        return self.reward_BK.abs().sum(1, dtype=torch.float64)

    def per_episode(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each episode, `[B]`."""
        return x_N.new_zeros(len(self.reward_BK)).index_add(0, self.episode_N, x_N)

    def per_turn(self, x_N: Tensor) -> Tensor:
        """Sum token quantities over each turn, `[B, K]`."""
        rows, turns = self.reward_BK.shape
        flat = x_N.new_zeros(rows * turns).index_add(0, self.episode_N * turns + self.turn_N, x_N)
        return flat.view(rows, turns)

    def gather_turns(self, x_BK: Tensor) -> Tensor:
        """Give every token the quantity of its turn, `[N]`."""
        return x_BK[self.episode_N, self.turn_N]

    def token_positions(self, rows: Sequence[int]) -> Tensor:
        """Return the positions of the tokens of some episodes, episode by episode."""
        counts = torch.bincount(self.episode_N, minlength=len(self.reward_BK)).tolist()
        by_row = torch.split(torch.argsort(self.episode_N, stable=True), counts)
        return torch.cat([by_row[row] for row in rows])

    def select(self, rows: Sequence[int]) -> TrainingBatch:
        """Return some of the episodes, in the order given."""
        places_N, chosen_B = self.token_positions(rows), torch.tensor(rows, device=self.episode_N.device)
        parts: dict[str, Any] = {}
        for name in (part.name for part in fields(self) if part.name != "tokens_per_episode"):
            whole = getattr(self, name)
            if whole.numel():
                parts[name] = whole[places_N] if name.endswith("_N") else whole[chosen_B]
        rank_B = torch.empty(len(self.reward_BK), dtype=torch.long, device=self.episode_N.device)
        rank_B[chosen_B] = torch.arange(len(rows), device=self.episode_N.device)
        parts["episode_N"] = rank_B[self.episode_N[places_N]]
        return replace(self, **parts)


Config_co = TypeVar("Config_co", bound=ObjectiveConfig, covariant=True)


@dataclass(frozen=True, kw_only=True)
class StepParams(Generic[Config_co]):
    """The parameters of a loss in one step: settings of the objective, KL temperature and reward span."""

    config: Config_co
    """The settings of the objective."""
    beta: float = 0.0
    """KL temperature of the step, in units of reward per nat; 0 for an objective without one."""
    reward_span: float = 1.0
    """Width of the reward range: the unit of the temperatures in `config`."""


Loss = Callable[[TrainingBatch, StepParams[Any]], Tensor]
"""From a batch to the loss of each episode, `[B]`."""
PerToken = Callable[[TrainingBatch, StepParams[Any]], Tensor]
"""From a whole batch, whose `logp_N` is the sampler's, to a number for each token, `[N]`, without gradient."""
PerEpisode = Callable[[TrainingBatch, StepParams[Any]], Tensor]
"""The same, to a number for each episode, `[B]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One way to learn from episodes. The type of its settings tells whether it compares groups or reads values."""

    name: str
    """Its name in a configuration."""
    loss: Loss
    """The loss function."""
    source: str
    """The paper, and the formula in it."""
    config: type[ObjectiveConfig]
    """The settings that it reads."""
    advantages: PerToken | None = None
    """Fills `advantage_N`; None for a loss that needs the live log-ratios alone."""
    optimal_baselines: PerEpisode | None = None
    """Fills `optimal_baseline_B` where the configuration asks for `optimal_baseline`."""
    returns: PerToken | None = None
    """Fills `return_N`; an objective that has it gets a critic."""
    needs_reference: bool = False
    """Whether it needs `ref_logp_N`."""
    policy_gradient: bool = False
    """Whether its loss is an expectation over the sampler with `advantage_N` as a factor of each token, which is
    weighted where a server that is not quite the policy has sampled."""

    @property
    def needs_pairs(self) -> bool:
        """Whether its loss joins the live log-ratios of a group, which therefore shares a microbatch."""
        return self.config.needs_pairs

    @property
    def needs_values(self) -> bool:
        """Whether it needs `value_BK`."""
        return issubclass(self.config, Valued)

    def reads_reference(self, config: ObjectiveConfig) -> bool:
        """Whether the reference has to score the tokens: it is needed, or `kl_coef` is above 0."""
        return self.needs_reference or getattr(config, "kl_coef", 0.0) > 0


OBJECTIVES: dict[str, Objective] = {}


def objective(
    name: str,
    source: str,
    *,
    config: type[ObjectiveConfig] | None = None,
    advantages: PerToken | None = None,
    optimal_baselines: PerEpisode | None = None,
    returns: PerToken | None = None,
    needs_reference: bool = False,
    policy_gradient: bool = False,
) -> Callable[[Loss], Loss]:
    """Register a loss function under `name`, with what it needs; the arguments are the fields of `Objective`.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class MineConfig(Grouped):
        ...     name: ClassVar[str] = "mine"
        ...     clip: Positive = 0.2
        >>> @objective("mine", source="a paper", config=MineConfig)
        ... def mine(batch, step):
        ...     return -batch.per_episode(batch.logp_N) * step.config.clip

    Args:
        name: Its name in a configuration; a name that is taken by another function is refused.
        source: The paper, and the formula in it.
        config: Its settings; those that every objective has if left out.
        advantages: See `Objective`, as all that follow.
        optimal_baselines: See there.
        returns: See there.
        needs_reference: See there.
        policy_gradient: See there.

    Raises:
        ValueError: The name is taken, or the settings have another.
    """
    kind = config or OBJECTIVE_CONFIGS.get(name) or _plain_config(name)
    if kind.name != name:
        raise ValueError(f"the settings {kind.__name__} of objective {name!r} have the name {kind.name!r}: "
                         f'give them name: ClassVar[str] = "{name}"')  # fmt: skip

    if name in ALGORITHMS:
        raise ValueError(f"{name!r} is the name of an algorithm already, {ALGORITHMS[name][0]} with own settings: "
                         "choose another name")  # fmt: skip

    def register(loss: Loss) -> Loss:
        known = OBJECTIVES.get(name)
        if known and (known.loss.__module__, known.loss.__qualname__) != (loss.__module__, loss.__qualname__):
            raise ValueError(f"the objective {name!r} is registered already, by {known.loss.__module__}: "
                             "choose another name")  # fmt: skip
        OBJECTIVE_CONFIGS[name] = kind
        OBJECTIVES[name] = Objective(
            name=name, loss=loss, source=source, config=kind, advantages=advantages,
            optimal_baselines=optimal_baselines, returns=returns,
            needs_reference=needs_reference, policy_gradient=policy_gradient,
        )  # fmt: skip
        return loss

    return register


def _plain_config(name: str) -> type[ObjectiveConfig]:
    """Return settings that have nothing but what every objective has."""
    return make_dataclass(
        f"{name}_config", [], bases=(ObjectiveConfig,), namespace={"name": name}, frozen=True, kw_only=True
    )


def find_objective(name: str) -> Objective:
    """Return the objective called `name`.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    find_objective_config(name)
    return OBJECTIVES[name]

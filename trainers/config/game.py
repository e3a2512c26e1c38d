"""The sections `env`, `shaping` and `curriculum`: the environment, its shaped rewards, and its easier levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from turngym.agents.hosting.host import STEP_TIMEOUT
from turngym.arguments import NonNegative, PositiveShare, Processes, Timeout
from turngym.credentials import without_credentials
from turngym.trainers.config.section import Section


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Section):
    """The environment."""

    section: ClassVar[str] = "env"

    id: str = "turngym/FrozenLake-v0"
    """The registered id of the environment; "module:Id" imports a module first."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments for `gymnasium.make` beyond the registered ones; the secret of an address is kept by the process alone,
    see `turngym.credentials`."""
    step_timeout: Timeout = STEP_TIMEOUT
    """Seconds that an environment may take to be made and reset, or to step, before its episode is given up; "inf"
    waits for ever."""
    isolate: Processes = 0
    """Number of worker processes to put environments into, where one that ends its process costs its own episode too;
    0 for none."""

    def __post_init__(self) -> None:
        """Check every value, and take the secrets out of addresses."""
        object.__setattr__(self, "kwargs", without_credentials(self.kwargs))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ShapingConfig(Section):
    """Additions to the rewards that are learned from, in units of reward; reported returns and scores stay without."""

    section: ClassVar[str] = "shaping"

    potential: str = ""
    """A registered potential in place of the environment's own; empty for that one."""
    potential_weight: NonNegative = 0.0
    """Weight of the environment's potential: a turn earns this times the potential's rise, and the last one gives the
    rest back. Changes no optimal policy for learners that do not discount: set `objective.gamma` of "gigpo", or
    `objective.turn_gamma` of "ppo" with its turn levels, to 1."""
    automatic_weight: NonNegative = 0.0
    """Weight of a potential learned from stage 1: V* of a state at `values.beta_value`. Seen by the objective alone, on
    top of the above. Changes no optimal policy where the above changes none."""
    invalid_penalty: NonNegative = 0.0
    """Reward taken for a well-formed reply that the game refuses. Changes the optimum."""
    format_penalty: NonNegative = 0.0
    """Reward taken instead for a reply that holds no action or several. Changes the optimum."""
    step_cost: NonNegative = 0.0
    """Reward taken for every turn. Changes the optimum."""


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig(Section):
    """Easier levels of the environment for stage 2; a level whose success is near 1/2 is played most."""

    section: ClassVar[str] = "curriculum"

    levels: list[dict[str, Any]] = field(default_factory=list)
    """Arguments that make the environment easier, in place of those in `env.kwargs`; a table for each level, the
    easiest first. The environment itself is always the last level, so without others there is no curriculum."""
    min_share: PositiveShare = 0.1
    """Least share of the prompts for each level."""

    def __post_init__(self) -> None:
        """Check every value, and take the secrets out of addresses."""
        object.__setattr__(self, "levels", without_credentials(self.levels))
        super().__post_init__()

    def check(self) -> None:
        """Check that the least shares of all levels fit into one whole.

        Raises:
            ValueError: They add up to more than all prompts.
        """
        count = len(self.levels) + 1
        if self.levels and self.min_share * count > 1:
            raise self.refuse("min_share", f"is the least share of each of {count} levels: lower it to {1 / count:.3g} "
                                           "or less")  # fmt: skip

"""The settings of every objective: each has what it reads and no more, under the names of its paper.

An objective's settings are a dataclass, put together from the classes of `objective_parts`. Objectives that another
package registers have a dataclass of their own, by the same rules (`turngym.trainers.objective`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from turngym._errors import InputError
from turngym.arguments import NonNegative, Positive, Share, suggestion
from turngym.trainers.config.objective_parts import (
    Clipped,
    FilterName,
    Grouped,
    KLPenalised,
    KLRegularised,
    ObjectiveConfig,
    Valued,
    check_whole_groups,
)
from turngym.trainers.config.section import Temperature

# A*PO and its relatives -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AstarpoConfig(Valued):
    """A*PO over whole trajectories (A*-PO, arXiv:2505.20686)."""

    name: ClassVar[str] = "astarpo"


@dataclass(frozen=True, kw_only=True)
class AstarpoTurnConfig(Valued):
    """A*PO turn by turn, with eligibility `turn_lambda`."""

    name: ClassVar[str] = "astarpo_turn"

    turn_lambda: Share = 1.0
    """Eligibility, in [0, 1]; below 1 it needs a baseline with a value for every state."""
    optimal_baseline: bool = False
    """Whether to subtract from the residuals of an episode the mean of those of the step's other episodes, weighted by
    how improbable their tokens were. That leaves the gradient least noise; it helps where a rare token loses a game."""


@dataclass(frozen=True, kw_only=True)
class OaplConfig(Grouped, KLRegularised):
    """OAPL (arXiv:2602.19362): the lagged sampler as reference, V* from the group."""

    name: ClassVar[str] = "oapl"

    beta_value: Temperature = 0.5
    """Temperature of the log-mean-exp of a group's returns, in units of the reward range."""


@dataclass(frozen=True, kw_only=True)
class GvpoConfig(Grouped, KLRegularised):
    """GVPO (arXiv:2504.19599)."""

    name: ClassVar[str] = "gvpo"
    needs_pairs: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RebelConfig(Grouped, KLRegularised):
    """REBEL (arXiv:2404.16767), over all pairs of a group."""

    name: ClassVar[str] = "rebel"
    needs_pairs: ClassVar[bool] = True


# Policy gradients -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(Valued):
    """REINFORCE with reward to go and the KL in the reward (Williams 1992)."""

    name: ClassVar[str] = "reinforce"


@dataclass(frozen=True, kw_only=True)
class RlooConfig(Grouped, KLRegularised):
    """RLOO (arXiv:2402.14740)."""

    name: ClassVar[str] = "rloo"


@dataclass(frozen=True, kw_only=True)
class GrpoConfig(Grouped, Clipped, KLPenalised):
    """GRPO (arXiv:2402.03300)."""

    name: ClassVar[str] = "grpo"


@dataclass(frozen=True, kw_only=True)
class DrGrpoConfig(Grouped, Clipped):
    """Dr. GRPO (arXiv:2503.20783)."""

    name: ClassVar[str] = "dr_grpo"


@dataclass(frozen=True, kw_only=True)
class DapoConfig(Grouped, Clipped):
    """DAPO (arXiv:2503.14476)."""

    name: ClassVar[str] = "dapo"

    clip_high: NonNegative = 0.28
    """How far above 1 the ratio counts: "clip-higher"."""
    filter: FilterName = "mixed"
    """Which episodes are learned from; "mixed" (groups whose returns differ) is the paper's."""


@dataclass(frozen=True, kw_only=True)
class StarpoSConfig(Grouped, Clipped):
    """StarPO-S (arXiv:2504.20073), on GRPO."""

    name: ClassVar[str] = "starpo_s"

    clip_high: NonNegative = 0.28
    """How far above 1 the ratio counts: "clip-higher"."""
    filter: FilterName = "top_std"
    """Which episodes are learned from; "top_std" (the groups whose returns differ most) is the paper's."""


@dataclass(frozen=True, kw_only=True)
class GigpoConfig(Grouped, Clipped, KLPenalised):
    """GiGPO (arXiv:2505.10978)."""

    name: ClassVar[str] = "gigpo"

    gamma: Share = 0.95
    """Discount per turn of the reward-to-go that is compared among equal states."""
    state_weight: NonNegative = 1.0
    """Weight of the advantage among equal states."""


@dataclass(frozen=True, kw_only=True)
class PpoConfig(Clipped, KLPenalised):
    """PPO (arXiv:1707.06347) with GAE over tokens, turns, or both (RAGEN, arXiv:2504.20073)."""

    name: ClassVar[str] = "ppo"

    gae_level: Literal["token", "turn", "bilevel"] = "token"
    """What an action is in the advantages: "token", "turn", or "bilevel" (turns, then the tokens of each)."""
    gamma: Share = 1.0
    """Discount per token."""
    gae_lambda: Share = 1.0
    """Decay of the advantages; 1 for whole returns."""
    turn_gamma: Share = 0.95
    """Discount per turn, with turn-level and bi-level advantages."""
    vf_coef: NonNegative = 0.5
    """Weight of the critic's squared error in the loss."""

    def check(self) -> None:
        """Check that the filter leaves the critic unbiased, and that every setting is read.

        Raises:
            ValueError: Settings do not go together.
        """
        super().check()
        check_whole_groups(self)
        unread = {"token": "turn_gamma", "turn": "gamma"}.get(self.gae_level)
        if unread and getattr(self, unread) != type(self).__dataclass_fields__[unread].default:
            raise self.refuse(unread, f"is not read with objective.gae_level {self.gae_level!r}: leave it out")


# Imitation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AwrConfig(Valued, KLPenalised):
    """AWR (arXiv:1910.00177) over whole episodes, with a KL term; `beta` counts the KL in the values alone."""

    name: ClassVar[str] = "awr"

    beta_value: Positive = 0.5
    """Temperature of the weights exp((R - V) / beta_value), in units of the reward range."""


@dataclass(frozen=True, kw_only=True)
class WeightedSftConfig(Valued, KLPenalised):
    """AWR with weights clamped instead of exponential; `beta` counts the KL in the values alone."""

    name: ClassVar[str] = "weighted_sft"


@dataclass(frozen=True, kw_only=True)
class RaftConfig(ObjectiveConfig):
    """RAFT (arXiv:2304.06767): cross-entropy on the episodes that succeeded."""

    name: ClassVar[str] = "raft"

    filter: FilterName = "success"
    """Which episodes are learned from; "success" is the paper's."""


OBJECTIVE_CONFIGS: dict[str, type[ObjectiveConfig]] = {
    kind.name: kind
    for kind in (
        AstarpoConfig, AstarpoTurnConfig, OaplConfig, GvpoConfig, RebelConfig, ReinforceConfig, RlooConfig, GrpoConfig,
        DrGrpoConfig, DapoConfig, StarpoSConfig, GigpoConfig, PpoConfig, AwrConfig, WeightedSftConfig, RaftConfig,
    )
}  # fmt: skip
"""The settings of every objective that is registered, by its name."""


def find_objective_config(name: str) -> type[ObjectiveConfig]:
    """Return the settings of the objective called `name`.

    Raises:
        ValueError: There is none; the message names the nearest, and all.
    """
    if name not in OBJECTIVE_CONFIGS:
        raise InputError(f"there is no objective {name!r}{suggestion(name, OBJECTIVE_CONFIGS)}; "
                         f"known: {', '.join(OBJECTIVE_CONFIGS)}")  # fmt: skip
    return OBJECTIVE_CONFIGS[name]


def readers_of(setting: str) -> list[str]:
    """Return the names of the objectives that have a setting."""
    return [name for name, kind in OBJECTIVE_CONFIGS.items() if setting in {field.name for field in fields(kind)}]

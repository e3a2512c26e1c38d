"""The settings of every objective: each has what it reads and no more, under the names of its paper.

An objective's settings are a dataclass, put together from what it needs:

    KLRegularised     a temperature of the KL to the reference, which falls along the run
    Valued            a value of every prompt or state to compare with
    Grouped           several episodes of one prompt
    Clipped           a clipped ratio to the sampler
    KLPenalised       a KL term in the loss

What another package registers has a dataclass of its own, by the same rules (`turngym.trainers.objective`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from turngym._errors import InputError
from turngym.trainers.config.section import (
    Count,
    NonNegative,
    Positive,
    PositiveShare,
    Section,
    Share,
    Temperature,
    suggestion,
)

FilterName = Literal["all", "success", "mixed", "top_std", "top_p"]
GROUP_FILTERS = ("mixed", "top_std", "top_p")
"""The filters that compare the episodes of a group."""
FILTER_SHARES = {"top_std": 0.25, "top_p": 0.9}
"""What the filters with a share keep where no other share is asked for."""
BaselineName = Literal["tracker", "vstar", "state_tracker", "state_vstar", "batch", "none"]
STATE_BASELINES = ("state_tracker", "state_vstar")
"""The baselines with a value for every state."""
FIRST_STAGE_BASELINES = ("tracker", "vstar", *STATE_BASELINES)
"""The baselines that begin with the values of stage 1."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Section):
    """What every objective can be told."""

    section: ClassVar[str] = "objective"
    name: ClassVar[str] = ""
    """How a configuration names the objective."""

    group_size: Count = 1
    """Episodes of each prompt in a step."""
    filter: FilterName = "all"
    """Which episodes are learned from: "all", "success", "mixed" (groups whose returns differ), "top_std" (the groups
    whose returns differ most) or "top_p" (the fewest groups that hold most of the spread)."""
    filter_share: PositiveShare | None = None
    """Share of the groups that "top_std" keeps, 0.25 if not given, or of the sum of standard deviations that "top_p"
    keeps, 0.9 if not given."""

    @property
    def share_kept(self) -> float:
        """The share of the filter in use."""
        return FILTER_SHARES.get(self.filter, 1.0) if self.filter_share is None else self.filter_share

    def check(self) -> None:
        """Check that groups are there where they are compared, and that the share has a filter that reads it.

        Raises:
            ValueError: Settings do not go together.
        """
        if self.filter in GROUP_FILTERS and self.group_size < 2:
            raise self.refuse("group_size", f"must be at least 2, since the filter {self.filter!r} compares episodes "
                                            "of one prompt")  # fmt: skip
        if self.filter_share is not None and self.filter not in FILTER_SHARES:
            raise self.refuse("filter_share", f"is read by the filters {' and '.join(FILTER_SHARES)} alone, and the "
                                              f"filter is {self.filter!r}: leave it out")  # fmt: skip


# What objectives have in common ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class KLRegularised(ObjectiveConfig):
    """Maximises the return less `beta` times the KL to a reference or to the sampler."""

    beta: Positive = 0.05
    """KL temperature at the first step, in units of the reward range."""
    beta_final: Positive = 0.005
    """KL temperature at the last step; it moves geometrically from `beta`."""


@dataclass(frozen=True, kw_only=True)
class Valued(KLRegularised):
    """Compares what happened with a value."""

    baseline: BaselineName = "tracker"
    """Where the value comes from: "tracker" (stage 1, then the soft returns seen), "vstar" (stage 1), "state_tracker"
    and "state_vstar" (the same for every state instead of the start alone), "batch" (mean of the others) or "none"
    (0)."""

    @property
    def reads_stage_one(self) -> bool:
        """Whether the value begins with stage 1."""
        return self.baseline in FIRST_STAGE_BASELINES

    def check(self) -> None:
        """Check that the filter leaves the values unbiased.

        Raises:
            ValueError: Episodes would be dropped for how they ended.
        """
        super().check()
        check_whole_groups(self)


@dataclass(frozen=True, kw_only=True)
class Grouped(ObjectiveConfig):
    """Compares the episodes of one prompt."""

    group_size: Count = 4
    """Episodes of each prompt in a step, at least 2."""

    def check(self) -> None:
        """Check that there is something to compare.

        Raises:
            ValueError: A prompt has one episode.
        """
        super().check()
        if self.group_size < 2:
            raise self.refuse("group_size", f"must be at least 2: {self.name} compares episodes of one prompt")


@dataclass(frozen=True, kw_only=True)
class Clipped(ObjectiveConfig):
    """Clips the ratio of the policy to the sampler."""

    clip_low: Share = 0.2
    """How far below 1 the ratio counts."""
    clip_high: NonNegative = 0.2
    """How far above 1 the ratio counts."""


@dataclass(frozen=True, kw_only=True)
class KLPenalised(ObjectiveConfig):
    """Adds a KL term to the loss."""

    kl_coef: NonNegative = 0.001
    """Weight of the KL term in the loss; 0 spares the reference."""


def check_whole_groups(config: ObjectiveConfig) -> None:
    """Refuse the filter that drops episodes for how they ended.

    Raises:
        ValueError: The filter is "success".
    """
    if config.filter == "success":
        raise config.refuse("filter", f"must not drop episodes for how they ended, since {config.name} compares with "
                                      "values of all episodes, which that biases: take one that keeps groups whole "
                                      f"({', '.join(GROUP_FILTERS)}), or --algorithm raft")  # fmt: skip


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
    """Eligibility; below 1 it needs a baseline that knows the states."""
    optimal_baseline: bool = False
    """Whether the advantages of an episode have the mean of those of a step's other episodes taken off, weighted by how
    improbable what was said is: the constant that leaves least noise, which helps where a rare token loses a game."""


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


@dataclass(frozen=True, kw_only=True)
class RebelConfig(Grouped, KLRegularised):
    """REBEL (arXiv:2404.16767), over all pairs of a group."""

    name: ClassVar[str] = "rebel"


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

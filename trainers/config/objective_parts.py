"""The settings that objectives share, in the classes that the settings of each objective are put together from.

ObjectiveConfig   the episodes of a prompt, and which of them are learned from
KLRegularised     a temperature of the KL to the reference, which moves along the run
Valued            a value of every prompt or state to compare with
Grouped           several episodes of one prompt
Clipped           a clipped ratio to the sampler
KLPenalised       a KL term in the loss
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from turngym.arguments import Count, NonNegative, Positive, PositiveShare, Share
from turngym.trainers.config.section import Section

FilterName = Literal["all", "success", "mixed", "top_std", "top_p"]
GROUP_FILTERS = ("mixed", "top_std", "top_p")
"""The filters that compare the episodes of a group."""
FILTER_SHARES = {"top_std": 0.25, "top_p": 0.9}
"""The default of `filter_share`, for the filters that read it."""
BaselineName = Literal["tracker", "vstar", "state_tracker", "state_vstar", "batch", "none"]
STATE_BASELINES = ("state_tracker", "state_vstar")
"""The baselines with a value for every state."""
STAGE_ONE_BASELINES = ("tracker", "vstar", *STATE_BASELINES)
"""The baselines that begin with the values of stage 1."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Section):
    """The settings that every objective has."""

    section: ClassVar[str] = "objective"
    name: ClassVar[str] = ""
    """The name of the objective in a configuration."""
    needs_pairs: ClassVar[bool] = False
    """Whether the loss joins the live log-ratios of a group, which therefore shares a micro-batch."""

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
        """`filter_share`, or its default for the filter in use; 1 for the filters that read no share."""
        return FILTER_SHARES.get(self.filter, 1.0) if self.filter_share is None else self.filter_share

    def check(self) -> None:
        """Check that a filter that compares groups has groups, and that `filter_share` has a filter that reads it.

        Raises:
            ValueError: Settings do not go together.
        """
        if self.filter in GROUP_FILTERS and self.group_size < 2:
            raise self.refuse("group_size", f"must be at least 2, since the filter {self.filter!r} compares episodes "
                                            "of one prompt")  # fmt: skip
        if self.filter_share is not None and self.filter not in FILTER_SHARES:
            raise self.refuse("filter_share", f"is read by the filters {' and '.join(FILTER_SHARES)} alone, and the "
                                              f"filter is {self.filter!r}: leave it out")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KLRegularised(ObjectiveConfig):
    """Maximises the return less `beta` times the KL to a reference or to the sampler."""

    beta: Positive = 0.05
    """KL temperature at the first step, in units of the reward range."""
    beta_final: Positive = 0.005
    """KL temperature at the last step; it moves geometrically from `beta`."""


@dataclass(frozen=True, kw_only=True)
class Valued(KLRegularised):
    """Compares the return, or the return to go, with a value."""

    baseline: BaselineName = "tracker"
    """Where the value comes from: "tracker" (stage 1, then the soft returns seen), "vstar" (stage 1), "state_tracker"
    and "state_vstar" (the same for every state instead of the start alone), "batch" (mean of the others) or "none"
    (0)."""

    @property
    def reads_stage_one(self) -> bool:
        """Whether the value begins with stage 1."""
        return self.baseline in STAGE_ONE_BASELINES

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
        """Check that a prompt has at least two episodes.

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
    """Refuse the filter "success", which drops episodes for how they ended.

    Raises:
        ValueError: The filter is "success".
    """
    if config.filter == "success":
        raise config.refuse("filter", f"must not drop episodes for how they ended, since {config.name} compares with "
                                      "values of all episodes, which that biases: take one that keeps groups whole "
                                      f"({', '.join(GROUP_FILTERS)}), or --algorithm raft")  # fmt: skip

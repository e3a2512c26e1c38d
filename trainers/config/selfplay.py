"""The section `selfplay`: who proposes instances to play, and how many."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from turngym.arguments import Count, Index, PositiveShare, Range, Share
from turngym.trainers.config.section import Section


@dataclass(frozen=True, kw_only=True)
class SelfplayConfig(Section):
    """Instances that are proposed while a run learns, by the policy in a second role or by a rule.

    A proposal is accepted if it is well-formed, solvable, of the training split, not trivial and new. The policy is
    paid for it by 2 sqrt(p (1 - p)), p the success of the player on it: 1 where the player wins half of the time.
    """

    section: ClassVar[str] = "selfplay"

    proposer: Literal["none", "model", "rule"] = "none"
    """Who proposes: nobody, the policy itself ("model"), or the generator of the environment ("rule"), which draws as
    for any training instance and learns nothing."""
    proposals: Count = 8
    """Instances that are proposed in a step."""
    plays: Count = 4
    """Episodes of each accepted one in the same step, by which its success is known: a multiple of
    `objective.group_size`."""
    share: Share = 0.5
    """Share of the prompts of a step that are proposals, those of this step and, with weight sqrt(p (1 - p)) + 0.05,
    those kept of earlier ones."""
    kept: Index = 256
    """Accepted proposals that are kept for later steps, the newest; 0: each is played in its own step alone."""
    trivial: PositiveShare = 0.5
    """Success of random play from which on an instance is trivial, where the environment knows it."""
    value_samples: Index = 0
    """Episodes of the reference on each accepted proposal, from which its V* is estimated before it is played, as in
    stage 1; 0: it begins with that of the pool."""
    demonstration_share: Annotated[float, Range(low=0, high=0.9)] = 0.2
    """Share of the demonstrations of a warm start, beside those of play, that write down instances of the generator, so
    that the policy can propose at all; read where it proposes itself."""

    def check(self) -> None:
        """Check that what is set is read.

        Raises:
            ValueError: Nobody proposes.
        """
        for part in fields(self):
            if self.proposer == "none" and getattr(self, part.name) != part.default:
                raise self.refuse(part.name, "is not read without selfplay.proposer: set it to 'model' or 'rule'")

    @property
    def enabled(self) -> bool:
        """Whether anybody proposes."""
        return self.proposer != "none"

    @property
    def by_model(self) -> bool:
        """Whether the policy proposes, and learns to."""
        return self.proposer == "model"

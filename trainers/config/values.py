"""Stage 1: the optimal value V* from the frozen reference policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from turngym.arguments import Count, Index, NonNegative, Positive, Range
from turngym.trainers.config.section import Section, Temperature

StateEstimatorName = Literal["measured", "soft_values", "log_mean_exp"]

MAX_PROCESSES = 256
"""Each holds the reference."""
MAX_POOL = 2**30
"""Where the numbers of fresh instances begin, see `trainers.instances`."""


@dataclass(frozen=True, kw_only=True)
class ValueConfig(Section):
    """Which episodes of the reference are played, and how values are estimated from them."""

    section: ClassVar[str] = "values"

    instances: Count = 512
    """Training instances in the pool, which stage 1 and stage 2 play repeatedly; read without stage 1 too."""
    samples: Count = 4
    """Reference episodes of every instance."""
    extra_samples: Index = 512
    """Further reference episodes, given one by one to the instances whose value is least certain; fewer where all have
    their most, which for an instance that was always won is twice `samples`."""
    max_samples: Count = 32
    """Most reference episodes of one instance."""
    explorer_temperatures: list[Positive] = field(default_factory=list)
    """Temperatures at which the reference plays the pool again, so that outcomes of its rarer replies are seen; useful
    above `learning.temperature`. The values of states learn from these episodes, those of instances do not."""
    explorer_models: list[str] = field(default_factory=list)
    """Folders of other models, with the reference's tokenizer, that play the pool too, for the same purpose."""
    explorer_agents: list[str] = field(default_factory=list)
    """Names of scripted agents, such as "oracle" or "rule", that play the pool too. Their turns tell the values of
    states what replies lead to, where chance decides that, and never how likely the reference gives them."""
    explorer_samples: Count = 2
    """Episodes of every instance at each of these temperatures, by each of these models and by each of these agents."""
    explorer_processes: Annotated[int, Range(low=0, high=MAX_PROCESSES)] = 0
    """Processes in which they play, while this one plays the reference, each with a copy of it; 0 to play them in this
    process after the reference. The episodes are the same. Not read by the processes of torchrun, which share out all
    play."""
    beta_value: Temperature = 0.5
    """Temperature of V*, in units of the reward range; infinite for the mean return."""
    prior_strength: NonNegative | None = None
    """Pseudo-samples by which an instance's mean of exp(R/beta) is shrunk towards the pool's; 0 for none; None fits
    them to how far the returns of the instances differ."""
    state_estimator: StateEstimatorName = "measured"
    """How states are valued: "soft_values" (soft value iteration, for stochastic environments), "log_mean_exp" (of
    the returns that followed, for deterministic ones), or "measured" for the one that fits how far chance decides the
    returns, as measured on the episodes."""
    state_potentials: bool = True
    """Whether a state never seen before has the value of states of the same turn and potential; otherwise that
    of states of the same turn."""

    @property
    def explorers(self) -> list[float | str]:
        """What explores beside the reference at its own temperature: temperatures, folders and agents."""
        return [*self.explorer_temperatures, *self.explorer_models, *self.explorer_agents]

    def check(self) -> None:
        """Check that the most samples of an instance are no fewer than its first.

        Raises:
            ValueError: They are.
        """
        if self.instances > MAX_POOL:
            raise self.refuse("instances", f"must be at most {MAX_POOL}, from where on instances are fresh")
        if self.max_samples < self.samples:
            raise self.refuse("max_samples", f"must be at least values.samples, {self.samples}")

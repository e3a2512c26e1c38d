"""What learns: the policy and all that changes with it, from one step to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from turngym.agents.language_model import LanguageModel
from turngym.trainers.baselines.states import StateValues
from turngym.trainers.config import TrainConfig
from turngym.trainers.monitoring.alarms import Alarms
from turngym.trainers.prompts.curriculum import Tracker
from turngym.trainers.stage_one.soft_values import Transitions


@dataclass(slots=True, kw_only=True)
class Learner:
    """What changes while learning, and what a checkpoint therefore holds."""

    policy: LanguageModel
    """The model that plays and learns."""
    reference: LanguageModel
    """The frozen model that the policy started from, in this round."""
    optimizer: torch.optim.Optimizer
    """AdamW over the policy's parameters, and the critic's."""
    tracker: Tracker
    """The value of every instance: V* of stage 1, then followed through the soft returns that are seen."""
    pool: Sequence[int]
    """The training instances that are played again and again; those that stage 1 has sampled, if it ran."""
    transitions: Transitions | None = None
    """The turns of stage 1, for a baseline that knows states."""
    states: StateValues | None = None
    """The values of states, for such a baseline."""
    potential: StateValues | None = None
    """V* of stage 1 of the states, where rewards are shaped by it."""
    critic: torch.nn.Linear | None = None
    """The value head, for an objective that has one."""
    step: int = 0
    """Steps taken, each on a batch of its own."""
    round: int = 1
    """Which reference this is, from 1."""
    stage_one_tokens: int = 0
    """Tokens sampled in stage 1 of all rounds."""
    generated_tokens: int = 0
    """Tokens sampled so far, in stage 1 and here."""
    fresh_instances: int = 0
    """How many fresh instances may have been played so far, in each level of a curriculum."""
    counted_references: list[str] = field(default_factory=list)
    """The references whose stage 1 is among them, by their weights."""
    rollbacks: int = 0
    """How often learning went back to an earlier step."""
    alarms: Alarms = field(default_factory=Alarms)
    """What the alarms remember."""

    @property
    def repeats(self) -> list[int]:
        """What the seeds of a step end with: nothing, or after a rollback what makes it another step."""
        return [self.rollbacks] if self.rollbacks else []

    def count_stage_one(self, reference: str, tokens: int) -> None:
        """Count the tokens of the stage 1 of a reference, once; after a rollback it may have been counted before."""
        if tokens and reference not in self.counted_references:
            self.counted_references.append(reference)
            self.stage_one_tokens += tokens
            self.generated_tokens += tokens

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return what is learned."""
        return [*self.policy.model.parameters(), *(self.critic.parameters() if self.critic else ())]


def make_optimizer(
    policy: LanguageModel, config: TrainConfig, critic: torch.nn.Linear | None = None
) -> torch.optim.Optimizer:
    """Return AdamW without weight decay, which would pull towards zero instead of towards the reference."""
    parameters = [*policy.model.parameters(), *(critic.parameters() if critic else ())]
    return torch.optim.AdamW(parameters, lr=config.astarpo.learning_rate, weight_decay=0.0)

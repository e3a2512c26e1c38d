"""What learns: the policy, its critic where it has one, and the optimizer; and one step of it.

Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.scoring import TokenBatch, sampled_logprobs, sampled_scores
from turngym.trainers.batches import split_batch
from turngym.trainers.config import LearningConfig
from turngym.trainers.critic import make_critic
from turngym.trainers.objectives import FILTERS, Objective, StepParams, TrainingBatch
from turngym.trainers.schedules import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStep:
    """What a step of learning leaves."""

    numbers: dict[str, Any]
    """Loss, gradient norm, learning rate and the share of the episodes that the filter kept."""
    log_ratio_BK: list[list[float]]
    """Log-ratio of policy to reference of each turn of each episode before it was learned from, nats: 0 where the
    objective does without the reference."""
    kept: list[int]
    """The episodes that were learned from."""
    batch: TrainingBatch | None = None
    """These as tensors, with their advantages; None where nothing was kept."""
    logp_N: Tensor = field(default_factory=torch.Tensor)
    """What the policy made of their tokens in the first pass."""
    log_ratio_B: Tensor = field(default_factory=torch.Tensor)
    """Log-ratio of policy to reference of each of them, nats."""
    unmoved_N: Tensor = field(default_factory=torch.Tensor)
    """The positions of the tokens that it read before the first optimizer step."""


class Learner:
    """A policy that learns by one objective.

    Args:
        policy: Changed in place.
        objective: What is minimised.
        config: Batches, passes and learning rates.
        seed: The run's.
    """

    def __init__(self, policy: LanguageModel, objective: Objective, config: LearningConfig, *, seed: int) -> None:
        self.policy, self.objective = policy, objective
        self.critic = make_critic(policy) if objective.returns is not None else None
        self._config, self._seed = config, seed
        # No weight decay, which would pull towards zero instead of towards the reference.
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=0.0
        )

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return what is learned."""
        return [*self.policy.model.parameters(), *(self.critic.parameters() if self.critic else ())]

    def train_step(
        self,
        batch: TrainingBatch,
        episodes: Sequence[Episode],
        reference: LanguageModel,
        step: StepParams[Any],
        moment: Moment,
    ) -> TrainStep:
        """Learn from a batch of on-policy episodes: filter, score, then one optimizer step per minibatch and pass.

        A loss is summed over the episodes of a minibatch and divided by their number, so gradients do not depend on how
        it is split into micro-batches.

        Args:
            batch: The episodes as tensors, with their values.
            episodes: At least one, each with a sampled token.
            reference: The frozen model.
            step: The numbers of the step.
            moment: The rest of them.

        Raises:
            NonFiniteError: The loss or a gradient is not finite; that optimizer step is not taken.
        """
        log_ratio_BK = [[0.0] * len(episode.turns) for episode in episodes]
        kept = FILTERS[step.config.filter](batch, step).nonzero()[:, 0].tolist()
        numbers: dict[str, Any] = {"loss": 0.0, "grad_norm": 0.0, "learning_rate": moment.learning_rate,
                                   "kept": len(kept) / len(episodes)}  # fmt: skip
        dropped = sorted({*range(len(episodes))} - {*kept})
        if dropped and self.objective.needs_values and self.objective.reads_reference(step.config):
            # Values follow these episodes too.
            rest, unused = batch.select(dropped), [episodes[i] for i in dropped]
            rest = self.score_tokens(rest, chain(*self._split(unused, rest, moment)), reference, step, moment)
            fill_turns(log_ratio_BK, dropped, rest.per_turn(rest.old_logp_N - rest.ref_logp_N))
        if not kept:
            return TrainStep(numbers=numbers, log_ratio_BK=log_ratio_BK, kept=kept)
        batch = batch.select(kept)
        minibatches = self._split([episodes[i] for i in kept], batch, moment)
        batch = self.score_tokens(batch, chain(*minibatches), reference, step, moment)
        batch = self.compute_advantages(batch, step)
        passes, losses, grad_norms = [], [], []
        for _ in range(self._config.updates_per_batch):
            logp_N = torch.empty_like(batch.logp_N)
            for minibatch in minibatches:
                losses.append(self.backward_minibatch(batch, minibatch, logp_N, step, moment))
                grad_norms.append(self.optimizer_step(losses[-1], moment))
            passes.append(logp_N)
        numbers["loss"], numbers["grad_norm"] = float(np.mean(losses)), float(np.mean(grad_norms))
        ratio_BK = torch.zeros_like(batch.reward_BK)
        if self.objective.reads_reference(step.config):
            ratio_BK = batch.per_turn(passes[0] - batch.ref_logp_N)
        fill_turns(log_ratio_BK, kept, ratio_BK)
        unmoved_N = torch.cat([batch.token_positions(part.members) for part in minibatches[0]])
        return TrainStep(numbers=numbers, log_ratio_BK=log_ratio_BK, kept=kept, batch=batch, logp_N=passes[0],
                         log_ratio_B=ratio_BK.sum(1), unmoved_N=unmoved_N)  # fmt: skip

    @torch.no_grad()
    def score_tokens(
        self,
        batch: TrainingBatch,
        parts: Iterable[TokenBatch],
        reference: LanguageModel,
        step: StepParams[Any],
        moment: Moment,
    ) -> TrainingBatch:
        """Fill in what reference and critic say of a batch before anything is learned from it."""
        ref_logp_N, critic_N = torch.zeros_like(batch.logp_N), torch.zeros_like(batch.logp_N)
        for part in parts:
            positions_N = batch.token_positions(part.members)
            if self.objective.reads_reference(step.config):
                ref_logp_N[positions_N] = sampled_logprobs(reference, part, moment.temperature)
            if self.critic is not None:
                scores = sampled_scores(self.policy, part, moment.temperature, critic=self.critic)
                critic_N[positions_N] = scores[1]
        return replace(batch, ref_logp_N=ref_logp_N, critic_N=critic_N)

    @torch.no_grad()
    def compute_advantages(self, batch: TrainingBatch, step: StepParams[Any]) -> TrainingBatch:
        """Fill in the advantages of a batch, their baselines and the critic's targets, where the objective has any."""
        objective = self.objective
        if objective.returns is not None:
            batch = replace(batch, return_N=objective.returns(batch, step))
        if objective.advantages is not None:
            batch = replace(batch, advantage_N=objective.advantages(batch, step))
        if objective.optimal_baselines is not None and step.config.optimal_baseline:
            batch = replace(batch, optimal_baseline_B=objective.optimal_baselines(batch, step))
        return batch

    def backward_minibatch(
        self,
        batch: TrainingBatch,
        minibatch: Sequence[TokenBatch],
        logp_N: Tensor,
        step: StepParams[Any],
        moment: Moment,
    ) -> float:
        """Add up the gradients of a minibatch, leave its log-probabilities in `logp_N`, and return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        count = sum(len(part.members) for part in minibatch)
        tokens = sum(len(part.episode_N) for part in minibatch)
        total_loss = 0.0
        for part in minibatch:
            live_N, critic_N = sampled_scores(self.policy, part, moment.temperature, critic=self.critic)
            logp_N[batch.token_positions(part.members)] = live_N.detach()
            live = replace(
                batch.select(part.members), logp_N=live_N, critic_N=critic_N, tokens_per_episode=tokens / count
            )
            loss = self.objective.loss(live, step).sum() / count
            loss.backward()  # type: ignore[no-untyped-call]
            total_loss += float(loss.detach())
        return total_loss

    def optimizer_step(self, loss: float, moment: Moment) -> float:
        """Take an optimizer step with the gradients there are, scaled down where they are large; return their norm.

        Raises:
            NonFiniteError: The loss or a gradient is not finite; weights and optimizer are untouched.
        """
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.parameters(), self._config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NonFiniteError(
                f"step {moment.step}: loss {loss}, gradient norm {grad_norm}; the optimizer step was not "
                "taken and the last checkpoint is intact. Start another run with a lower learning.learning_rate"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = moment.learning_rate
        self.optimizer.step()
        return grad_norm

    def _split(self, episodes: Sequence[Episode], batch: TrainingBatch, moment: Moment) -> list[list[TokenBatch]]:
        return split_batch(episodes, batch, self.objective, self._config, seed=self._seed, step=moment.step)


def fill_turns(turns_BK: list[list[float]], rows: Sequence[int], numbers_BK: Tensor) -> None:
    """Put padded numbers of the turns of some episodes into their rows."""
    for row, numbers_K in zip(rows, numbers_BK.tolist(), strict=True):
        turns_BK[row] = numbers_K[: len(turns_BK[row])]

"""The learner: the policy, its critic where it has one, and the optimizer, which together take a step on a batch.

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
from turngym.agents.models.hardware import fused_on
from turngym.agents.models.language_model import LanguageModel, NonFiniteError
from turngym.agents.models.scoring import TokenBatch, sampled_scores
from turngym.agents.models.sharding import clip_gradients
from turngym.trainers import ranks
from turngym.trainers.batches import batch_logprobs, kept_activations, split_batch
from turngym.trainers.config import LearningConfig
from turngym.trainers.critic import make_critic
from turngym.trainers.objectives import FILTERS, Objective, StepParams, TrainingBatch, objective_errors
from turngym.trainers.schedules import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStep:
    """The result of a step of learning."""

    numbers: dict[str, Any]
    """Loss, gradient norm, learning rate and the share of the episodes that the filter kept."""
    log_ratio_BK: list[list[float]]
    """Log-ratio of policy to reference of each turn of each episode, before the policy learned from it, nats; 0 where
    the objective does without the reference."""
    kept: list[int]
    """The positions of the episodes that the filter kept, which are those learned from."""
    batch: TrainingBatch | None = None
    """These episodes as tensors, with their advantages; None where nothing was kept."""
    logp_N: Tensor = field(default_factory=torch.Tensor)
    """The policy's log-probability of each of their tokens in the first pass."""
    log_ratio_B: Tensor = field(default_factory=torch.Tensor)
    """Log-ratio of policy to reference of each of these episodes, nats."""
    unmoved_N: Tensor = field(default_factory=torch.Tensor)
    """The positions of the tokens whose log-probability was computed before the first optimizer step."""

    def first(self, count: int) -> TrainStep:
        """Return what was learned of the first `count` episodes, where the filter has kept all."""
        assert self.batch is not None
        tokens = int((self.batch.episode_N < count).sum())
        return replace(
            self, log_ratio_BK=self.log_ratio_BK[:count], kept=self.kept[:count], batch=self.batch.select(range(count)),
            logp_N=self.logp_N[:tokens], log_ratio_B=self.log_ratio_B[:count],
            unmoved_N=self.unmoved_N[self.unmoved_N < tokens],
        )  # fmt: skip


class Learner:
    """A policy that learns by one objective.

    Args:
        policy: The model; its weights change in place.
        objective: The objective, whose loss is minimised.
        config: Sizes of minibatches and microbatches, passes, learning rate and clipping.
        seed: The seed of the run.
    """

    def __init__(self, policy: LanguageModel, objective: Objective, config: LearningConfig, *, seed: int) -> None:
        self.policy, self.objective = policy, objective
        self.critic = make_critic(policy) if objective.returns is not None else None
        self._config, self._seed = config, seed
        # No weight decay, which would pull towards zero instead of towards the reference.
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            [{"params": list(module.parameters())} for module in self._learned()], lr=config.learning_rate,
            weight_decay=0.0, fused=fused_on(policy.device),
        )  # fmt: skip

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters of the policy and of the critic."""
        return [parameter for module in self._learned() for parameter in module.parameters()]

    def _learned(self) -> list[torch.nn.Module]:
        return [self.policy.learned, *([self.critic] if self.critic else [])]

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
            step: The settings and the KL temperature of the step.
            moment: Its sampling temperature and learning rate.

        Raises:
            NonFiniteError: The loss or a gradient is not finite; that optimizer step is not taken.
        """
        log_ratio_BK = [[0.0] * len(episode.turns) for episode in episodes]
        kept = FILTERS[step.config.filter](batch, step).nonzero()[:, 0].tolist()
        dropped = sorted({*range(len(episodes))} - {*kept})
        if dropped and self.objective.needs_values and self.objective.reads_reference(step.config):
            # Values follow these episodes too.
            rest, unused = batch.select(dropped), [episodes[i] for i in dropped]
            rest = self.score_tokens(rest, chain(*self._split(unused, rest, moment)), reference, step, moment)
            fill_turns(log_ratio_BK, dropped, rest.per_turn(rest.old_logp_N - rest.ref_logp_N))
        numbers = {"loss": 0.0, "grad_norm": 0.0, "learning_rate": moment.learning_rate,
                   "kept": len(kept) / len(episodes)}  # fmt: skip
        if not kept:
            return TrainStep(numbers=numbers, log_ratio_BK=log_ratio_BK, kept=kept)
        batch = batch.select(kept)
        minibatches = self._split([episodes[i] for i in kept], batch, moment)
        batch = self.score_tokens(batch, chain(*minibatches), reference, step, moment)
        batch = self.compute_advantages(batch, step)
        numbers["loss"], numbers["grad_norm"], logp_N = self._optimize(batch, minibatches, step, moment)
        ratio_BK = torch.zeros_like(batch.reward_BK)
        if self.objective.reads_reference(step.config):
            ratio_BK = batch.per_turn(logp_N - batch.ref_logp_N)
        fill_turns(log_ratio_BK, kept, ratio_BK)
        unmoved_N = torch.cat([batch.token_positions(part.members) for part in minibatches[0]])
        return TrainStep(numbers=numbers, log_ratio_BK=log_ratio_BK, kept=kept, batch=batch, logp_N=logp_N,
                         log_ratio_B=ratio_BK.sum(1), unmoved_N=unmoved_N)  # fmt: skip

    def _optimize(
        self, batch: TrainingBatch, minibatches: list[list[TokenBatch]], step: StepParams[Any], moment: Moment
    ) -> tuple[float, float, Tensor]:
        """Go through a batch `updates_per_batch` times, with an optimizer step for each minibatch.

        Returns:
            The mean loss, the mean gradient norm, and the policy's log-probabilities in the first pass, `[N]`.
        """
        passes, losses, grad_norms = [], [], []
        for _ in range(self._config.updates_per_batch):
            passes.append(torch.zeros_like(batch.logp_N))
            for minibatch in minibatches:
                losses.append(self.backward_minibatch(batch, minibatch, passes[-1], step, moment))
                grad_norms.append(self.optimizer_step(losses[-1], moment))
        return float(np.mean(losses)), float(np.mean(grad_norms)), ranks.total(passes[0])

    @torch.no_grad()
    def score_tokens(
        self,
        batch: TrainingBatch,
        parts: Iterable[TokenBatch],
        reference: LanguageModel,
        step: StepParams[Any],
        moment: Moment,
    ) -> TrainingBatch:
        """Fill in `ref_logp_N` and `critic_N` of a batch, where the objective reads them."""
        parts, ref_logp_N, critic_N = list(parts), torch.zeros_like(batch.logp_N), torch.zeros_like(batch.logp_N)
        if self.objective.reads_reference(step.config):
            ref_logp_N = batch_logprobs(reference, batch, parts, moment.temperature)
        for part, counts in ranks.passes(parts) if self.critic is not None else ():
            scores = sampled_scores(self.policy, part, moment.temperature, critic=self.critic)
            critic_N[batch.token_positions(part.members)] = counts * scores[1]
        return replace(batch, ref_logp_N=ref_logp_N, critic_N=ranks.total(critic_N))

    @torch.no_grad()
    def compute_advantages(self, batch: TrainingBatch, step: StepParams[Any]) -> TrainingBatch:
        """Fill in the advantages of a batch, their baselines and the critic's targets, where the objective has any."""
        objective = self.objective
        with objective_errors(objective.name):
            if objective.returns is not None:
                batch = replace(batch, return_N=objective.returns(batch, step))
            if objective.advantages is not None:
                batch = replace(batch, advantage_N=objective.advantages(batch, step))
            if objective.policy_gradient and batch.importance_N.numel():
                batch = replace(batch, advantage_N=batch.advantage_N * batch.importance_N)
            if objective.optimal_baselines is not None and step.config.optimal_baseline:
                batch = replace(batch, optimal_baseline_B=objective.optimal_baselines(batch, step))
        return batch

    def token_advantages(self, batch: TrainingBatch, step: StepParams[Any]) -> Tensor:
        """Return how much a batch speaks for each of its tokens before the first optimizer step, `[N]`.

        It is the objective's own `advantage_N`, where it has advantages. A loss without them is differentiated: what it
        multiplies grad log pi of a token with, sign reversed, is the residual of a regression, such as R - V - beta * l
        of A*PO.

        Args:
            batch: The episodes that the filter kept, as `compute_advantages` returns them.
            step: The settings and the KL temperature of the step.
        """
        if self.objective.advantages is not None:
            return batch.advantage_N
        logp_N = batch.logp_N.detach().clone().requires_grad_(True)
        live = replace(batch, logp_N=logp_N, tokens_per_episode=len(logp_N) / len(batch.reward_BK))
        with objective_errors(self.objective.name), torch.enable_grad():
            (gradient_N,) = torch.autograd.grad(self.objective.loss(live, step).sum(), logp_N)
        return -gradient_N

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
        for part, counts in ranks.passes(minibatch):
            with kept_activations(self.policy, self._config):
                live_N, critic_N = sampled_scores(self.policy, part, moment.temperature, critic=self.critic)
            if counts:
                logp_N[batch.token_positions(part.members)] = live_N.detach()
            live = replace(
                batch.select(part.members), logp_N=live_N, critic_N=critic_N, tokens_per_episode=tokens / count
            )
            with objective_errors(self.objective.name):
                loss = counts * self.objective.loss(live, step).sum() / count
            loss.backward()  # type: ignore[no-untyped-call]
            total_loss += float(loss.detach())
        ranks.total_gradients(self.parameters())
        return ranks.total_number(total_loss)

    def optimizer_step(self, loss: float, moment: Moment) -> float:
        """Take an optimizer step with the gradients there are, scaled down where they are large; return their norm.

        Raises:
            NonFiniteError: The loss or a gradient is not finite; weights and optimizer are untouched.
        """
        grad_norm = clip_gradients(self.parameters(), self._config.max_grad_norm)
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
    """Put the numbers `[B, K]` of some episodes into the given rows of `turns_BK`, without their padding."""
    for row, numbers_K in zip(rows, numbers_BK.tolist(), strict=True):
        turns_BK[row] = numbers_K[: len(turns_BK[row])]

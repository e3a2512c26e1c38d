"""Stage 2 of A*PO, top to bottom: choose prompts, play, compare with the reference, regress, step.

Everything random in a step is drawn from generators seeded by the run's seed and the number of the step, so a run that
is stopped and resumed from a checkpoint continues bit for bit as if it had never stopped.

Reference: A*-PO, arXiv:2505.20686; the defaults are in `config.AstarpoConfig`.
Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance, make_env, text_env
from turngym.trainers.batching import TokenBatch, sampled_logprobs, token_batches
from turngym.trainers.config import TrainConfig
from turngym.trainers.objectives import Objective, Samples, find_objective
from turngym.trainers.play import model_player, play
from turngym.trainers.tracker import ValueTracker

STAGE_TWO_STREAM = 3
"""Keeps the seeds of this stage apart from those of the others."""
FRESH_INSTANCES = 2**30
"""Where the indices of instances begin that no other stage uses."""


@dataclass(slots=True, kw_only=True)
class Learner:
    """What changes while learning, and what a checkpoint therefore holds."""

    policy: LanguageModel
    """The model that plays and learns."""
    reference: LanguageModel
    """The frozen model that the policy started from."""
    optimizer: torch.optim.Optimizer
    """AdamW over the policy's parameters."""
    tracker: ValueTracker
    """The value of every instance: V* of stage 1, then followed through the soft returns that are seen."""
    pool: Sequence[int]
    """The training instances that stage 1 has sampled."""
    step: int = 0
    """Optimizer steps taken."""


def make_optimizer(policy: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW without weight decay, which would pull towards zero instead of towards the reference."""
    return torch.optim.AdamW(policy.model.parameters(), lr=config.astarpo.learning_rate, weight_decay=0.0)


def learn(
    learner: Learner,
    config: TrainConfig,
    *,
    on_step: Callable[[dict[str, Any], Sequence[Episode]], None],
    failure_file: Path,
) -> None:
    """Run stage 2 from `learner.step` to the configured last step.

    Args:
        learner: Changed in place.
        config: The run.
        on_step: Called after every optimizer step with its numbers and episodes; saves checkpoints and reports.
        failure_file: Where the episodes of a step that is not finite are written before the run stops.

    Raises:
        NonFiniteError: Logits, loss or gradients are not finite; the optimizer step was not taken.
        RuntimeError: No episode of a step could be played.
    """
    stage = config.astarpo
    objective = find_objective(stage.objective)
    low, high = text_env(make_env(config.env.id, config.env.kwargs)).reward_range
    agent = model_player(learner.policy, config, slots=min(config.run.rollout_slots, stage.batch_size))
    while learner.step < stage.steps:
        started = time.perf_counter()
        agent.policy_version = learner.step
        instances = choose_instances(learner, config)
        played = play(agent, instances, config)
        episodes = [episode for episode in played if not episode.status.is_error() and episode.num_sampled]
        if not episodes:
            reason = next((episode.error for episode in played if episode.error), "the context is too short to reply")
            raise RuntimeError(f"no episode of step {learner.step} can be learned from: {reason}")
        rollout_seconds = time.perf_counter() - started
        beta = scheduled_beta(config, learner.step) * (high - low)
        try:
            numbers, log_ratio_B = update(learner, objective, episodes, config, beta=beta)
        except NonFiniteError:
            failure_file.unlink(missing_ok=True)
            write_episodes(failure_file, episodes)
            raise
        for episode, log_ratio in zip(episodes, log_ratio_B, strict=True):
            learner.tracker.update(episode.index, episode.total_reward - beta * log_ratio, success=episode.success)
        learner.step += 1
        numbers |= {
            "step": learner.step,
            "success": float(np.mean([episode.success for episode in episodes])),
            "task_return": float(np.mean([episode.task_return for episode in episodes])),
            "turns": float(np.mean([len(episode.turns) for episode in episodes])),
            "valid": float(np.mean([turn.valid for episode in episodes for turn in episode.turns])),
            "sampled_tokens": sum(episode.num_sampled for episode in episodes),
            "errors": len(played) - len(episodes),
            "beta": beta,
            "rollout_seconds": rollout_seconds,
            "seconds": time.perf_counter() - started,
        }
        on_step(numbers, episodes)


def choose_instances(learner: Learner, config: TrainConfig) -> list[Instance]:
    """Draw the training instances of a step, none twice: some fresh, the rest from the pool of stage 1.

    Those of the pool are drawn with weight sqrt(p (1 - p)) + 0.05, the predicted standard deviation of a binary return:
    instances that are always won or always lost teach nothing, and are known before they are played. Fresh ones have
    never been played and are never played again, so they cannot be memorised.
    """
    stage = config.astarpo
    rng = np.random.default_rng([config.run.seed, STAGE_TWO_STREAM, learner.step])
    num_fresh = round(stage.fresh_share * stage.batch_size)
    weights = learner.tracker.prompt_weights(learner.pool)
    num_known = min(stage.batch_size - num_fresh, len(learner.pool))
    known = rng.choice(learner.pool, size=num_known, replace=False, p=weights / weights.sum())
    first = FRESH_INSTANCES + learner.step * stage.batch_size
    chosen = [*known.tolist(), *range(first, first + num_fresh)]
    seeds = rng.integers(2**31, size=len(chosen)).tolist()
    return [Instance(split="train", index=i, seed=seed) for i, seed in zip(chosen, seeds, strict=True)]


def scheduled_beta(config: TrainConfig, step: int) -> float:
    """Return the KL temperature of a step, in units of the reward range: geometrically from `beta` to `beta_final`."""
    stage = config.astarpo
    done = step / max(1, stage.steps - 1)
    return math.exp((1 - done) * math.log(stage.beta) + done * math.log(stage.beta_final))


def scheduled_learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a linear fall to `final_learning_rate`."""
    stage = config.astarpo
    warmup = min(1.0, (step + 1) / max(1, stage.warmup_steps))
    done = step / max(1, stage.steps - 1)
    return warmup * ((1 - done) * stage.learning_rate + done * stage.final_learning_rate)


def update(
    learner: Learner, objective: Objective, episodes: Sequence[Episode], config: TrainConfig, *, beta: float
) -> tuple[dict[str, Any], list[float]]:
    """Take one optimizer step on a batch of on-policy episodes.

    The loss is the sum over episodes divided by the number of episodes in the batch, so gradients do not depend on how
    the batch is split into micro-batches.

    Args:
        learner: Its policy, optimizer and, of the tracker, the values are used; the tracker is not updated.
        objective: The loss.
        episodes: At least one, each with a sampled token.
        config: The run.
        beta: KL temperature, in units of reward per nat.

    Returns:
        The numbers of the step, and the log-ratio of policy to reference of each episode before the step, nats.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; weights and optimizer are untouched.
    """
    stage = config.astarpo
    values = {episode.index: learner.tracker.value(episode.index) for episode in episodes}
    log_ratio_B = [0.0] * len(episodes)
    total_loss, drift = 0.0, 0.0
    learner.optimizer.zero_grad(set_to_none=True)
    for batch in token_batches(episodes, stage.tokens_per_microbatch, learner.policy.device):
        with torch.no_grad():
            ref_logp_N = sampled_logprobs(learner.reference, batch, stage.temperature)
        logp_N = sampled_logprobs(learner.policy, batch, stage.temperature)
        samples = as_samples(batch, episodes, values, logp_N, ref_logp_N)
        loss = objective.loss(samples, beta).sum() / len(episodes)
        loss.backward()  # type: ignore[no-untyped-call]
        total_loss += float(loss.detach())
        ratios = samples.per_episode(logp_N.detach() - ref_logp_N).tolist()
        for member, ratio in zip(batch.members, ratios, strict=True):
            log_ratio_B[member] = ratio
        drift = max(drift, float((logp_N.detach() - rollout_logprobs(batch, episodes)).abs().max()))
    grad_norm = float(torch.nn.utils.clip_grad_norm_(learner.policy.model.parameters(), stage.max_grad_norm))
    if not (math.isfinite(total_loss) and math.isfinite(grad_norm)):
        learner.optimizer.zero_grad(set_to_none=True)
        raise NonFiniteError(
            f"step {learner.step}: loss {total_loss}, gradient norm {grad_norm}; nothing was updated and the last "
            "checkpoint is intact. Start another run with a lower astarpo.learning_rate"
        )
    learning_rate = scheduled_learning_rate(config, learner.step)
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate
    learner.optimizer.step()
    numbers = {
        "loss": total_loss,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
        "kl": float(np.mean(log_ratio_B)),
        "value": float(np.mean(list(values.values()))),
        "logprob_drift": drift,
    }
    return numbers, log_ratio_B


def as_samples(
    batch: TokenBatch, episodes: Sequence[Episode], values: Mapping[int, float], logp_N: Tensor, ref_logp_N: Tensor
) -> Samples:
    """Collect what the objectives need about the episodes of a micro-batch."""
    reward = np.zeros((len(batch.members), batch.num_turns))
    for row, member in enumerate(batch.members):
        turns = episodes[member].turns
        reward[row, : len(turns)] = [turn.reward for turn in turns]
    return Samples(
        logp_N=logp_N,
        ref_logp_N=ref_logp_N,
        row_N=batch.row_N,
        turn_N=batch.turn_N,
        reward_BK=torch.as_tensor(reward, dtype=logp_N.dtype, device=logp_N.device),
        value_B=torch.tensor([values[episodes[i].index] for i in batch.members], dtype=logp_N.dtype,
                             device=logp_N.device),
    )  # fmt: skip


def rollout_logprobs(batch: TokenBatch, episodes: Sequence[Episode]) -> Tensor:
    """Return the log-probabilities the sampler recorded, in the order of `sampled_logprobs`, `[N]`."""
    recorded = [logprob for i in batch.members for turn in episodes[i].turns for logprob in turn.logprobs]
    return torch.tensor(recorded, device=batch.ids_BT.device)

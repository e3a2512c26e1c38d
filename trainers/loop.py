"""Stage 2, top to bottom: choose prompts, play, compare with the reference and with each other, weigh, step.

The objective is A*PO or any other of the registry; all share this loop. Everything random in a step is drawn from
generators seeded by the run's seed and the number of the step, so a run that is stopped and resumed from a checkpoint
continues bit for bit as if it had never stopped.

Reference: A*-PO, arXiv:2505.20686; the defaults are in `config.AstarpoConfig`.
Shapes: B episodes, N sampled tokens, K turns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.language_model import NonFiniteError
from turngym.agents.scoring import TokenBatch, sampled_logprobs, sampled_scores
from turngym.trainers.automatic_shaping import shape_samples
from turngym.trainers.baselines.states import stage_one_states
from turngym.trainers.batches import as_samples, split_batch, values_before_turns, values_of_states
from turngym.trainers.config import TrainConfig
from turngym.trainers.learner import Learner
from turngym.trainers.monitoring.measures import measure_rollouts, measure_update
from turngym.trainers.monitoring.retrieval import measure_retrieval
from turngym.trainers.objectives import (
    FILTERS,
    Objective,
    Samples,
    Settings,
    chosen_objective,
    step_settings,
)
from turngym.trainers.prompts.curriculum import by_level, outcomes
from turngym.trainers.prompts.sampler import choose_instances
from turngym.trainers.rollouts import model_player, play
from turngym.trainers.schedules import (
    current_beta,
    current_learning_rate,
    current_temperature,
    finished,
    round_over,
    step_of_round,
)
from turngym.trainers.shaping import is_shaped, shaping_means
from turngym.trainers.units import reward_span


def learn(
    learner: Learner,
    config: TrainConfig,
    *,
    on_step: Callable[[dict[str, Any], Sequence[Episode]], None],
    failure_file: Path,
) -> None:
    """Run stage 2 from `learner.step` to the configured last step, or to the end of the round.

    Args:
        learner: Changed in place.
        config: The run.
        on_step: Called after every step with its numbers and episodes; saves checkpoints and reports.
        failure_file: Where the episodes of a step that is not finite are written before the run stops.

    Raises:
        NonFiniteError: Logits, loss or gradients are not finite; the optimizer step was not taken.
        RuntimeError: No episode of a step could be played.
        ValueError: The objective is unknown, the batch does not fit it, or stage 1 has spent all tokens.
    """
    stage = config.astarpo
    objective = chosen_objective(config)
    span = reward_span(config)
    if learner.round == 1 and 0 < stage.max_tokens <= learner.stage_one_tokens:
        raise ValueError(f"stage 1 alone generated {learner.stage_one_tokens} tokens of the {stage.max_tokens} allowed:"
                         " raise astarpo.max_tokens, or lower values.instances or values.samples")  # fmt: skip
    agent = model_player(learner.policy, config, slots=min(config.run.rollout_slots, stage.batch_size))
    while not finished(learner, config) and not round_over(learner, config):
        started = time.perf_counter()
        agent.policy_version, agent.temperature = learner.step, current_temperature(learner, config)
        parts = by_level(choose_instances(learner, config), config)
        played = [episode for part, level in parts for episode in play(agent, part, level, shaped=True)]
        episodes = [episode for episode in played if not episode.status.is_error() and episode.num_sampled]
        if not episodes:
            reason = next((episode.error for episode in played if episode.error), "the context is too short to reply")
            raise RuntimeError(f"no episode of step {learner.step} can be learned from: {reason}")
        rollout_seconds = time.perf_counter() - started
        settings = step_settings(config, current_beta(learner, config), span)
        value_states(learner, config, settings)
        measured = measure(learner, episodes, config)
        try:
            numbers, log_ratio_BK = update(learner, objective, episodes, config, settings)
        except NonFiniteError:
            failure_file.unlink(missing_ok=True)
            write_episodes(failure_file, episodes)
            raise
        learner.step += 1
        follow(learner, episodes, log_ratio_BK, settings.beta)
        learner.generated_tokens += sum(episode.num_sampled for episode in played)
        learner.fresh_instances += stage.batch_size
        numbers |= measured | {
            "step": learner.step,
            "rollbacks": learner.rollbacks,
            "sampled_tokens": sum(episode.num_sampled for episode in episodes),
            "generated_tokens": learner.generated_tokens,
            "errors": len(played) - len(episodes),
            "beta": settings.beta,
            "rollout_seconds": rollout_seconds,
            "seconds": time.perf_counter() - started,
        }
        on_step(numbers, episodes)


def follow(learner: Learner, episodes: Sequence[Episode], log_ratio_BK: Sequence[Sequence[float]], beta: float) -> None:
    """Let the values and successes of instances and states follow the episodes that were learned from."""
    for episode, log_ratio_K in zip(episodes, log_ratio_BK, strict=True):
        soft_return = episode.total_reward - beta * sum(log_ratio_K)
        learner.tracker.update(episode.index, soft_return, success=episode.success)
        learner.tracker.remember(episode.index, episode.total_reward)
        if learner.states is not None:
            learner.states.follow(episode, [beta * log_ratio for log_ratio in log_ratio_K])


def measure(learner: Learner, episodes: Sequence[Episode], config: TrainConfig) -> dict[str, Any]:
    """Return what the episodes of a step show about the policy that played them, before it learns from them."""
    numbers: dict[str, Any] = measure_rollouts(episodes, learner.tracker) | outcomes(episodes, config)
    numbers["turns"] = float(np.mean([len(episode.turns) for episode in episodes]))
    for name in ("valid", "well_formed"):
        numbers[name] = float(np.mean([getattr(turn, name) for episode in episodes for turn in episode.turns]))
    if is_shaped(config):
        numbers |= shaping_means(episodes, config.shaping)
    every = config.monitors.retrieval_every
    if every and (learner.step + 1) % every == 0:
        numbers |= measure_retrieval(learner.policy, episodes, config, current_temperature(learner, config))
    return numbers


def value_states(learner: Learner, config: TrainConfig, settings: Settings) -> None:
    """Estimate V* of the states at the temperature of the step; a baseline that follows the policy only begins so."""
    if learner.transitions is None:
        return
    if settings.baseline == "state_vstar" or step_of_round(learner, config) == 0:
        learner.states = stage_one_states(learner.transitions, settings.beta, config.values)


def update(
    learner: Learner, objective: Objective, episodes: Sequence[Episode], config: TrainConfig, settings: Settings
) -> tuple[dict[str, Any], list[list[float]]]:
    """Learn from a batch of on-policy episodes: filter, score, weigh, then one optimizer step per minibatch and pass.

    A loss is summed over the episodes of a minibatch and divided by their number, so gradients do not depend on how it
    is split into micro-batches.

    Args:
        learner: Its policy, critic, optimizer and, of the tracker, the values are used; the tracker is not updated.
        objective: What is minimised.
        episodes: At least one, each with a sampled token.
        config: The run.
        settings: The numbers of the step.

    Returns:
        The numbers of the step, and the log-ratio of policy to reference of each turn of each episode before it was
        learned from, nats: 0 where the objective does without the reference.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; that optimizer step is not taken.
    """
    stage = config.astarpo
    samples = as_samples(episodes, learner.policy)
    log_ratio_BK = [[0.0] * len(episode.turns) for episode in episodes]
    if learner.states is not None:
        value_BK = values_of_states(samples, episodes, learner.states)
    else:
        value_BK = values_before_turns(samples, learner.tracker, settings.baseline)
    plain = samples = replace(samples, value_BK=value_BK)
    kept = FILTERS[settings.filter or objective.keep](plain, settings).nonzero()[:, 0].tolist()
    numbers: dict[str, Any] = {
        "loss": 0.0,
        "grad_norm": 0.0,
        "learning_rate": current_learning_rate(learner, config),
        "value": float(plain.value_BK[:, 0].double().mean()),
        "kept": len(kept) / len(episodes),
    }
    if learner.potential is not None:
        weight = config.shaping.automatic_weight
        samples = shape_samples(plain, episodes, learner.potential, weight, baseline=settings.baseline)
        numbers["automatic_shaping"] = float((samples.reward_BK - plain.reward_BK).sum(1).double().mean())
    dropped = sorted({*range(len(episodes))} - {*kept})
    if dropped and objective.values and objective.reads_reference(settings):  # values follow these episodes too
        rest, unused = samples.select(dropped), [episodes[i] for i in dropped]
        batches = chain(*split_batch(unused, rest, objective, config, step=learner.step))
        rest = score(learner, objective, rest, batches, config=config, settings=settings)
        fill_turns(log_ratio_BK, dropped, rest.per_turn(rest.old_logp_N - rest.ref_logp_N))
    if not kept:
        return numbers, log_ratio_BK
    samples = samples.select(kept)
    minibatches = split_batch([episodes[i] for i in kept], samples, objective, config, step=learner.step)
    samples = score(learner, objective, samples, chain(*minibatches), config=config, settings=settings)
    samples = weigh(samples, objective, settings)
    passes, losses, grad_norms = [], [], []
    for _ in range(stage.updates_per_batch):
        logp_N = torch.empty_like(samples.logp_N)
        for minibatch in minibatches:
            losses.append(accumulate(learner, objective, samples, minibatch, logp_N, config=config, settings=settings))
            grad_norms.append(take_step(learner, config, losses[-1]))
        passes.append(logp_N)
    numbers["loss"], numbers["grad_norm"] = float(np.mean(losses)), float(np.mean(grad_norms))
    ratio_BK = torch.zeros_like(samples.reward_BK)
    if objective.reads_reference(settings):
        ratio_BK = samples.per_turn(passes[0] - samples.ref_logp_N)
    fill_turns(log_ratio_BK, kept, ratio_BK)
    unmoved_N = torch.cat([samples.places(batch.members) for batch in minibatches[0]])
    as_played = replace(samples, reward_BK=plain.reward_BK[kept], value_BK=plain.value_BK[kept])
    numbers |= measure_update(
        as_played,
        passes[0],
        unmoved_N,
        ratio_BK.sum(1),
        tracker=learner.tracker,
        objective=objective,
        settings=settings,
    )
    return numbers, log_ratio_BK


def fill_turns(turns_BK: list[list[float]], rows: Sequence[int], numbers_BK: Tensor) -> None:
    """Put padded numbers of the turns of some episodes into their rows."""
    for row, numbers_K in zip(rows, numbers_BK.tolist(), strict=True):
        turns_BK[row] = numbers_K[: len(turns_BK[row])]


@torch.no_grad()
def score(
    learner: Learner,
    objective: Objective,
    samples: Samples,
    batches: Iterable[TokenBatch],
    *,
    config: TrainConfig,
    settings: Settings,
) -> Samples:
    """Fill in what reference and critic say of a batch before anything is learned from it."""
    ref_logp_N, critic_N = torch.zeros_like(samples.logp_N), torch.zeros_like(samples.logp_N)
    temperature = current_temperature(learner, config)
    for batch in batches:
        places_N = samples.places(batch.members)
        if objective.reads_reference(settings):
            ref_logp_N[places_N] = sampled_logprobs(learner.reference, batch, temperature)
        if learner.critic is not None:
            scores = sampled_scores(learner.policy, batch, temperature, critic=learner.critic)
            critic_N[places_N] = scores[1]
    return replace(samples, ref_logp_N=ref_logp_N, critic_N=critic_N)


@torch.no_grad()
def weigh(samples: Samples, objective: Objective, settings: Settings) -> Samples:
    """Fill in the advantages of a batch, their centres and the critic's targets, where the objective has any."""
    if objective.returns is not None:
        samples = replace(samples, return_N=objective.returns(samples, settings))
    if objective.advantages is not None:
        samples = replace(samples, advantage_N=objective.advantages(samples, settings))
    if objective.centres is not None and settings.optimal_baseline:
        samples = replace(samples, centre_B=objective.centres(samples, settings))
    return samples


def accumulate(
    learner: Learner,
    objective: Objective,
    samples: Samples,
    minibatch: Sequence[TokenBatch],
    logp_N: Tensor,
    *,
    config: TrainConfig,
    settings: Settings,
) -> float:
    """Add up the gradients of a minibatch, leave its log-probabilities in `logp_N`, and return the loss."""
    learner.optimizer.zero_grad(set_to_none=True)
    count = sum(len(batch.members) for batch in minibatch)
    tokens = sum(len(batch.row_N) for batch in minibatch)
    total_loss, temperature = 0.0, current_temperature(learner, config)
    for batch in minibatch:
        live_N, critic_N = sampled_scores(learner.policy, batch, temperature, critic=learner.critic)
        logp_N[samples.places(batch.members)] = live_N.detach()
        part = replace(
            samples.select(batch.members), logp_N=live_N, critic_N=critic_N, tokens_per_episode=tokens / count
        )
        loss_B = objective.loss(part, settings)
        loss = loss_B.sum() / count
        loss.backward()  # type: ignore[no-untyped-call]
        total_loss += float(loss.detach())
    return total_loss


def take_step(learner: Learner, config: TrainConfig, loss: float) -> float:
    """Take an optimizer step with the gradients there are, scaled down where they are large; return their norm.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; weights and optimizer are untouched.
    """
    stage = config.astarpo
    grad_norm = float(torch.nn.utils.clip_grad_norm_(learner.parameters(), stage.max_grad_norm))
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        learner.optimizer.zero_grad(set_to_none=True)
        raise NonFiniteError(
            f"step {learner.step}: loss {loss}, gradient norm {grad_norm}; the optimizer step was not "
            "taken and the last checkpoint is intact. Start another run with a lower astarpo.learning_rate"
        )
    for group in learner.optimizer.param_groups:
        group["lr"] = current_learning_rate(learner, config)
    learner.optimizer.step()
    return grad_norm

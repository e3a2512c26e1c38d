"""Warm start: behaviour cloning on scripted play of mixed quality, until a measured success band is reached.

Reinforcement learning sharpens and extends skills but creates none from a player that never succeeds, and learns
nothing from one that always does. So cloning goes in courses. A course first shows flawless play, from which the game
is learned fastest, and then play with mistakes and recoveries, until the clone explores. What a course achieves depends
on the seed; the success is measured after each, and courses follow until it suffices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.batching import sampled_logprobs, token_batches
from turngym.trainers.config import TrainConfig, WarmStartConfig
from turngym.trainers.play import model_player, play
from turngym.trainers.progress import Progress

WARM_START_STREAM = 2
"""Keeps the seeds of this stage apart from those of the others."""
MICROBATCH_TOKENS = 4096


class WarmStartError(RuntimeError):
    """Cloning ended outside the success band; the message says what was reached and what to change."""


def clone(model: LanguageModel, config: TrainConfig, progress: Progress) -> Iterator[dict[str, float]]:
    """Clone scripted play, course by course, until sampled validation success reaches `warm_start.success_low`.

    Args:
        model: Trained in place.
        config: The run; its seed determines the demonstrations.
        progress: Told about every step and course.

    Yields:
        The numbers of each course: its last step, its seconds, the mean loss of its last tenth (nats per token), and
        the success after it.

    Raises:
        WarmStartError: The band was not reached in `warm_start.max_courses` courses.
        NonFiniteError: The loss or a gradient is not finite.
    """
    stage = config.warm_start
    optimizers = cloning_optimizers(model.model, stage)
    schedules = [LambdaLR(optimizer, lambda step: 1.0 - course_share(step, stage)) for optimizer in optimizers]
    demonstrations = demonstration_batches(model, config)
    for course in count(1):
        progress.phase("warm start" if course == 1 else f"warm start, course {course}", stage.course_steps)
        started = time.perf_counter()
        losses: list[float] = []
        for episodes in islice(demonstrations, stage.course_steps):
            losses.append(cloning_step(model, optimizers, episodes))
            for schedule in schedules:
                schedule.step()
            progress.advance(loss=losses[-1])
        success = validate(model, config, stage.check_episodes)
        progress.advance(0, success=success)
        yield {"step": course * stage.course_steps, "seconds": time.perf_counter() - started,
               "loss": float(np.mean(losses[-max(1, len(losses) // 10):])), "success": success}  # fmt: skip
        if success > stage.success_high:
            progress.note(f"the warm start overshot its band: success {success:.2f} > {stage.success_high:.2f}")
        if success >= stage.success_low:
            return
        if course == stage.max_courses:
            raise WarmStartError(
                f"after {course} courses of {stage.course_steps} cloning steps the sampled success is {success:.3f}, "
                f"below {stage.success_low:g}; raise warm_start.course_steps, lower warm_start.mistake_rate, or widen "
                "the model"
            )


def course_share(step: int, stage: WarmStartConfig) -> float:
    """Return which share of its course is over when a step begins, in [0, 1)."""
    return step % stage.course_steps / stage.course_steps


def demonstration_batches(model: LanguageModel, config: TrainConfig) -> Iterator[list[Episode]]:
    """Yield batches of demonstrations on fresh training instances, without end, in an order fixed by the run's seed."""
    stage = config.warm_start
    rng = np.random.default_rng([config.run.seed, WARM_START_STREAM])
    for step in count():
        flawless = course_share(step, stage) < stage.flawless_share
        agent = DemonstrationAgent(0.0 if flawless else stage.mistake_rate)
        indices = rng.integers(2**30, size=stage.batch_size).tolist()
        instances = [Instance(split="train", index=index, seed=index) for index in indices]
        yield [model.chat.encode_episode(episode) for episode in play(agent, instances, config, slots=1)]


def cloning_optimizers(network: torch.nn.Module, config: WarmStartConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings, output head, biases and norms."""
    tables = {parameter for name, module in network.named_modules() for parameter in module.parameters(recurse=False)
              if isinstance(module, torch.nn.Embedding) or name == "lm_head"}  # fmt: skip
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in network.parameters():
        (matrices if parameter.ndim == 2 and parameter not in tables else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=config.matrix_learning_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=config.learning_rate, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def cloning_step(model: LanguageModel, optimizers: list[torch.optim.Optimizer], episodes: list[Episode]) -> float:
    """Take one step on the mean negative log-likelihood of the players' tokens; return it, nats per token.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; the weights are untouched.
    """
    num_tokens = sum(episode.num_sampled for episode in episodes)
    total = 0.0
    for batch in token_batches(episodes, max_tokens=MICROBATCH_TOKENS, device=model.device):
        loss = -sampled_logprobs(model, batch).sum() / num_tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    grad_norm = float(torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0))
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        raise NonFiniteError(f"cloning: loss {total}, gradient norm {grad_norm}; lower warm_start.learning_rate and "
                             "warm_start.matrix_learning_rate")  # fmt: skip
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return total


def validate(model: LanguageModel, config: TrainConfig, episodes: int) -> float:
    """Return the sampled success rate on the first `episodes` validation instances."""
    played = play(model_player(model, config), instance_range("validation", episodes), config)
    return score_episodes(played, 0.0).rate

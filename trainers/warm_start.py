"""Warm start: behaviour cloning on scripted play of mixed quality, until a measured success band is reached.

Reinforcement learning makes no progress with an agent that never succeeds, nor with one that always does. So a course
of cloning first shows flawless play, from which the game is learned fastest, and then play with mistakes and
recoveries, from which the clone learns to explore. The success after a course depends on the seed; it is measured on
validation instances, and where it is outside the band the second part is repeated with more or fewer mistakes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance
from turngym.agents.scoring import sampled_logprobs, token_batches
from turngym.agents.scripted import DemonstrationAgent
from turngym.seeds import Stream, generator
from turngym.trainers.config import WarmStartConfig
from turngym.trainers.demonstrations import read_demonstrations
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.rollouts import Rollouts

MATRIX_FACTOR = 4.0
"""Learning rate of Muon on the hidden matrices, in units of that of AdamW on embeddings and norms."""
MICROBATCH_TOKENS = 4096
"""Padded tokens per forward pass."""


class WarmStartError(RuntimeError):
    """Cloning ended below the success band; the message says what was reached and what to change."""


def clone(
    model: LanguageModel, rollouts: Rollouts, config: WarmStartConfig, progress: Progress, *, seed: int
) -> Iterator[dict[str, float]]:
    """Clone scripted play for a course, and repeat its part with mistakes until the success lies in the band.

    Args:
        model: Trained in place.
        rollouts: How demonstrations and validation are played.
        config: How long, how fast, and into which band.
        progress: Told about every step, the course and its corrections.
        seed: The seed of the run, which determines the demonstrations.

    Yields:
        The numbers of the course and of each correction: the steps so far, its seconds, the mean loss of the last tenth
        of the course (nats per token), its mistake rate, and the sampled validation success after it.

    Raises:
        WarmStartError: The success is below the band after `warm_start.max_corrections`.
        NonFiniteError: The loss or a gradient is not finite.
    """
    course = Course(model, rollouts, config, progress, seed=seed)
    started = time.perf_counter()
    turning_point = min(math.ceil(config.flawless_share * config.course_steps), config.course_steps - 1)
    progress.phase("warm start", config.course_steps)
    course.teach(range(turning_point), 0.0)
    flawless = course.state()
    with_mistakes = range(turning_point, config.course_steps)
    rate, success = config.mistake_rate, 0.0
    corrections = 0 if config.demonstrations else config.max_corrections  # a file knows no mistake rate
    for correction in range(corrections + 1):
        if correction:
            progress.phase(f"warm start, correction {correction}", len(with_mistakes))
            course.restore(flawless)
        losses = course.teach(with_mistakes, rate)
        success = validate(model, rollouts, config.check_episodes)
        progress.advance(0, success=success)
        yield {"step": config.course_steps + correction * len(with_mistakes), "seconds": time.perf_counter() - started,
               "loss": float(np.mean(losses[-max(1, config.course_steps // 10):])), "mistake_rate": rate,
               "success": success}  # fmt: skip
        if config.success_low <= success <= config.success_high:
            return
        rate, started = corrected(rate, success, config), time.perf_counter()
    if success < config.success_low:
        raise WarmStartError(
            f"after a course of {config.course_steps} cloning steps and {corrections} corrections the sampled "
            f"success is {success:.3f}, below {config.success_low:g}; raise warm_start.course_steps or widen the model"
        )
    progress.note(f"the warm start overshot its band: success {success:.2f} > {config.success_high:.2f}")


class Course:
    """The cloning steps of a warm start: demonstrations, optimizers and their learning rates, which fall to 0.

    Args:
        model: Trained in place.
        rollouts: How scripted play is played.
        config: How long and how fast.
        progress: Told about every step.
        seed: The seed of the run.
    """

    def __init__(
        self, model: LanguageModel, rollouts: Rollouts, config: WarmStartConfig, progress: Progress, *, seed: int
    ) -> None:
        self._model, self._steps, self._progress = model, config.course_steps, progress
        self._optimizers = cloning_optimizers(model.model, config)
        self._peaks = [optimizer.param_groups[0]["lr"] for optimizer in self._optimizers]
        self._demonstrate = demonstrator(model, rollouts, config, generator(seed, Stream.WARM_START))

    def teach(self, steps: range, mistake_rate: float) -> list[float]:
        """Take these steps of the course, on demonstrations with this mistake rate, and return their losses."""
        losses = []
        for step in steps:
            for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * (1.0 - step / self._steps)
            losses.append(cloning_step(self._model, self._optimizers, self._demonstrate(mistake_rate)))
            self._progress.advance(loss=losses[-1])
        return losses

    def state(self) -> list[dict[str, Any]]:
        """Return a copy of the state of the model and the optimizers."""
        return copy.deepcopy([part.state_dict() for part in (self._model.model, *self._optimizers)])

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go back to a state, which may be restored again."""
        for part, kept in zip((self._model.model, *self._optimizers), copy.deepcopy(state), strict=True):
            part.load_state_dict(kept)


def corrected(rate: float, success: float, config: WarmStartConfig) -> float:
    """Return a mistake rate that brings the success nearer to the middle of the band.

    The success falls about with the square of the rate. A correction changes the rate by half of itself at most.
    """
    middle = (config.success_low + config.success_high) / 2
    return min(1.0, rate * min(1.5, max(0.5, math.sqrt(success / middle))))


def demonstrator(
    model: LanguageModel, rollouts: Rollouts, config: WarmStartConfig, rng: np.random.Generator
) -> Callable[[float], list[Episode]]:
    """Return a function from a mistake rate to a batch of demonstrations: those of a file, or scripted play.

    Demonstrations of a file are drawn with replacement, whatever the mistake rate.

    Raises:
        ValueError: The file cannot be read, or a demonstration is longer than the model's context.
    """
    if not config.demonstrations:
        return lambda mistake_rate: scripted_play(model, rollouts, rng, config.batch_size, mistake_rate)
    encoded = given_demonstrations(model, config.demonstrations)
    return lambda _: [encoded[place] for place in rng.integers(len(encoded), size=config.batch_size)]


def given_demonstrations(model: LanguageModel, path: str) -> list[Episode]:
    """Return the demonstrations of a file as tokens.

    Raises:
        ValueError: The file cannot be read, or a demonstration is longer than the model's context.
    """
    encoded = [model.chat.encode_episode(episode) for episode in read_demonstrations(Path(path))]
    check_lengths(encoded, model.context_length)
    return encoded


def scripted_play(
    model: LanguageModel, rollouts: Rollouts, rng: np.random.Generator, count: int, mistake_rate: float
) -> list[Episode]:
    """Return a batch of scripted play on fresh training instances."""
    indices = rng.integers(2**30, size=count).tolist()
    instances = [Instance(split="train", index=index, seed=index) for index in indices]
    played = rollouts.play(DemonstrationAgent(mistake_rate), instances, slots=1)
    return [model.chat.encode_episode(episode) for episode in played]


def check_lengths(encoded: Sequence[Episode], context_length: int) -> None:
    """Check that all demonstrations fit into the context of a model.

    Raises:
        ValueError: One is longer than the context; the message says which length would do.
    """
    longest = max(len(episode.token_ids) for episode in encoded)
    if longest > context_length:
        raise ValueError(f"model.context_length {context_length} is shorter than the demonstrations, of which the "
                         f"longest has {longest} tokens: raise it to at least {longest}")  # fmt: skip


def cloning_optimizers(network: torch.nn.Module, config: WarmStartConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings, output head, biases and norms."""
    tables = {parameter for name, module in network.named_modules() for parameter in module.parameters(recurse=False)
              if isinstance(module, torch.nn.Embedding) or name == "lm_head"}  # fmt: skip
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in network.parameters():
        (matrices if parameter.ndim == 2 and parameter not in tables else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=MATRIX_FACTOR * config.learning_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(others, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95)),
    ]


def cloning_step(model: LanguageModel, optimizers: list[torch.optim.Optimizer], episodes: list[Episode]) -> float:
    """Take one step on the mean negative log-likelihood of the agents' tokens; return it, nats per token.

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
        raise NonFiniteError(f"cloning: loss {total}, gradient norm {grad_norm}; lower warm_start.learning_rate")
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return total


def validate(model: LanguageModel, rollouts: Rollouts, episodes: int, *, temperature: float | None = None) -> float:
    """Return the success rate on the first `episodes` validation instances, sampled as by `Rollouts.agent`."""
    agent = rollouts.agent(model, temperature=temperature)
    return score_episodes(rollouts.play(agent, instance_range("validation", episodes)), 0.0).rate

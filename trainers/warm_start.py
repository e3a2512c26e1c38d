"""Warm start: behaviour cloning on scripted play of mixed quality, until a measured success band is reached.

Reinforcement learning sharpens and extends skills but creates none from a player that never succeeds, and learns
nothing from one that always does. So a course of cloning first shows flawless play, from which the game is learned
fastest, and then play with mistakes and recoveries, until the clone explores. What a course achieves depends on the
seed; the success is measured after it, and outside the band its second part is done over with more or fewer mistakes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance
from turngym.agents.scoring import sampled_logprobs, token_batches
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.config import TrainConfig, WarmStartConfig
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.rollouts import model_player, play

WARM_START_STREAM = 2
"""Keeps the seeds of this stage apart from those of the others."""
MICROBATCH_TOKENS = 4096


class WarmStartError(RuntimeError):
    """Cloning ended outside the success band; the message says what was reached and what to change."""


def clone(model: LanguageModel, config: TrainConfig, progress: Progress) -> Iterator[dict[str, float]]:
    """Clone scripted play for a course, and do its part with mistakes over until the success lies in the band.

    Args:
        model: Trained in place.
        config: The run; its seed determines the demonstrations.
        progress: Told about every step, the course and its corrections.

    Yields:
        The numbers of the course and of each correction: the steps so far, its seconds, the mean loss of the last tenth
        of the course (nats per token), its mistake rate, and the sampled validation success after it.

    Raises:
        WarmStartError: The success is below the band after `warm_start.max_corrections`.
        NonFiniteError: The loss or a gradient is not finite.
    """
    stage = config.warm_start
    optimizers = cloning_optimizers(model.model, stage)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    rng = np.random.default_rng([config.run.seed, WARM_START_STREAM])

    def teach(steps: range, mistake_rate: float) -> list[float]:
        """Take these steps of the course; return their losses."""
        losses = []
        for step in steps:
            for optimizer, peak in zip(optimizers, peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * (1.0 - step / stage.course_steps)
            losses.append(cloning_step(model, optimizers, demonstrations(model, config, rng, mistake_rate)))
            progress.advance(loss=losses[-1])
        return losses

    started = time.perf_counter()
    turning_point = min(math.ceil(stage.flawless_share * stage.course_steps), stage.course_steps - 1)
    progress.phase("warm start", stage.course_steps)
    teach(range(turning_point), 0.0)
    flawless = copy.deepcopy([trained.state_dict() for trained in (model.model, *optimizers)])
    with_mistakes = range(turning_point, stage.course_steps)
    rate, success = stage.mistake_rate, 0.0
    for correction in range(stage.max_corrections + 1):
        if correction:
            progress.phase(f"warm start, correction {correction}", len(with_mistakes))
            for trained, state in zip((model.model, *optimizers), copy.deepcopy(flawless), strict=True):
                trained.load_state_dict(state)
        losses = teach(with_mistakes, rate)
        success = validate(model, config, stage.check_episodes)
        progress.advance(0, success=success)
        yield {"step": stage.course_steps + correction * len(with_mistakes), "seconds": time.perf_counter() - started,
               "loss": float(np.mean(losses[-max(1, stage.course_steps // 10):])), "mistake_rate": rate,
               "success": success}  # fmt: skip
        if stage.success_low <= success <= stage.success_high:
            return
        rate, started = corrected(rate, success, stage), time.perf_counter()
    if success < stage.success_low:
        raise WarmStartError(
            f"after a course of {stage.course_steps} cloning steps and {stage.max_corrections} corrections the sampled "
            f"success is {success:.3f}, below {stage.success_low:g}; raise warm_start.course_steps or widen the model"
        )
    progress.note(f"the warm start overshot its band: success {success:.2f} > {stage.success_high:.2f}")


def corrected(rate: float, success: float, stage: WarmStartConfig) -> float:
    """Return a mistake rate that brings the success nearer to the middle of the band.

    The success falls about with the square of the rate. A correction changes the rate by half of itself at most.
    """
    middle = (stage.success_low + stage.success_high) / 2
    return min(1.0, rate * min(1.5, max(0.5, math.sqrt(success / middle))))


def demonstrations(
    model: LanguageModel, config: TrainConfig, rng: np.random.Generator, mistake_rate: float
) -> list[Episode]:
    """Return a batch of scripted play on fresh training instances."""
    indices = rng.integers(2**30, size=config.warm_start.batch_size).tolist()
    instances = [Instance(split="train", index=index, seed=index) for index in indices]
    played = play(DemonstrationAgent(mistake_rate), instances, config, slots=1)
    return [model.chat.encode_episode(episode) for episode in played]


def cloning_optimizers(network: torch.nn.Module, config: WarmStartConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings, output head, biases and norms."""
    tables = {parameter for name, module in network.named_modules() for parameter in module.parameters(recurse=False)
              if isinstance(module, torch.nn.Embedding) or name == "lm_head"}  # fmt: skip
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in network.parameters():
        (matrices if parameter.ndim == 2 and parameter not in tables else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=config.matrix_learning_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(others, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95)),
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


def validate(model: LanguageModel, config: TrainConfig, episodes: int, *, temperature: float | None = None) -> float:
    """Return the success rate on the first `episodes` validation instances, sampled as by `model_player`."""
    played = play(model_player(model, config, temperature=temperature), instance_range("validation", episodes), config)
    return score_episodes(played, 0.0).rate

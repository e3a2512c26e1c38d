"""A course of cloning: its steps, its optimizers, and what it takes to go on with it after a stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from transformers.pytorch_utils import Conv1D

from turngym.agents.episode import Episode
from turngym.agents.models.adapter import Adapter
from turngym.agents.models.hardware import fused_on
from turngym.agents.models.language_model import LanguageModel, NonFiniteError
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.models.sharding import clip_gradients, load_state
from turngym.trainers import ranks
from turngym.trainers.batches import kept_activations
from turngym.trainers.config import LearningConfig, WarmStartConfig
from turngym.trainers.warm_start.fitting import Fitting
from turngym.trainers.warm_start.muon import Muon

MATRIX_FACTOR = 4.0
"""Learning rate of Muon on the hidden matrices, in units of that of AdamW on embeddings and norms."""
MOST_DRAWS = 10
"""How many batches of demonstrations of which none fits are drawn before a course gives up."""


class WarmStartError(RuntimeError):
    """Cloning cannot reach its success band; the message says what was reached and what to change."""


class Course:
    """The cloning steps of a warm start: demonstrations, optimizers and their learning rates, which fall to 0.

    Args:
        model: Trained in place.
        config: How long and how fast.
        demonstrate: Returns a batch of demonstrations with a mistake rate.
        rng: What it draws from, whose state belongs to the course.
        learning: What it says of micro-batches.
    """

    def __init__(
        self,
        model: LanguageModel,
        config: WarmStartConfig,
        demonstrate: Callable[[float], list[Episode]],
        rng: np.random.Generator,
        learning: LearningConfig,
    ) -> None:
        self.model, self._config, self._demonstrate, self._rng = model, config, demonstrate, rng
        self._learning = learning
        self._optimizers = cloning_optimizers(model.learned, config)
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]
        self._turning_point = min(math.ceil(config.flawless_share * config.course_steps), config.course_steps - 1)
        self._at_turning_point: list[dict[str, Any]] | None = None
        self._losses: list[float] = []
        self._seconds = 0.0
        self._mistake_rate = config.mistake_rate
        self._step = 0
        self.correction = 0
        """How often the part with mistakes was begun anew."""
        self.fitting = Fitting(model)
        """Leaves out the demonstrations that do not fit, and counts them."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many steps of the course or of the correction are taken, and how many it has."""
        first = self._turning_point if self.correction else 0
        return self._step - first, self._config.course_steps - first

    @property
    def steps_taken(self) -> int:
        """Steps of the course and of all corrections so far."""
        return self._step + self.correction * (self._config.course_steps - self._turning_point)

    def take_step(self) -> float:
        """Take a step, on flawless demonstrations before the turning point and on mistakes from it on; return its loss.

        Raises:
            NonFiniteError: The loss or a gradient is not finite.
            WarmStartError: No demonstration fits.
        """
        began = time.perf_counter()
        if self._step == self._turning_point and not self.correction:
            self._at_turning_point = copy.deepcopy(self._weights())
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * (1.0 - self._step / self._config.course_steps)
        with_mistakes = self._step >= self._turning_point
        shown = self._shown(with_mistakes * self._mistake_rate)
        loss = cloning_step(self.model, self._optimizers, shown, self._learning)
        if with_mistakes:
            self._losses.append(loss)
        self._step += 1
        self._seconds += time.perf_counter() - began
        return loss

    def _shown(self, mistake_rate: float) -> list[Episode]:
        """Return a batch of demonstrations without those that do not fit."""
        for _ in range(MOST_DRAWS):
            if fitting := self.fitting.keep(self._demonstrate(mistake_rate)):
                return fitting
        raise WarmStartError(f"with a mistake rate of {mistake_rate:g} there is nothing to clone: {self.fitting}")

    def numbers(self, success: float, *, seconds: float) -> dict[str, float]:
        """Return the numbers of the course, or of the correction, at its end.

        Args:
            success: The success that was measured after it.
            seconds: How long measuring took.
        """
        last = self._losses[-max(1, self._config.course_steps // 10) :]
        return {"step": self.steps_taken, "seconds": self._seconds + seconds, "loss": float(np.mean(last)),
                "mistake_rate": self._mistake_rate, "left_out": self.fitting.share, "success": success}  # fmt: skip

    def begin_correction(self, success: float) -> None:
        """Go back to the turning point, with a mistake rate that follows from the success."""
        assert self._at_turning_point is not None
        self._mistake_rate = corrected(self._mistake_rate, success, self._config)
        self._load_weights(copy.deepcopy(self._at_turning_point))
        self._step, self._losses, self._seconds = self._turning_point, [], 0.0
        self.correction += 1

    # State ------------------------------------------------------------------------------------------------------

    def _weights(self) -> list[dict[str, Any]]:
        """Return the states of the model and the optimizers, which go on changing."""
        return [part.state_dict() for part in self._parts()]

    def _parts(self) -> list[Any]:
        return [self.model.learned, *self._optimizers]

    def _load_weights(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self._parts(), states, strict=True):
            load_state(part, state)

    def tensors(self) -> dict[str, Any]:
        """Return the state that holds tensors, but for the model's weights."""
        return {"optimizers": self._weights()[1:], "turning_point": self._at_turning_point}

    def state_dict(self) -> dict[str, Any]:
        """Return the state without tensors."""
        return {"step": self._step, "correction": self.correction, "mistake_rate": self._mistake_rate,
                "losses": self._losses, "seconds": self._seconds, "fitting": self.fitting.state_dict(),
                "rng": self._rng.bit_generator.state}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict` and `tensors`; the model has the weights of the same moment."""
        self._step, self.correction, self._mistake_rate = state["step"], state["correction"], state["mistake_rate"]
        self._losses, self._seconds = list(state["losses"]), state["seconds"]
        self._rng.bit_generator.state = state["rng"]
        self.fitting.load_state_dict(state["fitting"])
        self._at_turning_point = tensors["turning_point"]
        for optimizer, kept in zip(self._optimizers, tensors["optimizers"], strict=True):
            load_state(optimizer, kept)


def corrected(rate: float, success: float, config: WarmStartConfig) -> float:
    """Return a mistake rate that brings the success nearer to the middle of the band.

    The success falls about with the square of the rate. A correction changes the rate by half of itself at most.
    """
    middle = (config.success_low + config.success_high) / 2
    return min(1.0, rate * min(1.5, max(0.5, math.sqrt(success / middle))))


def cloning_optimizers(network: torch.nn.Module, config: WarmStartConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings, output head, biases and norms, or for an adapter.

    Muon scales its step of a matrix by the square root of its outputs by its inputs, if that is above 1, and takes the
    rows for the outputs. In the layers of GPT-2 they are the columns, so these matrices have groups of their own.
    """
    fused = fused_on(next(network.parameters()).device)
    if isinstance(network, Adapter):  # whose two matrices are no maps of their own
        return [torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay,
                                  fused=fused)]  # fmt: skip
    tables = {parameter for name, module in network.named_modules() for parameter in module.parameters(recurse=False)
              if isinstance(module, torch.nn.Embedding) or name == "lm_head"}  # fmt: skip
    transposed = {module.weight for module in network.modules() if isinstance(module, Conv1D)}
    matrices: dict[float, list[torch.nn.Parameter]] = {}
    others: list[torch.nn.Parameter] = []
    for parameter in network.parameters():
        if parameter.ndim != 2 or parameter in tables:
            others.append(parameter)
        else:
            rows, columns = parameter.shape
            scale = math.sqrt(columns / rows) if parameter in transposed else 1.0
            matrices.setdefault(scale, []).append(parameter)
    rate, decay = MATRIX_FACTOR * config.learning_rate, config.weight_decay
    groups = [{"params": group, "lr": rate * scale, "weight_decay": decay / scale} for scale, group in matrices.items()]
    return [
        Muon(groups, lr=rate, weight_decay=decay),
        torch.optim.AdamW(
            others, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95), fused=fused
        ),
    ]


def cloning_step(
    model: LanguageModel,
    optimizers: list[torch.optim.Optimizer],
    episodes: list[Episode],
    learning: LearningConfig | None = None,
) -> float:
    """Take one step on the mean negative log-likelihood of the agents' tokens; return it, nats per token.

    Args:
        model: Trained in place.
        optimizers: Of its weights.
        episodes: Demonstrations with a sampled token each.
        learning: What it says of micro-batches; None for its defaults.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; the weights are untouched.
    """
    num_tokens = sum(episode.num_sampled for episode in episodes)
    total = 0.0
    learning = learning or LearningConfig()
    for batch, counts in ranks.passes(list(token_batches(episodes, learning.tokens_per_microbatch, model.device))):
        with kept_activations(model, learning):
            loss = -counts * sampled_logprobs(model, batch).sum() / num_tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    total = ranks.total_number(total)
    learned = list(model.learned.parameters())
    ranks.total_gradients(learned)
    grad_norm = clip_gradients(learned, 1.0)
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        raise NonFiniteError(f"cloning: loss {total}, gradient norm {grad_norm}; lower warm_start.learning_rate")
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return total

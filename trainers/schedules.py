"""The counts of a run (steps, rounds, tokens), and its schedules of temperatures and learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turngym._errors import InputError
from turngym.trainers.config import KLRegularised, LearningConfig, ObjectiveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The values of the schedules in one step."""

    step: int
    """Steps taken before this one."""
    beta: float
    """KL temperature, in units of the reward range; 0 for an objective without one."""
    temperature: float
    """Sampling temperature. It divides the logits of policy and reference in scoring too, so that tokens are
    on-policy."""
    learning_rate: float
    """Learning rate."""


class Schedule:
    """Counts steps, rounds and tokens.

    Args:
        learning: Steps, budget of tokens, learning rates and temperatures.
        objective: KL temperatures.
        rollback_learning_rate: Factor of the learning rate for every rollback, in (0, 1].
    """

    def __init__(self, learning: LearningConfig, objective: ObjectiveConfig, rollback_learning_rate: float) -> None:
        self.learning, self.objective = learning, objective
        self._rollback_learning_rate = rollback_learning_rate
        self.step = 0
        """Steps taken, each on its own batch."""
        self.rollbacks = 0
        """How often learning went back to an earlier step."""
        self.stage_one_tokens = 0
        """Tokens sampled in stage 1 of all rounds."""
        self.generated_tokens = 0
        """Tokens sampled so far, in stage 1 and after."""
        self._counted: list[str] = []
        """The fingerprints of the references whose stage 1 is counted."""

    # Rounds -----------------------------------------------------------------------------------------------------

    def round_of(self, step: int) -> int:
        """Return the round, from 1, that a step belongs to: with `reset_every` 10, steps 1 to 10 are of round 1."""
        every = self.learning.reset_every
        return 1 if every is None else 1 + max(0, step - 1) // every

    def step_of_round(self, number: int) -> int:
        """Return the steps taken since a round, from 1, began."""
        return self.step - (number - 1) * (self.learning.reset_every or 0)

    def round_over(self, number: int) -> bool:
        """Return whether all steps of a round, from 1, are taken, so that the reference is to be reset."""
        every = self.learning.reset_every
        return every is not None and self.step_of_round(number) >= every

    # Tokens and steps -------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all steps are taken, or the tokens that may be generated are spent."""
        budget = self.learning.max_tokens
        return self.step >= self.learning.steps or (budget is not None and self.generated_tokens >= budget)

    @property
    def position(self) -> float:
        """The share of the run that is done, from 0 to 1, in steps or in tokens, whichever is larger."""
        position = self.step / max(1, self.learning.steps - 1)
        if self.learning.max_tokens is not None:
            spent = self.generated_tokens - self.stage_one_tokens
            position = max(position, spent / (self.learning.max_tokens - self.stage_one_tokens))
        return position

    def count_stage_one(self, reference: str, tokens: int) -> None:
        """Count the tokens of a reference's stage 1, unless they are counted already, as after a rollback.

        Args:
            reference: The fingerprint of its weights.
            tokens: The tokens sampled in its stage 1.
        """
        if tokens and reference not in self._counted:
            self._counted.append(reference)
            self.stage_one_tokens += tokens
            self.generated_tokens += tokens

    def check_budget(self) -> None:
        """Check that stage 1 left tokens to learn from.

        Raises:
            ValueError: It spent all of `learning.max_tokens`.
        """
        budget = self.learning.max_tokens
        if budget is not None and budget <= self.stage_one_tokens:
            raise InputError(f"stage 1 alone generated {self.stage_one_tokens} tokens of the {budget} allowed:"
                             " raise learning.max_tokens, or lower values.instances or values.samples")  # fmt: skip

    def count_step(self, tokens: int) -> None:
        """Count a step and the tokens that were generated for it."""
        self.step += 1
        self.generated_tokens += tokens

    # Values of the schedules ------------------------------------------------------------------------------------

    def moment(self) -> Moment:
        """Return the values of the schedules for the next step."""
        done = self.position
        return Moment(step=self.step, beta=scheduled_beta(self.objective, done),
                      temperature=scheduled_temperature(self.learning, done),
                      learning_rate=self._learning_rate(done))  # fmt: skip

    def _learning_rate(self, done: float) -> float:
        scale = self._rollback_learning_rate**self.rollbacks
        return scale * scheduled_learning_rate(self.learning, self.step, done)

    # State ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {"step": self.step, "rollbacks": self.rollbacks, "stage_one_tokens": self.stage_one_tokens,
                "generated_tokens": self.generated_tokens, "counted": self._counted}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`."""
        self.step, self.rollbacks = state["step"], state["rollbacks"]
        self.stage_one_tokens, self.generated_tokens = state["stage_one_tokens"], state["generated_tokens"]
        self._counted = list(state["counted"])

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to the step of an earlier state and count a rollback; the tokens generated since stay counted."""
        self.step = state["step"]
        self.rollbacks += 1


def scheduled_beta(objective: ObjectiveConfig, done: float) -> float:
    """Return the KL temperature in units of the reward range: geometrically from `beta` to `beta_final`.

    Args:
        objective: The settings of the objective; 0 is returned for one without such a temperature.
        done: The share of the run that is done, from 0 to 1.
    """
    if not isinstance(objective, KLRegularised):
        return 0.0
    if objective.beta == objective.beta_final:
        return objective.beta
    return math.exp((1 - done) * math.log(objective.beta) + done * math.log(objective.beta_final))


def scheduled_temperature(learning: LearningConfig, done: float) -> float:
    """Return the sampling temperature of a step: linearly from `temperature` to `temperature_final`."""
    return learning.temperature + done * (learning.final_temperature - learning.temperature)


def scheduled_learning_rate(learning: LearningConfig, step: int, done: float) -> float:
    """Return the learning rate of a step: linear warm-up, then a linear fall to `final_rate`."""
    warmup = min(1.0, (step + 1) / max(1, learning.warmup_steps))
    return warmup * ((1 - done) * learning.learning_rate + done * learning.final_rate)

"""Alarms of stage 2: which figure rings, since when it has been bad, and what to try.

An alarm rings when its figure has been beyond its threshold for so many readings running; it rings once, and again only
after a reading that is fine. The thresholds are those of RAGEN-2 (arXiv:2604.06268) where it names any; they stand in
`config.MonitorsConfig`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from turngym.trainers.config import ON_ALARM, MonitorsConfig, TrainConfig
from turngym.trainers.objectives import find_objective
from turngym.trainers.objectives.groups import EPSILON

REWARD_STD, GRAD_NORM, KL_TAX = "reward_std", "grad_norm", "kl_tax"
VALIDATION, EMPTY_STEPS, DRIFT = "validation", "empty_steps", "drift"
FIGURE = {
    REWARD_STD: "the standard deviation of the returns of a prompt",
    GRAD_NORM: "the gradient norm before clipping",
    KL_TAX: "beta * KL / reward range",
    VALIDATION: "the success in validation",
    EMPTY_STEPS: "the share of episodes that the filter kept",
    DRIFT: "the 99th percentile of |log pi of the trainer - log pi of the sampler|",
}
"""What the figure of every alarm is."""
ADVICE = {
    REWARD_STD: "The policy does the same whatever it sees; try a lower astarpo.learning_rate or a higher "
    "astarpo.beta_final; where it was so from the start, easier instances or a longer warm_start.course_steps",
    GRAD_NORM: "The policy is running away; try a lower astarpo.learning_rate or a larger astarpo.batch_size",
    KL_TAX: "The distance to the reference costs more than there is to earn; try a lower astarpo.learning_rate or "
    "astarpo.beta",
    VALIDATION: "Nothing is solved, so nothing is learned; try easier instances or a longer warm_start.course_steps",
    EMPTY_STEPS: "Every prompt is always won or always lost; try instances of other difficulty, a larger "
    "astarpo.group_size, or objectives.filter all",
    DRIFT: "What is learned from is not quite what was played; try a model in float32, and see that it has no dropout",
}
"""What to try when an alarm rings."""


class AlarmError(RuntimeError):
    """An alarm ended the run, which can be resumed."""


def check_action(config: TrainConfig) -> None:
    """Refuse an unknown action.

    Raises:
        ValueError: `monitors.on_alarm` is none of `ON_ALARM`.
    """
    if config.monitors.on_alarm not in ON_ALARM:
        raise ValueError(f"monitors.on_alarm must be {', '.join(ON_ALARM[:-1])} or {ON_ALARM[-1]}, "
                         f"got {config.monitors.on_alarm!r}")  # fmt: skip


def kinds_read(config: TrainConfig) -> list[str]:
    """Return the kinds of alarm whose figure a run may measure."""
    never = set() if config.evaluation.validate_every else {VALIDATION}
    if not find_objective(config.astarpo.objective).reference:
        never.add(KL_TAX)
    return [kind for kind in FIGURE if kind not in never]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A figure of a step beside its threshold."""

    figure: float
    """What was measured, in the unit of the threshold."""
    threshold: float
    """What it must not be beyond."""
    bad: bool
    """Whether it is."""
    patience: int = 1
    """Bad readings running that make an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that rings."""

    alarm: str
    """Its kind, a key of `FIGURE`."""
    step: int
    """The step after which it rang."""
    figure: float
    """The last reading."""
    threshold: float
    """What the figure was beyond."""
    readings: int
    """Bad readings running."""
    last_good_step: int
    """The last step whose reading was fine, 0 for none: what was learned later is in doubt."""

    def __str__(self) -> str:
        """Return what happened and what to try, in two sentences without the last full stop."""
        side = {1: f", above {self.threshold:.3g}", -1: f", below {self.threshold:.3g}", 0: ""}
        beyond = side[(self.figure > self.threshold) - (self.figure < self.threshold)]
        often = f" for {self.readings} readings running" if self.readings > 1 else ""
        what, advice = FIGURE[self.alarm], ADVICE[self.alarm]
        return f"alarm {self.alarm} at step {self.step}: {what} is {self.figure:.3g}{beyond}{often}. {advice}"


@dataclass(slots=True, kw_only=True)
class Alarms:
    """What the alarms remember from step to step; a part of every checkpoint."""

    first_stds: list[float] = field(default_factory=list)
    """The standard deviations of the first steps that have one, with which later ones are compared."""
    grad_norm: float = 0.0
    """Moving average of the gradient norm, before clipping."""
    grad_norm_weight: float = 0.0
    """How many recent steps it is worth; 0 before the first."""
    bad_readings: dict[str, int] = field(default_factory=dict)
    """Bad readings running, by kind."""
    last_good_steps: dict[str, int] = field(default_factory=dict)
    """The last step whose reading was fine, 0 for none, by kind; without the kinds that were never read."""

    def judge(self, numbers: dict[str, Any], config: MonitorsConfig) -> list[Alarm]:
        """Read the numbers of a step and return the alarms that ring now and did not before.

        Args:
            numbers: What was measured; `grad_norm_ema`, the moving average before this step, is added from the second
                step with a gradient on.
            config: The thresholds.
        """
        rung = []
        for kind, reading in self._readings(numbers, config):
            if not reading.bad:
                self.bad_readings[kind], self.last_good_steps[kind] = 0, numbers["step"]
                continue
            self.bad_readings[kind] = self.bad_readings.get(kind, 0) + 1
            last_good_step = self.last_good_steps.setdefault(kind, 0)
            if self.bad_readings[kind] == reading.patience:
                rung.append(Alarm(alarm=kind, step=numbers["step"], figure=reading.figure, threshold=reading.threshold,
                                  readings=reading.patience, last_good_step=last_good_step))  # fmt: skip
        return rung

    def good_steps(self, config: TrainConfig) -> list[int]:
        """Return for each kind the last step that an alarm of it would not put in doubt: 0 until its first reading."""
        return [self.last_good_steps.get(kind, 0) for kind in kinds_read(config)]

    def _readings(self, numbers: dict[str, Any], config: MonitorsConfig) -> Iterator[tuple[str, Reading]]:
        std = numbers.get("group_std", numbers.get("revisit_std"))
        if std is not None:
            yield REWARD_STD, self._read_std(std, numbers, config)
        if numbers["grad_norm"] > 0:  # without a gradient there is nothing to compare
            yield GRAD_NORM, self._read_grad_norm(numbers, config)
        if "kl_tax" in numbers:
            tax = numbers["kl_tax"]
            yield KL_TAX, Reading(figure=tax, threshold=config.kl_tax, bad=tax > config.kl_tax)
        if "validation" in numbers:
            success, least = numbers["validation"], config.validation_success
            yield VALIDATION, Reading(figure=success, threshold=least, bad=success < least, patience=config.validations)
        if "logprob_drift_p99" in numbers:
            drift = numbers["logprob_drift_p99"]
            yield DRIFT, Reading(figure=drift, threshold=config.drift, bad=drift > config.drift)
        kept = numbers["kept"]
        yield EMPTY_STEPS, Reading(figure=kept, threshold=0.0, bad=not kept, patience=config.empty_steps)

    def _read_std(self, std: float, numbers: Mapping[str, Any], config: MonitorsConfig) -> Reading:
        threshold = 0.0
        if len(self.first_stds) < config.std_first_steps:
            self.first_stds.append(std)
        else:
            threshold = config.std_share * sum(self.first_stds) / len(self.first_stds)
        # Where a curriculum played no episode of the environment itself, nothing says that it is solved.
        collapsed = std <= max(threshold, EPSILON)
        bad = collapsed and numbers.get("success", 0.0) < config.std_solved
        return Reading(figure=std, threshold=threshold, bad=bad, patience=config.std_steps)

    def _read_grad_norm(self, numbers: dict[str, Any], config: MonitorsConfig) -> Reading:
        norm = numbers["grad_norm"]
        threshold = config.grad_norm_ratio * self.grad_norm
        bad = self.grad_norm_weight > 0 and norm > threshold
        if self.grad_norm_weight > 0:
            numbers["grad_norm_ema"] = self.grad_norm
        self.grad_norm_weight = config.grad_norm_memory * self.grad_norm_weight + 1.0
        self.grad_norm += (norm - self.grad_norm) / self.grad_norm_weight
        return Reading(figure=norm, threshold=threshold, bad=bad)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, lists and dicts; JSON keeps it to the last bit."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Alarms:
        """Return the alarms as `state_dict` wrote them."""
        return cls(**state)

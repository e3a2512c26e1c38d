"""Alarms of stage 2: each watches one figure, and says what to try when it rings.

An alarm rings when its figure was beyond its threshold in a number of readings in a row, its patience. Then it is
silent until a reading is fine again. Where RAGEN-2 (arXiv:2604.06268) names thresholds, they are taken from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from turngym.trainers.objectives import Objective
from turngym.trainers.objectives.groups import EPSILON

REWARD_STD, GRAD_NORM, KL_TAX = "reward_std", "grad_norm", "kl_tax"
VALIDATION, EMPTY_STEPS, DRIFT = "validation", "empty_steps", "drift"
CUT_EPISODES, CUT_REPLIES, PROPOSALS = "cut_episodes", "cut_replies", "proposals"
FIGURE = {
    REWARD_STD: "the standard deviation of the returns of a prompt",
    GRAD_NORM: "the gradient norm before clipping",
    KL_TAX: "beta * KL / reward range",
    VALIDATION: "the success in validation",
    EMPTY_STEPS: "the share of episodes that the filter kept",
    DRIFT: "the 99th percentile of |log pi of the trainer - log pi of the sampler|",
    CUT_EPISODES: "the share of episodes that the context ended",
    CUT_REPLIES: "the share of replies that ended at the limit of tokens",
    PROPOSALS: "the share of proposals fit to be played that were proposed before",
}
"""The kinds of alarm, and the figure that each watches."""
ADVICE = {
    REWARD_STD: "The policy does the same whatever it sees; try a lower learning.learning_rate or a higher "
    "objective.beta_final; where it was so from the start, easier instances or a longer warm_start.course_steps",
    GRAD_NORM: "The policy is running away; try a lower learning.learning_rate or a larger learning.batch_size",
    KL_TAX: "The distance to the reference costs more than there is to earn; try a lower learning.learning_rate or "
    "objective.beta",
    VALIDATION: "Nothing is solved, so nothing is learned; try easier instances or a longer warm_start.course_steps",
    EMPTY_STEPS: "Every prompt is always won or always lost; try instances of other difficulty, a larger "
    "objective.group_size, or objective.filter all",
    DRIFT: "What is learned from is not quite what was played; try a model in float32, and see that it has no dropout. "
    "A server may differ by more, up to rollout.max_drift",
    CUT_EPISODES: "Their last turns are missing, and they count as failures; raise model.context_length, or take an "
    "environment with shorter observations or fewer turns",
    CUT_REPLIES: "Their actions may be missing; raise model.max_reply_tokens",
    PROPOSALS: "The proposer writes the same instances again and again; try a higher objective.beta or "
    "objective.beta_final, a lower learning.learning_rate, or selfplay.proposer rule",
}
"""The advice of each kind of alarm."""


class AlarmError(RuntimeError):
    """An alarm ended the run, which can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """For each kind of alarm the threshold beyond which its figure is bad, and its patience."""

    std_share: float = 0.1
    """"reward_std": the standard deviation of a prompt's returns is at most this share of its mean over the first
    steps, or 0 from the start. Of a prompt with one episode in a step, the return is compared with that of the
    step that played the prompt last. So the alarm cannot see a run that plays fewer than 8 prompts of the pool in a
    step, or each of them once, and sees a collapse only when prompts are played again."""
    std_first_steps: int = 10
    """Steps over which that mean is taken, the first ones that have the figure."""
    std_steps: int = 10
    """Patience of "reward_std", in steps that have the figure."""
    std_solved: float = 0.95
    """Success rate from which on a small standard deviation means that the task is solved, and no alarm rings."""
    grad_norm_ratio: float = 10.0
    """"grad_norm": the gradient norm before clipping exceeds its moving average by this factor."""
    grad_norm_memory: float = 0.9
    """Share of the moving average's weight that is kept at each step: about the last 10 steps count."""
    kl_tax: float = 0.2
    """"kl_tax": beta times the KL to the reference is above this share of the reward range; for objectives whose loss
    charges beta."""
    validation_success: float = 0.01
    """"validation": the success in validation is below this."""
    validations: int = 5
    """Patience of "validation", in validations."""
    empty_steps: int = 5
    """Patience of "empty_steps", in steps whose filter left nothing to learn from."""
    drift: float = 0.01
    """"drift": for more than one sampled token in 100, the log-probabilities that sampler and trainer compute with the
    same weights differ by more than this, in nats. Float32 stays far below it, bfloat16 may not."""

    cut_share: float = 0.1
    """"cut_episodes" and "cut_replies": more than this share of the episodes of a step, or of its replies, is cut."""
    cut_steps: int = 2
    """Patience of "cut_episodes" and "cut_replies", in steps."""
    repeated_share: float = 0.75
    """"proposals": more than this share of the proposals of a step that are fit to be played was accepted before."""
    repeated_steps: int = 5
    """Patience of "proposals", in steps with a proposal that is fit to be played."""

    @classmethod
    def at(cls, sensitivity: float) -> Thresholds:
        """Return the thresholds at a sensitivity, above 0; patience is the same at each.

        At 2 upper limits are halved and lower limits doubled: `kl_tax` rings above 0.1 instead of 0.2, and "validation"
        below 0.02 instead of 0.01.
        """
        plain = cls()
        return replace(plain, std_share=plain.std_share * sensitivity,
                       grad_norm_ratio=plain.grad_norm_ratio / sensitivity, kl_tax=plain.kl_tax / sensitivity,
                       validation_success=plain.validation_success * sensitivity,
                       drift=plain.drift / sensitivity, cut_share=plain.cut_share / sensitivity,
                       repeated_share=plain.repeated_share / sensitivity)  # fmt: skip


def kinds_read(objective: Objective, *, validates: bool, proposes: bool = False) -> list[str]:
    """Return the kinds of alarm whose figure a run can measure.

    Args:
        objective: The objective of the run.
        validates: Whether the run validates.
        proposes: Whether its policy proposes instances.
    """
    never = set() if validates else {VALIDATION}
    if not proposes:
        never.add(PROPOSALS)
    if not objective.needs_reference:
        never.add(KL_TAX)
    return [kind for kind in FIGURE if kind not in never]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A figure of a step beside its threshold."""

    figure: float
    """The figure, in the unit of the threshold."""
    threshold: float
    """Its threshold."""
    bad: bool
    """Whether the figure is beyond the threshold."""
    patience: int = 1
    """Bad readings in a row after which the alarm rings."""


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
    """The threshold of that reading."""
    readings: int
    """Bad readings in a row."""
    last_good_step: int
    """The last step whose reading was fine, 0 for none; updates of later steps are in doubt."""

    def __str__(self) -> str:
        """Return what happened and what to try, in two sentences without the last full stop."""
        side = {1: f", above {self.threshold:.3g}", -1: f", below {self.threshold:.3g}", 0: ""}
        beyond = side[(self.figure > self.threshold) - (self.figure < self.threshold)]
        often = f" for {self.readings} readings in a row" if self.readings > 1 else ""
        what, advice = FIGURE[self.alarm], ADVICE[self.alarm]
        return f"alarm {self.alarm} at step {self.step}: {what} is {self.figure:.3g}{beyond}{often}. {advice}"


@dataclass(slots=True, kw_only=True)
class Alarms:
    """The state of the alarms from step to step, which every checkpoint holds."""

    first_stds: list[float] = field(default_factory=list)
    """The standard deviations of the first steps that have one, with which later ones are compared."""
    grad_norm: float = 0.0
    """Moving average of the gradient norm, before clipping."""
    grad_norm_weight: float = 0.0
    """How many steps that average stands for; 0 before the first step with a gradient."""
    bad_readings: dict[str, int] = field(default_factory=dict)
    """Bad readings in a row, by kind."""
    last_good_steps: dict[str, int] = field(default_factory=dict)
    """The last step whose reading was fine, 0 for none, by kind; absent for kinds without any reading."""

    def judge(self, numbers: dict[str, Any], thresholds: Thresholds) -> list[Alarm]:
        """Read the numbers of a step and return the alarms that ring now and did not before.

        Args:
            numbers: The numbers of the step; `grad_norm_ema`, the moving average of the gradient norm before this step,
                is added from the second step with a gradient on.
            thresholds: The thresholds and patiences.
        """
        rung = []
        for kind, reading in self._readings(numbers, thresholds):
            if not reading.bad:
                self.bad_readings[kind], self.last_good_steps[kind] = 0, numbers["step"]
                continue
            self.bad_readings[kind] = self.bad_readings.get(kind, 0) + 1
            last_good_step = self.last_good_steps.setdefault(kind, 0)
            if self.bad_readings[kind] == reading.patience:
                rung.append(Alarm(alarm=kind, step=numbers["step"], figure=reading.figure, threshold=reading.threshold,
                                  readings=reading.patience, last_good_step=last_good_step))  # fmt: skip
        return rung

    def good_steps(self, kinds: Iterable[str]) -> list[int]:
        """Return for each kind the last step that an alarm of it would not put in doubt: 0 until its first reading."""
        return [self.last_good_steps.get(kind, 0) for kind in kinds]

    def _readings(self, numbers: dict[str, Any], limits: Thresholds) -> Iterator[tuple[str, Reading]]:
        std = numbers.get("group_std", numbers.get("revisit_std"))
        if std is not None:
            yield REWARD_STD, self._read_std(std, numbers, limits)
        if numbers["grad_norm"] > 0:  # without a gradient there is nothing to compare
            yield GRAD_NORM, self._read_grad_norm(numbers, limits)
        if "kl_tax" in numbers:
            tax = numbers["kl_tax"]
            yield KL_TAX, Reading(figure=tax, threshold=limits.kl_tax, bad=tax > limits.kl_tax)
        if "validation" in numbers:
            success, least = numbers["validation"], limits.validation_success
            yield VALIDATION, Reading(figure=success, threshold=least, bad=success < least, patience=limits.validations)
        if "logprob_drift_p99" in numbers:
            drift = numbers["logprob_drift_p99"]
            yield DRIFT, Reading(figure=drift, threshold=limits.drift, bad=drift > limits.drift)
        for kind in (CUT_EPISODES, CUT_REPLIES):
            if kind in numbers:
                share = numbers[kind]
                yield kind, Reading(figure=share, threshold=limits.cut_share, bad=share > limits.cut_share,
                                    patience=limits.cut_steps)  # fmt: skip
        if "proposals_repeated" in numbers:
            repeated, most = numbers["proposals_repeated"], limits.repeated_share
            yield PROPOSALS, Reading(figure=repeated, threshold=most, bad=repeated > most,
                                     patience=limits.repeated_steps)  # fmt: skip
        kept = numbers["kept"]
        yield EMPTY_STEPS, Reading(figure=kept, threshold=0.0, bad=not kept, patience=limits.empty_steps)

    def _read_std(self, std: float, numbers: Mapping[str, Any], limits: Thresholds) -> Reading:
        threshold = 0.0
        if len(self.first_stds) < limits.std_first_steps:
            self.first_stds.append(std)
        else:
            threshold = limits.std_share * sum(self.first_stds) / len(self.first_stds)
        # Where a curriculum played no episode of the environment itself, nothing says that it is solved.
        collapsed = std <= max(threshold, EPSILON)
        bad = collapsed and numbers.get("success", 0.0) < limits.std_solved
        return Reading(figure=std, threshold=threshold, bad=bad, patience=limits.std_steps)

    def _read_grad_norm(self, numbers: dict[str, Any], limits: Thresholds) -> Reading:
        norm = numbers["grad_norm"]
        threshold = limits.grad_norm_ratio * self.grad_norm
        bad = self.grad_norm_weight > 0 and norm > threshold
        if self.grad_norm_weight > 0:
            numbers["grad_norm_ema"] = self.grad_norm
        self.grad_norm_weight = limits.grad_norm_memory * self.grad_norm_weight + 1.0
        self.grad_norm += (norm - self.grad_norm) / self.grad_norm_weight
        return Reading(figure=norm, threshold=threshold, bad=bad)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, lists and dicts; JSON keeps it to the last bit."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Alarms:
        """Return the alarms as `state_dict` wrote them."""
        return cls(**state)

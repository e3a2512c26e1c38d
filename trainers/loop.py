"""Stage 2, top to bottom: choose prompts, play, compare with values and with the reference, step.

The objective is A*PO or any other of the registry; all share this loop. Everything random in a step is drawn from
generators seeded by the run's seed and the number of the step, so a run that is stopped and resumed from a checkpoint
continues bit for bit as if it had never stopped.

Reference: A*-PO, arXiv:2505.20686.
Shapes: B episodes, K turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.language_model import NonFiniteError
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.baselines.baseline import Baseline, NoBaseline
from turngym.trainers.batches import make_batch
from turngym.trainers.learner import Learner, TrainStep
from turngym.trainers.monitoring.measures import measure_update
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.monitoring.retrieval import measure_retrieval
from turngym.trainers.objectives import StepParams, TrainingBatch
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.references import References
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.schedules import Moment, Schedule

OnStep = Callable[[dict[str, Any], Sequence[Episode]], None]
"""Called after every step with its numbers and episodes; saves checkpoints and reports."""


@dataclass(slots=True, kw_only=True)
class Loop:
    """The components of stage 2; each holds its own state."""

    rollouts: Rollouts
    """Plays."""
    prompts: PromptSampler
    """Chooses what is played."""
    successes: SuccessTracker
    """Predicts how it ends."""
    baseline: Baseline | None
    """Values it; None for an objective without values."""
    shaping: AutomaticShaping | None
    """Shapes what the objective reads by V* of states, where asked for."""
    references: References
    """What the policy is compared with."""
    learner: Learner
    """The policy, and its optimizer."""
    schedule: Schedule
    """Where the run stands."""
    monitors: Monitors
    """Watches."""

    def run_round(self, on_step: OnStep, failure_file: Path) -> None:
        """Learn to the end of the run or of the round.

        Args:
            on_step: Called after every step.
            failure_file: Where the episodes of a step that is not finite are written before the run stops.

        Raises:
            NonFiniteError: Logits, loss or gradients are not finite; the optimizer step was not taken.
            RuntimeError: No episode of a step could be played.
            ValueError: Stage 1 has spent all tokens.
        """
        if self.references.number == 1:
            self.schedule.check_budget()
        slots = min(self.rollouts.slots, self.schedule.learning.batch_size)
        agent = self.rollouts.agent(self.learner.policy, slots=slots)
        span = self.rollouts.reward_span
        while not (self.schedule.finished or self.schedule.round_over(self.references.number)):
            started = time.perf_counter()
            moment = self.schedule.moment()
            step = StepParams(config=self.schedule.objective, beta=moment.beta * span, reward_span=span)
            agent.policy_version, agent.temperature = moment.step, moment.temperature
            instances = self.prompts.draw(moment.step, self.schedule.rollbacks, self.successes)
            played = self.rollouts.play(agent, instances, shaped=True)
            episodes = usable(played, moment.step)
            rollout_seconds = time.perf_counter() - started
            measured = self._measure(episodes, moment)
            try:
                numbers = self._learn(episodes, step, moment)
            except NonFiniteError:
                failure_file.unlink(missing_ok=True)
                write_episodes(failure_file, episodes)
                raise
            self.schedule.count_step(sum(episode.num_sampled for episode in played))
            self.prompts.count_step()
            numbers |= measured | {
                "step": self.schedule.step,
                "rollbacks": self.schedule.rollbacks,
                "sampled_tokens": sum(episode.num_sampled for episode in episodes),
                "generated_tokens": self.schedule.generated_tokens,
                "errors": len(played) - len(episodes),
                "rollout_seconds": rollout_seconds,
                "seconds": time.perf_counter() - started,
            }
            on_step(numbers, episodes)

    def _measure(self, episodes: Sequence[Episode], moment: Moment) -> dict[str, Any]:
        """Return what the episodes show about the policy that played them, before it learns from them."""
        numbers = self.monitors.measure(episodes, self.successes)
        if self.monitors.measures_retrieval(moment.step + 1):
            numbers |= measure_retrieval(
                self.learner.policy, episodes, temperature=moment.temperature,
                max_reply_tokens=self.rollouts.max_reply_tokens,
                tokens_per_microbatch=self.schedule.learning.tokens_per_microbatch,
            )  # fmt: skip
        return numbers

    def _learn(self, episodes: Sequence[Episode], step: StepParams[Any], moment: Moment) -> dict[str, Any]:
        """Value the episodes, learn from them, and let values, successes and monitors follow; return the numbers."""
        batch = make_batch(episodes, self.learner.policy)
        if self.baseline is not None:
            self.baseline.begin_step(step.beta, self.schedule.step_of_round(self.references.number))
            batch = replace(batch, value_BK=self.baseline.values(batch, episodes))
        shaped = batch
        if self.shaping is not None:
            shaped = self.shaping.shape(batch, episodes, shift_values=type(self.baseline) is not NoBaseline)
        learned = self.learner.train_step(shaped, episodes, self.references.current, step, moment)
        numbers = learned.numbers | self._measure_update(batch, episodes, learned, step)
        if batch.value_BK.numel():
            numbers["value"] = float(batch.value_BK[:, 0].double().mean())
        if step.beta:
            numbers["beta"] = step.beta
        if self.shaping is not None:
            numbers["automatic_shaping"] = float((shaped.reward_BK - batch.reward_BK).sum(1).double().mean())
        self._follow(episodes, learned.log_ratio_BK, step.beta)
        return numbers

    def _measure_update(
        self, batch: TrainingBatch, episodes: Sequence[Episode], learned: TrainStep, step: StepParams[Any]
    ) -> dict[str, Any]:
        """Return what the learning of a step shows; nothing where the filter kept no episode.

        Args:
            batch: The episodes as they were played, with their values.
            episodes: The same.
            learned: What was learned from them.
            step: The numbers of the step.
        """
        if learned.batch is None:
            return {}
        kept = learned.kept
        firsts = [self.baseline.first_value(episodes[row].index) if self.baseline else None for row in kept]
        return measure_update(
            learned.batch, learned.logp_N, learned.unmoved_N, learned.log_ratio_B,
            return_B=batch.reward_BK[kept].sum(1),
            value_B=batch.value_BK[kept, 0] if batch.value_BK.numel() else batch.value_BK, first_value_B=firsts,
            objective=self.learner.objective, step=step,
        )  # fmt: skip

    def _follow(self, episodes: Sequence[Episode], log_ratio_BK: list[list[float]], beta: float) -> None:
        """Let values, successes and monitors follow the episodes that were learned from."""
        if self.baseline is not None:
            self.baseline.update(episodes, log_ratio_BK, beta)
        self.successes.update(episodes)
        self.monitors.remember(episodes)


def usable(played: Sequence[Episode], step: int) -> list[Episode]:
    """Return the episodes that can be learned from: those without an error, with a reply.

    Raises:
        RuntimeError: There is none.
    """
    episodes = [episode for episode in played if not episode.status.is_error() and episode.num_sampled]
    if not episodes:
        reason = next((episode.error for episode in played if episode.error), "the context is too short to reply")
        raise RuntimeError(f"no episode of step {step} can be learned from: {reason}")
    return episodes

"""Stage 2: choose prompts, play them, value the episodes, learn from them; step by step, for every objective.

Everything random in a step is drawn from generators seeded by the run's seed and the number of the step, so a run that
is stopped and resumed from a checkpoint continues as if it had never stopped, to the last bit.

Shapes: B episodes, K turns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import cut_shares
from turngym.agents.models.language_model import LanguageModelAgent, NonFiniteError
from turngym.agents.rollout import PlayError
from turngym.trainers import ranks
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.baselines.baseline import Baseline, NoBaseline
from turngym.trainers.batches import make_batch
from turngym.trainers.config import TrainConfig
from turngym.trainers.learner import Learner, TrainStep
from turngym.trainers.monitoring.measures import measure_update
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.monitoring.retrieval import measure_retrieval
from turngym.trainers.objectives import StepParams, TrainingBatch
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.references import References
from turngym.trainers.replay import Replay
from turngym.trainers.reporting.credit import Credit
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.schedules import Moment, Schedule
from turngym.trainers.selfplay.proposer import Proposals, Proposer, value_proposals
from turngym.trainers.served_policy import ServedPolicy
from turngym.trainers.stage_one.instance_values import ValueEstimates
from turngym.trainers.stage_one.sampling import StageOneSetup

OnStep = Callable[[dict[str, Any], Sequence[Episode]], None]
"""Called after every step with its numbers and its episodes."""


@dataclass(slots=True, kw_only=True)
class Loop:
    """Stage 2, made of components that each hold their own state."""

    rollouts: Rollouts
    """Plays the episodes."""
    prompts: PromptSampler
    """Chooses the instances of a step."""
    successes: SuccessTracker
    """Running success rates of instances and levels, by which prompts are chosen."""
    baseline: Baseline | None
    """The values that episodes are compared with; None for an objective without values."""
    shaping: AutomaticShaping | None
    """Shaping by V* of states, of what the objective reads; None unless configured."""
    references: References
    """The frozen model whose log-probabilities the policy's are compared with."""
    learner: Learner
    """The policy, and its optimizer."""
    schedule: Schedule
    """Counts of steps, rounds and tokens; temperatures and learning rate of a step."""
    monitors: Monitors
    """Measures the health of learning, and rings alarms."""
    served: ServedPolicy | None = None
    """The server that plays the policy; None to play it in this process."""
    proposer: Proposer | None = None
    """Proposes instances, in self-play."""
    stage_one: tuple[StageOneSetup, ValueEstimates] | None = None
    """How V* of proposed instances is estimated, and what is known of the pool; None where it is not."""
    replay: Replay | None = None
    """Draws episodes of stage 1 that are learned from as well; None to learn from what was played alone."""
    _last: tuple[TrainStep, Tensor, StepParams[Any]] | None = None
    """Of the last step: what was learned, the values that its episodes were compared with, `[B, K]`, and settings."""

    def run_round(self, on_step: OnStep, failure_file: Path, before_step: Callable[[], None] = lambda: None) -> None:
        """Take steps to the end of the run or of the round, whichever comes first.

        Args:
            on_step: Called after every step.
            failure_file: Where the episodes of a step that is not finite are written before the run stops.
            before_step: Called before every step; may replace components and change what they are set to.

        Raises:
            NonFiniteError: Logits, loss or gradients are not finite; the optimizer step was not taken.
            PlayError: No episode of a step could be played.
            ValueError: Stage 1 has spent all tokens.
            ServerError: The server that plays the policy is gone, or answers what cannot be used.
            DriftError: It plays another policy.
        """
        if self.references.number == 1:
            self.schedule.check_budget()
        slots = min(self.rollouts.slots, math.ceil(self.schedule.learning.batch_size / ranks.size()))
        with self._agent(slots) as agent:
            while not (self.schedule.finished or self.schedule.round_over(self.references.number)):
                before_step()
                on_step(*self._take_step(agent, failure_file))

    def credit(self, episodes: Sequence[Episode]) -> Credit:
        """Return the values and advantages that the last step learned by.

        Args:
            episodes: The episodes of that step.
        """
        assert self._last is not None
        learned, value_BK, step = self._last
        rows: list[list[float]] = [row[: len(one.turns)] for row, one in zip(value_BK.tolist(), episodes, strict=False)]
        advantages: list[list[float] | None] = [None] * len(episodes)
        if learned.batch is not None:
            advantage_N = self.learner.token_advantages(learned.batch, step)
            for row, place in enumerate(learned.kept):
                advantages[place] = advantage_N[learned.batch.episode_N == row].tolist()
        objective = self.learner.objective
        return Credit(objective=objective.name, residual=objective.advantages is None, values=rows,
                      advantages=advantages)  # fmt: skip

    def retune(self, config: TrainConfig) -> None:
        """Take other settings of those that may change while a run learns; values are not made anew.

        Args:
            config: The run's, with these settings.
        """
        self.rollouts = Rollouts.of(config)
        self.prompts.retune(config)
        self.schedule.learning, self.schedule.objective = config.learning, config.objective
        self.monitors.retune(config.shaping)
        policy = self.learner.policy
        policy.decoding = policy.decoding.changed(temperature=config.learning.final_temperature)

    def _agent(self, slots: int) -> AbstractContextManager[LanguageModelAgent]:
        """Return who plays the policy, in this process or on a server."""
        if self.served is None:
            return nullcontext(self.rollouts.agent(self.learner.policy, slots=slots))
        return self.served.agent(self.learner.policy, slots=slots, max_reply_tokens=self.rollouts.max_reply_tokens)

    def _take_step(self, agent: LanguageModelAgent, failure_file: Path) -> tuple[dict[str, Any], list[Episode]]:
        """Play the episodes of a step and learn from them; return the numbers of the step and the episodes."""
        started = time.perf_counter()
        moment, span = self.schedule.moment(), self.rollouts.reward_span
        step = StepParams(config=self.schedule.objective, beta=moment.beta * span, reward_span=span)
        agent.policy_version, agent.temperature = moment.step, moment.temperature
        if self.served is not None:
            agent.policy_version = self.served.send(self.learner.policy, moment.step)
        proposals, generated = self._propose(agent, moment)
        kept = self.proposer.kept if self.proposer is not None else ()
        instances = self.prompts.draw(
            moment.step, self.schedule.rollbacks, self.successes, new=proposals.new, kept=kept
        )
        played = self.rollouts.play(agent, instances, shaped=True)
        episodes = usable(played, moment.step)
        rollout_seconds = time.perf_counter() - started
        measured = self._measure(episodes, moment)
        learned_from = episodes + self._paid(proposals, episodes, span)
        try:
            numbers, log_ratio_BK = self._learn(learned_from, step, moment)
        except NonFiniteError:
            self._forget(proposals.new)
            failure_file.unlink(missing_ok=True)
            write_episodes(failure_file, learned_from)
            raise
        self._keep(proposals)
        if self.baseline is not None:
            self.baseline.update(learned_from, log_ratio_BK, step.beta)
        self.successes.update(episodes)
        self.monitors.remember(episodes)
        self.schedule.count_step(sum(episode.num_sampled for episode in played) + generated)
        self.prompts.count_step()
        numbers |= measured | {
            "step": self.schedule.step,
            "rollbacks": self.schedule.rollbacks,
            "sampled_tokens": sum(episode.num_sampled for episode in learned_from),
            "generated_tokens": self.schedule.generated_tokens,
            "errors": sum(episode.status.is_error() for episode in played),
            **cut_shares([episode for episode in played if not episode.status.is_error()]),
            **proposals.numbers,
            "rollout_seconds": rollout_seconds,
            "seconds": time.perf_counter() - started,
        }
        return numbers, learned_from

    # Self-play --------------------------------------------------------------------------------------------------

    def _propose(self, agent: LanguageModelAgent, moment: Moment) -> tuple[Proposals, int]:
        """Return what is proposed in a step, and how many tokens were generated for it; nothing without self-play."""
        if self.proposer is None:
            return Proposals(), 0
        proposals = self.proposer.propose(agent, moment.step, self.schedule.rollbacks)
        values, generated = dict[int, tuple[float, int]](), proposals.num_sampled
        if self.proposer.config.value_samples and self.stage_one is not None:
            setup, estimates = self.stage_one
            values, tokens = value_proposals(
                self.references.current, proposals.new, self.proposer.config.value_samples, setup, estimates
            )
            generated += tokens
        if self.baseline is not None:
            for index, value in values.items():
                self.baseline.track(index, *value)
        return proposals, generated

    def _paid(self, proposals: Proposals, played: Sequence[Episode], span: float) -> list[Episode]:
        """Pay for the proposals of a step, and return those of their episodes that the policy learns from."""
        if self.proposer is None:
            return []
        self.proposer.pay(proposals, played, self.successes, span)
        return [episode for episode in proposals.episodes if episode.num_sampled]

    def _keep(self, proposals: Proposals) -> None:
        """Follow what was accepted in a step from now on, and let go of what was kept longest."""
        if self.proposer is None:
            return
        for index in proposals.new:
            self.successes.track(index)
            if self.baseline is not None:
                self.baseline.track(index)
        self._forget(self.proposer.keep(proposals.new))

    def _forget(self, indices: Sequence[int]) -> None:
        """Follow proposed instances no more."""
        for index in indices:
            self.successes.forget(index)
            if self.baseline is not None:
                self.baseline.forget(index)

    # Learning ---------------------------------------------------------------------------------------------------

    def _measure(self, episodes: Sequence[Episode], moment: Moment) -> dict[str, Any]:
        """Return the numbers of the episodes as such, before the policy learns from them."""
        numbers = self.monitors.measure(episodes, self.successes)
        if self.monitors.measures_retrieval(moment.step + 1):
            numbers |= measure_retrieval(
                self.learner.policy, episodes, temperature=moment.temperature,
                max_reply_tokens=self.rollouts.max_reply_tokens,
                tokens_per_microbatch=self.schedule.learning.tokens_per_microbatch,
            )  # fmt: skip
        return numbers

    def _learn(
        self, episodes: Sequence[Episode], step: StepParams[Any], moment: Moment
    ) -> tuple[dict[str, Any], list[list[float]]]:
        """Value the episodes and learn from them; return the numbers, and the log-ratios of `TrainStep`."""
        batch, drift = make_batch(episodes, self.learner.policy), dict[str, Any]()
        if self.served is not None:
            batch, drift = self.served.correct(
                batch, episodes, self.learner.policy, self.learner.objective, temperature=moment.temperature,
                tokens_per_microbatch=self.schedule.learning.tokens_per_microbatch,
            )  # fmt: skip
        replayed = self._replayed(moment)
        if replayed:
            batch = make_batch([*episodes, *replayed], self.learner.policy)
        everything = [*episodes, *replayed]
        if self.baseline is not None:
            self.baseline.begin_step(step.beta)
            batch = replace(batch, value_BK=self.baseline.values(batch, everything))
        shaped = batch
        if self.shaping is not None:
            shaped = self.shaping.shape(batch, everything, shift_values=not isinstance(self.baseline, NoBaseline))
        learned = self.learner.train_step(shaped, everything, self.references.current, step, moment)
        if replayed:  # what is measured is the play of the policy
            drift |= replay_numbers(learned, len(episodes))
            rows = range(len(episodes))
            learned, batch, shaped = learned.first(len(rows)), batch.select(rows), shaped.select(rows)
        self._last = learned, batch.value_BK, step
        numbers = learned.numbers | self._measure_update(batch, episodes, learned, step) | drift
        if batch.value_BK.numel():
            numbers["value"] = float(batch.value_BK[:, 0].double().mean())
        if step.beta:
            numbers["beta"] = step.beta
        if self.shaping is not None:
            numbers["automatic_shaping"] = float((shaped.reward_BK - batch.reward_BK).sum(1).double().mean())
        return numbers, learned.log_ratio_BK

    def _replayed(self, moment: Moment) -> list[Episode]:
        """Return the episodes of stage 1 that a step learns from too."""
        if self.replay is None:
            return []
        return self.replay.draw(moment.step, self.schedule.rollbacks, self.rollouts.shaping)

    def _measure_update(
        self, batch: TrainingBatch, episodes: Sequence[Episode], learned: TrainStep, step: StepParams[Any]
    ) -> dict[str, Any]:
        """Return the numbers of the update; none where the filter kept no episode.

        Args:
            batch: All episodes of the step, with rewards as they were played, and with their values.
            episodes: The same episodes.
            learned: The result of the learner.
            step: The settings and the KL temperature of the step.
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


def replay_numbers(learned: TrainStep, played: int) -> dict[str, Any]:
    """Return the numbers of the episodes of stage 1 that a step has learned from.

    Args:
        learned: What was learned, from these after the others.
        played: How many others there are.

    Returns:
        replayed: How many they are.
        replay_log_ratio: The mean over them of log pi - log b, b who has played, nats: how unlikely the policy would
            play them by now.
    """
    assert learned.batch is not None
    ratio_B = learned.batch.per_episode((learned.logp_N - learned.batch.old_logp_N).double())[played:]
    return {"replayed": len(ratio_B), "replay_log_ratio": float(ratio_B.mean())}


def usable(played: Sequence[Episode], step: int) -> list[Episode]:
    """Return the episodes that can be learned from: those without an error, with a reply.

    Raises:
        PlayError: There is none.
    """
    episodes = [episode for episode in played if not episode.status.is_error() and episode.num_sampled]
    if not episodes:
        reason = next((episode.error for episode in played if episode.error), "the context is too short to reply")
        raise PlayError(f"no episode of step {step} can be learned from: {reason}")
    return episodes

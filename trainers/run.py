"""A whole training run in one folder: warm start, stage 1, stage 2 and evaluation, each done once, in this order.

`run_files` says what lies where in the folder. A run that is resumed repeats nothing that is complete, and the rest
comes out the same to the last bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turngym._durable import remove_unfinished, replacement
from turngym._errors import InputError
from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import ranks
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.base_model import prepare_base
from turngym.trainers.baselines.baseline import make_baseline
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint, remove_after
from turngym.trainers.config import TrainConfig, Valued
from turngym.trainers.evaluation import evaluate_run, record_episodes
from turngym.trainers.interrupt import DeferredInterrupt
from turngym.trainers.learner import Learner
from turngym.trainers.live.tuning import Tuning
from turngym.trainers.live.values import AUTOMATIC_SHAPING, BASELINE, check_values, values_changed
from turngym.trainers.loop import Loop
from turngym.trainers.monitoring.alarms import Alarm, AlarmError, kinds_read
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.objectives import find_objective
from turngym.trainers.prompts.levels import check_levels
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.references import References, round_betas, round_estimates
from turngym.trainers.replay import Replay
from turngym.trainers.reporting.credit import write_credit
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.reporting.tables import COLUMNS, result_rows, table_cells
from turngym.trainers.reporting.trackers import Tracker
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_checkpoints import LIVE, RunCheckpoints
from turngym.trainers.run_files import (
    CHECKPOINTS,
    CREDIT,
    EPISODES,
    METRICS_FILE,
    REFERENCES,
    SERVED,
    WARM_START,
    store_name,
)
from turngym.trainers.schedules import Schedule
from turngym.trainers.selfplay.checks import check_proposals
from turngym.trainers.selfplay.proposer import Proposer
from turngym.trainers.served_policy import ServedPolicy
from turngym.trainers.stage_one.instance_values import composed_beta, composed_values
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.stage_one.stage import StageOneResult, environment_share, read_stage_one, run_stage_one
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreError
from turngym.trainers.warm_start.cloning import validate


def train(
    config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False, trackers: Sequence[Tracker] = ()
) -> dict[str, Any]:
    """Run or finish a run and return its result.

    Args:
        config: The resolved configuration.
        folder: The run's folder. Of a new run it holds nothing but the configuration, and maybe a `base/` that another
            run has prepared, which then replaces the warm start.
        progress: Told about phases and steps.
        resume: Continue from what the folder holds.
        trackers: Sent every line of the metrics, and the table of the result.

    Returns:
        The content of `result.json`: the scores by agent, the optimum, the sampled tokens and seconds of the phases,
        how often each alarm rang, and the number of rollbacks.

    Raises:
        AlarmError: An alarm ended the run; it can be resumed past the alarm.
        WarmStartError: The base never reached its success band.
        NonFiniteError: Learning became unstable; the last good checkpoint is intact.
        ValueError: A level of the curriculum cannot be played, there is nobody to clone, or the context is too short.
        KeyboardInterrupt: The user interrupted; the run can be resumed, in warm start and stage 2 from the very step.
    """
    check_levels(config.env, config.curriculum.levels)
    check_proposals(config)
    torch.set_num_threads(config.run.threads)
    with ranks.own_folder(folder) as own:
        return _train(config, own, progress, resume=resume, trackers=trackers)


def make_base(config: TrainConfig, folder: Path, progress: Progress, *, trackers: Sequence[Tracker] = ()) -> None:
    """Make the base of a run and no more, or finish one that was stopped; `train` with `resume` goes on from it.

    Args:
        config: As of `train`.
        folder: As of `train`.
        progress: As of `train`.
        trackers: As of `train`.

    Raises:
        WarmStartError: The base never reached its success band.
        ValueError: There is nobody to clone, or the context is too short.
        KeyboardInterrupt: The user interrupted; the warm start goes on from the very step.
    """
    torch.set_num_threads(config.run.threads)
    prepare_base(config, folder, _open_metrics(folder, progress, resume=True, trackers=trackers), progress)


def _open_metrics(folder: Path, progress: Progress, *, resume: bool, trackers: Sequence[Tracker]) -> Metrics:
    """Return the metrics of a run, at its beginning or, with `resume`, after what a kill left has been put away."""
    metrics = Metrics(folder / METRICS_FILE, trackers)
    if resume:
        for place in (folder, *(folder / name for name in (REFERENCES, CHECKPOINTS, WARM_START, CREDIT))):
            ranks.once(partial(remove_unfinished, place))  # what a kill left
        if damaged := metrics.rewind():
            progress.note(f"{metrics.path}: {damaged} cut off or damaged {'lines are' if damaged > 1 else 'line is'} "
                          "left out")  # fmt: skip
    else:
        metrics.clear()
    return metrics


def _train(
    config: TrainConfig, folder: Path, progress: Progress, *, resume: bool, trackers: Sequence[Tracker]
) -> dict[str, Any]:
    """Run or finish a run in the folder of this process."""
    metrics = _open_metrics(folder, progress, resume=resume, trackers=trackers)
    base = prepare_base(config, folder, metrics, progress)
    run = TrainingRun(base, config, folder, metrics, progress)
    run.learn()
    result = evaluate_run(run.loop, config.evaluation, folder, metrics, progress, base=base)
    for tracker in trackers:
        tracker.table("result", COLUMNS, table_cells(result_rows(result)))
    return result


class TrainingRun:
    """Stages 1 and 2 of a run: the components at their start, or as the last checkpoint in the folder holds them.

    A value store that is missing is copied from that checkpoint.

    Args:
        base: The reference of round 1.
        config: The configuration of the run.
        folder: The folder of the run.
        metrics: Gets a line for every block of stage 1, step, alarm and reset.
        progress: Told about phases and steps.
    """

    def __init__(
        self, base: LanguageModel, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress
    ) -> None:
        self._begun, self._folder, self._metrics, self._progress = config, folder, metrics, progress
        self._live = Tuning(config, folder, progress.note)
        last = latest_checkpoint(folder / CHECKPOINTS, tell=progress.note)
        checkpoint = None if last is None else load_checkpoint(last)
        if checkpoint is not None:
            self._live.load_state_dict(checkpoint.extra[LIVE])
        schedule = Schedule(config.learning, config.objective, config.monitors.rollback_learning_rate)
        references = References(folder, base)
        if checkpoint is not None:
            references.go_to(schedule.round_of(checkpoint.step))
            for name in map(store_name, range(1, references.number + 1)):
                if config.needs_stage_one and not (folder / name).exists():
                    with replacement(folder / name) as unfinished:
                        shutil.copyfile(checkpoint.path / name, unfinished)
        result = self._stage_one(references)
        policy = base.copy() if checkpoint is None else base.load_beside(checkpoint.policy)
        policy.learned.requires_grad_(True)
        objective = find_objective(config.objective.name)
        kinds = kinds_read(objective, validates=config.evaluation.validate_every is not None,
                           proposes=config.selfplay.by_model)  # fmt: skip
        easier = len(config.curriculum.levels)
        self.loop = Loop(
            rollouts=Rollouts.of(config), prompts=PromptSampler.of(config, result.pool),
            successes=SuccessTracker(result, easier=easier), baseline=None, shaping=None, references=references,
            learner=Learner(policy, objective, config.learning, seed=config.run.seed), schedule=schedule,
            monitors=Monitors(config.monitors, config.shaping, kinds=kinds, easier=easier),
            served=ServedPolicy(config.rollout, folder / SERVED) if config.rollout.server else None,
            proposer=Proposer(config) if config.selfplay.enabled else None,
        )  # fmt: skip
        self._checkpoints = RunCheckpoints(folder / CHECKPOINTS, self.loop, self._live)
        self.loop.retune(self._config)
        self._begin_values(result)
        self._begin_replay()
        if checkpoint is None:
            schedule.count_stage_one(result.reference, result.tokens)
        else:
            self._checkpoints.restore(checkpoint)

    @property
    def _config(self) -> TrainConfig:
        """The settings of the run as they are now."""
        return self._live.config

    @property
    def _setup(self) -> StageOneSetup:
        """The settings of stage 1: it is played as the run began, and read by the settings as they are now."""
        return StageOneSetup.of(self._config, self._begun)

    # Stages 1 and 2 ---------------------------------------------------------------------------------------------

    def learn(self) -> None:
        """Learn to the end of the run, with a reset of the reference between two rounds."""
        schedule = self.loop.schedule
        self._metrics.rewind(schedule.step, schedule.rollbacks)
        if self._config.monitors.on_alarm == "rollback" and schedule.step == 0:
            self._checkpoints.save()
        if not schedule.finished:
            self._live.begin(schedule.step)
        self._learn_round()
        while not schedule.finished:
            self.reset_reference()
            self._learn_round()

    def reset_reference(self) -> None:
        """Make the present policy the reference of the next round, and run its stage 1 where that is needed."""
        references, schedule = self.loop.references, self.loop.schedule
        references.reset(self.loop.learner.policy)
        labels = {"round": references.number, "rollbacks": schedule.rollbacks}
        values: dict[str, float] = {}
        if self._begun.needs_stage_one:
            result = self._stage_one(references, labels)
            values = self._composed()
            schedule.count_stage_one(result.reference, result.tokens)
            self._enter_round(result)
        self._metrics.add("reset", {"step": schedule.step, **labels, **values})

    def _stage_one(self, references: References, labels: dict[str, int] | None = None) -> StageOneResult:
        """Run or finish stage 1 for the present reference; return the pool alone where nothing needs stage 1."""
        if not self._begun.needs_stage_one:
            return StageOneResult(pool=range(self._begun.values.instances))
        return run_stage_one(
            references.current, references.store, self._setup, self._metrics, self._progress, labels=labels
        )

    def _composed(self) -> dict[str, float]:
        """Return the mean V* of the new round, and that of the first reference composed over the rounds."""
        every = self._config.learning.reset_every
        betas = round_betas(self._metrics, self.loop.references.number, every) if every is not None else None
        if not betas:
            return {}
        rounds = round_estimates(self._folder, betas, self._setup)
        return {
            "beta": betas[-1],
            "value": float(np.mean(rounds[-1].values)),
            "composed_beta": composed_beta(betas),
            "composed_value": float(np.mean(list(composed_values(rounds, betas).values()))),
        }

    def _enter_round(self, result: StageOneResult) -> None:
        """Make the components that begin with stage 1 anew; what they know of the easier levels is kept."""
        successes, baseline = self.loop.successes, self.loop.baseline
        self.loop.successes = SuccessTracker(result, easier=len(self._config.curriculum.levels))
        self.loop.successes.follow_on(successes)
        self.loop.prompts.pool = result.pool
        self._begin_values(result)
        self._begin_replay()
        if self.loop.baseline is not None and baseline is not None:
            self.loop.baseline.follow_on(baseline)

    def _begin_values(self, result: StageOneResult) -> None:
        """Make what begins with the values of stage 1: baseline, automatic shaping, and what self-play reads."""
        self._begin_baseline(result)
        self._begin_shaping(result)
        if self.loop.proposer is not None and self._begun.needs_stage_one:
            self.loop.stage_one = self._setup, result.estimates
            with ValueStore(self.loop.references.store, None) as store:
                self.loop.proposer.environment_share = environment_share(store, self._setup)

    def _begin_baseline(self, result: StageOneResult) -> None:
        config, low_high = self._config, self.loop.rollouts.task_range
        if isinstance(config.objective, Valued):
            self.loop.baseline = make_baseline(
                config.objective, result, config.values, easier=len(config.curriculum.levels), middle=sum(low_high) / 2
            )

    def _begin_shaping(self, result: StageOneResult) -> None:
        config, self.loop.shaping = self._config, None
        if config.shaping.automatic_weight and result.transitions is not None:
            self.loop.shaping = AutomaticShaping(
                result.transitions, self._setup.beta_value, config.values, config.shaping.automatic_weight
            )

    def _begin_replay(self) -> None:
        """Let the round learn from whole episodes of its stage 1, if it shall."""
        learning, begun = self._config.learning, self._begun
        if self.loop.replay is not None:
            self.loop.replay.close()
        if learning.replayed:
            store = ValueStore(self.loop.references.store, None)
            self.loop.replay = Replay(store, count=learning.replayed, paid=begun.shaping, seed=begun.run.seed)

    def _learn_round(self) -> None:
        """Learn to the end of a round; save every `checkpoint_every` steps, at the end, on a signal and on an alarm."""
        loop, schedule, config = self.loop, self.loop.schedule, self._config
        self._progress.phase(f"stage 2: {config.objective.name}", config.learning.steps)
        self._progress.advance(schedule.step)

        def after_step(numbers: dict[str, Any], episodes: Sequence[Episode]) -> None:
            every = config.evaluation.validate_every
            if every is not None and schedule.step % every == 0:
                numbers["validation"] = validate(loop.learner.policy, loop.rollouts,
                                                 config.evaluation.validation_episodes,
                                                 temperature=config.learning.final_temperature)  # fmt: skip
            alarms = loop.monitors.judge(numbers)
            self._metrics.add("learning", numbers)
            shown = {name: numbers[name] for name in ("success", "loss", "kl") if name in numbers}
            self._progress.advance(**shown)
            for alarm in alarms:
                self._metrics.add("alarm", {**asdict(alarm), "rollbacks": schedule.rollbacks})
                self._progress.note(str(alarm))
            error = self._answer(alarms)
            over = schedule.finished or schedule.round_over(loop.references.number)
            due = over or schedule.step % config.run.checkpoint_every == 0
            ranks.agree_on(interrupt)
            if schedule.step == numbers["step"] and (due or interrupt.requested or error):
                name = f"train_{schedule.step:06d}"
                record_episodes(self._folder / EPISODES / f"{name}.jsonl", list(episodes))
                write_credit(self._folder, name, loop.credit(episodes))
                self._checkpoints.save()
            if error:
                raise error
            if interrupt.requested:
                raise interrupt.requested

        with DeferredInterrupt() as interrupt:
            loop.run_round(after_step, self._folder / EPISODES / "failed_step.jsonl", self._tune)

    # Live tuning ------------------------------------------------------------------------------------------------

    def _tune(self) -> None:
        """Take what is asked for live, before a step."""
        schedule = self.loop.schedule
        taken = self._live.look(schedule.step, schedule.rollbacks, self._revalued)
        if taken is None:
            return
        self.loop.retune(self._config)
        if taken.prepared is not None:
            self._begin_again(taken.before, taken.prepared)
        line = {"step": schedule.step, "rollbacks": schedule.rollbacks, "changed": taken.said}
        self._metrics.add("live", {**line, "values": dict(taken.change.values)})

    def _revalued(self, config: TrainConfig) -> StageOneResult | None:
        """Return stage 1 by other settings; None where no value depends on what changes.

        Raises:
            InputError: Its episodes cannot be valued by them.
        """
        check_values(self._begun, config)
        if not (self._begun.needs_stage_one and {*values_changed(self._config, config)}):
            return None
        with ValueStore(self.loop.references.store, None) as store:
            try:
                return read_stage_one(store, StageOneSetup.of(config, self._begun))
            except ValueStoreError:
                raise
            except ValueError as error:
                raise InputError(f"the stored episodes of stage 1 cannot be valued by that: {error}") from error

    def _begin_again(self, before: TrainConfig, result: StageOneResult) -> None:
        """Begin those values of stage 1 anew that depend on what has changed since; levels begin anew with them.

        Args:
            before: The settings that the present values were made by.
            result: Stage 1 by the settings as they are now.
        """
        again = values_changed(before, self._config)
        if BASELINE in again:
            self._begin_baseline(result)
        if AUTOMATIC_SHAPING in again:
            self._begin_shaping(result)

    # Alarms -----------------------------------------------------------------------------------------------------

    def _answer(self, alarms: Sequence[Alarm]) -> AlarmError | None:
        """Do what `monitors.on_alarm` says: nothing, a rollback, or return the error that is to end the run."""
        monitors, schedule = self._config.monitors, self.loop.schedule
        if not alarms or monitors.on_alarm == "warn":
            return None
        # The newest checkpoint that none of the alarms puts in doubt.
        good = latest_checkpoint(
            self._folder / CHECKPOINTS, min(alarm.last_good_step for alarm in alarms), tell=self._progress.note
        )
        if monitors.on_alarm == "rollback" and good and schedule.rollbacks < monitors.max_rollbacks:
            step = schedule.step
            self.roll_back(good)
            self._progress.advance(schedule.step - step)
            self._progress.note(f"rollback {schedule.rollbacks} of at most {monitors.max_rollbacks}: "
                                f"back to step {schedule.step}")  # fmt: skip
            return None
        kept = f"the last checkpoint from before the trouble is {good}" if good else "no checkpoint is from before"
        tried = f" Learning was rolled back {schedule.rollbacks} times." if schedule.rollbacks else ""
        return AlarmError(
            f"{'. '.join(map(str, alarms))}.{tried} This step is saved, and {kept}; --resume goes on past the alarm"
        )

    def roll_back(self, path: Path) -> None:
        """Go back to a checkpoint, count the rollback, delete later checkpoints, and save.

        A checkpoint of an earlier round brings the reference of that round back; the files of the later round stay
        until it begins again. A run that crashes before the save repeats the steps that led here, with the same end.

        Args:
            path: The folder of the checkpoint.

        Raises:
            CheckpointError: The checkpoint is damaged; nothing has changed.
        """
        checkpoint = load_checkpoint(path)
        loop = self.loop
        number = loop.schedule.round_of(checkpoint.step)
        if number != loop.references.number:
            loop.references.go_to(number)
            if self._begun.needs_stage_one:
                with ValueStore(loop.references.store, None) as store:
                    self._enter_round(read_stage_one(store, self._setup))
        self._checkpoints.roll_back(checkpoint, loop.references.current.load_beside(checkpoint.policy))
        then = self._live.config_then(checkpoint.extra[LIVE])
        if self._begun.needs_stage_one and values_changed(then, self._config):
            with ValueStore(loop.references.store, None) as store:
                self._begin_again(then, read_stage_one(store, self._setup))
        loop.monitors.forget_returns(then.shaping)
        ranks.once(lambda: remove_after(path.parent, checkpoint.step))
        self._checkpoints.save()

"""A whole training run in one folder: model, warm start, stage 1, stage 2, measurement; each done once, in order.

    runs/<name>/
        config.toml           the resolved configuration (written by the command line)
        base/                 the model before reinforcement learning: the reference policy
        values.sqlite         its episodes, stage 1; absent where the objective does without
        references/           round-2/: the policy as it was at a reset, the reference from then on; where there are any
        values-2.sqlite       the episodes of that reference
        checkpoints/          step-000050/: policy, optimizer, the state of every component, a copy of the value stores
        metrics.jsonl         one line per check, stage, optimizer step, alarm and reset
        episodes/             those of the step before every checkpoint, and of the test
        result.json           scores of random, base and trained model on the test split, and the optimum

Resuming repeats none of what is complete, and what it repeats comes out the same to the last bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.base_model import prepare_base
from turngym.trainers.baselines.baseline import make_baseline
from turngym.trainers.checkpoints.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    prune,
    remove_after,
    save_checkpoint,
)
from turngym.trainers.config import TrainConfig, Valued
from turngym.trainers.critic import load_critic, save_critic
from turngym.trainers.evaluation import measure_run, record_episodes
from turngym.trainers.interrupt import DeferredInterrupt
from turngym.trainers.launch.run_folder import METRICS_FILE
from turngym.trainers.learner import Learner
from turngym.trainers.loop import Loop
from turngym.trainers.monitoring.alarms import Alarm, AlarmError, kinds_read
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.objectives import find_objective
from turngym.trainers.prompts.levels import check_levels
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.references import References, round_betas, round_estimates, store_name
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.reporting.trackers import Tracker
from turngym.trainers.schedules import Schedule
from turngym.trainers.stage_one.instance_values import composed_beta, composed_values
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.stage_one.stage import StageOneResult, read_stage_one, run_stage_one
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.warm_start import validate

CHECKPOINTS_KEPT = 2


def train(
    config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False, trackers: Sequence[Tracker] = ()
) -> dict[str, Any]:
    """Run or finish a run and return its result.

    Args:
        config: The resolved configuration.
        folder: The run's folder. It holds nothing but the configuration when the run is new, or a `base/` that another
            run has prepared, which then replaces the warm start.
        progress: Told where the run stands.
        resume: Continue from what the folder holds.
        trackers: Told every line of the metrics.

    Returns:
        What `result.json` holds: the scores by agent, the optimum, the sampled tokens and seconds of the phases, how
        often each alarm rang, and how often learning was rolled back.

    Raises:
        AlarmError: An alarm ended the run; it can be resumed past the alarm.
        WarmStartError: The base never reached its success band.
        NonFiniteError: Learning became unstable; the last good checkpoint is intact.
        ValueError: A level of the curriculum cannot be played, there is nobody to clone, or the context is too short.
        KeyboardInterrupt: The user interrupted; the run can be resumed, in stage 2 from the very step.
    """
    check_levels(config.env, config.curriculum.levels)
    torch.set_num_threads(config.run.threads)
    metrics = Metrics(folder / METRICS_FILE, trackers)
    if resume:
        metrics.rewind()
    else:
        metrics.clear()
    base = prepare_base(config, folder, metrics, progress)
    run = TrainingRun(base, config, folder, metrics, progress)
    run.learn()
    return measure_run(run.loop, config.evaluation, folder, metrics, progress, base=base)


class TrainingRun:
    """Stages 1 and 2 in a folder: the components, as the last checkpoint left them or at their start.

    A value store that is missing is taken from the last checkpoint. The round is that of the checkpoint's step.

    Args:
        base: The first reference.
        config: The run.
        folder: Its folder.
        metrics: Told about every block of stage 1 and every step.
        progress: Told where the run stands.
    """

    def __init__(
        self, base: LanguageModel, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress
    ) -> None:
        self._config, self._folder, self._metrics, self._progress = config, folder, metrics, progress
        self._setup = StageOneSetup.of(config)
        last = latest_checkpoint(folder / "checkpoints")
        checkpoint = None if last is None else load_checkpoint(last)
        schedule = Schedule(config.learning, config.objective, config.monitors.rollback_learning_rate)
        references = References(folder, base, keep_thoughts=config.model.keep_thoughts)
        if checkpoint is not None:
            references.go_to(schedule.round_of(checkpoint.step))
            for name in map(store_name, range(1, references.number + 1)):
                if config.needs_stage_one and not (folder / name).exists():
                    shutil.copyfile(checkpoint.path / name, folder / name)
        result = self._stage_one(references)
        policy = references.copy(base) if checkpoint is None else self._load_policy(checkpoint)
        policy.model.requires_grad_(True)
        objective = find_objective(config.objective.name)
        kinds = kinds_read(objective, validates=config.evaluation.validate_every is not None)
        easier = len(config.curriculum.levels)
        self.loop = Loop(
            rollouts=self._setup.rollouts, prompts=PromptSampler.of(config, result.pool),
            successes=SuccessTracker(result, easier=easier), baseline=None, shaping=None, references=references,
            learner=Learner(policy, objective, config.learning, seed=config.run.seed), schedule=schedule,
            monitors=Monitors(config.monitors, config.shaping, kinds=kinds, easier=easier),
        )  # fmt: skip
        self._read(result)
        if checkpoint is None:
            schedule.count_stage_one(result.reference, result.tokens)
        else:
            self._restore(checkpoint)

    # Stages 1 and 2 ---------------------------------------------------------------------------------------------

    def learn(self) -> None:
        """Learn, round by round: where a round is over but not the run, the reference is reset."""
        schedule = self.loop.schedule
        self._metrics.rewind(schedule.step, schedule.rollbacks)
        if self._config.monitors.on_alarm == "rollback" and schedule.step == 0:
            self.save()
        self._learn_round()
        while not schedule.finished:
            self.reset_reference()
            self._learn_round()

    def reset_reference(self) -> None:
        """Make the policy as it is the reference of the next round, and run stage 1 anew for it, where there is one."""
        references, schedule = self.loop.references, self.loop.schedule
        references.reset(self.loop.learner.policy)
        labels = {"round": references.number, "rollbacks": schedule.rollbacks}
        values: dict[str, float] = {}
        if self._config.needs_stage_one:
            result = self._stage_one(references, labels)
            values = self._composed()
            schedule.count_stage_one(result.reference, result.tokens)
            self._enter_round(result)
        self._metrics.add("reset", {"step": schedule.step, **labels, **values})

    def _stage_one(self, references: References, labels: dict[str, int] | None = None) -> StageOneResult:
        """Run or finish stage 1 for the present reference; without any use for it, the pool alone is known."""
        if not self._config.needs_stage_one:
            return StageOneResult(pool=range(self._config.values.instances))
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
        """Put the components at the start of a round; what stage 1 cannot know, the easier levels, goes on."""
        successes, baseline = self.loop.successes, self.loop.baseline
        self.loop.successes = SuccessTracker(result, easier=len(self._config.curriculum.levels))
        self.loop.successes.follow_on(successes)
        self.loop.prompts.pool = result.pool
        self._read(result)
        if self.loop.baseline is not None and baseline is not None:
            self.loop.baseline.follow_on(baseline)

    def _read(self, result: StageOneResult) -> None:
        """Make what rests on stage 1: the baseline and the automatic shaping."""
        config, low_high = self._config, self._setup.rollouts.task_range
        if isinstance(config.objective, Valued):
            self.loop.baseline = make_baseline(
                config.objective, result, config.values, easier=len(config.curriculum.levels), middle=sum(low_high) / 2
            )
        if config.shaping.automatic_weight and result.transitions is not None:
            self.loop.shaping = AutomaticShaping(
                result.transitions, self._setup.beta_value, config.values, config.shaping.automatic_weight
            )

    def _learn_round(self) -> None:
        """Learn, with a checkpoint every so many steps, at the end, when the user interrupts, and on an alarm."""
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
            if schedule.step == numbers["step"] and (due or interrupt.requested or error):
                record_episodes(self._folder / "episodes" / f"train_{schedule.step:06d}.jsonl", list(episodes))
                self.save()
            if error:
                raise error
            if interrupt.requested:
                raise KeyboardInterrupt

        with DeferredInterrupt() as interrupt:
            loop.run_round(after_step, self._folder / "episodes" / "failed_step.jsonl")

    # Alarms -----------------------------------------------------------------------------------------------------

    def _answer(self, alarms: Sequence[Alarm]) -> AlarmError | None:
        """Do what `monitors.on_alarm` says about alarms that ring: nothing, a rollback, or return why the run ends."""
        monitors, schedule = self._config.monitors, self.loop.schedule
        if not alarms or monitors.on_alarm == "warn":
            return None
        # The newest checkpoint from before all that the alarms put in doubt.
        good = latest_checkpoint(self._folder / "checkpoints", min(alarm.last_good_step for alarm in alarms))
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
        """Go back to a checkpoint, count the rollback, and delete what was saved later.

        Weights, critic, optimizer and every component are those of the checkpoint, but for what was generated since and
        the fresh instances that were used, which stay counted. Where that is an earlier round, the files of the later
        one stay until it begins again. Until the run is saved again a crash repeats the steps that led here, with the
        same end.

        Raises:
            CheckpointError: The checkpoint is damaged; nothing has changed.
        """
        checkpoint = load_checkpoint(path)
        loop = self.loop
        number = loop.schedule.round_of(checkpoint.step)
        if number != loop.references.number:
            loop.references.go_to(number)
            if self._config.needs_stage_one:
                with ValueStore(loop.references.store, None) as store:
                    self._enter_round(read_stage_one(store, self._setup))
        loop.learner.policy.model.load_state_dict(self._load_policy(checkpoint).model.state_dict())
        self._restore(checkpoint, rolled_back=True)
        remove_after(path.parent, checkpoint.step)
        self.save()

    # Checkpoints ------------------------------------------------------------------------------------------------

    def _components(self) -> dict[str, Any]:
        """Return what has a state, by its name in a checkpoint."""
        loop = self.loop
        components = {"schedule": loop.schedule, "prompts": loop.prompts, "successes": loop.successes,
                      "baseline": loop.baseline, "monitors": loop.monitors}  # fmt: skip
        return {name: component for name, component in components.items() if component is not None}

    def save(self) -> None:
        """Save everything that stage 2 changes, and the value stores of its rounds, which nobody writes by now.

        Where an alarm may end or roll back the run, the last checkpoint from before what an alarm would put in doubt
        stays.
        """
        learner = self.loop.learner

        def save_policy(path: Path) -> None:
            learner.policy.save_pretrained(path)
            if learner.critic is not None:
                save_critic(learner.critic, path)

        save_checkpoint(
            self._folder / "checkpoints",
            self.loop.schedule.step,
            save_policy=save_policy,
            optimizer_state=learner.optimizer.state_dict(),
            extra={name: component.state_dict() for name, component in self._components().items()},
            files=self.loop.references.stores,
        )
        prune(self._folder / "checkpoints", CHECKPOINTS_KEPT, self.loop.monitors.good_steps())

    def _restore(self, checkpoint: Checkpoint, *, rolled_back: bool = False) -> None:
        """Take over all of a checkpoint but the policy's weights; what a rollback does not turn back stays."""
        learner = self.loop.learner
        learner.optimizer.load_state_dict(checkpoint.optimizer_state)
        if learner.critic is not None:
            load_critic(learner.critic, checkpoint.policy)
        for name, component in self._components().items():
            state = checkpoint.extra[name]
            if rolled_back and hasattr(component, "roll_back"):
                component.roll_back(state)
            else:
                component.load_state_dict(state)

    def _load_policy(self, checkpoint: Checkpoint) -> LanguageModel:
        return LanguageModel.from_pretrained(checkpoint.policy, keep_thoughts=self._config.model.keep_thoughts)

"""A whole training run in one folder: player, warm start, stage 1, stage 2, measurement; each done once, in order.

    runs/<name>/
        config.toml           the resolved configuration (written by the command line)
        base/                 the player before reinforcement learning: the reference policy
        values.sqlite         its episodes, stage 1; absent where the objective does without
        references/           round-2/: the policy as it was at a reset, the reference from then on; where there are any
        values-2.sqlite       the episodes of that reference
        checkpoints/          step-000050/: policy, optimizer, tracker, a copy of the value stores
        metrics.jsonl         one line per check, stage, optimizer step, alarm and reset
        episodes/             those of the step before every checkpoint, and of the test
        result.json           scores of random, base and trained player on the test split, and the optimum

Resuming repeats none of what is complete, and what it repeats comes out the same to the last bit.
"""

from __future__ import annotations

import copy
import json
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import torch

from turngym.agents.base import Agent
from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import instance_range, optimal_rate, score_episodes
from turngym.agents.language_model import LanguageModel
from turngym.agents.scripted import DemonstrationAgent, RandomAgent
from turngym.agents.small_model import build_decoder, train_tokenizer
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint, prune, save_checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.critic import make_critic, save_critic
from turngym.trainers.learner import Learner, make_optimizer
from turngym.trainers.loop import learn
from turngym.trainers.monitoring.alarms import Alarm, AlarmError, check_action
from turngym.trainers.objectives import chosen_objective, needs_stage_one
from turngym.trainers.prompts.curriculum import check_levels, make_tracker
from turngym.trainers.references import (
    frozen_copy,
    load_reference,
    reference_folder,
    remove_stale_store,
    round_betas,
    round_estimates,
    round_of,
    save_reference,
    store_name,
)
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.rollback import last_good_checkpoint, restore, roll_back
from turngym.trainers.rollouts import final_temperature, model_player, play
from turngym.trainers.schedules import finished, round_over
from turngym.trainers.stage_one.instance_values import NO_ESTIMATES, composed_beta, composed_values
from turngym.trainers.stage_one.stage import StageOne, read_stage_one, run_stage_one
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.warm_start import clone, validate

TOKENIZER_EPISODES = 500
"""Demonstrations whose text the built-in tokenizer is trained on."""
CHECKPOINTS_KEPT = 2
COUNTS = ("generated_tokens", "stage_one_tokens", "counted_references", "fresh_instances", "rollbacks")
"""What a learner counts over the whole run: a rollback does not turn it back."""


def train(config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False) -> dict[str, Any]:
    """Run or finish a run and return its result.

    Args:
        config: The resolved configuration.
        folder: The run's folder. It holds nothing but the configuration when the run is new, or a `base/` that another
            run has prepared, which then replaces the warm start.
        progress: Told where the run stands.
        resume: Continue from what the folder holds.

    Returns:
        What `result.json` holds: the scores by player, the optimum, the sampled tokens and seconds of the phases, how
        often each alarm rang, and how often learning was rolled back.

    Raises:
        AlarmError: An alarm ended the run; it can be resumed past the alarm.
        WarmStartError: The base never reached its success band.
        NonFiniteError: Learning became unstable; the last good checkpoint is intact.
        ValueError: `monitors.on_alarm` is unknown or a level of the curriculum cannot be played.
        KeyboardInterrupt: The user interrupted; the run can be resumed, in stage 2 from the very step.
    """
    check_levels(config)
    check_action(config)
    torch.set_num_threads(config.run.threads)
    metrics = Metrics(folder / "metrics.jsonl")
    if resume:
        metrics.rewind()
    else:
        metrics.clear()
    base = prepare_base(config, folder, metrics, progress)
    learner = prepare_learner(base, config, folder, metrics, progress)
    run_stage_two(learner, config, folder, metrics, progress)
    return measure(learner, config, folder, metrics, progress, base=base)


# The player before reinforcement learning -----------------------------------------------------------------------


def prepare_base(config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress) -> LanguageModel:
    """Return the first reference policy: loaded if the run has it, else loaded or built, and cloned into its band."""
    base = reference_folder(folder, 1)
    if base.is_dir():
        return LanguageModel.from_pretrained(base, keep_thoughts=config.model.keep_thoughts)
    metrics.clear()
    model = load_or_build(config)
    if config.warm_start.enabled:
        for check in clone(model, config, progress):
            metrics.add("warm_start", check)
    save_reference(model, base)
    return model


def load_or_build(config: TrainConfig) -> LanguageModel:
    """Load the configured checkpoint, or build the small model with a tokenizer trained on the environment's text."""
    shape = config.model
    if shape.path:
        return LanguageModel.from_pretrained(shape.path, keep_thoughts=shape.keep_thoughts)
    episodes = play(DemonstrationAgent(0.5), instance_range("train", TOKENIZER_EPISODES), config, slots=1)
    texts = [message["content"] for episode in episodes for message in episode.messages()]
    tokenizer = train_tokenizer(
        texts, vocabulary_size=shape.vocabulary_size, digits_per_token=shape.digits_per_token,
        show_instructions=shape.show_instructions,
    )  # fmt: skip
    decoder = build_decoder(
        tokenizer, hidden_size=shape.hidden_size, layers=shape.layers, heads=shape.heads,
        feedforward_size=shape.feedforward_size, context_length=shape.context_length, seed=config.run.seed,
    )  # fmt: skip
    return LanguageModel(decoder, tokenizer)


# Stages 1 and 2 -------------------------------------------------------------------------------------------------


def prepare_learner(
    base: LanguageModel, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress
) -> Learner:
    """Run stage 1 if its values are of use, and return the learner as the last checkpoint left it, or at its start.

    A value store that is missing is taken from the last checkpoint. The round is that of the checkpoint's step.
    """
    objective = chosen_objective(config)
    base.model.requires_grad_(False)
    last = latest_checkpoint(folder / "checkpoints")
    checkpoint = None if last is None else load_checkpoint(last)
    number = 1 if checkpoint is None else round_of(checkpoint.step, config)
    reference = base if number == 1 else load_reference(folder, number, config)
    if needs_stage_one(config):
        for name in map(store_name, range(1, number + 1)):
            if last is not None and not (folder / name).exists():
                shutil.copyfile(last / name, folder / name)
        known = run_stage_one(reference, folder / store_name(number), config, metrics, progress)
    else:
        known = StageOne(tracker=make_tracker(NO_ESTIMATES, {}, config), pool=range(config.values.instances))
    if last is None:
        policy = LanguageModel(copy.deepcopy(base.model), base.tokenizer, keep_thoughts=config.model.keep_thoughts)
    else:
        policy = LanguageModel.from_pretrained(last / "policy", keep_thoughts=config.model.keep_thoughts)
    policy.model.requires_grad_(True)
    critic = make_critic(policy) if objective.returns else None
    learner = Learner(
        policy=policy, reference=reference, optimizer=make_optimizer(policy, config, critic), tracker=known.tracker,
        pool=known.pool, transitions=known.transitions,
        potential=known.potential, critic=critic, round=number,
    )  # fmt: skip
    if checkpoint is None:
        learner.count_stage_one(known.reference, known.tokens)
    else:
        restore(learner, checkpoint)
        for name in COUNTS:
            setattr(learner, name, checkpoint.extra[name])
    return learner


def run_stage_two(learner: Learner, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress) -> None:
    """Learn, round by round: where a round is over but not the run, the reference is reset."""
    metrics.rewind(learner.step, learner.rollbacks)
    if config.monitors.on_alarm == "rollback" and learner.step == 0:
        checkpoint_learner(learner, config, folder)
    run_round(learner, config, folder, metrics, progress)
    while not finished(learner, config):
        reset_reference(learner, config, folder, metrics, progress)
        run_round(learner, config, folder, metrics, progress)


def reset_reference(learner: Learner, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress) -> None:
    """Make the policy as it is the reference of the next round, and run stage 1 anew for it, where there is one.

    The learner must stand as its checkpoint holds it, so that a run which is killed in here comes back here.
    """
    number = learner.round + 1
    labels = {"round": number, "rollbacks": learner.rollbacks}
    reference = frozen_copy(learner.policy, config)
    save_reference(reference, reference_folder(folder, number))
    known, values = None, {}
    if needs_stage_one(config):
        path = folder / store_name(number)
        remove_stale_store(path, reference)
        known = run_stage_one(reference, path, config, metrics, progress, labels=labels)
        if betas := round_betas(metrics, number, config):
            rounds = round_estimates(folder, betas, config)
            composed = float(np.mean(list(composed_values(rounds, betas).values())))
            values = {"beta": betas[-1], "value": float(np.mean(rounds[-1].values)),
                      "composed_beta": composed_beta(betas), "composed_value": composed}  # fmt: skip
        learner.count_stage_one(known.reference, known.tokens)
    enter_round(learner, number, reference, known)
    metrics.add("reset", {"step": learner.step, **labels, **values})


def enter_round(learner: Learner, number: int, reference: LanguageModel, known: StageOne | None) -> None:
    """Put the learner at the start of a round; without a stage 1, its tracker goes on."""
    learner.round, learner.reference = number, reference
    if known is not None:
        known.tracker.follow_on(learner.tracker.state_dict())
        learner.tracker, learner.pool = known.tracker, known.pool
        learner.potential, learner.transitions, learner.states = known.potential, known.transitions, None


def run_round(learner: Learner, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress) -> None:
    """Learn, with a checkpoint every so many steps, at the end, when the user interrupts, and when an alarm asks."""
    progress.phase(f"stage 2: {config.astarpo.objective}", config.astarpo.steps)
    progress.advance(learner.step)

    def after_step(numbers: dict[str, Any], episodes: Sequence[Episode]) -> None:
        every = config.evaluation.validate_every
        if every and learner.step % every == 0:
            numbers["validation"] = validate(
                learner.policy, config, config.evaluation.validation_episodes, temperature=final_temperature(config)
            )
        alarms = learner.alarms.judge(numbers, config.monitors)
        metrics.add("astarpo", numbers)
        progress.advance(**{name: numbers[name] for name in ("success", "loss", "kl") if name in numbers})
        for alarm in alarms:
            metrics.add("alarm", {**asdict(alarm), "rollbacks": learner.rollbacks})
            progress.note(str(alarm))
        error = answer_alarms(alarms, learner, config, folder, progress)
        over = finished(learner, config) or round_over(learner, config)
        due = over or learner.step % config.run.checkpoint_every == 0
        if learner.step == numbers["step"] and (due or interrupt.requested or error):
            record_episodes(folder / "episodes" / f"train_{learner.step:06d}.jsonl", episodes)
            checkpoint_learner(learner, config, folder)
        if error:
            raise error
        if interrupt.requested:
            raise KeyboardInterrupt

    with DeferredInterrupt() as interrupt:
        learn(learner, config, on_step=after_step, failure_file=folder / "episodes" / "failed_step.jsonl")


def answer_alarms(
    alarms: Sequence[Alarm], learner: Learner, config: TrainConfig, folder: Path, progress: Progress
) -> AlarmError | None:
    """Do what `monitors.on_alarm` says about the alarms that ring: nothing, a rollback, or return why the run ends."""
    monitors = config.monitors
    if not alarms or monitors.on_alarm == "warn":
        return None
    step, good = learner.step, last_good_checkpoint(folder / "checkpoints", alarms)
    if monitors.on_alarm == "rollback" and good and learner.rollbacks < monitors.max_rollbacks:
        return_to_round(learner, good, config, folder)
        roll_back(learner, good)
        checkpoint_learner(learner, config, folder)
        progress.advance(learner.step - step)
        progress.note(f"rollback {learner.rollbacks} of at most {monitors.max_rollbacks}: back to step {learner.step}")
        return None
    kept = f"the last checkpoint from before the trouble is {good}" if good else "no checkpoint is from before"
    tried = f" Learning was rolled back {learner.rollbacks} times." if learner.rollbacks else ""
    return AlarmError(
        f"{'. '.join(map(str, alarms))}.{tried} This step is saved, and {kept}; --resume goes on past the alarm"
    )


def return_to_round(learner: Learner, checkpoint: Path, config: TrainConfig, folder: Path) -> None:
    """Put the learner into the round of a checkpoint, where that is an earlier one.

    The files of the later round stay until it begins again, so that a crash before the rollback is saved repeats it.
    """
    number = round_of(load_checkpoint(checkpoint).step, config)
    if number == learner.round:
        return
    known = None
    if needs_stage_one(config):
        with ValueStore(folder / store_name(number), None) as store:
            known = read_stage_one(store, config)
    enter_round(learner, number, load_reference(folder, number, config), known)


class DeferredInterrupt:
    """Lets a first Ctrl-C wait for the end of the optimizer step, so that what is saved is whole; a second does not.

    Outside the main thread, where signals cannot be caught, it changes nothing.
    """

    requested = False

    def __enter__(self) -> Self:
        """Catch SIGINT from now on."""
        self._previous: Any = None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def checkpoint_learner(learner: Learner, config: TrainConfig, folder: Path) -> None:
    """Save everything that stage 2 changes, and the value stores of its rounds, which nobody writes by now.

    Where an alarm may end or roll back the run, the last checkpoint from before what an alarm would put in doubt stays.
    """

    def save_policy(path: Path) -> None:
        learner.policy.save_pretrained(path)
        if learner.critic:
            save_critic(learner.critic, path)

    stores = {name: folder / name for name in map(store_name, range(1, learner.round + 1))}
    extra: dict[str, Any] = {
        "tracker": learner.tracker.state_dict(),
        "alarms": learner.alarms.state_dict(),
        **{name: getattr(learner, name) for name in COUNTS},
    }
    if learner.states is not None:
        extra["states"] = learner.states.state_dict()
    save_checkpoint(
        folder / "checkpoints",
        learner.step,
        save_policy=save_policy,
        optimizer_state=learner.optimizer.state_dict(),
        extra=extra,
        files={name: path for name, path in stores.items() if path.exists()},
    )
    acts = config.monitors.on_alarm != "warn"
    prune(folder / "checkpoints", CHECKPOINTS_KEPT, learner.alarms.good_steps(config) if acts else ())


def record_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes in place of what an interrupted attempt may have left."""
    path.unlink(missing_ok=True)
    write_episodes(path, episodes)


# Measurement ----------------------------------------------------------------------------------------------------


def measure(
    learner: Learner, config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress, *, base: LanguageModel
) -> dict[str, Any]:
    """Score random, base and trained player on the test split, beside the optimum, and write `result.json`."""
    count = config.evaluation.episodes
    instances = instance_range("test", count, config.evaluation.first)
    started = time.perf_counter()
    result: dict[str, Any] = {"env_id": config.env.id}
    result["optimum"] = optimal_rate(config.env.id, instances, config.env.kwargs)
    for name, player in measured_players(base, learner.policy, config):
        progress.phase(f"test: {name.replace('_', ', ')}", count)
        began = time.perf_counter()
        episodes = play(player, instances, config, on_episode=SuccessSoFar(progress))
        result[name] = score_episodes(episodes, time.perf_counter() - began).to_dict()
        if name.startswith("trained"):
            record_episodes(folder / "episodes" / f"test_{name}.jsonl", episodes)
    stage_one = learner.stage_one_tokens
    result["generated_tokens"] = {"values": stage_one, "astarpo": learner.generated_tokens - stage_one}
    result["alarms"] = dict(Counter(line["alarm"] for line in metrics.lines() if line["phase"] == "alarm"))
    result["rollbacks"] = learner.rollbacks
    result["seconds"] = {
        "warm_start": metrics.seconds("warm_start"),
        "values": metrics.seconds("values"),
        "astarpo": metrics.seconds("astarpo"),
        "test": time.perf_counter() - started,
    }
    unfinished = folder / "result.json.tmp"
    unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / "result.json")
    return result


def measured_players(base: LanguageModel, policy: LanguageModel, config: TrainConfig) -> Iterator[tuple[str, Agent]]:
    """Yield the players to measure by their names in the result; one at a time, since each holds a cache."""
    temperature = final_temperature(config)
    yield "random", RandomAgent()
    yield "base_sampled", model_player(base, config, temperature=temperature)
    yield "base_greedy", model_player(base, config, greedy=True)
    yield "trained_sampled", model_player(policy, config, temperature=temperature)
    yield "trained_greedy", model_player(policy, config, greedy=True)

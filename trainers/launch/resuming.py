"""What may change when a run goes on.

Some settings do not touch what is learned; others make a new branch of the run, which says so in its files; the rest is
what the run is, and cannot change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.trainers.config import KLRegularised, ObjectiveConfig, TrainConfig, sections
from turngym.trainers.launch.configure import with_absolute_paths
from turngym.trainers.launch.run_folder import begin_branch, run_config, save_config, saved_steps, used_config
from turngym.trainers.live.changes import held_after, read_changes
from turngym.trainers.live.settings import AUTO, ENDS, tuned
from turngym.trainers.run_files import CONFIG_FILE, LIVE_CHANGES_FILE, LIVE_FILE
from turngym.trainers.schedules import Schedule

FREE = {
    "run.threads", "run.trackers", "run.checkpoint_every", "run.imports", "run.import_folder",
    "evaluation.episodes", "evaluation.first", "evaluation.validate_every", "evaluation.validation_episodes",
    "env.step_timeout", "env.isolate", "learning.gradient_checkpointing", "rollout.parallel",
    "rollout.timeout", "rollout.retries", "rollout.weights", "rollout.max_drift",
}  # fmt: skip
"""Settings that do not touch what is learned, but for the last bit: threads and layers computed again add up in
another order."""
BRANCHING = {
    "learning.steps", "learning.max_tokens", "learning.learning_rate", "learning.final_learning_rate",
    "learning.warmup_steps", "learning.max_grad_norm", "learning.tokens_per_microbatch", "learning.fresh_share",
    "monitors.on_alarm", "monitors.sensitivity", "monitors.rollback_learning_rate", "monitors.max_rollbacks",
    "monitors.retrieval_every", "objective.beta", "objective.beta_final", "run.rollout_slots", "run.device",
    "model.compute_dtype", "rollout.server", "rollout.model", "rollout.update", "rollout.importance_cap",
}  # fmt: skip
"""Settings from which on learning goes another way than it would have gone."""
REASONS = {
    "env": "the policy was taught this environment",
    "model": "the weights have this shape",
    "lora": "the checkpoints hold an adapter of this shape, or none",
    "warm_start": "the base has been cloned",
    "values": "stage 1 has been played",
    "shaping": "stage 1 was paid with these rewards",
    "objective": "the values and the optimizer belong to this objective",
    "learning": "the checkpoints count in these batches",
    "curriculum": "the levels have their own instances",
    "selfplay": "the policy has learned from what was proposed so",
    "run": "everything random was drawn from this seed, in this folder",
    "model.context_length": "its episodes were played within this limit",
    "model.max_reply_tokens": "its episodes were played within this limit",
    "model.max_thought_tokens": "its episodes were played within this limit",
    "model.history": "its episodes were played with this history",
    "model.history_turns": "its episodes were played with this history",
    "learning.temperature": "its episodes were sampled at this temperature",
    "learning.temperature_final": "its episodes were sampled on the way to this temperature",
}
"""Why a section, or a setting of its own reason, cannot change."""


def plan_resume(folder: Path, change: Callable[[TrainConfig], TrainConfig]) -> tuple[TrainConfig, list[str]]:
    """Return the configuration that a run goes on with, and what makes it a new branch; nothing is changed yet.

    An edit of `config.toml` counts as the same change asked for at the start.

    Args:
        folder: The run's.
        change: Sets what is asked for.

    Returns:
        The configuration, and a line such as "learning.steps 60 -> 90" for every setting that makes a new branch.

    Raises:
        InputError: It is no run of this version, or a setting cannot change; the message says why.
    """
    written = run_config(folder)
    used, wanted = (with_absolute_paths(each) for each in (used_config(folder) or written, change(written)))
    steps, done = wanted.learning.steps, steps_done(folder)
    if steps < used.learning.steps and steps < done:
        raise InputError(f"--resume cannot lower learning.steps to {steps}: {folder} has learned for {done} already")
    branched = []
    held = held_live(folder)
    for setting, (old, new) in changes(used, wanted).items():
        if setting in FREE:
            continue
        if setting in held:
            raise InputError(f"--resume cannot change {setting} from {old!r} to {new!r}: it is held live at "
                             f"{held[setting]!r}; change it in {folder / LIVE_FILE}, to {AUTO!r} to release "
                             "it")  # fmt: skip
        if setting not in BRANCHING:
            by = f", as {folder / CONFIG_FILE} was edited to" if setting in changes(used, written) else ""
            reason = REASONS.get(setting) or REASONS.get(setting.partition(".")[0], "it is what the run is")
            policy = f", from this one's policy with --model.path {folder} if you like" if saved_steps(folder) else ""
            raise InputError(f"--resume cannot change {setting} from {old!r} to {new!r}{by}: {reason}; start another "
                             f"run for that{policy}")  # fmt: skip
        branched.append(f"{setting} {old} -> {new}")
    return wanted, branched


def moved_schedules(folder: Path, wanted: TrainConfig) -> list[str]:
    """Return a sentence for every schedule that a change of settings moves: its value in the next step, and before.

    A setting such as `objective.beta` is where a schedule starts, so that a change of it late in a run does little, and
    more steps move every schedule back. To be called before `begin_resume`.

    Args:
        folder: The run's.
        wanted: The configuration that the run goes on with, of `plan_resume`.
    """
    used = used_config(folder)
    if used is None:
        return []
    held = held_live(folder)
    before, after = (_schedule(tuned(config, held), folder) for config in (used, wanted))
    if after.finished:
        return []
    last = f"step {wanted.learning.steps}"
    if wanted.learning.max_tokens is not None:
        last += f" or token {wanted.learning.max_tokens}"
    told = []
    for start, end in ENDS.items():
        name = start.partition(".")[2]
        ends = _ends(after, name)
        was, now = (f"{getattr(schedule.moment(), name):.3g}" for schedule in (before, after))
        ends_before = _ends(before, name)
        if ends is None or ends_before is None or (was == now and ends == ends_before):
            continue
        place = f"and the run had ended at {ends_before[1]:.3g}" if before.finished else f"and was to be {was}"
        way = f"goes from {start} {ends[0]:g} in step 1 to {end} {ends[1]:g} in {last}"
        told.append(f"In step {after.step + 1}, {start} is {now}, {place}: it "
                    f"{way if ends[0] != ends[1] else f'stays at {ends[0]:g}'}.")  # fmt: skip
    return told


def _schedule(config: TrainConfig, folder: Path) -> Schedule:
    """Return the schedules of a run at its last checkpoint."""
    schedule = Schedule(config.learning, config.objective, config.monitors.rollback_learning_rate)
    for _, path in saved_steps(folder)[:1]:
        with suppress(OSError, ValueError, LookupError, TypeError):  # a damaged one is told of when it is loaded
            schedule.load_state_dict(json.loads((path / "state.json").read_text(encoding="utf-8"))["extra"]["schedule"])
    return schedule


def _ends(schedule: Schedule, name: str) -> tuple[float, float] | None:
    """Return the first and last value of a schedule, None where the objective has none of this name."""
    learning, objective = schedule.learning, schedule.objective
    if name == "beta":
        return (objective.beta, objective.beta_final) if isinstance(objective, KLRegularised) else None
    if name == "temperature":
        return learning.temperature, learning.final_temperature
    return learning.learning_rate, learning.final_rate


def begin_resume(folder: Path, config: TrainConfig, branched: Sequence[str]) -> None:
    """Take note in a run folder of what `plan_resume` returned, under the run's lock."""
    if branched:
        begin_branch(folder, branched)
    if config != used_config(folder) or config != run_config(folder):
        save_config(folder, config)


def changes(old: TrainConfig, new: TrainConfig) -> dict[str, tuple[object, object]]:
    """Return the settings in which two configurations differ, such as "learning.steps", with both values."""
    found: dict[str, tuple[object, object]] = {}
    others: dict[str, Any] = dict(sections(new))
    for name, section in sections(old).items():
        other = others[name]
        if isinstance(section, ObjectiveConfig) and type(section) is not type(other):
            found[f"{name}.name"] = (section.name, other.name)
            continue
        pairs = {part.name: (getattr(section, part.name), getattr(other, part.name)) for part in fields(section)}
        found |= {f"{name}.{setting}": pair for setting, pair in pairs.items() if pair[0] != pair[1]}
    return found


def held_live(folder: Path) -> dict[str, Any]:
    """Return the values of settings that are held live in a run, by their names.

    Raises:
        InputError: The record of live changes is damaged.
    """
    return held_after(read_changes(folder / LIVE_CHANGES_FILE))


def steps_done(folder: Path) -> int:
    """Return the step of a run's last checkpoint, 0 without any."""
    return max((step for step, _ in saved_steps(folder)), default=0)

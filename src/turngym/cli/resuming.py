"""What may change when a run goes on.

Some settings do not touch what is learned; others make a new branch of the run, which says so in its files; the rest is
what the run is, and cannot change.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from turngym.cli.errors import UsageError
from turngym.trainers.config import TrainConfig, sections
from turngym.trainers.launch.run_folder import saved_steps

FREE = {
    "run.threads", "run.trackers", "run.checkpoint_every", "run.imports", "evaluation.episodes", "evaluation.first",
    "evaluation.validate_every", "evaluation.validation_episodes", "env.step_timeout",
}  # fmt: skip
"""Settings that do not touch what is learned; another number of threads adds up in another order."""
BRANCHING = {
    "learning.steps", "learning.max_tokens", "learning.learning_rate", "learning.final_learning_rate",
    "learning.warmup_steps", "learning.max_grad_norm", "learning.tokens_per_microbatch", "learning.fresh_share",
    "monitors.on_alarm", "monitors.sensitivity", "monitors.rollback_learning_rate", "monitors.max_rollbacks",
    "monitors.retrieval_every", "objective.beta", "objective.beta_final", "run.rollout_slots",
}  # fmt: skip
"""Settings from which on learning goes another way than it would have gone."""
REASONS = {
    "env": "the policy was taught this environment",
    "model": "the weights have this shape",
    "warm_start": "the base has been cloned",
    "values": "stage 1 has been played",
    "shaping": "stage 1 was paid with these rewards",
    "objective": "the values and the optimizer belong to this objective",
    "learning": "the checkpoints count in these batches",
    "curriculum": "the levels have their own instances",
    "run": "everything random was drawn from this seed, in this folder",
}


def resumed_config(saved: TrainConfig, wanted: TrainConfig, folder: Path) -> tuple[TrainConfig, list[str]]:
    """Return the configuration to go on with, and what makes it a new branch.

    Args:
        saved: What the run was started with, or went on with last.
        wanted: The same with what the command line sets.
        folder: The run's.

    Returns:
        The configuration, and a line such as "learning.steps 60 -> 90" for every setting that makes a new branch.

    Raises:
        UsageError: A setting cannot change; the message says why.
    """
    steps, done = wanted.learning.steps, steps_done(folder)
    if steps < saved.learning.steps and steps < done:
        raise UsageError(f"--resume cannot lower learning.steps to {steps}: {folder} has learned for {done} already")
    branched = []
    for name, section in sections(saved).items():
        new = getattr(wanted, name)
        for part in fields(section):
            old_value, new_value = getattr(section, part.name), getattr(new, part.name)
            setting = f"{name}.{part.name}"
            if old_value == new_value or setting in FREE:
                continue
            if setting not in BRANCHING:
                raise UsageError(f"--resume cannot change {setting} from {old_value!r} to {new_value!r}: "
                                 f"{REASONS.get(name, 'it is what the run is')}; start another run for that, from this "
                                 f"one's policy with --model.path {folder} if you like")  # fmt: skip
            branched.append(f"{setting} {old_value} -> {new_value}")
    return wanted, branched


def steps_done(folder: Path) -> int:
    """Return the step of a run's last checkpoint, 0 without any."""
    return max((step for step, _ in saved_steps(folder)), default=0)

"""Back to an earlier step: the learner as a checkpoint holds it, after an interruption or after an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from turngym.agents.language_model import LanguageModel
from turngym.trainers.baselines.states import StateValues
from turngym.trainers.checkpoints.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, remove_after
from turngym.trainers.critic import load_critic
from turngym.trainers.learner import Learner
from turngym.trainers.monitoring.alarms import Alarm, Alarms


def restore(learner: Learner, checkpoint: Checkpoint) -> None:
    """Take over all of a checkpoint but the policy's weights and the counts of the whole run."""
    learner.optimizer.load_state_dict(checkpoint.optimizer_state)
    learner.tracker.load_state_dict(checkpoint.extra["tracker"])
    learner.alarms = Alarms.from_state_dict(checkpoint.extra.get("alarms", {}))
    learner.step = checkpoint.step
    learner.states = StateValues() if "states" in checkpoint.extra else None
    if learner.states is not None:
        learner.states.load_state_dict(checkpoint.extra["states"])
    if learner.critic:
        load_critic(learner.critic, checkpoint.policy)


def last_good_checkpoint(checkpoints: Path, alarms: Sequence[Alarm]) -> Path | None:
    """Return the newest checkpoint from before all that the alarms put in doubt, None if there is none."""
    return latest_checkpoint(checkpoints, min(alarm.last_good_step for alarm in alarms))


def roll_back(learner: Learner, checkpoint: Path) -> None:
    """Put the learner back to a checkpoint, count the rollback, and delete what was saved later.

    Weights, critic, optimizer, tracker, alarms and step are those of the checkpoint. The tokens generated since stay
    counted. Until the learner is saved again a crash repeats the steps that led here, with the same end.

    Raises:
        CheckpointError: The checkpoint is damaged; the learner is unchanged.
    """
    saved = load_checkpoint(checkpoint)
    model = LanguageModel.from_pretrained(saved.policy, keep_thoughts=True).model
    learner.policy.model.load_state_dict(model.state_dict())
    restore(learner, saved)
    learner.rollbacks += 1
    remove_after(checkpoint.parent, saved.step)

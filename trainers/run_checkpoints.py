"""The checkpoints of a run: the state of every component of stage 2, saved and taken over again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.sharding import load_state, mesh_of
from turngym.trainers import ranks
from turngym.trainers.checkpoints.checkpoint import Checkpoint, prune, save_checkpoint
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.critic import load_critic, save_critic
from turngym.trainers.live.tuning import Tuning
from turngym.trainers.loop import Loop

CHECKPOINTS_KEPT = 2
LIVE = "live"
"""What was taken live, in a checkpoint."""


class RunCheckpoints:
    """Saves a loop into a folder and restores it.

    Args:
        folder: The folder of all checkpoints of the run.
        loop: The loop; its components may be replaced by others in between.
        live: What was taken live.
    """

    def __init__(self, folder: Path, loop: Loop, live: Tuning) -> None:
        self._folder, self._live = folder, live
        self.loop = loop

    def save(self) -> None:
        """Save everything that stage 2 changes, with copies of the value stores, and delete older checkpoints.

        The newest `CHECKPOINTS_KEPT` stay. So does, where an alarm may end or roll back the run, the last checkpoint
        that such an alarm would not put in doubt.
        """
        learner = self.loop.learner

        def save_policy(path: Path) -> None:
            save_model(learner.policy, path)
            if (critic := learner.critic) is not None:
                save_critic(critic, path)

        save_checkpoint(
            self._folder,
            self.loop.schedule.step,
            save_policy=save_policy,
            optimizer_state=learner.optimizer.state_dict(),
            extra={name: component.state_dict() for name, component in self._components().items()},
            files=self.loop.references.stores,
        )
        ranks.once(lambda: prune(self._folder, CHECKPOINTS_KEPT, self.loop.monitors.good_steps()))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore optimizer, critic and every component; the policy's weights are those that the loop was made with.

        What was taken live must have been restored before, since the loop is made by it.
        """
        self._restore_optimizer(checkpoint)
        for name, component in self._components().items():
            if name != LIVE:
                component.load_state_dict(checkpoint.extra[name])

    def roll_back(self, checkpoint: Checkpoint, policy: LanguageModel) -> None:
        """Go back to a checkpoint of this run, and count the rollback.

        What was generated since stays counted, the fresh instances that were played since stay used, and what was taken
        live since stays taken.

        Args:
            checkpoint: The checkpoint.
            policy: Its policy, of no use afterwards.
        """
        self.loop.learner.policy.learned.load_state_dict(policy.learned.state_dict())
        policy.discard()
        self._restore_optimizer(checkpoint)
        for name, component in self._components().items():
            if name == "schedule":
                self.loop.schedule.roll_back(checkpoint.extra[name])
            elif name not in ("prompts", LIVE):
                component.load_state_dict(checkpoint.extra[name])

    def _restore_optimizer(self, checkpoint: Checkpoint) -> None:
        learner = self.loop.learner
        load_state(learner.optimizer, checkpoint.optimizer_state(mesh_of(learner.policy.learned)))
        if learner.critic is not None:
            load_critic(learner.critic, checkpoint.policy)

    def _components(self) -> dict[str, Any]:
        """Return the components that have a state, by their names in a checkpoint."""
        loop = self.loop
        components = {"schedule": loop.schedule, "prompts": loop.prompts, "successes": loop.successes,
                      "baseline": loop.baseline, "monitors": loop.monitors, "proposer": loop.proposer,
                      LIVE: self._live}  # fmt: skip
        return {name: component for name, component in components.items() if component is not None}

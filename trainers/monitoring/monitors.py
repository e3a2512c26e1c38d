"""What watches a run: the numbers of a step, the alarms that they ring, and what both remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from turngym.agents.episode import Episode
from turngym.trainers.config import MonitorsConfig, ShapingConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.monitoring.alarms import Alarm, Alarms, Thresholds
from turngym.trainers.monitoring.measures import measure_rollouts
from turngym.trainers.prompts.curriculum import outcomes
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.shaping import is_shaped, shaping_means


class Monitors:
    """Measures the steps of a run and judges them.

    Args:
        config: What an alarm does, and how easily it rings.
        shaping: What is added to rewards, which is reported apart.
        kinds: The kinds of alarm whose figure the run may measure.
        easier: How many easier levels of a curriculum there are.
    """

    def __init__(self, config: MonitorsConfig, shaping: ShapingConfig, *, kinds: Sequence[str], easier: int) -> None:
        self.config = config
        self._shaping, self._kinds, self._easier = shaping, kinds, easier
        self._thresholds = Thresholds.at(config.sensitivity)
        self._alarms = Alarms()
        self._last_returns: dict[int, float] = {}

    def measure(self, episodes: Sequence[Episode], successes: SuccessTracker) -> dict[str, Any]:
        """Return what the episodes of a step show about the policy that played them, before it learns from them."""
        numbers: dict[str, Any] = measure_rollouts(episodes, successes, self._last_returns)
        numbers |= outcomes(episodes, self._easier)
        numbers["turns"] = float(np.mean([len(episode.turns) for episode in episodes]))
        for name in ("valid", "well_formed"):
            numbers[name] = float(np.mean([getattr(turn, name) for episode in episodes for turn in episode.turns]))
        if is_shaped(self._shaping):
            numbers |= shaping_means(episodes, self._shaping)
        return numbers

    def measures_retrieval(self, step: int) -> bool:
        """Whether retrieval accuracy is measured in the step that brings the count to `step`."""
        every = self.config.retrieval_every
        return every is not None and step % every == 0

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Keep the returns of the instances that are played again and again, for the next time they are."""
        for episode in episodes:
            if episode.index < FRESH_INSTANCES:
                self._last_returns[episode.index] = episode.total_reward

    def judge(self, numbers: dict[str, Any]) -> list[Alarm]:
        """Read the numbers of a step and return the alarms that ring now and did not before."""
        return self._alarms.judge(numbers, self._thresholds)

    def good_steps(self) -> list[int]:
        """Return the steps whose checkpoints an alarm may ask for; none where alarms only warn."""
        return self._alarms.good_steps(self._kinds) if self.config.on_alarm != "warn" else []

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, lists and dicts; JSON keeps it to the last bit."""
        return {"alarms": asdict(self._alarms), "last_returns": [list(pair) for pair in self._last_returns.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._alarms = Alarms.from_state_dict(state["alarms"])
        self._last_returns = {int(index): total for index, total in state["last_returns"]}

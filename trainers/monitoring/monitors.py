"""The monitors of a run: they measure every step, judge it by the alarms, and hold the state of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turngym.agents.episode import Episode
from turngym.trainers.config import MonitorsConfig, ShapingConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.monitoring.alarms import Alarm, Alarms, Thresholds
from turngym.trainers.monitoring.measures import measure_rollouts
from turngym.trainers.prompts.curriculum import outcomes
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.shaping import is_shaped, played_shaping, shaping_means


class Monitors:
    """Measures the steps of a run and judges them.

    Args:
        config: The section `monitors`.
        shaping: The section `shaping`; the shaping terms are reported apart.
        kinds: The kinds of alarm whose figure the run can measure.
        easier: How many easier levels of a curriculum there are.
    """

    def __init__(self, config: MonitorsConfig, shaping: ShapingConfig, *, kinds: Sequence[str], easier: int) -> None:
        self._config = config
        self._shaping, self._kinds, self._easier = shaping, kinds, easier
        self._thresholds = Thresholds.at(config.sensitivity)
        self._alarms = Alarms()
        self._last_returns: dict[int, float] = {}

    def measure(self, episodes: Sequence[Episode], successes: SuccessTracker) -> dict[str, Any]:
        """Return the numbers of the episodes of a step, before the policy learns from them."""
        numbers: dict[str, Any] = measure_rollouts(episodes, successes, self._last_returns)
        numbers |= outcomes(episodes, self._easier)
        numbers["turns"] = float(np.mean([len(episode.turns) for episode in episodes]))
        for name in ("valid", "well_formed"):
            numbers[name] = float(np.mean([getattr(turn, name) for episode in episodes for turn in episode.turns]))
        if is_shaped(self._shaping):
            numbers |= shaping_means(episodes, self._shaping)
        return numbers

    def retune(self, shaping: ShapingConfig) -> None:
        """Take another shaping of the rewards."""
        before, self._shaping = self._shaping, shaping
        self.forget_returns(before)

    def forget_returns(self, before: ShapingConfig) -> None:
        """Forget the returns of earlier steps where they were paid by another shaping than those to come."""
        if played_shaping(before) != played_shaping(self._shaping):
            self._last_returns = {}

    def measures_retrieval(self, step: int) -> bool:
        """Return whether retrieval accuracy is measured in a step, the first being 1."""
        every = self._config.retrieval_every
        return every is not None and step % every == 0

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Keep the returns of the instances of the pool, for comparison when they are played again."""
        for episode in episodes:
            if episode.index < FRESH_INSTANCES:
                self._last_returns[episode.index] = episode.total_reward

    def judge(self, numbers: dict[str, Any]) -> list[Alarm]:
        """Read the numbers of a step and return the alarms that ring now and did not before."""
        return self._alarms.judge(numbers, self._thresholds)

    def good_steps(self) -> list[int]:
        """Return the steps whose checkpoints an alarm may ask for; none where alarms only warn."""
        return self._alarms.good_steps(self._kinds) if self._config.on_alarm != "warn" else []

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, lists and dicts; JSON keeps it to the last bit."""
        return {
            "alarms": self._alarms.state_dict(),
            "last_returns": [list(pair) for pair in self._last_returns.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`, replacing everything."""
        self._alarms = Alarms.from_state_dict(state["alarms"])
        self._last_returns = {int(index): total for index, total in state["last_returns"]}

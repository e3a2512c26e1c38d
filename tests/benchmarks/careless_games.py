"""Games with the faults that an audit is to find: they pay for form, for copying, or for everything at once."""

from __future__ import annotations

import numpy as np

from turngym.envs.core import TextEnv
from turngym.envs.splits import Split

DOORS = ("red", "green", "blue")


class PaysForFormEnv(TextEnv):
    """Every reply that can be read earns all."""

    _rules = "Say something sensible, such as open the red door."

    def _begin(self, split: Split, index: int) -> None:
        self.door, self.done = DOORS[index % 3], False

    def _observe(self, feedback: str) -> str:
        return feedback or f"There are doors in {', '.join(DOORS)}."

    def _play(self, action: str) -> tuple[float, bool, str]:
        self.done = self.pays(action)
        return float(self.done), self.done, "Closed."

    def pays(self, action: str) -> bool:
        return True

    @property
    def _success(self) -> bool:
        return self.done


class PaysForExampleEnv(PaysForFormEnv):
    """The example of the instructions is an answer."""

    def pays(self, action: str) -> bool:
        return action == "open the red door"


class LooksForWordEnv(PaysForFormEnv):
    """The right word need only occur in the reply; who names one door after another is right within three turns."""

    def pays(self, action: str) -> bool:
        return self.door in action

    def sample_action(self, rng: np.random.Generator) -> str:
        return DOORS[int(rng.integers(3))]

import numpy as np

from turngym.envs import InvalidAction, Split, TextEnv, draw_instance, register


class GuessEnv(TextEnv):
    _rules = "Find a number from 0 to 99. An action is a number."

    def _begin(self, split: Split, index: int) -> None:
        self.secret = draw_instance(split, index, lambda rng: int(rng.integers(100)), str)
        self.low, self.high, self.guess = 0, 99, -1

    def _observe(self, feedback: str) -> str:
        return f"{feedback} It is from {self.low} to {self.high}.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if not action.isdecimal() or len(action) > 2:
            raise InvalidAction("write a number from 0 to 99")
        self.guess = int(action)
        if self.guess < self.secret:
            self.low = max(self.low, self.guess + 1)
        elif self.guess > self.secret:
            self.high = min(self.high, self.guess - 1)
        return float(self._success), self._success, ""

    @property
    def _success(self) -> bool:
        return self.guess == self.secret

    def sample_action(self, rng: np.random.Generator) -> str:
        return str(rng.integers(self.low, self.high + 1))


register("me/Guess-v0", GuessEnv, max_turns=7)

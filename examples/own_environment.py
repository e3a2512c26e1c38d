"""An environment of your own: a game, its check, an agent for it, and what agents are worth in it.

Needs turngym alone, no torch: `python examples/own_environment.py`. How to train a model on it is in docs/your_own.md.
"""

from __future__ import annotations

import numpy as np

from turngym.agents import RandomAgent, ScriptedAgent, collect_episodes, instance_range, score_episodes
from turngym.agents.scripted import Seat
from turngym.envs import InvalidAction, Split, TextEnv, check_text_env, draw_instance, make_env, register

ENV = "example/Guess-v0"


class GuessEnv(TextEnv):
    """Find a number from 0 to 99 in seven guesses."""

    _rules = "Find a number from 0 to 99. An action is a number."

    def _begin(self, split: Split, index: int) -> None:
        # The number decides to which split an instance belongs, so that no test instance is met in training.
        self.secret = draw_instance(split, index, lambda rng: int(rng.integers(100)), str)
        self.low, self.high, self.guess = 0, 99, -1

    def _observe(self, feedback: str) -> str:
        return f"{feedback} It is from {self.low} to {self.high}.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if not action.isdecimal() or len(action) > 2:
            raise InvalidAction("write a number from 0 to 99")
        self.guess = int(action)
        if self._success:
            return 1.0, True, "That is it."
        if self.guess < self.secret:
            self.low = max(self.low, self.guess + 1)
            return 0.0, False, "Too low."
        self.high = min(self.high, self.guess - 1)
        return 0.0, False, "Too high."

    @property
    def _success(self) -> bool:
        return self.guess == self.secret

    # Optional: with these there is a random agent, and an oracle whose play can be cloned.

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw a number that may still be it."""
        return str(rng.integers(self.low, self.high + 1))

    def oracle_action(self) -> str:
        """Return the number, which the oracle knows."""
        return str(self.secret)


class Bisect(ScriptedAgent):
    """Halves what is left, and so needs seven guesses at most; it reads nothing hidden."""

    def choose(self, seat: Seat) -> str:
        """Return the number in the middle."""
        assert isinstance(seat.env, GuessEnv)
        return str((seat.env.low + seat.env.high) // 2)


def main() -> None:
    """Register the game, check its contract, and let two agents play it."""
    register(ENV, GuessEnv, max_turns=7)
    print("The contract holds. The game does without:")
    print(*(f"  {line}" for line in check_text_env(make_env(ENV))), sep="\n")
    for name, agent in {"random": RandomAgent(), "bisect": Bisect()}.items():
        score = score_episodes(collect_episodes(agent, ENV, instance_range("test", 200)), seconds=0.0)
        low, high = score.interval
        print(f"{name}: success {score.rate:.3f} [{low:.3f}, {high:.3f}], {score.mean_turns:.1f} turns")
    (episode,) = collect_episodes(Bisect(), ENV, instance_range("test", 1))
    print("The first episode of bisect:")
    for turn in episode.turns:
        print(f"  {turn.observation}  > {turn.action}")
    print(f"  {episode.final_observation}")


if __name__ == "__main__":
    main()

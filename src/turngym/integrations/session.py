"""One episode after another for trainers that play turn by turn with functions of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turngym._errors import WorkError
from turngym.agents import Instance
from turngym.agents.hosting import Failed, Game, HostSettings, Opening, Outcome, Result, open_host
from turngym.agents.hosting.host import STEP_TIMEOUT
from turngym.envs.finding import check_env, resolve_env


class GameError(WorkError):
    """The game failed or took too long, which says nothing about who played it: its episode is no sample."""


class GameSession:
    """Plays episodes of one game, one at a time, in a thread that is left behind where the game hangs.

    It may be called from any thread, from one at a time: `await asyncio.to_thread(session.play, reply)`.

    Args:
        env: The game, such as "FrozenLake".
        env_kwargs: Its arguments, such as {"size": 3}.
        step_timeout: Seconds that the game may take to begin or to answer; infinity waits for ever.

    Attributes:
        turn_rewards: The rewards of the turns so far; their sum is the return.
        success: Whether the task is solved.
        over: Whether no episode is in progress.

    Raises:
        InputError: There is no such game.

    Example:
        >>> from turngym.agents import Instance
        >>> session = GameSession("MultiplicationSteps")
        >>> session.begin(Instance(split="test", index=0, seed=0)).observation
        ''
        >>> session.play("I do not know").valid
        False
    """

    def __init__(
        self, env: str, env_kwargs: Mapping[str, Any] | None = None, *, step_timeout: float = STEP_TIMEOUT
    ) -> None:
        self.env_id = resolve_env(env)
        self.turn_rewards: list[float] = []
        self.success, self.over = False, True
        game = Game(env_id=self.env_id, env_kwargs=dict(env_kwargs or {}))
        self._host = open_host(game, HostSettings(step_timeout=step_timeout))

    def begin(self, instance: Instance) -> Opening:
        """Begin an episode and return the rules and the first observation; one in progress is given up.

        Raises:
            GameError: The game failed at its start.
        """
        self.turn_rewards, self.success, self.over = [], False, True
        opening = self._call("begin", instance)
        assert isinstance(opening, Opening)
        self.over = False
        return opening

    def play(self, reply: str) -> Outcome:
        """Play one reply and return what came of it.

        Raises:
            GameError: The game failed; a next episode can begin.
            RuntimeError: No episode is in progress.
        """
        if self.over:
            raise RuntimeError("no episode is in progress: call begin first")
        self.over = True  # unless it answers
        outcome = self._call("turn", reply)
        assert isinstance(outcome, Outcome)
        self.turn_rewards.append(outcome.reward)
        self.success, self.over = outcome.success, outcome.terminated or outcome.truncated
        return outcome

    def close(self) -> None:
        """Close the game."""
        self.over = True
        self._host.close()

    def _call(self, method: Any, argument: Any) -> Result:
        self._host.submit(0, method, argument)
        results = self._host.gather()
        while not results:
            results = self._host.gather()
        ((_, result),) = results
        if isinstance(result, Failed):
            raise GameError(result.reason)
        return result


def checked_env(env: str, env_kwargs: Mapping[str, Any]) -> str:
    """Return the registered id of a game that has begun on an instance of each split.

    Raises:
        InputError: There is none, or its arguments do not fit it.
    """
    env_id = resolve_env(env)
    check_env(env_id, env_kwargs)
    return env_id

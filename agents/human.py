"""A person at the terminal, as an agent like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turngym.agents.base import Reply
from turngym.envs.core import TextEnv


class HumanLeft(Exception):
    """The person closed the input (Ctrl-D) or interrupted it (Ctrl-C): the game is over, nothing is broken."""


class HumanAgent:
    """Shows each observation and reads the reply from the keyboard; implements `Agent` for one slot after another.

    Args:
        show: Writes one text to the person; `print` by default.
        ask: Reads one line after a prompt, as `input` does, which is the default.
    """

    policy_version = 0

    def __init__(self, show: Callable[[str], None] | None = None, ask: Callable[[str], str] | None = None) -> None:
        self._show = show or print
        self._ask = ask or input

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Show the rules and the first observation."""
        self._show(f"{env.instructions}\n")
        self._show(observation)

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Ask for one line per slot.

        Raises:
            HumanLeft: The input was closed or interrupted.
        """
        return [Reply(text=self._read()) for _ in slots]

    def observe(self, slot: int, observation: str) -> None:
        """Show the environment's answer."""
        self._show(observation)

    def finish(self, slot: int) -> list[int]:
        """Leave the slot; there is no token stream."""
        return []

    def _read(self) -> str:
        try:
            return self._ask("> ")
        except (EOFError, KeyboardInterrupt) as closed:
            raise HumanLeft from closed

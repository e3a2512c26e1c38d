"""What a model behind a server sees of an episode: messages, or one text where it has no chat format."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Message = dict[str, str]
"""A message of the chat protocol: `role` and `content`."""

NAMES = {"user": "User", "assistant": "Assistant"}
"""How the plain form calls who speaks."""
STOP = "\nUser:"
"""What ends a reply in the plain form."""


@dataclass(slots=True, kw_only=True)
class ApiConversation:
    """An episode in progress."""

    instructions: str
    """The rules; the system prompt."""
    observation: str
    """What is to be replied to."""
    window: int | None
    """How many earlier turns the model sees; None for all."""
    chance: np.random.Generator
    """Draws the seeds of requests."""
    reply: str = ""
    """The last reply, without thoughts."""
    turns: int = 0
    """How many replies there were."""
    _exchanges: deque[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        """Keep as many turns as the model sees."""
        self._exchanges = deque(maxlen=self.window)

    def answer(self, reply: str) -> None:
        """Keep the reply to the present observation."""
        self.reply = reply
        self.turns += 1

    def observe(self, observation: str) -> None:
        """Go on to the next observation."""
        self._exchanges.append((self.observation, self.reply))
        self.observation = observation

    def messages(self) -> list[Message]:
        """Return what the model sees now: the rules, earlier turns, and the present observation."""
        messages = [{"role": "system", "content": self.instructions}] if self.instructions else []
        for observation, reply in self._exchanges:
            messages += [{"role": "user", "content": observation}, {"role": "assistant", "content": reply}]
        return [*messages, {"role": "user", "content": self.observation}]


def plain_prompt(messages: Sequence[Message]) -> str:
    """Return messages as one text, for models without a chat format.

    The rules stand first, then every message after the name of who speaks; the name of the assistant ends the text.

    Example:
        >>> print(plain_prompt([{"role": "system", "content": "Go to the goal."}, {"role": "user", "content": "Ice."}]))
        Go to the goal.
        <BLANKLINE>
        User: Ice.
        Assistant:
    """
    parts = []
    for message in messages:
        name = NAMES.get(message["role"])
        parts.append(f"{name}: {message['content']}\n" if name else f"{message['content']}\n\n")
    return "".join([*parts, f"{NAMES['assistant']}:"])

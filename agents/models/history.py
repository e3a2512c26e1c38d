"""What a language model sees of earlier turns: all of them, the last few, or none.

The ids of an episode are rows, one behind the other in its stream. A row is what the model sees at once: rules,
observations and replies. While it sees all turns there is one row, which only grows. Where it sees a window of the last
n, every turn with more of them behind it begins a row of its own: rules, the last n observations with their replies,
and the present observation. Earlier replies stand there as they were sampled, and only the present one is learned from.

Where the history is served, every turn has a row of its own with all earlier ones, as the chat template renders the
whole conversation: this is what a server of chat completions shows a model, and most templates for models that think
leave earlier thoughts out of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Protocol

from turngym.agents.episode import Episode
from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.row import Row
from turngym.agents.models.small_tokenizer import SmallTokenizer


@dataclass(slots=True, kw_only=True)
class Conversation(Row):
    """An episode being written; as a `Row` of a decoder it is the present row."""

    stream: list[int] = field(default_factory=list)
    chat: ChatFormat
    """Writes what the model sees."""
    instructions: str
    """The rules."""
    window: int | None = None
    """How many earlier turns the model sees; None for all."""
    served: bool = False
    """Whether it sees them as the template serves them."""
    reply_start: int = 0
    """Where the last reply begins in the present row; its end is that of the row until the next observation."""
    _past: list[int] = field(default_factory=list)
    _answered: int = 0
    _observation: str = ""
    _turns: int = 0
    _exchanges: deque[tuple[str, list[int]]] = field(init=False)
    _served: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Keep as many turns as a row needs."""
        self._exchanges = deque(maxlen=self.window or 0)

    @property
    def ids(self) -> list[int]:
        """All rows."""
        return self._past + self.stream

    @property
    def row_start(self) -> int:
        """Where the present row begins in the stream of the episode."""
        return len(self._past)

    def observe(self, observation: str) -> None:
        """Write what the model sees before its next reply, behind its last one or in a new row."""
        if self._turns == 0:
            self.stream = self.chat.opening(self.instructions, observation)
        else:
            self._answered = len(self.stream)
            reply = self.stream[self.reply_start :]
            self._exchanges.append((self._observation, reply))
            if self.served:
                self._serve(reply, observation)
            elif self.window is None or self._turns <= self.window:
                self.stream += self._answer(reply, observation)
            else:
                self._begin_row(observation)
        self._observation = observation
        self._turns += 1
        self.reply_start = len(self.stream)

    def _answer(self, reply: Sequence[int], observation: str) -> list[int]:
        return self.chat.continuation(observation, closed=reply[-1] in self.chat.stop_ids)

    def _begin_row(self, observation: str) -> None:
        observations = [*(earlier for earlier, _ in self._exchanges), observation]
        row = self.chat.opening(self.instructions, observations[0])
        for (_, reply), answer in zip(self._exchanges, observations[1:], strict=True):
            row += [*reply, *self._answer(reply, answer)]
        self._go_on_in(row)

    def _serve(self, reply: Sequence[int], observation: str) -> None:
        """Begin a row with the conversation so far, of which all but the present observation stays as it is."""
        chat, asked = self.chat, self._observation
        first = self._turns == 1
        self._served += (
            chat.opening(self.instructions, asked, answered=True)
            if first
            else chat.continuation(asked, closed=False, answered=True)
        )
        self._served += chat.served(chat.text(reply))
        self._go_on_in(self._served + chat.continuation(observation, closed=False))

    def _go_on_in(self, row: list[int]) -> None:
        """Make another row the present one; of what both begin with the cache holds the same keys and values."""
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.stream, row, strict=False)))
        self.cached = min(self.cached, same, len(row) - 1)
        self._past += self.stream
        self.stream, self._answered = row, 0

    def withdraw(self) -> None:
        """Take back what was written since the last reply."""
        del self.stream[self._answered :]


def encode_episode(chat: ChatFormat, episode: Episode, window: int | None = None, *, served: bool = False) -> Episode:
    """Return a copy of a scripted episode with the token stream that a model would have produced.

    Args:
        chat: Writes the stream.
        episode: What was said.
        window: How many earlier turns the model sees; None for all.
        served: Whether it sees them as the template serves them.
    """
    conversation = Conversation(chat=chat, instructions=episode.instructions, window=window, served=served)
    turns = []
    for turn in episode.turns:
        conversation.observe(turn.observation)
        conversation.stream += chat.reply(turn.action)
        start = conversation.row_start
        span = (start + conversation.reply_start, start + len(conversation.stream))
        turns.append(replace(turn, row_start=start, span=span))
    return replace(episode, turns=turns, token_ids=conversation.ids)


class Writer(Protocol):
    """What of a model tells which episodes it can play: how it writes them, and by which limits; a `LanguageModel`."""

    @property
    def chat(self) -> ChatFormat:
        """Writes its stream."""

    @property
    def decoding(self) -> Decoding:
        """The limits by which it plays."""

    @property
    def context_length(self) -> int:
        """Longest row of tokens that it sees."""

    @property
    def unknown_id(self) -> int | None:
        """The id of what its tokenizer has no token for; None where it has one for everything."""

    def encode_episode(self, episode: Episode) -> Episode:
        """Return a copy of a scripted episode with the token stream that the model would have produced."""


class SmallWriter:
    """The built-in model as a `Writer`, without its weights and so without torch.

    Args:
        tokenizer: Its tokenizer.
        decoding: The limits by which it plays, with the length of its context.
    """

    unknown_id = None

    def __init__(self, tokenizer: SmallTokenizer, decoding: Decoding) -> None:
        assert decoding.context_length is not None
        self.decoding, self.context_length = decoding, decoding.context_length
        self.chat = ChatFormat(tokenizer, keep_thoughts=True)  # its template rewrites none
        if decoding.history == "served":
            self.chat.check_served()

    def encode_episode(self, episode: Episode) -> Episode:
        """Return a copy of a scripted episode with the token stream that the model would have produced."""
        return encode_episode(self.chat, episode, self.decoding.window, served=self.decoding.history == "served")

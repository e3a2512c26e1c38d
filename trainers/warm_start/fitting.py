"""Demonstrations that a model cannot play: their replies or their streams are longer than its limits allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel


class Fitting:
    """Sorts out the demonstrations that do not fit, counts them, and knows which limits would do for all of them.

    One fits if each of its replies is short enough, its thought too, and had the room that an agent needs before a
    reply.

    Args:
        model: Tells the limits.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._context, self._longest_reply = model.context_length, model.decoding.max_reply_tokens
        self._longest_thought, self._chat = model.decoding.max_thought_tokens, model.chat
        self._sees_all = model.decoding.window is None
        self.seen = 0
        """Demonstrations so far."""
        self.left_out = 0
        """How many of them did not fit."""
        self._reply = self._start = self._thought = 0

    def keep(self, encoded: Iterable[Episode]) -> list[Episode]:
        """Return the demonstrations that fit, of some with their tokens."""
        kept = []
        for episode in encoded:
            self.seen += 1
            reply = max((stop - start for start, stop in (turn.span for turn in episode.turns)), default=0)
            start = max((turn.span[0] - turn.row_start for turn in episode.turns), default=0)
            thought = max((self._excess(episode.token_ids[slice(*turn.span)]) for turn in episode.turns), default=0)
            self._reply, self._start = max(self._reply, reply), max(self._start, start)
            self._thought = max(self._thought, thought)
            if not thought and reply <= self._longest_reply and start + self._longest_reply <= self._context:
                kept.append(episode)
            else:
                self.left_out += 1
        return kept

    def _excess(self, reply: Sequence[int]) -> int:
        """Return the tokens of a reply before its answer has begun if an agent may not think for so long, else 0."""
        longest = self._longest_thought
        if longest is None or len(reply) <= longest or not self._chat.answer(reply[:longest]):
            return 0
        return next((n for n in range(longest, len(reply)) if not self._chat.answer(reply[:n])), len(reply))

    @property
    def share(self) -> float:
        """The share that was left out."""
        return self.left_out / max(1, self.seen)

    def __str__(self) -> str:
        """Say how many do not fit, and which limits would do."""
        reply = max(self._reply, self._longest_reply)
        limits = {"max_reply_tokens": (reply, self._longest_reply),
                  "max_thought_tokens": (self._thought, self._longest_thought or 0),
                  "context_length": (self._start + reply, self._context)}  # fmt: skip
        wanted = [f"model.{name} to at least {needed} (here {here})"
                  for name, (needed, here) in limits.items() if needed > here]  # fmt: skip
        long = self._sees_all and self._start + reply > self._context
        return (f"{self.left_out} of {self.seen} demonstrations do not fit: raise {' and '.join(wanted)}"
                + ", or let the model see fewer turns (model.history)" * long)  # fmt: skip

    def state_dict(self) -> dict[str, int]:
        """Return the counts."""
        return {"seen": self.seen, "left_out": self.left_out, "reply": self._reply, "start": self._start,
                "thought": self._thought}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over a state written by `state_dict`."""
        self.seen, self.left_out = state["seen"], state["left_out"]
        self._reply, self._start, self._thought = state["reply"], state["start"], state.get("thought", 0)


def check_fit(encoded: Sequence[Episode], model: LanguageModel) -> None:
    """Check that all of some demonstrations fit.

    Raises:
        ValueError: One does not; the message says which limits would do.
    """
    fitting = Fitting(model)
    fitting.keep(encoded)
    if fitting.left_out:
        raise ValueError(str(fitting))

"""Demonstrations that a model cannot play: their replies or their streams are longer than its limits allow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from turngym._errors import InputWarning
from turngym.agents.episode import Episode
from turngym.agents.models.errors import reason_of
from turngym.agents.models.history import Writer
from turngym.trainers.warm_start.demonstrations import numbered_demonstrations

MOST_OF_FILE = 0.1
"""The share of the demonstrations of a file that may be left out since they do not fit; above it a run is refused."""


class Fitting:
    """Sorts out the demonstrations that do not fit, counts them, and knows which limits would do for all of them.

    One fits if each of its replies is short enough, its thought too, and had the room that an agent needs before a
    reply.

    Args:
        model: Tells the limits.
    """

    def __init__(self, model: Writer) -> None:
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
        return f"{self.left_out} of {self.seen} demonstrations do not fit: {self.advice}"

    @property
    def advice(self) -> str:
        """Which limits would do for all so far."""
        reply = max(self._reply, self._longest_reply)
        limits = {"max_reply_tokens": (reply, self._longest_reply),
                  "max_thought_tokens": (self._thought, self._longest_thought or 0),
                  "context_length": (self._start + reply, self._context)}  # fmt: skip
        wanted = [f"model.{name} to at least {needed} (here {here})"
                  for name, (needed, here) in limits.items() if needed > here]  # fmt: skip
        long = self._sees_all and self._start + reply > self._context
        return f"raise {' and '.join(wanted)}" + ", or let the model see fewer turns (model.history)" * long

    def state_dict(self) -> dict[str, int]:
        """Return the counts."""
        return {"seen": self.seen, "left_out": self.left_out, "reply": self._reply, "start": self._start,
                "thought": self._thought}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over a state written by `state_dict`."""
        self.seen, self.left_out = state["seen"], state["left_out"]
        self._reply, self._start, self._thought = state["reply"], state["start"], state.get("thought", 0)


def check_fit(encoded: Sequence[Episode], model: Writer) -> None:
    """Check that all of some demonstrations fit.

    Raises:
        ValueError: One does not; the message says which limits would do.
    """
    fitting = Fitting(model)
    fitting.keep(encoded)
    if fitting.left_out:
        raise ValueError(str(fitting))


def given_demonstrations(model: Writer, path: str) -> list[Episode]:
    """Return the demonstrations of a file that fit as tokens, and warn of the others.

    Raises:
        ValueError: The file cannot be read, or too many of its demonstrations do not fit.
    """
    return fitting_of_file(numbered_demonstrations(path), model, path)


def fitting_of_file(given: Sequence[tuple[int, Episode]], model: Writer, path: str) -> list[Episode]:
    """Return the demonstrations of a file that fit, as tokens, and warn of those that do not.

    Args:
        given: The demonstrations with the numbers of their lines.
        model: Whose limits and tokenizer they are to fit.
        path: The file.

    Raises:
        ValueError: More than `MOST_OF_FILE` of them do not fit; the message says how many, which is the first, and why.
    """
    fitting, kept = Fitting(model), []
    long, unwritten = [], []
    for number, episode in given:
        try:
            encoded = model.encode_episode(episode)
        except Exception as error:  # noqa: BLE001 - tokenizers raise whatever they like
            unwritten.append(f"line {number}, {reason_of(error)}")
            continue
        if _unknown(encoded, model):
            unwritten.append(f"line {number}, of whose replies it lacks a part")
        elif found := fitting.keep([encoded]):
            kept += found
        else:
            long.append(number)
    count = len(long) + len(unwritten)
    if not count:
        return kept
    reasons = []
    if long:
        reasons.append(f"{len(long)} too long, the first in line {long[0]}: {fitting.advice}")
    if unwritten:
        reasons.append(f"{len(unwritten)} that the tokenizer cannot write, the first in {unwritten[0]}")
    said = f"{count} of {len(given)} demonstrations do not fit: {'; '.join(reasons)} ({path})"
    if count > MOST_OF_FILE * len(given):
        raise ValueError(f"{said}; up to {MOST_OF_FILE:.0%} of a file would be left out")
    warnings.warn(InputWarning(f"{said}; left out"), stacklevel=1)
    return kept


def _unknown(encoded: Episode, model: Writer) -> bool:
    """Return whether a reply has text that the tokenizer has no token for; a stop token counts for nothing."""
    unknown = model.unknown_id
    return any(unknown in encoded.token_ids[turn.span[0] : turn.span[1] - 1] for turn in encoded.turns)

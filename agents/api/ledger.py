"""What replies of a server have cost: tokens, requests and dollars, and the most that may be spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from turngym._errors import InputError, WorkError
from turngym.arguments import Count, NonNegative, Positive, checked_arguments

MILLION = 1_000_000


class BudgetReachedError(WorkError):
    """As much was spent as may be; the message says how much, and how to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of one answer, as the server counts them."""

    prompt: int
    """Tokens of the prompt."""
    completion: int
    """Tokens of the reply, thoughts included."""
    reasoning: int = 0
    """Tokens of thoughts among them, as far as the server tells."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Usage | None:
        """Return what the `usage` of an answer tells; None where it tells nothing."""
        told = answer.get("usage")
        if not isinstance(told, dict):
            return None
        prompt, completion = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
        if prompt is None or completion is None:
            return None
        details = told.get("completion_tokens_details")
        thoughts = details.get("reasoning_tokens") if isinstance(details, dict) else told.get("reasoning_tokens")
        return cls(prompt=prompt, completion=completion, reasoning=_count(thoughts) or 0)


class Ledger:
    """Counts what was spent, from several threads at once.

    An answer is counted once, when it has come; a request that failed and was repeated counts as a retry and brings no
    tokens. Whether a server charges for work that it did not deliver is its own business, and is not known here. Parts
    of prompts that a server had in its cache are charged as others, so that dollars are an upper bound.

    The bounds are looked at before every request. Those under way then are finished and counted, so that the last ones,
    as many as there are at once, may go beyond.

    Args:
        price_in: Dollars for a million tokens of prompts; None where it is unknown.
        price_out: Dollars for a million tokens of replies and thoughts; None where it is unknown.
        max_dollars: Most dollars to spend; None for no bound.
        max_tokens: Most tokens to spend, prompts, replies and thoughts together; None for no bound.

    Raises:
        InputError: A number is out of range, or dollars are bounded without prices.
    """

    @checked_arguments
    def __init__(
        self,
        *,
        price_in: NonNegative | None = None,
        price_out: NonNegative | None = None,
        max_dollars: Positive | None = None,
        max_tokens: Count | None = None,
    ) -> None:
        if (price_in is None) != (price_out is None):
            raise InputError("price_in and price_out belong together: give both, 0 for what costs nothing")
        if max_dollars is not None and price_in is None:
            raise InputError("max_dollars needs prices: give price_in and price_out, in dollars for a million tokens")
        self.price_in, self.price_out = price_in, price_out
        self.max_dollars, self.max_tokens = max_dollars, max_tokens
        self.replies = 0
        """Answers that came."""
        self.retries = 0
        """Requests that were repetitions."""
        self.untold = 0
        """Answers whose tokens the server did not tell."""
        self.prompt_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self._lock = Lock()

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.max_dollars is not None or self.max_tokens is not None

    @property
    def tokens(self) -> int:
        """Tokens so far, prompts, replies and thoughts together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def dollars(self) -> float | None:
        """Dollars so far; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (self.prompt_tokens * self.price_in + self.completion_tokens * self.price_out) / MILLION

    def count(self, usage: Usage | None) -> None:
        """Count an answer."""
        with self._lock:
            self.replies += 1
            if usage is None:
                self.untold += 1
                return
            self.prompt_tokens += usage.prompt
            self.completion_tokens += usage.completion
            self.reasoning_tokens += usage.reasoning

    def count_retry(self) -> None:
        """Count a request that is a repetition."""
        with self._lock:
            self.retries += 1

    def check(self) -> None:
        """Check that more may be spent.

        Raises:
            BudgetReachedError: A bound is reached.
        """
        with self._lock:
            dollars = self.dollars
            reached = ""
            if self.max_dollars is not None and dollars is not None and dollars >= self.max_dollars:
                reached = f"${dollars:.4f} are spent, and max_dollars is {self.max_dollars:g}"
            elif self.max_tokens is not None and self.tokens >= self.max_tokens:
                reached = f"{self.tokens:,} tokens are spent, and max_tokens is {self.max_tokens:,}"
        if reached:
            raise BudgetReachedError(f"{reached}: play has stopped")

    def describe(self) -> str:
        """Say what was spent, in a sentence."""
        parts = [f"{self.replies:,} repl{'y' if self.replies == 1 else 'ies'}",
                 f"{self.retries:,} retr{'y' if self.retries == 1 else 'ies'}"]  # fmt: skip
        thoughts = f" ({self.reasoning_tokens:,} of thoughts)" if self.reasoning_tokens else ""
        parts.append(f"{self.prompt_tokens:,} prompt tokens and {self.completion_tokens:,} completion tokens{thoughts}")
        if self.dollars is not None:
            parts.append(f"${self.dollars:.4f}")
        untold = f"; of {self.untold:,} the server did not tell the tokens" if self.untold else ""
        return f"Spent: {', '.join(parts)}{untold}."


def _count(told: object) -> int | None:
    return told if type(told) is int and told >= 0 else None

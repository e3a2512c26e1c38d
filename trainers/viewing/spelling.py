"""Tokens as text: whole characters, also where several tokens make one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from turngym.trainers.run_files import BASE, CHECKPOINTS, POLICY

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a decoder writes for bytes that are no whole character."""
MOST_BYTES = 4
"""The most bytes of a character in UTF-8, and so the most tokens."""


class Spelling:
    """Spells the tokens of one model.

    Args:
        decode: From ids to their text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._known: dict[tuple[int, ...], str] = {}

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens that were read as one."""
        return self._decode(ids)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each of some tokens; a character of several tokens stands at the last of them.

        The tokens before it have the empty text. Bytes that never become a character have replacement characters.
        """
        pieces: list[str] = []
        pending: tuple[int, ...] = ()
        for place, token in enumerate(ids):
            text = self._spelled((*pending, token))
            goes_on = text.endswith(BROKEN) and len(pending) + 1 < MOST_BYTES and place + 1 < len(ids)
            if goes_on and pending and not self._spelled((token,)).startswith(BROKEN):
                goes_on = False  # what was pending cannot become whole any more
            pending = (*pending, token) if goes_on else ()
            pieces.append("" if goes_on else text)
        return pieces

    def _spelled(self, ids: tuple[int, ...]) -> str:
        if ids not in self._known:  # the same tokens stand in every prompt
            self._known[ids] = self._decode(ids)
        return self._known[ids]


def spelling_of(folder: Path) -> Spelling:
    """Return the spelling of a run's tokens; without its tokenizer they are spelled by their numbers."""
    places = (folder / BASE, *sorted((folder / CHECKPOINTS).glob(f"*/{POLICY}")))
    found = next((file for place in places if (file := place / "tokenizer.json").is_file()), None)
    return Spelling(numbered) if found is None else _spelling(found, found.stat().st_mtime_ns)


def numbered(ids: Sequence[int]) -> str:
    """Return the numbers of tokens as text."""
    return "".join(f"[{token}]" for token in ids)


@lru_cache(maxsize=8)
def _spelling(file: Path, _: int) -> Spelling:
    from tokenizers import Tokenizer  # comes with the models, and is not needed by the core

    tokenizer = Tokenizer.from_file(str(file))
    return Spelling(lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False)))

"""Text and control tokens to ids, as a tokenizer reads them in the middle of a conversation.

A tokenizer that is given the parts of a conversation one by one may write other ids than for the whole: SentencePiece
models and some byte-level ones put a blank before every text they are given. So control tokens are set apart first,
everything between two of them is encoded at once, and blanks come only where they would come in the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from turngym.agents.models.errors import ChatTemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from turngym.agents.models.small_tokenizer import SmallTokenizer

Piece = int | str
"""The id of a control token, or text."""


class Place(Enum):
    """Where a text stands, which decides whether the tokenizer puts a blank before it."""

    FIRST = "at the start of the conversation"
    AFTER_CONTROL = "after a control token"
    INSIDE = "after other text"


class ControlTokens:
    """The tokens of a tokenizer that it finds in a text before anything else.

    Args:
        tokenizer: The tokenizer.

    Attributes:
        by_id: The tokens by their ids, with their text and how they treat white space beside them.
        ids: Their ids by their texts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | SmallTokenizer) -> None:
        self.by_id: dict[int, Any] = dict(tokenizer.added_tokens_decoder)
        self.ids = {token.content: i for i, token in self.by_id.items()}
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def split(self, text: str) -> list[Piece]:
        """Set the control tokens in a text of the template apart."""
        pieces: list[Piece] = []
        end = 0
        for match in self._pattern.finditer(text):
            pieces += [text[end : match.start()], self.ids[match[0]]]
            end = match.end()
        return [piece for piece in [*pieces, text[end:]] if piece != ""]

    def texts(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Join texts that follow each other, and take off the white space that control tokens beside them take."""
        joined: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            else:
                joined.append(piece)
        return [self._stripped(piece, joined[max(0, at - 1)], joined[min(at + 1, len(joined) - 1)])
                for at, piece in enumerate(joined)]  # fmt: skip

    def _stripped(self, piece: Piece, before: Piece, after: Piece) -> Piece:
        """Return a text between two pieces, which may be the text itself at an end, as the tokenizer leaves it."""
        if isinstance(piece, str) and isinstance(before, int) and self.by_id[before].rstrip:
            piece = piece.lstrip()
        if isinstance(piece, str) and isinstance(after, int) and self.by_id[after].lstrip:
            piece = piece.rstrip()
        return piece


class PlainEncoder:
    """Encodes text in which control tokens are nothing but text.

    Args:
        tokenizer: A fast tokenizer.
        controls: Tokens that are not marked special, and are read as text all the same.

    Raises:
        ChatTemplateError: The tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | SmallTokenizer, controls: Container[str]) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ChatTemplateError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; load one with a tokenizer.json"
            )
        state = json.loads(backend.to_str())
        for token in state["added_tokens"]:
            token["special"] |= token["content"] in controls
        made: dict[str, Tokenizer] = {}
        self._at: dict[Place, Tokenizer] = {}
        for place in Place:
            text = json.dumps(_placed(state, place))
            made[text] = made.get(text) or _plain(text)
            self._at[place] = made[text]

    def encode(self, text: str, place: Place = Place.INSIDE) -> list[int]:
        """Return the ids of a text that stands at a place of a conversation."""
        # An unpaired surrogate has no UTF-8 form, and the encoder takes nothing else.
        readable = text.encode("utf-8", "replace").decode()
        ids: list[int] = self._at[place].encode(readable, add_special_tokens=False).ids
        return ids

    def encode_pieces(self, pieces: Iterable[Piece], place: Place) -> list[int]:
        """Return the ids of texts and control tokens, of which the first text stands at `place`."""
        ids: list[int] = []
        for piece in pieces:
            ids += [piece] if isinstance(piece, int) else self.encode(piece, place)
            place = Place.AFTER_CONTROL
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids that stand after other text, with every blank that they hold."""
        return self._at[Place.INSIDE].decode(list(ids), skip_special_tokens=False)


def _plain(state: str) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_str(state)
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _placed(state: dict[str, Any], place: Place) -> dict[str, Any]:
    """Return the state of a tokenizer that puts a blank before a text only where it does so at this place."""
    if place is Place.FIRST:
        return state
    parts = {name: _without_blanks(state[name], place) for name in ("normalizer", "pre_tokenizer")}
    decoder = _without_blanks(state["decoder"], place) if place is Place.INSIDE else state["decoder"]
    return {**state, **parts, "decoder": decoder}


def _without_blanks(part: Any, place: Place) -> Any:
    """Return a part of a tokenizer's state without what adds a first blank at this place, or takes one off."""
    if not isinstance(part, dict):
        return part
    kind, inside = part.get("type"), place is Place.INSIDE
    if kind == "Sequence":
        (name,) = (key for key, value in part.items() if isinstance(value, list))
        parts = [_without_blanks(inner, place) for inner in part[name]]
        return {**part, name: [inner for inner in parts if inner is not None]}
    if inside and (kind == "Prepend" or (kind == "Strip" and "content" in part)):
        return None
    if kind == "Metaspace" and (inside or part["prepend_scheme"] == "first"):
        return {**part, "prepend_scheme": "never"}
    return {**part, "add_prefix_space": False} if inside and "add_prefix_space" in part else part

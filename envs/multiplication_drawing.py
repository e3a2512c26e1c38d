"""Multiplication as a picture: the factors as on paper, and below them what was written, place under place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from turngym.envs.drawing import Drawing, element, svg_drawing

DIGIT, ROW, EDGE = 14, 26, 10
"""Pixels from one digit to the next, from one row to the next, and of what is left free around."""
LETTER = 7.5
"""Pixels that a letter beside a number takes, at most."""
STYLE = (
    ".digit{font-size:17px}.right text.digit{fill:#1a7f37}.wrong text.digit{fill:#b3261e}"
    "line{stroke:#8a97a5;stroke-width:1.5}.told{fill:#626c77;text-anchor:start}"
    "@media (prefers-color-scheme:dark){.right text.digit{fill:#4cc06a}.wrong text.digit{fill:#ff8a80}"
    "line{stroke:#7d8995}.told{fill:#97a1ab}}"
)


Verdict = Literal["", "right", "wrong"]
"""How a number is marked, if it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A number below the factors."""

    number: str
    """Its digits, or a question mark where it is to be found."""
    told: str = ""
    """What stands beside it: what it is of, or what was said of it."""
    verdict: Verdict = ""
    """How it is marked."""
    ruled: bool = False
    """Whether a line is drawn above it."""


def draw_multiplication(
    factors: tuple[str, str], rows: Sequence[Row], *, words: str, units_last: bool = True
) -> Drawing:
    """Draw a multiplication as on paper: the factors, a line, and the rows.

    Args:
        factors: The factors as they are written.
        rows: What stands below them, from top to bottom.
        words: The same in words.
        units_last: Whether numbers end with their units, and not begin with them; units stand below units.
    """
    places = max(map(len, [*factors, *(row.number for row in rows)]))
    left = EDGE + 1.5 * DIGIT  # where the digits begin, right of the sign
    right = left + places * DIGIT
    parts = [*_digits(factors[0], 0, left, places, units_last=units_last),
             element("text", "\N{MULTIPLICATION SIGN}", x=EDGE + DIGIT / 2, y=_middle(1), class_="digit"),
             *_digits(factors[1], 1, left, places, units_last=units_last)]  # fmt: skip
    for place, row in enumerate(rows, start=2):
        if row.ruled or place == 2:
            y = EDGE + place * ROW
            parts.append(element("line", x1=EDGE, y1=y, x2=right, y2=y))
        parts += [f'<g class="{row.verdict}">',
                  *_digits(row.number, place, left, places, units_last=units_last), "</g>"]  # fmt: skip
        if row.told:
            parts.append(element("text", row.told, x=right + DIGIT, y=_middle(place), class_="told"))
    beside = max((len(row.told) for row in rows), default=0)
    width = right + (DIGIT + beside * LETTER if beside else 0) + EDGE
    return svg_drawing(width, 2 * EDGE + (2 + len(rows)) * ROW, parts, words=words, style=STYLE)


def _digits(number: str, place: int, left: float, places: int, *, units_last: bool) -> list[str]:
    """Draw the digits of a number, each in the middle of its column."""
    first = places - len(number) if units_last else 0
    return [element("text", digit, x=left + (first + at + 0.5) * DIGIT, y=_middle(place), class_="digit")
            for at, digit in enumerate(number)]  # fmt: skip


def _middle(place: int) -> float:
    """Return the height of the middle of a row, counted from 0."""
    return EDGE + (place + 0.5) * ROW

"""The lake as a picture: ice, holes and goal, the way that was walked, and where it has led."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from turngym.envs.drawing import Drawing, element, svg_drawing

CELL, GAP = 34, 3
"""Size of a cell and of what lies between two, in pixels."""
STYLE = (
    ".ice{fill:#bfe3f5}.hole{fill:#24506e}.goal{fill:#ffd75e}text{fill:#123}.on-hole{fill:#fff}"
    ".way{fill:none;stroke:#c4432f;stroke-width:2.5;stroke-linecap:round;stroke-linejoin:round;opacity:.75}"
    ".start{fill:none;stroke:#c4432f;stroke-width:1.5;stroke-dasharray:3 3}"
    ".walker{fill:#c4432f;stroke:#fff;stroke-width:1.5}"
    "@media (prefers-color-scheme:dark){.ice{fill:#7fb6d1}.hole{fill:#17364b}.goal{fill:#e3b93f}text{fill:#0b1a24}"
    ".on-hole{fill:#cfe6f2}}"
)
KINDS = {"S": "ice", "F": "ice", "H": "hole", "G": "goal"}


def lake_drawing(rows: Sequence[str], way: Sequence[int]) -> Drawing:
    """Draw a lake.

    Args:
        rows: The lake as Gymnasium writes it: S start, F ice, H hole, G goal.
        way: The cells that were stood on, in row order from 0; the start first, a cell again where a move was blocked.
    """
    size = len(rows[0])
    letters = "".join(rows)
    parts = []
    for cell, letter in enumerate(letters):
        x, y = _middle(cell, size)
        half = CELL / 2
        parts.append(element("rect", x=x - half, y=y - half, width=CELL, height=CELL, rx=6, class_=KINDS[letter]))
        if letter in "GH":
            parts.append(element("text", {"G": "G", "H": "O"}[letter], x=x, y=y,
                                 class_="on-hole" if letter == "H" else "on-goal"))  # fmt: skip
    start, here = _middle(way[0], size), _middle(way[-1], size)
    parts.append(element("circle", cx=start[0], cy=start[1], r=CELL / 2 - 4, class_="start"))
    steps = [cell for before, cell in pairwise(way) if cell != before]
    if steps:
        points = " ".join("{:g},{:g}".format(*_middle(cell, size)) for cell in [way[0], *steps])
        parts.append(element("polyline", points=points, class_="way"))
    parts.append(element("circle", cx=here[0], cy=here[1], r=8, class_="walker"))
    extent = (size * (CELL + GAP) + GAP, len(rows) * (CELL + GAP) + GAP)
    return svg_drawing(*extent, parts, words=_words(letters, size, way), style=STYLE)


def _middle(cell: int, size: int) -> tuple[float, float]:
    """Return the middle of a cell, in pixels from the left and from the top."""
    row, column = divmod(cell, size)
    return GAP + column * (CELL + GAP) + CELL / 2, GAP + row * (CELL + GAP) + CELL / 2


def _words(letters: str, size: int, way: Sequence[int]) -> str:
    def place(cell: int) -> str:
        return f"row {cell // size + 1} column {cell % size + 1}"

    holes = ", ".join(place(cell) for cell, letter in enumerate(letters) if letter == "H")
    here = {"H": "in the hole at", "G": "on the goal at"}.get(letters[way[-1]], "at")
    moves = len(way) - 1
    return (
        f"A lake of {len(letters) // size} rows and {size} columns: you {here} {place(way[-1])}, goal at "
        f"{place(letters.index('G'))}, {f'holes at {holes}' if holes else 'no holes'}, "
        f"{f'{moves} move' + 's' * (moves != 1) if moves else 'no moves yet'}."
    )

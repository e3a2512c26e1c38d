"""The lakes of FrozenLake: how one is drawn, what lies where, which way leads to the goal, and where moves lead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from turngym.envs.draws import Draws
from turngym.envs.frozen_lake_values import Table
from turngym.envs.splits import MAX_DRAWS, Split, first_of_split, instance_seeds, split_of
from turngym.envs.written import (
    InvalidInstance,
    UnsolvableInstance,
    Written,
    check_codes,
    check_placed,
    code_of,
    index_of,
)

Rows = tuple[str, ...]
"""A lake as Gymnasium writes it: S start, F ice, H hole, G goal."""
Odds = tuple[float, float, float]
"""Probabilities of going to one side of where a move points, there, and to the other side."""

OFFSETS = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""Where each of Gymnasium's actions 0 to 3 points, in rows and columns."""
GLYPHS = {"S": "_", "F": "_", "H": "O", "G": "G"}
WORDS = {"S": "ice", "F": "ice", "H": "hole", "G": "goal"}
EDGE = -1
"""Stands for the cell beyond an edge."""
REMEMBERED = 1_024
"""How many lakes are kept for those who play them again, at most about 10 MB."""

_GLYPHS = str.maketrans(GLYPHS)
_LETTERS = str.maketrans({"P": "S", "_": "F", "O": "H"})
_ICE = bytes.maketrans(b"\0\1", b"HF")


@dataclass(frozen=True, slots=True)
class Lake:
    """A lake with a way from start to goal. Cells are counted in row order."""

    rows: Rows
    """The map."""
    key: str
    """Its rows joined by slashes."""
    potentials: tuple[float, ...] = field(repr=False)
    """How far every cell is on the way to the goal, as `potentials`."""
    letters: str = field(init=False)
    """The letter of every cell."""
    start: int = field(init=False)
    """The cell of the start."""
    goal: int = field(init=False)
    """The cell of the goal."""
    sides: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    """The four neighbors of every cell in the order of the moves, `EDGE` for none."""
    words: tuple[str, ...] = field(init=False, repr=False)
    """What every cell is called; the last one is what lies beyond the edge."""
    grid: str = field(init=False, repr=False)
    """The picture without a player: cell c is its character 2 * c."""

    def __post_init__(self) -> None:
        """Derive everything from the map."""
        rows = self.rows
        letters = "".join(rows)
        found = {
            "letters": letters, "start": letters.index("S"), "goal": letters.index("G"),
            "sides": neighbors(len(rows), len(rows[0])), "words": (*map(WORDS.__getitem__, letters), "edge"),
            "grid": "\n".join([" ".join(row) for row in rows]).translate(_GLYPHS),
        }  # fmt: skip
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def place(self, cell: int) -> str:
        """Say where a cell lies."""
        row, column = divmod(cell, len(self.rows))
        return f"row {row + 1} column {column + 1}"


def lake_of(rows: Rows) -> Lake:
    """Return the lake of a map."""
    return Lake(rows, "/".join(rows), potentials(rows))


# Drawing ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=REMEMBERED)
def draw_lake(split: Split, index: int, size: int, frozen_probability: float, corners: bool) -> Lake:
    """Draw lake `(split, index)` of a family.

    Args:
        split: The split.
        index: The instance within it, at least 0.
        size: Rows and columns, 2 to 16.
        frozen_probability: Probability in (0, 1] that a cell is ice.
        corners: Whether start and goal are the top left and the bottom right corner, and not any two cells.

    Raises:
        ValueError: There are next to no lakes with a way in this family, or none of this split; or the index is
            numbered by content, and the split has no such lake.
    """
    code = code_of(index, num_codes(size, corners))
    if code is not None:
        return _decoded(split, code, size, corners)
    family = size, frozen_probability, corners
    draws = Draws(instance_seeds(split, index))
    for _ in range(MAX_DRAWS):
        rows = _drawn(draws, *family)
        key = "/".join(rows)
        # Whether there is a way is asked last, since it takes longest.
        if split_of(key) == split and (distances := way(rows)):
            return Lake(rows, key, _potentials(distances, size * size))
    # Where so few lakes will do, lakes without a way and those of other splits are counted apart, from the first on.
    draws = Draws(instance_seeds(split, index))
    return lake_of(first_of_split(split, lambda: _drawn_with_way(draws, *family), "/".join))


def _drawn(draws: Draws, size: int, frozen_probability: float, corners: bool) -> Rows:
    """Draw a lake with or without a way."""
    cells = size * size
    letters = bytearray(draws.under(frozen_probability, cells).translate(_ICE))
    start, goal = (0, cells - 1) if corners else draws.two_below(cells)
    letters[start], letters[goal] = b"SG"
    text = letters.decode()
    return tuple([text[first : first + size] for first in range(0, cells, size)])


def _drawn_with_way(draws: Draws, size: int, frozen_probability: float, corners: bool) -> Rows:
    for _ in range(MAX_DRAWS):
        rows = _drawn(draws, size, frozen_probability, corners)
        if way(rows):
            return rows
    raise ValueError(f"no lake with a way in {MAX_DRAWS} draws; raise frozen_probability or lower size")


# As text ------------------------------------------------------------------------------------------------------------


def written(lake: Lake) -> str:
    """Return a lake as its picture with the player, `P`, at the start."""
    return f"{lake.grid[: 2 * lake.start]}P{lake.grid[2 * lake.start + 1 :]}"


def read_lake(text: str, size: int, corners: bool) -> Written:
    """Return split and index of the lake that a picture shows.

    Args:
        text: The picture, as `written` has it; any white space may stand between its cells.
        size: Rows and columns.
        corners: Whether start and goal are the top left and the bottom right corner.

    Raises:
        InvalidInstance: It is none of such a lake, or, as `UnsolvableInstance`, of one without a way to the goal.
    """
    check_codes(num_codes(size, corners))
    cells, count = "".join(text.split()), size * size
    if len(cells) != count or not {*cells} <= {*"P_OG"}:
        raise InvalidInstance(f"a lake is a picture of {size} rows of {size} cells, each P, _, O or G")
    if cells.count("P") != 1 or cells.count("G") != 1:
        raise InvalidInstance("a lake has one P, where the player begins, and one G, the goal")
    start, goal = cells.index("P"), cells.index("G")
    if corners and (start, goal) != (0, count - 1):
        raise InvalidInstance("P is in the top left corner and G in the bottom right one")
    letters = cells.translate(_LETTERS)
    rows = tuple(letters[first : first + size] for first in range(0, count, size))
    if way(rows) is None:
        raise UnsolvableInstance("there is no way from P to G")
    code = int("".join("1" if letter == "H" else "0" for letter in (letters[1:-1] if corners else letters)), 2)
    if not corners:
        code = (code * count + start) * count + goal
    return split_of("/".join(rows)), index_of(code)


def num_codes(size: int, corners: bool) -> int:
    """Return how many pictures a family has: holes wherever they may be, with or without a way."""
    count = size * size
    return 1 << count - 2 if corners else (1 << count) * count * count


def _decoded(split: Split, code: int, size: int, corners: bool) -> Lake:
    """Return the lake of a code.

    Raises:
        InputError: The split has no such lake.
    """
    count = size * size
    start, goal = 0, count - 1
    if not corners:
        code, goal = divmod(code, count)
        code, start = divmod(code, count)
    holes = f"{code << 1 if corners else code:0{count}b}"
    letters = ["H" if hole == "1" else "F" for hole in holes]
    letters[start], letters[goal] = "S", "G"
    rows = tuple("".join(letters[first : first + size]) for first in range(0, count, size))
    check_placed(split, "/".join(rows))
    if "S" not in "".join(rows) or way(rows) is None:
        raise UnsolvableInstance(f"there is no way from start to goal: {'/'.join(rows)}")
    return lake_of(rows)


# Ways ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def neighbors(height: int, width: int) -> tuple[tuple[int, ...], ...]:
    """Return the four neighbors of every cell in the order of the moves, `EDGE` for none.

    Args:
        height: Rows.
        width: Columns.
    """

    def around(cell: int) -> Iterator[int]:
        for down, right in OFFSETS:
            row, column = cell // width + down, cell % width + right
            yield row * width + column if 0 <= row < height and 0 <= column < width else EDGE

    return tuple(tuple(around(cell)) for cell in range(height * width))


def way(rows: Rows) -> dict[int, int] | None:
    """Return the distances of all cells to the goal, as `ice_distances`; None where the start has none."""
    letters = "".join(rows)
    distances = ice_distances(rows, letters.index("G"))
    return distances if letters.index("S") in distances else None


def ice_distances(rows: Rows, goal: int) -> dict[int, int]:
    """Return the length of the shortest way over ice to `goal` of every cell that has one.

    Args:
        rows: The map.
        goal: A cell, counted in row order.
    """
    letters, sides = "".join(rows), neighbors(len(rows), len(rows[0]))
    distances = {goal: 0}
    waiting = [goal]
    for cell in waiting:  # which grows
        farther = distances[cell] + 1
        for neighbor in sides[cell]:
            if neighbor != EDGE and neighbor not in distances and letters[neighbor] != "H":
                distances[neighbor] = farther
                waiting.append(neighbor)
    return distances


def potentials(rows: Rows) -> tuple[float, ...]:
    """Return how far every cell is on the way to the goal: 1 at the goal, 0 at the farthest cell.

    A hole leads nowhere and has 0 too.
    """
    letters = "".join(rows)
    return _potentials(ice_distances(rows, letters.index("G")), len(letters))


def _potentials(distances: dict[int, int], cells: int) -> tuple[float, ...]:
    farthest = max(distances.values())
    by_distance = [1.0 - distance / farthest for distance in range(farthest + 1)]
    return tuple([by_distance[distances.get(cell, farthest)] for cell in range(cells)])


# Moves --------------------------------------------------------------------------------------------------------------


def odds_of(success_rate: float) -> Odds:
    """Return with which probability a move goes where: half of the rest to each of its two sides."""
    side = (1 - success_rate) / 2
    return side, success_rate, side


def transition_table(rows: Rows, success_rate: float) -> Table:
    """Return where every move leads, as Gymnasium's `FrozenLakeEnv(desc=rows, ...).P` has it.

    On ice that is not slippery a move has one outcome, otherwise three: one side, the intended cell, the other side.

    Args:
        rows: The map.
        success_rate: Probability in [0, 1] that a move goes where it points; 1 is not slippery.
    """
    letters, sides = "".join(rows), neighbors(len(rows), len(rows[0]))
    turns = [(0, 1.0)] if success_rate == 1 else [*zip((-1, 0, 1), odds_of(success_rate), strict=True)]

    def outcome(odds: float, cell: int, move: int) -> tuple[float, int, float, bool]:
        side = sides[cell][move % len(OFFSETS)]
        following = cell if side == EDGE else side
        return odds, following, float(letters[following] == "G"), letters[following] in "GH"

    return {
        cell: {
            move: [(1.0, cell, 0.0, True)] if letter in "GH" else [outcome(odds, cell, move + t) for t, odds in turns]
            for move in range(len(OFFSETS))
        }
        for cell, letter in enumerate(letters)
    }

"""Countdown as a picture: every attempt as trees, each operation above the numbers that it joins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from turngym.envs.arithmetic import Node
from turngym.envs.countdown_solver import Numbers, Step
from turngym.envs.drawing import Drawing, element, svg_drawing

LEVEL, TITLE, BOX = 46, 26, 24
"""Pixels from one level of a tree to the next, of a line of text, and of the height of a box."""
LONGEST = 9
"""Characters of the longest number that is written in full."""
SIGNS = {"*": "\N{MULTIPLICATION SIGN}", "/": "\N{DIVISION SIGN}", "-": "\N{MINUS SIGN}", "+": "+"}
STYLE = (
    "rect{fill:#eef2f6;stroke:#8a97a5}.right rect{fill:#c9efd3;stroke:#1a7f37}.wrong rect{fill:#fbdcd8;stroke:#b3261e}"
    "line{stroke:#8a97a5;stroke-width:1.5}.sign{fill:#9a6700;font-weight:700}.told{text-anchor:start}"
    "@media (prefers-color-scheme:dark){rect{fill:#262c33;stroke:#7d8995}.right rect{fill:#163f22;stroke:#4cc06a}"
    ".wrong rect{fill:#4a1f1b;stroke:#ff8a80}.sign{fill:#e0b040}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at the target."""

    trees: tuple[Node, ...]
    """What it has made so far: one tree once it is over, and before that one for each number that is left."""
    over: bool
    """Whether it has come to its end."""
    told: str
    """What was said of it."""


def trees_of(numbers: Numbers, steps: Sequence[Step]) -> tuple[Node, ...]:
    """Return what some steps leave of the numbers; of equal numbers one that was made is taken before a given one.

    Args:
        numbers: The numbers that the steps begin with.
        steps: Steps that can be taken one after the other.
    """
    left = [Node(number) for number in numbers]
    for step in steps:
        operands = (_taken(left, step.left), _taken(left, step.right))
        left.append(Node(step.value, step.operator, operands))
    return tuple(reversed(left))


def _taken(nodes: list[Node], value: Fraction) -> Node:
    """Take the node of a value that was made last out of a list."""
    place = max(place for place, node in enumerate(nodes) if node.value == value)
    return nodes.pop(place)


def draw_attempts(target: Fraction, numbers: Numbers, attempts: Sequence[Attempt]) -> Drawing:
    """Draw the attempts of an episode, one below the other; before the first one, the numbers alone.

    Args:
        target: What is to be made.
        numbers: What it is to be made of.
        attempts: The attempts so far, in order.
    """
    shown = list(attempts) or [Attempt(trees=tuple(map(Node, numbers)), over=False, told="")]
    head = f"Target {target}, from {' '.join(map(str, numbers))}"
    parts = [element("text", head, x=4, y=TITLE / 2, class_="told")]
    width, height = 8.0 * len(head), float(TITLE)
    for number, attempt in enumerate(shown, start=1):
        if attempt.told:
            caption = f"{number}. {attempt.told}"
            parts.append(element("text", caption, x=4, y=height + TITLE / 2, class_="told"))
            width, height = max(width, 7.5 * len(caption)), height + TITLE
        verdict = "" if not attempt.over else "right" if is_right(attempt, numbers, target) else "wrong"
        plan = _Plan(attempt.trees, height)
        parts += [f'<g class="{verdict}">', *plan.parts, "</g>"]
        width, height = max(width, plan.width), height + plan.height
    told = [f"{number}. {' ; '.join(map(spelled, attempt.trees))}. {attempt.told}".strip()
            for number, attempt in enumerate(attempts, start=1)]  # fmt: skip
    return svg_drawing(width, height, parts, words=" ".join([f"{head}.", *told]), style=STYLE)


def is_right(attempt: Attempt, numbers: Numbers, target: Fraction) -> bool:
    """Return whether an attempt makes the target of each number exactly once."""
    return [tree.value for tree in attempt.trees] == [target] and sorted(_leaves(attempt.trees[0])) == list(numbers)


def spelled(node: Node) -> str:
    """Return a tree as an expression with its value, such as `(3 + 7) * 9 = 90`."""
    return f"{_expression(node, outer=True)} = {short(node.value)}" if node.operands else short(node.value)


def _expression(node: Node, *, outer: bool = False) -> str:
    if not node.operands:
        return str(node.value)
    text = f" {node.operator} ".join(map(_expression, node.operands))
    return text if outer else f"({text})"


def short(value: Fraction) -> str:
    """Return a number in a few characters: exactly, or else to four digits, or else by how long it is."""
    exact = str(value)
    if len(exact) <= LONGEST:
        return exact
    try:
        return f"\N{ALMOST EQUAL TO}{float(value):.4g}"
    except OverflowError:
        return f"{exact[:3]}\N{HORIZONTAL ELLIPSIS} ({len(exact)} digits)"


def _leaves(node: Node) -> Iterator[Fraction]:
    if not node.operands:
        yield node.value
    for operand in node.operands:
        yield from _leaves(operand)


class _Plan:
    """Where everything of some trees stands: the numbers side by side at the bottom, operations above the middle.

    Args:
        trees: The trees, from left to right.
        top: Where they begin, in pixels.
    """

    def __init__(self, trees: Sequence[Node], top: float) -> None:
        self._column = max(40.0, max(map(_widest, trees)) * 8.0 + 14)
        self._used = 0
        self._bottom = top + max(map(_levels, trees)) * LEVEL + BOX / 2 + 8
        self._lines: list[str] = []
        self._boxes: list[str] = []
        for tree in trees:
            self._place(tree)
        self.parts = [*self._lines, *self._boxes]
        self.width = self._used * self._column + 8
        self.height = self._bottom + BOX / 2 + 10 - top

    def _place(self, node: Node) -> tuple[float, float]:
        """Draw a tree; return where its box stands."""
        below = [self._place(operand) for operand in node.operands]
        if below:
            x = sum(place for place, _ in below) / len(below)
        else:
            x = 4 + (self._used + 0.5) * self._column
            self._used += 1
        y = self._bottom - _levels(node) * LEVEL
        for place, depth in below:
            self._lines.append(element("line", x1=x, y1=y, x2=place, y2=depth))
        text = short(node.value)
        width = max(26.0, 8.0 * len(text) + 8)
        self._boxes.append(element("rect", x=x - width / 2, y=y - BOX / 2, width=width, height=BOX, rx=6))
        self._boxes.append(element("text", text, x=x, y=y))
        if below:
            self._boxes.append(element("text", SIGNS[node.operator], x=x, y=y + BOX / 2 + 8, class_="sign"))
        return x, y


def _levels(node: Node) -> int:
    """Return how many operations stand one above the other."""
    return 1 + max(map(_levels, node.operands)) if node.operands else 0


def _widest(node: Node) -> int:
    """Return the number of characters of the longest number in a tree."""
    return max([len(short(node.value)), *map(_widest, node.operands)])

"""Exact arithmetic on text that a model wrote: a tokenizer and a grammar of its own over rationals.

    expression = term   { ("+" | "-") term }
    term       = factor { ("*" | "/") factor }
    factor     = number | "(" expression ")"

There is no unary minus, no power, no decimal point and no name, so there is nothing here to escape from. Length, depth
and the size of numbers are bounded before any arithmetic is done, and the work is linear in the length of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from turngym.envs.parsing import InvalidAction

MAX_CHARS = 200
"""Longest expression."""
MAX_DEPTH = 20
"""Deepest nesting of parentheses."""
MAX_NUMBER = 999_999
"""Largest number that may be written."""

_DIGITS = frozenset("0123456789")
_MARKS = frozenset("+-*/()")


@dataclass(frozen=True, slots=True)
class Node:
    """A number that is written, or what an operator makes of two nodes."""

    value: Fraction
    """Its exact value."""
    operator: str = ""
    """One of `+ - * /`; empty for a number that is written."""
    operands: tuple[Node, ...] = ()
    """What the operator joins, left and right."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an expression is worth and what it is made of."""

    tree: Node
    """The expression, each operation above what it joins."""
    numbers: tuple[int, ...]
    """The numbers as written, from left to right."""

    @property
    def value(self) -> Fraction:
        """The exact value."""
        return self.tree.value

    @property
    def num_operators(self) -> int:
        """How many operators stand between the numbers: all are binary, so one fewer than there are numbers."""
        return len(self.numbers) - 1


def evaluate(text: str) -> Evaluation:
    """Evaluate an arithmetic expression.

    Args:
        text: Decimal digits, `+ - * / ( )` and spaces, at most `MAX_CHARS` characters.

    Raises:
        InvalidAction: It is not such an expression, it divides by zero, or it exceeds a bound of this module.
    """
    if len(text) > MAX_CHARS:
        raise InvalidAction(f"an expression has at most {MAX_CHARS} characters")
    reader = _Reader(tokenize(text))
    tree = reader.expression()
    if reader.token:
        raise InvalidAction(f"an operator is missing before {reader.token}")
    return Evaluation(tree, tuple(reader.numbers))


def tokenize(text: str) -> list[str]:
    """Split an expression into numbers and marks, without the spaces between them.

    Raises:
        InvalidAction: A character belongs to neither, or a number is too large or has leading zeros.
    """
    tokens: list[str] = []
    at = 0
    while at < len(text):
        end = at + 1
        if text[at] in _DIGITS:
            while end < len(text) and text[end] in _DIGITS:
                end += 1
            tokens.append(_checked_number(text[at:end]))
        elif text[at] in _MARKS:
            tokens.append(text[at])
        elif text[at] != " ":
            raise InvalidAction("an expression holds only whole numbers, + - * / ( ) and spaces")
        at = end
    return tokens


def _checked_number(digits: str) -> str:
    if len(digits) > len(str(MAX_NUMBER)):
        raise InvalidAction(f"a number is at most {MAX_NUMBER}")
    if digits[0] == "0" and digits != "0":
        raise InvalidAction("write numbers without leading zeros")
    return digits


class _Reader:
    """Recursive descent over tokens; its depth is bounded by `MAX_DEPTH`."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self.numbers: list[int] = []

    @property
    def token(self) -> str:
        """The next token, empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self.token
        self._at += 1
        return token

    def expression(self) -> Node:
        """Read a sum."""
        node = self._term()
        while self.token in ("+", "-"):
            operator, right = self._next(), self._term()
            value = node.value + right.value if operator == "+" else node.value - right.value
            node = Node(value, operator, (node, right))
        return node

    def _term(self) -> Node:
        node = self._factor()
        while self.token in ("*", "/"):
            operator, right = self._next(), self._factor()
            if operator == "/" and not right.value:
                raise InvalidAction("division by zero has no value")
            value = node.value * right.value if operator == "*" else node.value / right.value
            node = Node(value, operator, (node, right))
        return node

    def _factor(self) -> Node:
        symbol = self._next()
        if symbol == "(":
            return self._parentheses()
        if not symbol or symbol in _MARKS:
            raise InvalidAction(f"a number or ( must stand {f'where {symbol} is' if symbol else 'at the end'}")
        self.numbers.append(int(symbol))
        return Node(Fraction(int(symbol)))

    def _parentheses(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidAction(f"parentheses are nested at most {MAX_DEPTH} deep")
        node = self.expression()
        if self._next() != ")":
            raise InvalidAction("a ) is missing")
        self._depth -= 1
        return node

"""Exact Countdown: what a multiset of numbers can make when each is used exactly once, and how.

All values are rationals, so nothing is lost to rounding. A multiset is a sorted tuple; its reachable values are found
once from those of its parts. Up to four numbers all of them are listed; beyond that the search starts from the target:
whatever one part makes says what the other must make, and only small parts are ever listed. Six numbers take 0.1 s on
one core and rarely more than half a second, solvable or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import combinations
from math import gcd
from typing import TypeVar

Numbers = tuple[Fraction, ...]
"""A multiset of numbers, sorted."""
Ratio = tuple[int, int]
"""A number in lowest terms, the denominator above 0: what a `Fraction` is, at a tenth of its cost."""
Entry = TypeVar("Entry")

OPERATORS = ("+", "-", "*", "/")
MAX_LISTED = 4
"""The most numbers whose reachable values are listed: about 1,100 of them, against 26,000 for five."""
MAX_CHEAP = 3
"""The most numbers whose reachable values are listed as ratios, about 100 of them in 50 us."""
MAX_ENUMERATED = 4
"""The most numbers whose whole tree of random play is searched, in 20 ms."""


@dataclass(frozen=True, slots=True)
class Step:
    """Two numbers combined into one."""

    left: Fraction
    """The first operand."""
    operator: str
    """One of `OPERATORS`."""
    right: Fraction
    """The second operand, not zero under division."""

    @property
    def value(self) -> Fraction:
        """The result."""
        if self.operator == "+":
            return self.left + self.right
        if self.operator == "-":
            return self.left - self.right
        return self.left * self.right if self.operator == "*" else self.left / self.right

    def __str__(self) -> str:
        """Write the step as an agent does, such as `7/2 - -3`."""
        return f"{self.left} {self.operator} {self.right}"


Steps = tuple[Step, ...]


def multiset(numbers: tuple[int | Fraction, ...]) -> Numbers:
    """Return numbers as the solver takes them."""
    return tuple(sorted(map(Fraction, numbers)))


def combined(numbers: Numbers, step: Step) -> Numbers:
    """Return what remains of `numbers` after a step.

    Raises:
        ValueError: The operands are not among them.
    """
    rest = list(numbers)
    rest.remove(step.left)
    rest.remove(step.right)
    return tuple(sorted([*rest, step.value]))


def legal_steps(numbers: Numbers) -> list[Step]:
    """Return every ordered pair with every operator, without division by zero; equal numbers count as distinct."""
    pairs = [(left, right) for i, left in enumerate(numbers) for j, right in enumerate(numbers) if i != j]
    return [Step(a, op, b) for a, b in pairs for op in OPERATORS if b or op != "/"]


@lru_cache(maxsize=1024)
def reachable(numbers: Numbers) -> frozenset[Fraction]:
    """Return every value that an expression with each of `numbers` exactly once can have.

    Args:
        numbers: At least one. Each costs some thirty times more: 0.5 ms for three, 10 ms for four, 0.3 s for five.
    """
    return _combined(numbers, reachable, _results)


def _combined(
    numbers: tuple[Entry, ...],
    made: Callable[[tuple[Entry, ...]], frozenset[Entry]],
    results: Callable[[Entry, frozenset[Entry]], Iterator[Entry]],
) -> frozenset[Entry]:
    """Return what numbers make: of every two parts of them what each value of the one makes with those of the other.

    Args:
        numbers: At least one.
        made: Returns what fewer numbers make.
        results: Yields what a value makes with each of others, in either order.
    """
    if len(numbers) == 1:
        return frozenset(numbers)
    values: set[Entry] = set()
    for part, rest in _partitions(numbers):
        others = made(rest)
        for a in made(part):
            values.update(results(a, others))
    return frozenset(values)


def _results(a: Fraction, others: frozenset[Fraction]) -> Iterator[Fraction]:
    """Yield what `a` makes with each of `others`, in either order."""
    for b in others:
        yield a + b
        yield a - b
        yield b - a
        yield a * b
        if b:
            yield a / b
        if a:
            yield b / a


def solvable(numbers: Numbers, target: Fraction | int) -> bool:
    """Whether an expression with each of `numbers` exactly once equals `target`."""
    if len(numbers) > MAX_LISTED:
        return solve(numbers, Fraction(target)) is not None
    wanted, ratios = _ratio_of(target), tuple(map(_ratio_of, numbers))
    if len(ratios) <= MAX_CHEAP:
        return wanted in reachable_ratios(ratios)
    return any(
        not reachable_ratios(rest).isdisjoint(_partners(a, wanted)) or a[0] == wanted[0] == 0
        for part, rest in _partitions(ratios)
        for a in reachable_ratios(part)
    )


def _ratio_of(number: Fraction | int) -> Ratio:
    return number.numerator, number.denominator


def _reduced(numerator: int, denominator: int) -> Ratio:
    """Return a ratio of two numbers, the second not zero, in lowest terms."""
    divisor = gcd(numerator, denominator) if denominator > 0 else -gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


@lru_cache(maxsize=1024)
def reachable_ratios(numbers: tuple[Ratio, ...]) -> frozenset[Ratio]:
    """Return what `reachable` returns, as ratios, for at most `MAX_CHEAP` numbers."""
    return _combined(numbers, reachable_ratios, _ratio_results)


def _ratio_results(a: Ratio, others: frozenset[Ratio]) -> Iterator[Ratio]:
    """Yield what `a` makes with each of `others`, in either order."""
    n, d = a
    for m, e in others:
        if d == e == 1:
            yield n + m, 1
            yield n - m, 1
            yield m - n, 1
            yield n * m, 1
        else:
            yield _reduced(n * e + m * d, d * e)
            yield _reduced(n * e - m * d, d * e)
            yield _reduced(m * d - n * e, d * e)
            yield _reduced(n * m, d * e)
        if m:
            yield _reduced(n * e, d * m)
        if n:
            yield _reduced(m * d, e * n)


def _partners(a: Ratio, target: Ratio) -> list[Ratio]:
    """Return each number that makes `target` with `a` in one step, but for 0 * b = 0, where any does."""
    (n, d), (t, u) = a, target
    found = [_reduced(t * d - n * u, u * d), _reduced(n * u - t * d, u * d), _reduced(t * d + n * u, u * d)]
    if n:
        found += [_reduced(t * d, u * n), _reduced(t * n, u * d)]
        if t:
            found.append(_reduced(n * u, d * t))
    return found


@lru_cache(maxsize=4096)
def solve(numbers: Numbers, target: Fraction) -> Steps | None:
    """Return steps that combine all of `numbers` into `target`, None where there are none.

    Whole, non-negative intermediate values are preferred where the choice is free.

    Args:
        numbers: One to six.
        target: The value to make.
    """
    if len(numbers) == 1:
        return () if numbers[0] == target else None
    if len(numbers) <= MAX_LISTED and not solvable(numbers, target):
        return None
    for tidy in (True, False):
        for part, rest in _partitions(numbers):
            for a in reachable(part):
                for b, last in _complements(a, target, sum(rest, Fraction(0))):
                    if tidy == (_is_tidy(a) and _is_tidy(b)) and solvable(rest, b):
                        return (solve(part, a) or ()) + (solve(rest, b) or ()) + (last,)
    return None


def _is_tidy(value: Fraction) -> bool:
    return value >= 0 and value.denominator == 1


def _complements(a: Fraction, target: Fraction, anything: Fraction) -> Iterator[tuple[Fraction, Step]]:
    """Yield each `b` that makes `target` with `a`, and the step that does.

    Args:
        a: The value of one part.
        target: What the step must make.
        anything: A value that the other part can have, for 0 * b = 0 where any will do.
    """
    b = target - a
    yield b, Step(min(a, b), "+", max(a, b))
    yield a - target, Step(a, "-", a - target)
    yield a + target, Step(a + target, "-", a)
    if a:
        b = target / a
        yield b, Step(min(a, b), "*", max(a, b))
        yield a * target, Step(a * target, "/", a)
        if target:
            yield a / target, Step(a, "/", a / target)
    elif not target:
        yield anything, Step(a, "*", anything)


def _partitions(numbers: tuple[Entry, ...]) -> list[tuple[tuple[Entry, ...], tuple[Entry, ...]]]:
    """Return every way to part `numbers` in two, the smaller part first, each once."""
    pairs: dict[tuple[tuple[Entry, ...], tuple[Entry, ...]], None] = {}  # keeps the order and drops repetitions
    for part_at, rest_at in _partition_indices(len(numbers)):
        pairs[tuple(numbers[i] for i in part_at), tuple(numbers[i] for i in rest_at)] = None
    return list(pairs)


@cache
def _partition_indices(count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    everything = range(count)
    parts = [part for size in range(1, count // 2 + 1) for part in combinations(everything, size)]
    # Halves come in mirrored pairs; the one that holds the first number stands for both.
    parts = [part for part in parts if 2 * len(part) < count or part[0] == 0]
    return [(part, tuple(i for i in everything if i not in part)) for part in parts]


@lru_cache(maxsize=4096)
def random_play_success(numbers: Numbers, target: Fraction) -> float:
    """Return the probability that uniformly random legal steps turn `numbers` into `target`.

    Args:
        numbers: At most `MAX_ENUMERATED`; each more takes some forty times longer.
        target: The value to make.
    """
    if len(numbers) == 1:
        return float(numbers[0] == target)
    steps = legal_steps(numbers)
    return sum(random_play_success(combined(numbers, step), target) for step in steps) / len(steps)


def expression(numbers: Numbers, steps: Steps) -> str:
    """Write the steps that combine all of `numbers` as one expression, such as `(3 * 7) + 9`.

    Raises:
        ValueError: A step uses a number that is not there, or more than one number remains.
    """
    pool = [(number, str(number)) for number in numbers]
    for step in steps:
        left, right = _take(pool, step.left), _take(pool, step.right)
        pool.append((step.value, f"({left} {step.operator} {right})"))
    if len(pool) != 1:
        raise ValueError(f"{len(pool)} numbers remain after the last step, not one")
    text = pool[0][1]
    return text[1:-1] if steps else text


def _take(pool: list[tuple[Fraction, str]], value: Fraction) -> str:
    """Remove an entry of this value and return its text."""
    for at, (entry, _) in enumerate(pool):
        if entry == value:
            return pool.pop(at)[1]
    raise ValueError(f"{value} is not among the numbers")

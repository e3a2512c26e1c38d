"""Multiplication in one answer, with several attempts at it; and what its step-wise form shares."""

from __future__ import annotations

import re
from typing import Annotated

import numpy as np

from turngym.arguments import Range, checked_arguments
from turngym.envs.core import TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.draws import Draws
from turngym.envs.multiplication_drawing import Row, draw_multiplication
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split, first_of_split, instance_seeds, split_of
from turngym.envs.written import InvalidInstance, Written, check_placed, code_of, index_of

Digits = Annotated[int, Range(low=1, high=5)]
"""How many digits a factor has."""
MAX_ANSWER_DIGITS = 12
"""The longest number that is read; every right answer has fewer digits."""
_FACTORS = re.compile(r"([0-9]{1,9}) \* ([0-9]{1,9})")


def draw_factors(split: Split, index: int, digits: tuple[int, int]) -> tuple[int, int]:
    """Draw the factors of instance `(split, index)`; a * b and b * a belong to the same split.

    Args:
        split: The split.
        index: The instance within it, at least 0.
        digits: Exact digit counts of the first and the second factor; a single digit is 1 to 9.

    Raises:
        InputError: The index is numbered by content, and the split has no such factors.
    """
    (first, firsts), (second, seconds) = map(_range_of, digits)
    code = code_of(index, firsts * seconds)
    if code is not None:
        factors = first + code // seconds, second + code % seconds
        check_placed(split, _content(factors))
        return factors
    below = Draws(instance_seeds(split, index)).below

    def draw() -> tuple[int, int]:
        return first + below(firsts), second + below(seconds)

    return first_of_split(split, draw, _content)


def read_factors(text: str, digits: tuple[int, int]) -> Written:
    """Return split and index of the factors that a text such as `23 * 47` names.

    Args:
        text: The text.
        digits: As of `draw_factors`.

    Raises:
        InvalidInstance: It names none with these counts of digits.
    """
    match = _FACTORS.fullmatch(text.strip())
    if match is None:
        raise InvalidInstance("two factors are written such as: 23 * 47")
    factors = int(match[1]), int(match[2])
    (first, _), (second, seconds) = map(_range_of, digits)
    if (len(match[1]), len(match[2])) != digits or not (first <= factors[0] and second <= factors[1]):
        raise InvalidInstance(f"the factors have {digits[0]} and {digits[1]} digits, none of them first a 0")
    return split_of(_content(factors)), index_of((factors[0] - first) * seconds + factors[1] - second)


def factors_form(digits: tuple[int, int]) -> str:
    """Return what a task is and how it is written."""
    example = " * ".join("2345678"[place : place + count] for place, count in enumerate(digits))
    return (f"A task is a product of two whole numbers, the first with {digits[0]} and the second with {digits[1]} "
            f"digits. It is written such as: {example}")  # fmt: skip


def _range_of(count: int) -> tuple[int, int]:
    """Return the smallest number with so many digits, which is not 0, and how many there are."""
    return 10 ** (count - 1), 9 * 10 ** (count - 1)


def _content(factors: tuple[int, int]) -> str:
    return f"{min(factors)}*{max(factors)}"


def parse_whole(text: str) -> int:
    """Read a whole number in plain decimal digits.

    Raises:
        InvalidAction: It is written in any other way, with leading zeros, or is too long.
    """
    if len(text) > MAX_ANSWER_DIGITS or not (text.isascii() and text.isdecimal()):
        raise InvalidAction(f"write a whole number in at most {MAX_ANSWER_DIGITS} digits and nothing else")
    if text[0] == "0" and len(text) > 1:
        raise InvalidAction("write the number without needless zeros")
    return int(text)


def random_number(num_digits: int, rng: np.random.Generator) -> int:
    """Draw a uniformly random number with exactly `num_digits` digits; a single digit is 0 to 9."""
    return int(rng.integers(10 ** (num_digits - 1) if num_digits > 1 else 0, 10**num_digits))


def guess_probability(answer: int) -> float:
    """Return the probability that `random_number` hits `answer`, its number of digits known."""
    places = len(str(answer)) - 1
    return 1 / (9 * 10**places) if places else 1 / 10


def with_one_wrong_digit(number: int, rng: np.random.Generator) -> int:
    """Return `number` with one random digit changed, its length kept."""
    digits = str(number)
    at = int(rng.integers(len(digits)))
    leading = at == 0 and len(digits) > 1
    others = [digit for digit in "0123456789" if digit != digits[at] and not (leading and digit == "0")]
    return int(digits[:at] + others[rng.integers(len(others))] + digits[at + 1 :])


class WrittenFactors:
    """What both forms of multiplication say of their instances: a base of an environment that has two factors."""

    digits: tuple[int, int]
    """How many digits the factors have."""
    factors: tuple[int, int]
    """The present ones."""

    @property
    def instance_key(self) -> str:
        """The two factors in order, such as `23*47`; `47*23` is another instance of the same split."""
        return "{}*{}".format(*self.factors)

    @property
    def instance_form(self) -> str:
        """What a task is and how it is written."""
        return factors_form(self.digits)

    def written_instance(self) -> str:
        """Return the present factors, such as `23 * 47`; never with their digits reversed."""
        return "{} * {}".format(*self.factors)

    def read_instance(self, text: str) -> Written:
        """Return split and index of the factors that a text names.

        Raises:
            InvalidInstance: It names none with these counts of digits.
        """
        return read_factors(text, self.digits)


class MultiplicationEnv(WrittenFactors, TextEnv):
    """Multiply two numbers; every attempt is told whether it was too low or too high.

    ## Description
    Mental arithmetic with a few attempts. Between attempts the agent learns the direction of its error, and nothing
    of its size.

    ## Action Space
    A whole number in decimal digits, alone, without leading zeros. Anything else is an invalid action.

    ## Observation Space
    What the last attempt was, and the task:

    ```
    1001 is too low.
    23 * 47 = ?
    ```

    ## Starting State
    Both factors are drawn uniformly from the numbers with the given counts of digits.

    ## Rewards
    1 for the exact product, otherwise 0.

    ## Episode End
    Terminates on the exact product. The turn limit truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `potential` is the closeness of the best attempt: the smaller of it and
    the product, divided by the larger; 0 before the first attempt.

    ## Arguments
    Those of `TextEnv`, and:

    * `digits=(2, 2)`: digits of the first and the second factor, 1 to 5 each.

    The random agent draws uniformly from the numbers with as many digits as the product; its success is exact.

    ## References
    * Dziri et al., arXiv:2305.18654: multiplication as a measure of compositional reasoning.

    ## Version History
    * v0: Initial version.
    """

    reward_range = (0.0, 1.0)  # whatever the arguments

    @checked_arguments
    def __init__(
        self,
        *,
        digits: tuple[Digits, Digits] = (2, 2),
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.digits = digits

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.factors = draw_factors(split, index, self.digits)
        self.product = self.factors[0] * self.factors[1]
        self._solved = False
        self._attempts: list[int] = []
        """Those that could be read, in order."""
        self._above: int | None = None
        """The largest attempt that was too low: the product lies above it."""
        self._below: int | None = None
        """The smallest attempt that was too high."""

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self._solved:
            raise InvalidAction("the game is over")
        attempt = parse_whole(action)
        self._attempts.append(attempt)
        if attempt == self.product:
            self._solved = True
        elif attempt < self.product:
            self._above = attempt if self._above is None else max(self._above, attempt)
        else:
            self._below = attempt if self._below is None else min(self._below, attempt)
        return float(self._solved), self._solved, f"{attempt} is {self._judged(attempt)}."

    def _judged(self, attempt: int) -> str:
        """Return what is said of an attempt."""
        return "right" if attempt == self.product else "too low" if attempt < self.product else "too high"

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        first, second = self.digits
        return (
            f"Multiply a number of digit length {first} by one of digit length {second}. "
            "Each wrong answer is told to be too low or too high, and you may answer again. "
            "The exact product earns 1, anything else 0. An action is a whole number, in digits alone."
        )

    def _observe(self, feedback: str) -> str:
        task = "{} * {} = ?".format(*self.factors)
        return f"{feedback}\n{task}" if feedback else task

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return "solved" if self._solved else f"{self._above},{self._below}"

    @property
    def _success(self) -> bool:
        return self._solved

    @property
    def _potential(self) -> float:
        low = 0.0 if self._above is None else self._above / self.product
        high = 0.0 if self._below is None else self.product / self._below
        return max(low, high)

    def drawing(self) -> Drawing:
        """Draw the factors as on paper, with every attempt so far below them."""
        first, second = map(str, self.factors)
        rows = [
            Row(
                number=str(attempt), told=self._judged(attempt), verdict="right" if attempt == self.product else "wrong"
            )
            for attempt in self._attempts
        ]
        told = [f"{first} \N{MULTIPLICATION SIGN} {second} = ?", *(f"{row.number} is {row.told}." for row in rows)]
        return draw_multiplication((first, second), rows or [Row(number="?")], words=" ".join(told))

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw a uniformly random number with as many digits as the product."""
        return str(random_number(len(str(self.product)), rng))

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Return the product with one random digit changed."""
        return str(with_one_wrong_digit(self.product, rng))

    def oracle_action(self) -> str:
        """Return the product."""
        return str(self.product)

    def reasoned_action(self) -> tuple[str, str]:
        """Return the product as it is worked out on paper, from the last digits on, and the product.

        All results are written from the last digit to the first, in the order in which they come about: a line for each
        digit of the second factor, such as `85 * 3: 552` and `85 * 30: 0552`, and from the second one on the sum so
        far, such as `= 5082`.
        """
        first, second = self.factors
        lines, total = [], 0
        for place, digit in enumerate(reversed(str(second))):
            part = int(digit) * 10**place
            total += first * part
            lines.append(f"{first} * {part}: {str(first * part)[::-1]}")
            if place:
                lines.append(f"= {str(total)[::-1]}")
        return "".join(f"{line}\n" for line in lines), self.oracle_action()

    def optimal_success(self) -> float | None:
        """1: the first attempt can be right."""
        return 1.0

    def random_success(self) -> float | None:
        """Probability that one of the random agent's attempts is right."""
        if self.turn_limit is None:
            return 1.0
        return 1.0 - (1.0 - guess_probability(self.product)) ** self.turn_limit

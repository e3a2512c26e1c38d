"""Long multiplication, one step a turn: partial products and running sums, each checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from turngym.arguments import checked_arguments
from turngym.envs.core import TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.multiplication import (
    Digits,
    WrittenFactors,
    draw_factors,
    guess_probability,
    parse_whole,
    random_number,
    with_one_wrong_digit,
)
from turngym.envs.multiplication_drawing import Row, Verdict, draw_multiplication
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split

DigitOrder = Literal["most_first", "least_first"]
RIGHT, WRONG = "Correct.", "Incorrect."


class Calculation(NamedTuple):
    """One step on paper."""

    left: int
    """The first operand."""
    operator: Literal["*", "+"]
    """A partial product or a running sum."""
    right: int
    """The second operand."""

    @property
    def result(self) -> int:
        """The right answer."""
        return self.left * self.right if self.operator == "*" else self.left + self.right


def long_multiplication(a: int, b: int) -> list[Calculation]:
    """Return the steps of `a * b`: each partial product, units of `b` first, and the running sum after all but one."""
    steps: list[Calculation] = []
    total = 0
    for place, digit in enumerate(reversed(str(b))):
        product = Calculation(a, "*", int(digit) * 10**place)
        steps.append(product)
        if place:
            steps.append(Calculation(total, "+", product.result))
        total += product.result
    return steps


class MultiplicationStepsEnv(WrittenFactors, TextEnv):
    """Multiply two numbers as on paper, one checked step a turn.

    ## Description
    The environment asks for the partial products of the first factor with each digit of the second, units first, and
    after each from the second on for the running sum. For 23 * 47 these are `23 * 7`, `23 * 40` and `161 + 920`. A
    digit 0 has its step too. A wrong answer is asked again.

    ## Action Space
    A whole number in decimal digits, alone, without leading zeros. Anything else is an invalid action.

    ## Observation Space
    The task and its first step, such as `23 * 47 in 3 steps. First: 23 * 7 = ?`; from then on whether the last answer
    was right, and the step to do now: `Correct. Next: 23 * 40 = ?` or `Incorrect. Again: 23 * 7 = ?`.

    With `digit_order="least_first"` every number but the count of steps is written from its last digit to its first, in
    observations and actions alike: `Correct. Next: 32 * 04 = ?`, and the answer is `029`.

    ## Starting State
    Both factors are drawn uniformly from the numbers with the given counts of digits.

    ## Rewards
    1 divided by the number of steps for each right answer, otherwise 0; a solved task has earned 1.

    ## Episode End
    Terminates when the last step is right. The turn limit truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `potential` is the share of the steps that are done.

    ## Arguments
    Those of `TextEnv`, and:

    * `digits=(2, 2)`: digits of the first and the second factor, 1 to 5 each.
    * `digit_order="most_first"`: or "least_first", which lets a reader from left to right carry as it goes.

    The random agent draws uniformly from the numbers with as many digits as the right answer; its success is exact.

    ## References
    * Lee et al., arXiv:2307.03381: small transformers learn arithmetic better with the digits reversed.

    ## Version History
    * v0: Initial version.
    """

    reward_range = (0.0, 1.0)  # whatever the arguments
    presentation_arguments = ("digit_order", "reasoning")

    @checked_arguments
    def __init__(
        self,
        *,
        digits: tuple[Digits, Digits] = (2, 2),
        digit_order: DigitOrder = "most_first",
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.digits = digits
        self.digit_order = digit_order

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.factors = draw_factors(split, index, self.digits)
        self.steps = long_multiplication(*self.factors)
        self.steps_done = 0
        self._wrong: int | None = None
        """The last answer to the present step, where it was wrong."""

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self._success:
            raise InvalidAction("the game is over")
        answer = parse_whole(self._ordered(action))
        if answer != self._step.result:
            self._wrong = answer
            return 0.0, False, WRONG
        self.steps_done += 1
        self._wrong = None
        return 1.0 / len(self.steps), self._success, RIGHT

    @property
    def _step(self) -> Calculation:
        """The present step; the last one when all are done."""
        return self.steps[min(self.steps_done, len(self.steps) - 1)]

    def _ordered(self, digits: str) -> str:
        """Turn digits from most significant first into the order in use, or back."""
        return digits if self.digit_order == "most_first" else digits[::-1]

    def _written(self, number: int) -> str:
        return self._ordered(str(number))

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        first, second = self.digits
        rules = (
            f"Multiply a number of digit length {first} by one of digit length {second}, step by step: the first "
            "factor times each digit of the second with its place value, units first, and after each product but the "
            "first the running sum. A wrong step is asked again. "
            f"There are {2 * second - 1} steps, and each right one earns 1/{2 * second - 1}. "
            "An action is the result of the step, in digits alone."
        )
        if self.digit_order == "least_first":
            rules += " Every number of the calculation is written with its digits reversed: 12 stands for twenty-one."
        return rules

    def _observe(self, feedback: str) -> str:
        a, b = map(self._written, self.factors)
        if self._success:
            return f"{feedback} {a} * {b} = {self._written(self.factors[0] * self.factors[1])}."
        left, operator, right = self._step
        step = f"{self._written(left)} {operator} {self._written(right)} = ?"
        if not feedback:
            return f"{a} * {b} in {len(self.steps)} steps. First: {step}"
        return f"{feedback} {'Next' if feedback == RIGHT else 'Again'}: {step}"

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return str(self.steps_done)

    @property
    def _success(self) -> bool:
        return self.steps_done == len(self.steps)

    @property
    def _potential(self) -> float:
        return self.steps_done / len(self.steps)

    def drawing(self) -> Drawing:
        """Draw the factors as on paper, and below them the steps that are done and the one to do now."""
        first, second = map(self._written, self.factors)
        rows = [self._row(step, self._written(step.result)) for step in self.steps[: self.steps_done]]
        if self._success:
            rows[-1] = replace(rows[-1], verdict="right")
        elif self._wrong is None:
            rows.append(self._row(self._step, "?"))
        else:
            rows.append(self._row(self._step, self._written(self._wrong), "wrong"))
        told = [f"{row.told} = {row.number}{' is wrong' * (row.verdict == 'wrong')}." for row in rows]
        words = " ".join([f"{first} \N{MULTIPLICATION SIGN} {second}.", *told])
        return draw_multiplication((first, second), rows, words=words, units_last=self.digit_order == "most_first")

    def _row(self, step: Calculation, number: str, verdict: Verdict = "") -> Row:
        sign = "\N{MULTIPLICATION SIGN}" if step.operator == "*" else "+"
        told = f"{self._written(step.left)} {sign} {self._written(step.right)}"
        return Row(number=number, told=told, verdict=verdict, ruled=step.operator == "+")

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw a uniformly random number with as many digits as the right answer."""
        return self._written(random_number(len(str(self._step.result)), rng))

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Return the right answer with one random digit changed."""
        return self._written(with_one_wrong_digit(self._step.result, rng))

    def oracle_action(self) -> str:
        """Return the right answer."""
        return self._written(self._step.result)

    def optimal_success(self) -> float | None:
        """1, unless the turn limit is shorter than the number of steps."""
        return float(self.turn_limit is None or self.turn_limit >= len(self.steps))

    def random_success(self) -> float | None:
        """Probability that the random agent gets through all steps within the turn limit."""
        if self.turn_limit is None:
            return 1.0
        done = np.eye(1, len(self.steps) + 1)[0]  # [num_steps + 1] probability of each count of steps done
        hits = np.array([guess_probability(step.result) for step in self.steps])
        for _ in range(self.turn_limit):
            moved = done[:-1] * hits
            done[:-1] -= moved
            done[1:] += moved
        return float(done[-1])

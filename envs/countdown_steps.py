"""Countdown, two numbers at a time: the environment does the arithmetic and shows what remains."""

from __future__ import annotations

import math

import numpy as np

from turngym.arguments import Count, checked_arguments
from turngym.envs.core import TextEnv
from turngym.envs.countdown_aloud import think
from turngym.envs.countdown_drawing import Attempt, draw_attempts, trees_of
from turngym.envs.countdown_puzzles import NumberRange, NumNumbers, PuzzleFamily, TargetRange, WrittenPuzzles
from turngym.envs.countdown_solver import (
    MAX_ENUMERATED,
    OPERATORS,
    Step,
    combined,
    legal_steps,
    random_play_success,
    reachable,
    solvable,
    solve,
)
from turngym.envs.drawing import Drawing
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split

MAX_SURVEYED = 3
"""The most numbers of which all that they can make is looked through, in 0.5 ms."""
GUESSES = 4
"""How many steps a mistaken agent has in mind."""


class CountdownStepsEnv(WrittenPuzzles, TextEnv):
    """Combine numbers two at a time until the target is left.

    ## Description
    The step-wise form of `CountdownEnv`. Each turn replaces two of the numbers by their sum, difference, product or
    quotient, exactly: 7 / 2 is the fraction 7/2. One number left over that is not the target is a failed attempt, and
    the numbers start again from the original ones.

    ## Action Space
    `a op b`: two of the remaining numbers as they are written and one of `+ - * /` between them, with single spaces,
    such as `3 * 7` or `7/2 - -3`. Anything else, division by zero included, is an invalid action and costs the turn.

    ## Observation Space
    What the last step made, the target, the remaining numbers in ascending order, and the attempts left, the present
    one included:

    ```
    That gives 21.
    Target: 30. Numbers: 9 21. Attempts left: 3.
    ```

    After a failed attempt the first line is such as `That makes 12, 18 away.`

    ## Starting State
    The puzzle of `CountdownEnv` with the same split, index and ranges; always solvable.

    ## Rewards
    1 for making the target with all numbers, otherwise 0.

    ## Episode End
    Terminates on the target, and when the attempts are used up while turns remain. The turn limit truncates. The
    registered limit is just enough for all attempts without an invalid action.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `potential` is the share of this attempt's steps that are done while the
    target can still be made from the remaining numbers, otherwise 0.

    ## Arguments
    Those of `TextEnv`, and:

    * `num_numbers=3`: 3 to 6.
    * `number_range=(1, 20)`: smallest and largest number, within 1 to 999.
    * `target_range=(1, 100)`: smallest and largest target, within 1 to 9,999.
    * `attempts=3`: at least 1.

    The random agent draws uniformly from the legal steps; its success is computed exactly for up to 4 numbers.

    ## References
    * TinyZero, https://github.com/Jiayi-Pan/TinyZero: Countdown as a task for language models.

    ## Version History
    * v0: Initial version.
    """

    reward_range = (0.0, 1.0)  # whatever the arguments

    @checked_arguments
    def __init__(
        self,
        *,
        num_numbers: NumNumbers = 3,
        number_range: NumberRange = (1, 20),
        target_range: TargetRange = (1, 100),
        attempts: Count = 3,
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.family = PuzzleFamily(num_numbers, number_range, target_range)
        self.attempts = attempts

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.puzzle = self.family.puzzle(split, index)
        self.numbers = self.puzzle.numbers
        self.attempts_left = self.attempts
        self._steps: list[Step] = []
        """Those of the present attempt."""
        self._over: list[Attempt] = []
        """The attempts before it."""

    def _play(self, action: str) -> tuple[float, bool, str]:
        step = self._parse(action)
        self.numbers = combined(self.numbers, step)
        self._steps.append(step)
        if self._success:
            return 1.0, True, f"{step} = {step.value}. Solved."
        if len(self.numbers) > 1:
            return 0.0, False, f"That gives {step.value}."
        told = f"That makes {step.value}, {abs(step.value - self.puzzle.target)} away."
        self._over.append(Attempt(trees=trees_of(self.puzzle.numbers, self._steps), over=True, told=told))
        self._steps = []
        self.numbers = self.puzzle.numbers
        self.attempts_left -= 1
        # Attempts that end together with the turns are a truncation, and the turn limit's to declare.
        over = self.attempts_left == 0 and self.turns_left != 0
        return 0.0, over, told

    def _parse(self, action: str) -> Step:
        """Read a step. Operands are matched as text: a number has one spelling, the one that is shown."""
        if self._success or self.attempts_left == 0:
            raise InvalidAction("the game is over")
        parts = action.split(" ")
        if len(parts) != 3 or parts[1] not in OPERATORS:
            raise InvalidAction("write two numbers and one of + - * / between them, with single spaces")
        left, operator, right = parts
        spelled = {str(number): number for number in self.numbers}
        missing = left not in spelled or right not in spelled
        if missing or (left == right and self.numbers.count(spelled[left]) < 2):
            raise InvalidAction(f"use two of the numbers {self._shown()}")
        if operator == "/" and right == "0":
            raise InvalidAction("division by zero has no value")
        return Step(spelled[left], operator, spelled[right])

    def _shown(self) -> str:
        return " ".join(map(str, self.numbers))

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        return (
            f"Make the target from the {self.family.num_numbers} numbers, using each exactly once. "
            "Each action combines two of the remaining numbers with + - * / and replaces them by the exact result. "
            "If the last number left is not the target, the attempt has failed and the numbers start again. "
            f"Attempts: {self.attempts}. Making the target earns 1, anything else 0. "
            "An action is two of the numbers as they are written and an operator between them, with single spaces, "
            "such as 3 * 7 or 7/2 - -3."
        )

    def _observe(self, feedback: str) -> str:
        state = f"Target: {self.puzzle.target}. Numbers: {self._shown()}. Attempts left: {self.attempts_left}."
        return f"{feedback}\n{state}" if feedback else state

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return f"{','.join(map(str, self.numbers))};{self.attempts_left}"

    @property
    def _success(self) -> bool:
        return self.numbers == (self.puzzle.target,)

    @property
    def _potential(self) -> float:
        if not solvable(self.numbers, self.puzzle.target):
            return 0.0
        total = self.family.num_numbers
        return (total - len(self.numbers)) / (total - 1)

    def drawing(self) -> Drawing:
        """Draw every attempt so far as a tree of operations, the present one as it stands."""
        attempts = list(self._over)
        if self._steps:
            trees = trees_of(self.puzzle.numbers, self._steps)
            attempts.append(Attempt(trees=trees, over=self._success, told="Solved." if self._success else ""))
        return draw_attempts(self.puzzle.target, self.puzzle.numbers, attempts)

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw a uniformly random legal step: an ordered pair of the numbers and an operator."""
        steps = legal_steps(self.numbers)
        return str(steps[rng.integers(len(steps))]) if steps else "0 + 0"

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Draw a legal step to a natural number that can end close to the target, as a person would.

        Of a few such steps it is the one that can come closest without making the target.
        """
        natural = [step for step in legal_steps(self.numbers) if step.value >= 0 and step.value.denominator == 1]
        if not natural:
            return self.sample_action(rng)
        drawn = [natural[at] for at in rng.integers(len(natural), size=GUESSES)]
        return str(min(drawn, key=self._closest_miss))

    def oracle_action(self) -> str:
        """Return the next step of a solution; where none is left, the legal step that can end closest to the target."""
        steps = solve(self.numbers, self.puzzle.target)
        return str(steps[0] if steps else min(legal_steps(self.numbers), key=self._closest_miss, default="0 + 0"))

    def reasoned_action(self) -> tuple[str, str]:
        """Return the search of `countdown_aloud.think`, while at most three numbers are left, and its first step."""
        thoughts, steps = think(self.numbers, self.puzzle.target)
        return thoughts, str(steps[0]) if steps else self.oracle_action()

    def _closest_miss(self, step: Step) -> float:
        """Return how close an attempt with this step can come to the target without making it; 0 where that is slow."""
        remaining = combined(self.numbers, step)
        if len(remaining) > MAX_SURVEYED:
            return 0.0
        misses = (abs(value - self.puzzle.target) for value in reachable(remaining) if value != self.puzzle.target)
        return float(min(misses, default=math.inf))

    def optimal_success(self) -> float | None:
        """1, unless the turn limit is too short for one attempt."""
        return float(self._full_attempts() > 0)

    def random_success(self) -> float | None:
        """Probability that one of the random agent's attempts succeeds; None for more than 4 numbers."""
        if self.family.num_numbers > MAX_ENUMERATED:
            return None
        once = random_play_success(self.puzzle.numbers, self.puzzle.target)
        return 1.0 - (1.0 - once) ** self._full_attempts()

    def _full_attempts(self) -> int:
        """Return how many whole attempts fit into the turn limit."""
        turns = self.turn_limit
        return self.attempts if turns is None else min(self.attempts, turns // (self.family.num_numbers - 1))

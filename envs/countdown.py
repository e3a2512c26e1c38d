"""Countdown: make the target from the numbers in one expression, with several attempts at it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Literal

import numpy as np

from turngym.arguments import checked_arguments
from turngym.envs.arithmetic import Evaluation, evaluate
from turngym.envs.core import TextEnv
from turngym.envs.countdown_aloud import think
from turngym.envs.countdown_drawing import Attempt, draw_attempts
from turngym.envs.countdown_puzzles import NumberRange, NumNumbers, PuzzleFamily, TargetRange, WrittenPuzzles
from turngym.envs.countdown_solver import (
    MAX_ENUMERATED,
    Step,
    combined,
    expression,
    legal_steps,
    random_play_success,
    solve,
)
from turngym.envs.drawing import Drawing
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split

RewardScheme = Literal["binary", "graded"]


class CountdownEnv(WrittenPuzzles, TextEnv):
    """Make the target from the numbers, each used exactly once.

    ## Description
    Every turn is one attempt: a whole expression. The environment answers with its value and its distance from the
    target, until the target is made. Arithmetic is exact; 7 / 2 is not rounded.

    ## Action Space
    An expression of the given numbers with `+ - * / ( )` and spaces, such as `(3 + 7) * 9`, at most 200 characters and
    20 nested parentheses, without a sign before a number. What has no value, division by zero included, is an invalid
    action. An expression that does not use each number exactly once is a failed attempt.

    ## Observation Space
    What the last attempt made, and the puzzle, its numbers in ascending order:

    ```
    That makes 17, 7 away from 24.
    Target: 24. Numbers: 3 7 9.
    ```

    ## Starting State
    Numbers drawn uniformly and independently from `number_range`; a target drawn uniformly from the whole numbers of
    `target_range` that they can make and that belong, with them, to the split. Numbers without one are drawn again.

    ## Rewards
    With `reward_scheme="binary"`: 1 for making the target, otherwise 0.

    With "graded" every attempt has a grade, and is rewarded by how much it exceeds the best grade before it. The return
    is then the best grade of the episode, in [0, 1]. The target made with each number exactly once has grade 1; any
    other expression has the sum of

    * 0.1 for its form and 0.1 for having a value (an invalid action has neither, and grade 0),
    * 0.1 for as many operators as are needed, one fewer than there are numbers,
    * 0.2 times the overlap of numbers: those used rightly, divided by those given or used, whichever are more,
    * 0.6 / (1 + distance from the target) where each number is used exactly once,

    and at most 0.9.

    ## Episode End
    Terminates when the target is made. The turn limit, which is the number of attempts, truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `potential` is 1 / (1 + distance) of the closest attempt that used each
    number exactly once, 0 before there is one.

    ## Arguments
    Those of `TextEnv`, and:

    * `num_numbers=3`: 3 to 6.
    * `number_range=(1, 20)`: smallest and largest number, within 1 to 999.
    * `target_range=(1, 100)`: smallest and largest target, within 1 to 9,999.
    * `reward_scheme="binary"`: or "graded".

    The random agent combines random pairs with random operators until one number is left, and writes that down as an
    expression; its success is computed exactly for up to 4 numbers.

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
        reward_scheme: RewardScheme = "binary",
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.family = PuzzleFamily(num_numbers, number_range, target_range)
        self.reward_scheme = reward_scheme

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.puzzle = self.family.puzzle(split, index)
        self._best_distance: Fraction | None = None
        """Distance of the closest attempt that used each number exactly once."""
        self._best_grade = 0.0
        self._attempts: list[Attempt] = []

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self._success:
            raise InvalidAction("the game is over")
        attempt = evaluate(action)
        if self._uses_the_numbers(attempt):
            distance = abs(attempt.value - self.puzzle.target)
            self._best_distance = distance if self._best_distance is None else min(distance, self._best_distance)
            away = f"{distance} away from {self.puzzle.target}" if distance else "the target"
            feedback = f"That makes {attempt.value}, {away}."
        else:
            feedback = f"That does not use each of {self._shown()} exactly once."
        self._attempts.append(Attempt(trees=(attempt.tree,), over=True, told=feedback))
        return self._reward(attempt), self._success, feedback

    def _uses_the_numbers(self, attempt: Evaluation) -> bool:
        return sorted(attempt.numbers) == list(self.puzzle.numbers)

    def _reward(self, attempt: Evaluation) -> float:
        """Return what an attempt earns, and remember its grade."""
        if self.reward_scheme == "binary":
            return float(self._success)
        best_before = self._best_grade
        self._best_grade = max(best_before, self._grade(attempt))
        return self._best_grade - best_before

    def _grade(self, attempt: Evaluation) -> float:
        """Return the grade of an attempt, in [0.2, 1]; the class says how."""
        given = Counter(map(int, self.puzzle.numbers))
        used = Counter(attempt.numbers)
        right = (given & used).total()
        grade = 0.2 + 0.2 * right / max(given.total(), used.total())
        if attempt.num_operators == given.total() - 1:
            grade += 0.1
        if self._uses_the_numbers(attempt):
            distance = abs(attempt.value - self.puzzle.target)
            if not distance:
                return 1.0
            grade += 0.6 / (1.0 + float(distance))
        return min(grade, 0.9)

    def _shown(self) -> str:
        return " ".join(map(str, self.puzzle.numbers))

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        earned = {
            "binary": "Making the target earns 1, anything else 0.",
            "graded": "You earn the grade of your best attempt: 1 for making the target, otherwise 0.2 for an "
            f"expression that has a value, 0.1 for using {self.family.num_numbers - 1} operators, 0.2 times the share "
            "of right numbers, and, with each number used exactly once, 0.6 / (1 + distance), at most 0.9 in all.",
        }
        return (
            f"Make the target from the {self.family.num_numbers} numbers with + - * / and parentheses, "
            "using each exactly once. Division is exact. After each attempt you are told its value and its distance "
            f"from the target, and you may try again. {earned[self.reward_scheme]} "
            "An action is one expression, such as (3 + 7) * 9."
        )

    def _observe(self, feedback: str) -> str:
        task = f"Target: {self.puzzle.target}. Numbers: {self._shown()}."
        return f"{feedback}\n{task}" if feedback else task

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return f"{self._best_distance},{self._best_grade:.6g}"

    @property
    def _success(self) -> bool:
        return self._best_distance == 0

    @property
    def _potential(self) -> float:
        return 0.0 if self._best_distance is None else 1.0 / (1.0 + float(self._best_distance))

    def drawing(self) -> Drawing:
        """Draw every attempt so far as a tree of operations."""
        return draw_attempts(self.puzzle.target, self.puzzle.numbers, self._attempts)

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw an expression that uses each number exactly once, made by uniformly random legal steps."""
        numbers = self.puzzle.numbers
        steps: list[Step] = []
        while len(numbers) > 1:
            legal = legal_steps(numbers)
            steps.append(legal[rng.integers(len(legal))])
            numbers = combined(numbers, steps[-1])
        return expression(self.puzzle.numbers, tuple(steps))

    def oracle_action(self) -> str:
        """Return an expression that makes the target."""
        return expression(self.puzzle.numbers, solve(self.puzzle.numbers, self.puzzle.target) or ())

    def reasoned_action(self) -> tuple[str, str]:
        """Return the search of `countdown_aloud.think`, for puzzles of three numbers, and the expression it finds."""
        thoughts, steps = think(self.puzzle.numbers, self.puzzle.target)
        return thoughts, expression(self.puzzle.numbers, steps) if steps else self.oracle_action()

    def optimal_success(self) -> float | None:
        """1: every puzzle is solvable, and the first attempt can be right."""
        return 1.0

    def random_success(self) -> float | None:
        """Probability that one of the random agent's attempts makes the target; None for more than 4 numbers."""
        if self.family.num_numbers > MAX_ENUMERATED:
            return None
        if self.turn_limit is None:
            return 1.0
        once = random_play_success(self.puzzle.numbers, self.puzzle.target)
        return 1.0 - (1.0 - once) ** self.turn_limit

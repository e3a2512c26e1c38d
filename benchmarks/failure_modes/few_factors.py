"""Long multiplication in which few numbers are first factors, so that each of their products is shown often."""

from __future__ import annotations

from itertools import count

import numpy as np

from turngym.arguments import Count, checked_arguments
from turngym.envs import register
from turngym.envs.multiplication import Digits
from turngym.envs.multiplication_steps import DigitOrder, MultiplicationStepsEnv
from turngym.envs.splits import Split

STRIDE = 2**30
"""Between the numbers of the instances that are looked at for one of this environment."""


class FewFactorsEnv(MultiplicationStepsEnv):
    """MultiplicationSteps with a first factor out of few.

    An instance is the first of MultiplicationSteps, of those numbered `index`, `index + STRIDE` and so on, whose first
    factor is among them; so it has the split of that one.

    Args:
        firsts: How many numbers are first factors.
        digits: As of MultiplicationSteps.
        digit_order: As of MultiplicationSteps.
        split: As of MultiplicationSteps.
        reasoning: As of MultiplicationSteps.
        render_mode: As of MultiplicationSteps.
    """

    @checked_arguments
    def __init__(
        self,
        *,
        firsts: Count = 90,
        digits: tuple[Digits, Digits] = (3, 3),
        digit_order: DigitOrder = "most_first",
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            digits=digits, digit_order=digit_order, split=split, reasoning=reasoning, render_mode=render_mode
        )
        least = 10 ** (digits[0] - 1)
        self._firsts = {*(least + np.random.default_rng(0).permutation(9 * least)[:firsts]).tolist()}

    def _begin(self, split: Split, index: int) -> None:
        for attempt in count():
            super()._begin(split, index + attempt * STRIDE)
            if self.factors[0] in self._firsts:
                return


register("failure_modes/FewFactors-v0", FewFactorsEnv, max_turns=5)

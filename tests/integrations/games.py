"""A game that is paid for every turn, and fails, hangs or talks without end on some of its instances."""

from __future__ import annotations

import time

from turngym.envs import Split, TextEnv

FAILS, HANGS, ENDLESS = 1, 2, 3
"""The indices of such instances."""


class TroubleEnv(TextEnv):
    """Say go four times."""

    _rules = "Say go."

    def _begin(self, split: Split, index: int) -> None:
        self.index, self.said = index, 0

    def _observe(self, feedback: str) -> str:
        return "more " * 2000 if self.index == ENDLESS and self.said else f"Said: {self.said}."

    def _play(self, action: str) -> tuple[float, bool, str]:
        self.said += 1
        if self.index == FAILS:
            raise RuntimeError("the board is broken")
        if self.index == HANGS:
            time.sleep(3.0)
        return 0.25, self._success, ""

    @property
    def _success(self) -> bool:
        return self.said == 4

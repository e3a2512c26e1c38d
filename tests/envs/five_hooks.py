"""The least that a text environment can be."""

from __future__ import annotations

from turngym.envs import InvalidAction, Split, TextEnv


class FiveHooksEnv(TextEnv):
    """Say the words in order, and no more than a game must say of itself."""

    _rules = "Say one, then two."

    def _begin(self, split: Split, index: int) -> None:
        self.said = 0

    def _observe(self, feedback: str) -> str:
        return f"{feedback} {self.said} said.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if action != ("one", "two", "")[self.said]:
            raise InvalidAction("say the next word")
        self.said += 1
        return float(self._success), self._success, "Good."

    @property
    def _success(self) -> bool:
        return self.said == 2

"""The options of a command that say where environments run, how long they may take, and how they read replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym

from turngym._errors import InputError
from turngym.agents.hosting.host import STEP_TIMEOUT
from turngym.arguments import Processes, checked
from turngym.envs import LenientReplies
from turngym.trainers.config import EnvConfig


@dataclass(frozen=True, kw_only=True)
class HostingOptions:
    """Limits and isolation of environments, and how they read."""

    step_timeout: float | None = None
    """Seconds that an environment may take to be made and reset, or to step, before its episode is given up; "inf" for
    ever. A run's own unless given, or else 60."""
    isolate: int | None = None
    """Number of worker processes to put environments into, where one that ends its process costs its own episode too;
    0 for none. A run's own unless given, or else 0."""

    lenient: bool = False
    """Read a reply that the game refuses once more, leniently: **up**, Action: up. and the like."""

    @property
    def wrap(self) -> Callable[[gym.Env[str, str]], gym.Env[str, str]] | None:
        """What is put around each environment, as of `collect_episodes`."""
        return LenientReplies if self.lenient else None

    def hosting(self, trained: EnvConfig | None = None) -> tuple[float, int]:
        """Return limit and number of processes: those given, or else those of the run that is played.

        Raises:
            InputError: One is out of range.
        """
        timeout = self.step_timeout if self.step_timeout is not None else (
            trained.step_timeout if trained else STEP_TIMEOUT
        )  # fmt: skip
        isolate = self.isolate if self.isolate is not None else trained.isolate if trained else 0
        if not timeout > 0:
            raise InputError(f"--step-timeout must be above 0, or inf to wait for ever, got {timeout:g}")
        return timeout, int(checked(isolate, Processes, "--isolate"))

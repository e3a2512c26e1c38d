"""What an environment may offer beyond play, and what goes without where it does not.

Scripted agents, demonstrations and the optimum of a table ask more of an environment than `TextEnv` demands. Each of
these is a capability, and an environment has it exactly if its class defines the method. A subclass gives one up by
setting the method to None.

Example:
    >>> import gymnasium, turngym
    >>> from turngym.envs import Oracle, capabilities_of
    >>> env = gymnasium.make("turngym/FrozenLake-v0").unwrapped
    >>> isinstance(env, Oracle), "rule" in capabilities_of(env)
    (True, False)
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import gymnasium as gym
import numpy as np

from turngym.envs.core import TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.written import Written

Capability = Literal["oracle", "reasoned", "sampling", "slips", "rule", "shopper", "optimum", "random_floor",
                     "potential", "state", "drawing", "writing"]  # fmt: skip


@runtime_checkable
class Oracle(Protocol):
    """Knows how to play."""

    def oracle_action(self) -> str:
        """Return an optimal action in the current state. Reads hidden state."""


@runtime_checkable
class Reasoned(Protocol):
    """Knows how to play with the working written down, as a player has to who does not know the answer by heart."""

    def reasoned_action(self) -> tuple[str, str]:
        """Return the working, from what can be seen alone, and the action that it comes to."""


@runtime_checkable
class Sampling(Protocol):
    """Knows its usable actions."""

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw an action uniformly from the usable ones."""


@runtime_checkable
class Slips(Protocol):
    """Knows the mistakes of good agents."""

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Draw a plausible slip of a good agent, for demonstrations of mixed quality."""


@runtime_checkable
class Rule(Protocol):
    """Comes with a simple agent."""

    def rule_action(self) -> str:
        """Return what an agent with a fixed rule does, who sees no hidden state."""


@runtime_checkable
class Shopping(Protocol):
    """Is a shop, and knows what a shopper does who reads its visible text alone."""

    def shopper_action(self, *, looks: int, details: bool, prices: bool) -> str:
        """Return what a shopper does next, who has seen what this episode has shown.

        Args:
            looks: How many results it looks at, at most.
            details: Whether it reads the details of products.
            prices: Whether it passes over results whose price does not fit.
        """

    def shopper_thoughts(self, *, looks: int, details: bool, prices: bool) -> str:
        """Return what that shopper notes before its next action, nothing where it has nothing to note."""


@runtime_checkable
class Optimum(Protocol):
    """Knows what the best agent achieves."""

    def optimal_success(self) -> float | None:
        """Probability that the best agent solves this instance from its start, in [0, 1]; None where unknown."""


@runtime_checkable
class RandomFloor(Protocol):
    """Knows what the random agent achieves."""

    def random_success(self) -> float | None:
        """Probability that the random agent solves this instance from its start; None where only play can tell."""


@runtime_checkable
class Drawn(Protocol):
    """Knows how it looks."""

    def drawing(self) -> Drawing:
        """Return the episode so far as a picture. It is called after a reset and after every step, and reads alone."""


@runtime_checkable
class Writing(Protocol):
    """Reads and writes its instances as text, so that others can set them."""

    @property
    def instance_form(self) -> str:
        """What an instance is and how it is written, as instructions to its writer: sentences with an example."""

    def written_instance(self) -> str:
        """Return the present instance as text."""

    def read_instance(self, text: str) -> Written:
        """Return split and index of the instance that a text is, from `written.WRITTEN_INSTANCES` on.

        Raises:
            InvalidInstance: It is none, or, as `UnsolvableInstance`, one that nobody can solve; the message says why.
        """


METHODS: dict[Capability, str] = {
    "oracle": "oracle_action",
    "reasoned": "reasoned_action",
    "sampling": "sample_action",
    "slips": "mistaken_action",
    "rule": "rule_action",
    "shopper": "shopper_action",
    "optimum": "optimal_success",
    "random_floor": "random_success",
    "potential": "_potential",
    "state": "_state",
    "drawing": "drawing",
    "writing": "read_instance",
}
"""Where each capability is defined. `TextEnv` itself has a default of `_potential` and `_state`, which do not count."""

COSTS: dict[Capability, str] = {
    "oracle": "no warm start by cloning scripted play, no agent `oracle` or `demonstration`",
    "reasoned": "demonstrations with `reasoning` hold actions alone, without a thought before them",
    "sampling": "no random agent as the floor of tables",
    "slips": "demonstrations with mistakes take random usable actions for them, if there are any",
    "rule": "no agent `rule`",
    "optimum": "no optimum in tables",
    "random_floor": "the success of the random agent is measured by play alone",
    "potential": "no shaping by a potential, and no choice of instances by that of their start",
    "state": "the state is the history, so that what is learned of a state serves one course of play alone",
    "drawing": "`turngym view` and `turngym serve --web` show its episodes as text",
    "writing": "no instances that are written as text, by people or in self-play",
}
"""What goes without, where a capability is absent. Nothing is missed in a game that is no shop."""


class MissingCapability(TypeError):
    """An environment is asked for what it does not offer; the message says what to do instead.

    Args:
        env: The environment or its class.
        capability: What it does not offer.
        needed_by: Who asked.
        otherwise: What to do, other than to define the method.
    """

    def __init__(
        self, env: gym.Env[Any, Any] | type[Any], capability: Capability, *, needed_by: str, otherwise: str
    ) -> None:
        kind, self.method = _class_of(env).__name__, METHODS[capability]
        super().__init__(f"{kind} defines no {self.method}, which {needed_by} needs: define it, or {otherwise}")


def capabilities_of(env: gym.Env[Any, Any] | type[Any]) -> frozenset[Capability]:
    """Return what an environment offers.

    Args:
        env: A made environment, wrapped or not, or its class.
    """
    kind = _class_of(env)
    return frozenset(name for name in get_args(Capability) if _defines(kind, METHODS[name]))


def slip(env: TextEnv, rng: np.random.Generator) -> str:
    """Draw a slip: the environment's own, or else any usable action.

    Raises:
        MissingCapability: The environment has neither.
    """
    if isinstance(env, Slips):
        return env.mistaken_action(rng)
    if isinstance(env, Sampling):
        return env.sample_action(rng)
    raise MissingCapability(env, "slips", needed_by="an agent that makes mistakes", otherwise="define sample_action")


def _class_of(env: gym.Env[Any, Any] | type[Any]) -> type[Any]:
    return env if isinstance(env, type) else type(env.unwrapped)


def _defines(kind: type[Any], method: str) -> bool:
    defined = getattr(kind, method, None)
    return defined is not None and defined is not getattr(TextEnv, method, None)

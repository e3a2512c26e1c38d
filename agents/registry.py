"""Agents by name: those that come with turngym, and those that other code adds."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from turngym._errors import InputError
from turngym.agents.base import Agent
from turngym.agents.scripted import (
    DemonstrationAgent,
    HostileAgent,
    OracleAgent,
    RandomAgent,
    RuleAgent,
    ShopperAgent,
)
from turngym.names import accepts, check_name, enter, find, nearest
from turngym.plugins import PluginError, import_requested

AgentFactory = Callable[..., Agent]
"""Makes an agent that has not played yet: a class, or a function, that can be called without arguments."""

Factory = TypeVar("Factory", bound=AgentFactory)

AGENTS: dict[str, AgentFactory] = {
    "random": RandomAgent,
    "rule": RuleAgent,
    "shopper": ShopperAgent,
    "oracle": OracleAgent,
    "demonstration": lambda: DemonstrationAgent(0.1),
    "hostile": HostileAgent,
}
"""Agents without a model of their own to load, by name."""

INTERFACE = ("start", "act", "observe", "finish", "policy_version")
"""What `Agent` asks for."""


_PLACE = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*)")
"""`module:Class`, a class or a function in a module."""


class NotAnAgentError(TypeError):
    """What a registered factory returned cannot play; the message says what it lacks."""


def register_agent(name: str) -> Callable[[Factory], Factory]:
    """Register an agent, so that `turngym evaluate`, `rollout` and `play` know it by its name.

    Args:
        name: Letters, digits, "-" and "_".

    Returns:
        A decorator for a class whose constructor needs no arguments, or for a function that makes the agent.

    Raises:
        ValueError: The name cannot be used; the decorator raises it where the name belongs to another agent.

    Example:
        >>> from turngym.agents.registry import register_agent
        >>> from turngym.agents.scripted import ScriptedAgent
        >>> @register_agent("always-up")
        ... class AlwaysUp(ScriptedAgent):
        ...     def choose(self, seat):
        ...         return "up"
    """
    check_name("agent", name)

    def register(factory: Factory) -> Factory:
        if not accepts(factory):
            raise ValueError(f"the agent {name!r} must be a class or a function that makes one without arguments, got "
                             f"{factory!r}")  # fmt: skip
        agent: AgentFactory = factory
        enter(AGENTS, "agent", name, agent)
        return factory

    return register


def is_registered(name: str) -> bool:
    """Return whether an agent has this name; `module:Class` names a class in a module, which is registered by that.

    Args:
        name: A name, or `module:Class`; a function that makes an agent does as well. What is not installed is looked
            for in the current folder too.

    Raises:
        PluginError: The module is not found, raises when it is imported, or has nothing of this name that could be
            called.
    """
    place = _PLACE.fullmatch(name)
    if name in AGENTS or place is None:
        return name in AGENTS
    module, part = place.groups()
    factory = getattr(import_requested(module), part, None)
    if not callable(factory):
        raise PluginError(f"the module {module} has no class or function {part!r} that makes an agent")
    AGENTS[name] = factory
    return True


def make_agent(name: str, /, **arguments: Any) -> Agent:
    """Make a registered agent.

    Args:
        name: Its name.
        **arguments: Arguments of its class or function, such as `looks=3` of "shopper".

    Raises:
        ValueError: There is none of this name, the message names the nearest; or an argument is unknown or out of
            range.
        NotAnAgentError: What its factory returned cannot play.
    """
    factory = find(AGENTS, "agent", name)
    known = inspect.signature(factory).parameters if arguments else {}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for argument in arguments:
        if argument not in known and not takes_any:
            raise InputError(f"the agent {name!r} has no argument {argument!r}{nearest(argument, known)}")
    if not arguments and not accepts(factory):
        raise InputError(f"the agent {name!r} cannot be made without arguments")
    agent = factory(**arguments)
    missing = [part for part in INTERFACE if not hasattr(agent, part)]
    if missing:
        raise NotAnAgentError(f"the agent {name!r} is of type {type(agent).__name__}, which has no {', '.join(missing)}"
                              "; see turngym.agents.base.Agent")  # fmt: skip
    return agent

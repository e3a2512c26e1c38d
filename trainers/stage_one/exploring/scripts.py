"""Scripted agents that explore, by their names."""

from __future__ import annotations

from turngym._errors import InputError
from turngym.agents.registry import make_agent
from turngym.agents.scripted import ScriptedAgent


def scripted_explorer(name: str) -> ScriptedAgent:
    """Return a scripted agent that explores.

    Raises:
        InputError: There is none of this name, or it is no scripted one.
    """
    agent = make_agent(name)
    if not isinstance(agent, ScriptedAgent):
        raise InputError(f"values.explorer_agents: {name!r} is of type {type(agent).__name__}, and no scripted agent; "
                         "name a model by its folder in values.explorer_models")  # fmt: skip
    return agent

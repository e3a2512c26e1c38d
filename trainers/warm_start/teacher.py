"""Who is cloned: the scripted agent that a configuration names."""

from __future__ import annotations

from turngym._errors import InputError
from turngym.agents.registry import make_agent
from turngym.agents.scripted import DemonstrationAgent, ScriptedAgent
from turngym.trainers.config import WarmStartConfig


def teacher_of(config: WarmStartConfig) -> ScriptedAgent:
    """Return the demonstrator of a warm start, which makes no mistakes of its own.

    Raises:
        InputError: There is no agent of this name, it has no such arguments, or it is no scripted one.
    """
    agent = make_agent(config.demonstrator, **config.demonstrator_kwargs)
    if not isinstance(agent, ScriptedAgent):
        raise InputError("warm_start.demonstrator must be a scripted agent, and "
                         f"{config.demonstrator!r} is of type {type(agent).__name__}; write its episodes to a file for "
                         "warm_start.demonstrations")  # fmt: skip
    return agent


def demonstration_agent(config: WarmStartConfig, mistake_rate: float) -> DemonstrationAgent:
    """Return the demonstrator with mistakes.

    Args:
        config: Names the demonstrator.
        mistake_rate: Probability of a mistake per turn, in [0, 1].

    Raises:
        InputError: As of `teacher_of`.
    """
    return DemonstrationAgent(mistake_rate, teacher=teacher_of(config))

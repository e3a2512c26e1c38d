"""From what a user writes for an agent ("oracle", a run, a checkpoint) to the agent itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from turngym.agents.base import Agent
from turngym.agents.registry import AGENTS, NotAnAgentError, make_agent
from turngym.agents.scripted import ScriptedAgent
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.envs import MissingCapability, env_class, make_env, text_env
from turngym.envs.finding import check_env, resolve_env, short_name
from turngym.names import nearest
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.run_folder import agent_config, policy_folder


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a language model answers; scripted agents ignore it."""

    greedy: bool = False
    """Whether the likeliest token is taken instead of a sample."""
    temperature: float = 1.0
    """Divides the logits when sampling."""
    slots: int = 128
    """Episodes played at once."""

    def __str__(self) -> str:
        """Say it in a word or two, for titles."""
        return "greedy" if self.greedy else f"temperature {self.temperature:g}"


@dataclass(frozen=True, kw_only=True)
class NamedAgent:
    """An agent and what is known of it."""

    name: str
    """How to call it in tables."""
    make: Callable[[Decoding], Agent]
    """Loads the model, if there is one, and returns the agent."""
    config: TrainConfig | None = None
    """The configuration of the run that a model comes from, if it is known."""
    decodes: bool = False
    """Whether it is a language model, for which `Decoding` matters."""

    def env(self, name: str, env_kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return id and arguments of the environment to play: those given, else those the agent was trained on.

        Raises:
            UsageError: No environment is named and none is known, or it is none for this agent.
        """
        trained = self.config.env if self.config else None
        if not name and trained is None:
            raise UsageError(f"name the environment that {self.name} shall play, such as FrozenLake")
        env_id = resolve_env(name or (trained.id if trained else ""))
        inherited = trained.kwargs if trained and trained.id == env_id else {}
        kwargs = dict(env_kwargs or inherited)
        check_env(env_id, kwargs)
        if self.decodes:
            return env_id, kwargs
        load_registered(self.name)
        able = able_agents(env_id, kwargs)
        if self.name not in able:
            raise UsageError(f"{short_name(env_id)} has no agent {self.name!r}; choose from {', '.join(able)}")
        return env_id, kwargs


def able_agents(env_id: str, env_kwargs: Mapping[str, Any]) -> list[str]:
    """Return the names of the scripted agents that can play an environment, which some lack a method for."""
    kind = env_class(env_id)
    if kind is None:
        env = make_env(env_id, env_kwargs)
        kind = type(text_env(env))
        env.close()
    able = []
    for name in AGENTS:
        with suppress(MissingCapability, NotAnAgentError):
            agent = make_agent(name)
            if isinstance(agent, ScriptedAgent):
                agent.check(kind)
            able.append(name)
    return able


def find_agent(name: str, env: str = "") -> NamedAgent:
    """Return the agent that a name means: a registered agent, a run folder, or a checkpoint folder.

    Args:
        name: What the user wrote.
        env: The environment that it shall play; the module of `module:Id` may register the agent, so it comes first.

    Raises:
        UsageError: It is none of them, or a run without a checkpoint.
    """
    if ":" in env:
        resolve_env(env)
    if name in AGENTS:
        return NamedAgent(name=name, make=lambda _: load_registered(name))
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(f"there is no agent {name!r}: neither {', '.join(AGENTS)} nor a folder with a run or a "
                         f"checkpoint{nearest(name, AGENTS, most=0)}")  # fmt: skip
    config = agent_config(policy_folder(folder))
    return NamedAgent(name=folder.resolve().name, make=partial(load_model, folder), config=config, decodes=True)


def load_registered(name: str) -> Agent:
    """Make a registered agent.

    Raises:
        UsageError: What its factory returned cannot play.
    """
    try:
        return make_agent(name)
    except NotAnAgentError as error:
        raise UsageError(str(error)) from error


def load_model(folder: Path, decoding: Decoding) -> Agent:
    """Load a language model as an agent.

    Raises:
        UsageError: The folder cannot be loaded, or the packages for models are not installed.
    """
    library = import_trained("turngym.trainers.launch.training")
    try:
        agent: Agent = library.load_agent(
            folder, greedy=decoding.greedy, temperature=decoding.temperature, slots=decoding.slots
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return agent

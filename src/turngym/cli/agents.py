"""From what a user writes for an agent ("oracle", a run, a checkpoint) to the agent itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from turngym._errors import InputError, input_errors
from turngym.agents.api import PREFIX, ApiSettings
from turngym.agents.base import Agent
from turngym.agents.models.decoding import Decoding, History
from turngym.agents.models.hub import fetch_model, is_hub_name
from turngym.agents.registry import AGENTS, NotAnAgentError, is_registered, make_agent
from turngym.agents.scripted import ScriptedAgent
from turngym.cli.api import ApiOptions, api_agent, api_settings, is_api_agent
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.cli.options import JsonObject
from turngym.envs import MissingCapability
from turngym.envs.finding import check_env, resolve_env, short_name
from turngym.envs.making import played_class
from turngym.names import nearest
from turngym.trainers.config import TrainConfig
from turngym.trainers.config.section import SMALLEST
from turngym.trainers.launch.policies import decoding_of, policy_folder, weights_digest
from turngym.trainers.launch.run_folder import agent_config

SLOTS_PER_REQUEST = 2
"""Episodes in progress for each request that a server answers at once, so that few requests wait for the slowest."""


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """The options of a command that say how a language model plays; scripted agents have no use for them."""

    greedy: bool = False
    """Take the likeliest token instead of sampling."""
    temperature: float | None = None
    """Sampling temperature; a run's or checkpoint's own (of its last step) unless given."""
    context_length: int | None = None
    """Most tokens that the model sees at once; a run's or checkpoint's own unless given."""
    max_reply_tokens: int | None = None
    """Longest reply, in tokens, the end-of-turn token included; a run's or checkpoint's own unless given."""
    max_thought_tokens: int | None = None
    """Most tokens of a reply before `<answer>` is written for the model, in environments with `reasoning`; a run's or
    checkpoint's own unless given."""
    keep_thoughts: bool = False
    """Accept a chat template that removes earlier thoughts from the history; the stream keeps them as sampled."""
    history: History | None = None
    """What the model sees of earlier turns: all as they were sampled, all as the chat template serves them (served), a
    window of the last ones, or none (turn); a run's or checkpoint's own unless given."""
    history_turns: int | None = None
    """How many earlier turns the window holds; a run's or checkpoint's own unless given."""
    allow_pickle: bool = False
    """Read weights that are stored as pickles; only for folders that you trust."""
    chat_template_kwargs: JsonObject = field(default_factory=dict)
    """Values of variables that the chat template reads, as a JSON object, such as '{"enable_thinking": false}'; a run
    or checkpoint has its own."""
    device: str = "auto"
    """Where a model lies: a device of torch such as cpu, cuda or cuda:1, or auto for cuda, mps or cpu, the first that
    there is."""

    def check(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A limit is less than 1, or the temperature too small.
        """
        for name in ("context_length", "max_reply_tokens", "max_thought_tokens", "history_turns"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {value}")
        if self.temperature is None:
            return
        if not self.temperature > 0:
            raise UsageError(f"--temperature must be above 0, got {self.temperature}")
        if not SMALLEST <= self.temperature < float("inf"):
            raise UsageError(f"--temperature must be at least {SMALLEST:g} and finite, got {self.temperature}; "
                             "--greedy takes the likeliest token")  # fmt: skip

    def over(self, own: Decoding) -> Decoding:
        """Return how a model plays whose own settings are `own`."""
        return own.changed(temperature=self.temperature, context_length=self.context_length,
                           max_reply_tokens=self.max_reply_tokens, max_thought_tokens=self.max_thought_tokens,
                           history=self.history, history_turns=self.history_turns,
                           keep_thoughts=self.keep_thoughts or None)  # fmt: skip

    def describe(self, own: Decoding, agent: Agent) -> str:
        """Say it in some words, for titles: how tokens are chosen, and what is not as the model was trained.

        Args:
            own: How the model plays unless told otherwise.
            agent: The agent that was made of it, which knows the context that the model can hold.
        """
        used = self.over(own).changed(context_length=getattr(agent, "context_length", None))
        parts = ["greedy" if self.greedy else f"temperature {used.temperature:g}"]
        if not self.greedy and used.temperature != own.temperature:
            parts[0] += f" (its own: {own.temperature:g})"
        for name, word in {"context_length": "context length", "max_reply_tokens": "replies of at most",
                           "max_thought_tokens": "thoughts of at most"}.items():  # fmt: skip
            here, there = getattr(used, name), getattr(own, name)
            if there is None:  # as long as the model can hold
                parts += [f"{word} {here}"] if getattr(self, name) is not None else []
            elif here != there:
                parts.append(f"{word} {here} (its own: {there})")
        if used.history_words != own.history_words:
            parts.append(f"{used.history_words} (its own: {own.history_words.removeprefix('history ')})")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class AgentOptions(DecodingOptions, ApiOptions):
    """The options of a command that say how a language model plays, wherever it is."""

    def served(self, name: str) -> ApiSettings:
        """Return how a model behind a server is asked.

        Args:
            name: The agent, `openai:MODEL`.

        Raises:
            UsageError: An option is out of range, or is for models that are loaded here.
        """
        here = {"context_length": None, "max_thought_tokens": None, "keep_thoughts": False, "allow_pickle": False,
                "device": "auto"}  # fmt: skip
        for option, default in here.items():
            if getattr(self, option) != default:
                raise UsageError(f"--{option.replace('_', '-')} is for models that are loaded here; that of {name} is "
                                 "set on its server")  # fmt: skip
        if self.history_turns is not None and self.history != "window":
            raise UsageError("--history-turns is read with --history window alone")
        return api_settings(name, self, temperature=0.0 if self.greedy else self.temperature,
                            max_reply_tokens=self.max_reply_tokens, history=self.history,
                            history_turns=self.history_turns,
                            chat_template_kwargs=self.chat_template_kwargs)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NamedAgent:
    """An agent and what is known of it."""

    name: str
    """How to call it in tables."""
    make: Callable[[AgentOptions, int], Agent]
    """Loads the model, if there is one, and returns the agent, which plays so many episodes at once."""
    config: TrainConfig | None = None
    """The configuration of the run that a model comes from, if it is known."""
    decoding: Decoding | None = None
    """How it plays unless told otherwise; None for what is no language model that is loaded here."""
    identity: Callable[[AgentOptions], dict[str, Any]]
    """Returns what tells it from others, and how it plays, for JSON."""
    served: str = ""
    """Its name where a server plays it, `openai:MODEL`; empty otherwise."""

    def describe(self, options: AgentOptions, agent: Agent) -> str:
        """Say in some words how a language model plays; nothing of other agents.

        Args:
            options: The options of the command.
            agent: The agent that was made.
        """
        if self.served:
            return options.served(self.served).describe()
        return options.describe(self.decoding, agent) if self.decoding else ""

    def slots(self, options: AgentOptions, asked: int) -> int:
        """Return how many episodes are played at once: with a server few more than requests, since a stop loses them.

        Args:
            options: The options of the command.
            asked: How many were asked for.
        """
        return min(asked, SLOTS_PER_REQUEST * options.parallel) if self.served else asked

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
        if self.decoding is not None or self.served:
            return env_id, kwargs
        agent = load_registered(self.name)
        try:
            if isinstance(agent, ScriptedAgent):
                agent.check(played_class(env_id, kwargs))
        except MissingCapability as error:
            able = ", ".join(able_agents(env_id, kwargs))
            raise UsageError(f"the agent {self.name!r} cannot play {short_name(env_id)}, which defines no "
                             f"{error.method}; {able} can, and so can runs and checkpoints") from error  # fmt: skip
        return env_id, kwargs


def able_agents(env_id: str, env_kwargs: Mapping[str, Any]) -> list[str]:
    """Return the names of the scripted agents that can play an environment, which some lack a method for."""
    kind = played_class(env_id, env_kwargs)
    able = []
    for name in AGENTS:
        with suppress(MissingCapability, NotAnAgentError):
            agent = make_agent(name)
            if isinstance(agent, ScriptedAgent):
                agent.check(kind)
            able.append(name)
    return able


def names_agent(name: str) -> bool:
    """Return whether a name is that of a registered agent, or else of no folder and no served model but `module:Class`.

    Raises:
        InputError: There is no such module, or no such class in it.
    """
    return name in AGENTS or (not is_api_agent(name) and not Path(name).is_dir() and is_registered(name))


def find_agent(name: str, env: str = "", arguments: Mapping[str, Any] | None = None) -> NamedAgent:
    """Return the agent that a name means: a registered agent, a run, a checkpoint, a model of the hub, or of a server.

    `module:Class` is registered by being named.

    Args:
        name: What the user wrote.
        env: The environment that it shall play; the module of `module:Id` may register the agent, so it comes first.
        arguments: Arguments of a registered agent.

    Raises:
        InputError: It is none of them, a run without a checkpoint, no model that the hub has, or has no such arguments.
    """
    if ":" in env:
        resolve_env(env)
    if names_agent(name):
        load_registered(name, **(arguments or {}))  # refused before anything is played
        return NamedAgent(name=name, make=lambda *_: load_registered(name, **(arguments or {})),
                          identity=lambda _: {"agent": name, "arguments": dict(arguments or {})})  # fmt: skip
    if arguments:
        raise UsageError(f"--agent-kwargs is for {', '.join(AGENTS)}; a run or a checkpoint has options of its own")
    if is_api_agent(name):
        return NamedAgent(
            name=PREFIX + name.removeprefix(PREFIX).rpartition("/")[2],
            make=lambda options, _: api_agent(options.served(name), options),
            identity=lambda options: options.served(name).identity(), served=name,
        )  # fmt: skip
    folder = Path(name)
    if is_hub_name(name):
        import_trained("huggingface_hub")
        with input_errors():
            folder = fetch_model(name).folder
    if not folder.is_dir():
        raise UsageError(f"there is no agent {name!r}: neither {', '.join(AGENTS)} nor a folder with a run or a "
                         f"checkpoint, nor module:Class, nor {PREFIX}MODEL{nearest(name, AGENTS, most=0)}")  # fmt: skip
    weights = policy_folder(folder)
    shown, own = name if is_hub_name(name) else folder.resolve().name, decoding_of(weights)

    def identity(options: AgentOptions) -> dict[str, Any]:
        return {"weights": weights_digest(weights), "tokens": "greedy" if options.greedy else "sampled",
                **asdict(options.over(own))}  # fmt: skip

    return NamedAgent(name=shown, make=partial(load_model, folder), config=agent_config(weights), decoding=own,
                      identity=identity)  # fmt: skip


def load_registered(name: str, /, **arguments: Any) -> Agent:
    """Make a registered agent.

    Raises:
        UsageError: What its factory returned cannot play, or it has no such arguments.
    """
    try:
        return make_agent(name, **arguments)
    except (NotAnAgentError, InputError) as error:
        raise UsageError(str(error)) from error


def load_model(folder: Path, options: AgentOptions, slots: int) -> Agent:
    """Load a language model as an agent.

    Args:
        folder: The run or checkpoint.
        options: How it plays.
        slots: Episodes played at once.

    Raises:
        UsageError: The folder cannot be loaded, or the packages for models are not installed.
    """
    library = import_trained("turngym.trainers.launch.training")
    try:
        agent: Agent = library.load_agent(
            folder, slots=slots, greedy=options.greedy, temperature=options.temperature,
            context_length=options.context_length, max_reply_tokens=options.max_reply_tokens,
            history=options.history, history_turns=options.history_turns,
            keep_thoughts=options.keep_thoughts or None, allow_pickle=options.allow_pickle,
            device=options.device, chat_template_kwargs=options.chat_template_kwargs,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from error
    return agent

"""`turngym play`: a person at the terminal, or any other agent watched turn by turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from turngym.agents.base import Agent
from turngym.agents.hosting import (
    Failed,
    Game,
    Host,
    HostSettings,
    Interrupted,
    Method,
    Opening,
    Outcome,
    Result,
    open_host,
)
from turngym.agents.human import HumanAgent, HumanLeft
from turngym.agents.rollout import Instance
from turngym.agents.scripted import ScriptedAgent
from turngym.cli.agents import find_agent
from turngym.cli.errors import Failure, UsageError
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import JsonObject, parse
from turngym.cli.playing import PlayingOptions
from turngym.cli.terminal import make_console
from turngym.envs.finding import check_env, resolve_env

LONGEST_SHOWN = 4_000
"""Characters of one text that are shown; agents may write a million."""


@dataclass(frozen=True)
class PlayOptions(PlayingOptions):
    """Play an environment yourself, or watch another agent."""

    env: Annotated[Positional[str], arg(metavar="ENV")] = ""
    """The environment; that of the run where a run plays."""
    agent: str = ""
    """Who plays: a run or checkpoint folder, a model behind a server as openai:MODEL, or an agent (random, rule,
    shopper, oracle, demonstration, hostile or a registered one); empty is you."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
    agent_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of a scripted agent, as a JSON object, such as '{"looks": 3}' of the shopper."""
    episodes: int = 1
    """How many episodes, one after the other."""
    split: Literal["train", "validation", "test"] = "test"
    """Which instances."""
    first: int = 0
    """The index of the first instance; the others follow it."""
    seed: int = 0
    """Chance of environment and sampling."""
    pause: float = 0.0
    """Seconds to wait after each turn of a watched agent."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(PlayOptions, words, command="play")
    check_amounts(episodes=options.episodes, seed=options.seed, first=options.first,
                  pause=options.pause)  # fmt: skip
    options.check()
    options.check_use([options.agent])
    console = make_console()
    agent: Agent
    trained = None
    if options.agent:
        named = find_agent(options.agent, options.env, options.agent_kwargs)
        trained = named.config.env if named.config else None
        env_id, env_kwargs = named.env(options.env, options.env_kwargs)
        agent = named.make(options, 1)
        if told := named.describe(options, agent):
            show(console, f"{named.name}, {told}", "bold")
    else:
        if options.agent_kwargs:
            raise UsageError("--agent-kwargs are arguments of an agent: name it with --agent")
        if not options.env:
            raise UsageError("play needs ENV, such as FrozenLake; see turngym play --help")
        env_id, env_kwargs = resolve_env(options.env), options.env_kwargs
        check_env(env_id, env_kwargs)
        agent = HumanAgent(show=lambda text: show(console, text, "cyan"))
    timeout, isolate = options.hosting(trained)
    settings = HostSettings(step_timeout=timeout, isolate=min(isolate, 1))
    game = Game(env_id=env_id, env_kwargs=env_kwargs, wrap=options.wrap,
                agent=agent if isinstance(agent, ScriptedAgent) else None)  # fmt: skip
    try:
        for number in range(options.episodes):
            instance = Instance(split=options.split, index=options.first + number, seed=options.seed + number)
            play_episode(agent, game, instance, console, settings=settings, pause=options.pause)
    except HumanLeft:
        show(console, "\nYou left the game.", "bold")
    finally:
        options.tell_spent(console)
    return 0


def play_episode(
    agent: Agent,
    game: Game,
    instance: Instance,
    console: Console,
    *,
    settings: HostSettings | None = None,
    pause: float = 0.0,
) -> bool:
    """Play one episode before the user's eyes and return whether it was solved.

    A `HumanAgent` shows its observations itself; every other agent is shown with what it sees and says.

    Args:
        agent: The agent.
        game: What is played, with the agent if it plays beside the environment.
        instance: Which episode.
        console: Where to show it.
        settings: Where the environment runs.
        pause: Seconds to wait after each turn of a watched agent.

    Raises:
        HumanLeft: The person closed the input.
        Failure: The environment failed.
    """
    watched = not isinstance(agent, HumanAgent)
    host = open_host(game, settings or HostSettings())
    try:
        opening = answer(host, "begin", instance)
        assert isinstance(opening, Opening)
        show(console, f"{game.env_id}, {instance.split} instance {instance.index}", "bold")
        if watched:
            show(console, opening.instructions + "\n", "dim")
            show(console, opening.observation, "cyan")
        if game.agent is None:
            agent.start(0, host.env(0, opening), opening.observation, instance.seed)
        rewards: list[float] = []
        solved = over = False
        while not over:
            reply = None if game.agent else agent.act([0])[0]
            if reply and reply.out_of_room:
                show(console, "The agent's context is full.", "red")
                break
            outcome = answer(host, "turn", reply.text if reply else None)
            assert isinstance(outcome, Outcome)
            rewards.append(outcome.reward)
            solved, over = outcome.success, outcome.terminated or outcome.truncated
            if watched:
                show(console, f"> {outcome.action}", "green" if outcome.valid else "red")
                time.sleep(pause)
            if watched or over:
                show(console, outcome.observation, "cyan")
            if game.agent is None and not over:
                agent.observe(0, outcome.observation)
        if game.agent is None:
            agent.finish(0)
    finally:
        host.close()
    turns = f"{len(rewards)} turn{'' if len(rewards) == 1 else 's'}"
    outcome_text = f"{'Solved' if solved else 'Not solved'} after {turns}, return {sum(rewards):g}."
    show(console, outcome_text, "bold green" if solved else "bold red")
    return solved


def answer(host: Host, method: Method, argument: Any) -> Result:
    """Return what an environment answers to a call.

    Raises:
        Failure: It failed.
    """
    host.submit(0, method, argument)
    ((_, result),) = host.gather()
    if isinstance(result, Failed | Interrupted):
        place = f", {result.place}" if isinstance(result, Failed) and result.place else ""
        raise Failure(f"the environment failed: {result.reason}{place}")
    return result


def show(console: Console, text: str, style: str) -> None:
    """Print text in a colour, with nothing in it that could steer the terminal."""
    cut = "" if len(text) <= LONGEST_SHOWN else f"... ({len(text)} characters)"
    console.print(text[:LONGEST_SHOWN] + cut, style=style, soft_wrap=True)

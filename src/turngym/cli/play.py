"""`turngym play`: a person at the terminal, or any other agent watched turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional, arg

from turngym._errors import InputError
from turngym.agents.base import Agent
from turngym.agents.human import HumanAgent, HumanLeft
from turngym.agents.rollout import Instance, make_env, text_env
from turngym.cli.agents import DecodingOptions, find_agent
from turngym.cli.errors import Failure
from turngym.cli.evaluate import check_amounts
from turngym.cli.options import JsonObject, parse
from turngym.cli.terminal import make_console, printable
from turngym.envs.finding import check_env, resolve_env
from turngym.plugins import describe

LONGEST_SHOWN = 4_000
"""Characters of one text that are shown; agents may write a million."""


@dataclass(frozen=True)
class PlayOptions(DecodingOptions):
    """Play an environment yourself, or watch another agent."""

    env: Annotated[Positional[str], arg(metavar="ENV")]
    """The environment."""
    agent: str = ""
    """Who plays: a run or checkpoint folder, or an agent (random, rule, oracle, demonstration, hostile or a registered
    one); empty is you."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object; a run knows its own."""
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
    console = make_console()
    agent: Agent
    if options.agent:
        named = find_agent(options.agent, options.env)
        env_id, env_kwargs = named.env(options.env, options.env_kwargs)
        agent = named.make(options, 1)
        if named.decoding is not None:
            show(console, f"{named.name}, {options.describe(named.decoding, agent)}", "bold")
    else:
        env_id, env_kwargs = resolve_env(options.env), options.env_kwargs
        check_env(env_id, env_kwargs)
        agent = HumanAgent(show=lambda text: show(console, text, "cyan"))
    try:
        for number in range(options.episodes):
            instance = Instance(split=options.split, index=options.first + number, seed=options.seed + number)
            play_episode(agent, env_id, instance, env_kwargs, console, pause=options.pause)
    except HumanLeft:
        show(console, "\nYou left the game.", "bold")
    return 0


def play_episode(
    agent: Agent, env_id: str, instance: Instance, env_kwargs: JsonObject, console: Console, *, pause: float = 0.0
) -> bool:
    """Play one episode before the user's eyes and return whether it was solved.

    A `HumanAgent` shows its observations itself; every other agent is shown with what it sees and says.

    Raises:
        HumanLeft: The person closed the input.
        Failure: The environment failed.
    """
    watched = not isinstance(agent, HumanAgent)
    env = make_env(env_id, env_kwargs)
    options = {"split": instance.split, "index": instance.index}
    observation, info = answer(env.reset, seed=instance.seed, options=options)
    show(console, f"{env_id}, {instance.split} instance {instance.index}", "bold")
    if watched:
        show(console, text_env(env).instructions + "\n", "dim")
        show(console, observation, "cyan")
    agent.start(0, text_env(env), observation, instance.seed)
    total, turns, over = 0.0, 0, False
    while not over:
        reply = agent.act([0])[0]
        if reply.out_of_room:
            show(console, "The agent's context is full.", "red")
            break
        observation, reward, terminated, truncated, info = answer(env.step, reply.text)
        total, turns, over = total + float(reward), turns + 1, terminated or truncated
        if watched:
            show(console, f"> {reply.text}", "green" if info["valid"] else "red")
            time.sleep(pause)
        if watched or over:
            show(console, observation, "cyan")
        if not over:
            agent.observe(0, observation)
    agent.finish(0)
    env.close()
    solved = bool(info["success"])
    outcome = f"{'Solved' if solved else 'Not solved'} after {turns} turn{'' if turns == 1 else 's'}"
    show(console, f"{outcome}, return {total:g}.", "bold green" if solved else "bold red")
    return solved


def answer(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return what a method of an environment answers.

    Raises:
        Failure: It raised something, or observed something else than text.
    """
    try:
        said = method(*arguments, **named)
    except InputError:
        raise
    except Exception as error:
        raise Failure(f"the environment failed: {describe(error)}") from error
    if not isinstance(said[0], str):
        raise Failure(f"the environment observed a {type(said[0]).__name__}, not text")
    return said


def show(console: Console, text: str, style: str) -> None:
    """Print text in a colour, with nothing in it that could steer the terminal."""
    cut = "" if len(text) <= LONGEST_SHOWN else f"... ({len(text)} characters)"
    console.print(Text(printable(text[:LONGEST_SHOWN]) + cut, style=style), soft_wrap=True)

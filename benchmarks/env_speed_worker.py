"""What a process of `env_speed` runs: it times what it is asked for, line by line, and knows no release of the package.

It is given to Python as text, so it imports nothing at the top but the standard library.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

WORDS = ("left", "down", "right", "up")
"""Gymnasium's actions 0 to 3."""
MOST_STEPS = 10
"""Steps of an episode on a lake."""
REPLIES = {"FrozenLake": "up", "Countdown": "1 + 1", "CountdownSteps": "0 + 0", "Multiplication": "1234"}
"""What is said in every turn of a game where nothing is drawn."""

Timed = tuple[int, float]
"""How many there were, and the processor seconds that they took."""


def moves(episodes: int) -> Iterator[Iterator[int]]:
    """Yield the moves of each episode, the same for everybody."""
    drawn = random.Random(0)
    for _ in range(episodes):
        yield iter([drawn.randrange(len(WORDS)) for _ in range(MOST_STEPS)])


def timed(play: Callable[[], int]) -> Timed:
    """Return how many `play` counts, and how long it took."""
    started = time.process_time()
    count = play()
    return count, time.process_time() - started


def turngym_resets(env: str, split: str, first: int, count: int) -> Timed:
    """Begin instances one after the other."""
    from turngym.envs import make_env

    made = make_env(f"turngym/{env}-v0")
    made.reset(seed=0)

    def play() -> int:
        for index in range(first, first + count):
            made.reset(options={"split": split, "index": index})
        return count

    return timed(play)


def turngym_turns(env: str, count: int) -> Timed:
    """Play one instance by one reply, and begin again where it ends; turns are counted."""
    from turngym.envs import make_env

    made = make_env(f"turngym/{env}-v0", {"max_episode_steps": -1})
    made.reset(seed=0, options={"index": 0})
    reply = REPLIES[env]

    def play() -> int:
        for _ in range(count):
            if made.step(reply)[2]:
                made.reset(options={"index": 0})
        return count

    return timed(play)


def turngym_lake(split: str, first: int, count: int, new: bool) -> Timed:
    """Play lakes, a new one in each episode or one again and again; steps are counted."""
    from turngym.envs import make_env

    made = make_env("turngym/FrozenLake-v0")
    made.reset(seed=0)

    def play() -> int:
        steps = 0
        for episode, chosen in enumerate(moves(count)):
            made.reset(options={"split": split, "index": first + episode if new else first})
            for move in chosen:
                steps += 1
                _, _, terminated, truncated, _ = made.step(WORDS[move])
                if terminated or truncated:
                    break
        return steps

    return timed(play)


def gymnasium_lake(count: int, new: bool) -> Timed:
    """Play Gymnasium's lake and have it written as text after every move; steps are counted."""
    import gymnasium
    from gymnasium.envs.toy_text.frozen_lake import generate_random_map

    def made(episode: int) -> Any:
        rows = generate_random_map(4, 0.8, seed=episode)
        return gymnasium.make("FrozenLake-v1", desc=rows, is_slippery=False, render_mode="ansi")

    env = made(0)

    def play() -> int:
        nonlocal env
        steps = 0
        for episode, chosen in enumerate(moves(count)):
            env = made(episode) if new else env
            env.reset(seed=episode)
            env.render()
            for move in chosen:
                steps += 1
                _, _, terminated, truncated, _ = env.step(move)
                env.render()
                if terminated or truncated:
                    break
        return steps

    return timed(play)


def textarena_lake(count: int) -> Timed:
    """Play TextArena's lakes with drawn starts and goals; steps are counted."""
    textarena = import_module("textarena")

    def play() -> int:
        steps = 0
        for episode, chosen in enumerate(moves(count)):
            env = textarena.make("FrozenLake-v0-random")
            env.reset(num_players=1, seed=episode)
            for move in chosen:
                steps += 1
                env.get_observation()
                if env.step(action=f"[{WORDS[move]}]")[0]:
                    break
            env.close()
        return steps

    return timed(play)


def place(module: str) -> str:
    """Return the file that a module is loaded from, nothing where it is not installed."""
    from importlib.util import find_spec

    found = find_spec(module)
    return "" if found is None or found.origin is None else found.origin


TASKS: dict[str, Callable[..., object]] = {
    task.__name__: task for task in (turngym_resets, turngym_turns, turngym_lake, gymnasium_lake, textarena_lake, place)
}


if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(TASKS[name](**arguments)), flush=True)

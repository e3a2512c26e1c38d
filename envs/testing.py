"""Checks for text environments: run them on your own, as the suite runs them on every environment it registers.

Example:
    >>> import gymnasium, turngym
    >>> from turngym.envs.testing import check_text_env
    >>> check_text_env(gymnasium.make("turngym/FrozenLake-v0"))
    ['no rule: no agent `rule`']
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from turngym.envs.capabilities import (
    COSTS,
    MissingCapability,
    Optimum,
    Oracle,
    RandomFloor,
    Sampling,
    capabilities_of,
)
from turngym.envs.core import LENIENT_KEY, TextEnv, TurnInfo, UnfitEnv
from turngym.envs.making import check_range, text_env
from turngym.envs.parsing import CLOSE, OPEN, InvalidAction, extract_action
from turngym.envs.shaping import PLAIN_KEY, POTENTIAL_KEY
from turngym.envs.splits import SPLITS, Split

MAX_TURNS = 200
"""Turns after which an episode of an environment without a turn limit is left."""

FRAGMENTS = (
    *("", "0", "-1", "1e9", "1_5", "0x10", "9**9**9", "²", "½", "٣", "𝟙", "nan", "inf", "1/0", "((((", "+", "="),
    *("None", "{}", "%s%n", "''", '"', "\\", "\0", "\r\n", "\x1b[31m", "\u202e", "\u200b", "\ud800", "√", "🙂", "("),
    *("__import__('os')", "<answer>", "</answer>", "<|im_end|>", "<s>", "[INST]", "left", "search[", "a" * 3000),
)
BLANKS = ("", " ", "  ", "\t", "\n", "\u00a0", "\u2003", ",", ", ", ";", "\x00", "\u200b", "_")

Policy = Callable[[TextEnv], str]
"""Chooses a reply from the state of the environment."""


@dataclass(frozen=True)
class Moment:
    """What an environment said at a reset or after a reply."""

    reply: str
    """The reply; empty at a reset."""
    observation: str
    """The answer to it."""
    reward: float
    """The reward; zero at a reset."""
    terminated: bool
    """Whether the game is over."""
    truncated: bool
    """Whether the turn limit cut the episode off."""
    info: dict[str, Any]
    """The information of `TurnInfo`."""


def random_policy(seed: int) -> Policy:
    """Return the random agent of any environment that has `sample_action`."""
    rng = np.random.default_rng(seed)

    def policy(env: TextEnv) -> str:
        if not isinstance(env, Sampling):
            raise MissingCapability(env, "sampling", needed_by="random_policy", otherwise="take noise_policy")
        return env.sample_action(rng)

    return policy


def oracle_policy(env: TextEnv) -> str:
    """Reply as the environment's oracle does.

    Raises:
        MissingCapability: It has none.
    """
    if not isinstance(env, Oracle):
        raise MissingCapability(env, "oracle", needed_by="oracle_policy", otherwise="take another agent")
    return env.oracle_action()


def noise_policy(seed: int) -> Policy:
    """Return an agent for any environment at all, whose replies are those of `hostile_replies`."""
    rng = np.random.default_rng(seed)
    return lambda env: next(hostile_replies(env, rng))


def play(
    env: gym.Env[str, str], policy: Policy, *, seed: int = 0, split: Split = "train", index: int = 0
) -> list[Moment]:
    """Play one episode of instance `(split, index)` and return it, the reset first.

    Args:
        env: An environment, wrapped or not, with a `TextEnv` inside.
        policy: Chooses every reply; put in an `<answer>` block where the environment wants one.
        seed: Seeds the chances of the episode.
        split: The split of the instance.
        index: The instance within its split.
    """
    inside = text_env(env)
    observation, info = env.reset(seed=seed, options={"split": split, "index": index})
    episode = [Moment("", observation, 0.0, False, False, info)]
    while not (episode[-1].terminated or episode[-1].truncated) and len(episode) <= MAX_TURNS:
        action = policy(inside)
        episode.append(say(env, f"{OPEN}{action}{CLOSE}" if inside.reasoning else action))
    return episode


def say(env: gym.Env[str, str], reply: str) -> Moment:
    """Step `env` and return what it said."""
    observation, reward, terminated, truncated, info = env.step(reply)
    return Moment(reply, observation, float(reward), terminated, truncated, info)


def hostile_replies(env: TextEnv, rng: np.random.Generator) -> Iterator[str]:
    """Yield replies that try to break `env`, without end: noise in many scripts, and usable actions slightly spoilt.

    Without `sample_action` it is noise alone.
    """
    while True:
        action = env.sample_action(rng) if isinstance(env, Sampling) else str(rng.choice(list(FRAGMENTS)))
        kind = rng.integers(8)
        if kind == 0:
            yield "".join(map(chr, rng.integers(0x110000, size=rng.integers(30))))  # any code point, surrogates too
        elif kind == 1:
            yield "".join(rng.choice(list(FRAGMENTS), size=rng.integers(1, 8)))
        elif kind == 2:
            yield (FRAGMENTS[rng.integers(len(FRAGMENTS))] + action) * int(rng.integers(1, 500))
        elif kind == 3:
            yield action.replace(" ", str(rng.choice(BLANKS))) + str(rng.choice(BLANKS))
        elif kind == 4:
            yield "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in action)  # full-width look-alikes
        elif kind == 5:
            yield f"{OPEN * int(rng.integers(3))}{action}{CLOSE * int(rng.integers(3))}"
        else:
            yield _spoil(action, rng)


def _spoil(action: str, rng: np.random.Generator) -> str:
    """Delete, double, replace or change the case of one character."""
    at = int(rng.integers(len(action))) if action else 0
    before, character, after = action[:at], action[at : at + 1], action[at + 1 :]
    spoilt = ("", character * 2, chr(int(rng.integers(32, 1000))), character.swapcase())
    return before + spoilt[rng.integers(len(spoilt))] + after


def check_text_env(env: gym.Env[str, str], *, instances: int = 10, seed: int = 0) -> list[str]:
    """Check that an environment keeps Gymnasium's contract and that of `TextEnv`.

    What is optional is checked where it is there.

    Args:
        env: An environment with a `TextEnv` inside, best as `gymnasium.make` returns it. It is reset and stepped.
        instances: How many instances of each split to play.
        seed: Seeds the chances, the random agent and the hostile replies.

    Returns:
        A sentence for every capability that is absent, with what goes without; nothing of it is a fault.

    Raises:
        TypeError: There is no `TextEnv` inside.
        AssertionError: The contract is broken; the message says where, and what is most likely wrong.
    """
    inside = text_env(env)
    before = _global_generators()
    check_gymnasium(env)
    check_limit(env)
    check_resets(env, seed=seed)
    check_declared_range(env)
    for split in SPLITS:
        for index in range(instances):
            for policy in usable_policies(inside, seed + index):
                check_episode(env, play(env, policy, seed=seed, split=split, index=index), usable=True)
            check_episode(env, play(env, noise_policy(seed + index), seed=seed, split=split, index=index))
    check_chances(inside)
    check_splits(inside, instances)
    check_hostile(env, replies=100 * instances, seed=seed)
    assert _global_generators() == before, (
        "the environment drew from a global random generator; draw from `self.np_random` alone"
    )
    return [f"no {name}: {cost}" for name, cost in COSTS.items() if name not in capabilities_of(inside)]


def usable_policies(env: TextEnv, seed: int) -> list[Policy]:
    """Return the agents of an environment that should say nothing unusable: its oracle and its random agent."""
    agents = [oracle_policy] if isinstance(env, Oracle) else []
    return [*agents, random_policy(seed)] if isinstance(env, Sampling) else [*agents]


def _global_generators() -> tuple[Any, ...]:
    """Return the state of the generators that no environment may touch."""
    state = np.random.get_state(legacy=False)["state"]
    return random.getstate(), state["key"].tobytes(), state["pos"]


def check_gymnasium(env: gym.Env[str, str]) -> None:
    """Run Gymnasium's own checker inside and outside of the wrappers; every warning is an error."""
    for layer in dict.fromkeys((env, env.unwrapped)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # The checker advises against wrappers; here they are part of what is checked.
            warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
            check_env(layer, skip_render_check=env.spec is None)


def check_limit(env: gym.Env[str, str]) -> None:
    """Check that prompt and state key know the turn limit in force."""
    inside = text_env(env)
    limit = env.spec.max_episode_steps if env.spec else None
    assert inside.turn_limit == limit, (
        f"the turn limit is {limit} and the environment was told {inside.turn_limit}; "
        "make it with turngym.envs.make_env, or register it with turngym.envs.register, which add AnnounceTurnLimit"
    )
    _, info = env.reset(seed=0)
    left = "inf" if limit is None else str(limit)
    assert info["state_key"].endswith(f"|{left}"), f"the state key must end in the turns left, {left}"
    if limit is not None:
        assert f"You have {limit} turns." in inside.instructions, "the instructions must state the turn limit"


def check_resets(env: gym.Env[str, str], *, seed: int) -> None:
    """Check that seed and options determine the instance, and that bad options are refused."""
    inside = text_env(env)
    first = env.reset(seed=seed)
    assert env.reset(seed=seed) == first, "the same seed must give the same episode"
    for split in SPLITS:
        keys = set()
        for chance in (seed, seed + 1):
            env.reset(seed=chance, options={"split": split, "index": 3})
            keys.add(inside.instance_key)
        assert len(keys) == 1, "an instance must be a function of split and index alone, whatever the seed"
    for options in ({"split": "exam"}, {"index": -1}, {"index": 1.5}, {"indices": 3}):
        try:
            env.reset(options=options)
        except ValueError:
            continue
        raise AssertionError(f"reset must refuse the options {options} with a ValueError")


def check_declared_range(env: gym.Env[str, str]) -> None:
    """Check that the `reward_range` of the environment is the one that its class declares for its arguments."""
    try:
        check_range(env)
    except UnfitEnv as error:
        raise AssertionError(str(error)) from error


def check_chances(env: TextEnv) -> None:
    """Check that what is said of the chances of agents are probabilities; the environment stands after a reset."""
    chances = {"optimal_success": env.optimal_success() if isinstance(env, Optimum) else None,
               "random_success": env.random_success() if isinstance(env, RandomFloor) else None}  # fmt: skip
    for name, chance in chances.items():
        assert chance is None or 0.0 <= chance <= 1.0, f"{name} must be None or in [0, 1], got {chance}"


def check_episode(env: gym.Env[str, str], episode: list[Moment], *, usable: bool = False) -> None:
    """Check one played episode.

    Args:
        env: The environment that it was played in, with its wrappers.
        episode: What `play` returned.
        usable: Whether every reply was a usable action.
    """
    inside = text_env(env)
    low, high = env.get_wrapper_attr("reward_range")
    total = sum(moment.reward for moment in episode)
    assert low - 1e-9 <= total <= high + 1e-9, f"the return {total} is outside of reward_range {low, high}"
    for moment in episode:
        check_moment(inside, moment)
        assert moment.info["valid"] or not usable, f"the environment refused its own action: {moment.observation!r}"
    for moment in episode[1:]:
        check_form(inside, moment)
    for moment in episode[:-1]:
        assert not moment.info["success"], "an episode must end once its task is solved"
    limit = inside.turn_limit
    assert limit is None or len(episode) <= limit + 1, "the episode outlived its turn limit"
    assert not episode[-1].truncated or len(episode) - 1 == limit, "only the turn limit truncates"


def check_moment(env: TextEnv, moment: Moment) -> None:
    """Check one observation with its reward and information."""
    info = moment.info
    assert not (moment.terminated and moment.truncated), "a game that terminates is not truncated"
    assert moment.observation in env.observation_space, "an observation is outside of its space"
    shaping = {key: info[key] for key in (POTENTIAL_KEY, PLAIN_KEY) if key in info}
    lacking = set(TurnInfo.__annotations__) - set(info)
    assert not lacking, f"info lacks {sorted(lacking)} of the keys of TurnInfo, got {sorted(info)}"
    kinds = {"success": bool, "valid": bool, "well_formed": bool, "state_key": str, "potential": float}
    for key, kind in kinds.items():
        assert type(info[key]) is kind, f"info[{key!r}] must be of type {kind.__name__}, got {type(info[key]).__name__}"
    unshaped = math.isclose(info["task_reward"], moment.reward - sum(shaping.values()), rel_tol=1e-9, abs_tol=1e-9)
    assert unshaped, "task_reward must be the unshaped reward of the turn"
    assert 0.0 <= info["potential"] <= 1.0, f"the potential {info['potential']} is outside of [0, 1]"
    assert info["state_key"].startswith(env.instance_key), "the state key must begin with the instance"
    assert info["potential"] == 0.0 or not moment.terminated, "the potential of a terminated game is zero"
    assert info["well_formed"] or not info["valid"], "a reply without the form of an action must not be played"
    if not info["valid"]:
        nothing_else = info["task_reward"] == 0.0 and not moment.terminated
        assert nothing_else, "an unusable reply costs its turn and nothing else"
        explained = "Invalid action" in moment.observation or not env.explains_refusals
        assert explained, "the observation must say why the reply was refused"


def check_form(env: TextEnv, moment: Moment) -> None:
    """Check that `well_formed` is what the action grammar says of the reply."""
    try:
        extract_action(moment.reply, reasoning=env.reasoning)
        well_formed = moment.reply in env.action_space
    except InvalidAction:
        well_formed = False
    well_formed = well_formed or moment.info.get(LENIENT_KEY, False)
    assert moment.info["well_formed"] is well_formed, (
        f"info['well_formed'] must be {well_formed} for the reply {moment.reply[:100]!r}; leave it to TextEnv.step"
    )


def check_splits(env: TextEnv, instances: int) -> None:
    """Check that no instance is in two splits, over indices 0 to `instances - 1` of each."""
    owner: dict[str, Split] = {}
    for split in SPLITS:
        for index in range(instances):
            env.reset(options={"split": split, "index": index})
            other = owner.setdefault(env.instance_key, split)
            assert other == split, (
                f"instance {env.instance_key!r} is both in {other} and in {split}; draw it with splits.draw_instance"
            )


def check_hostile(env: gym.Env[str, str], *, replies: int, seed: int = 0) -> None:
    """Send `replies` hostile replies; whatever is said, the environment must answer and must not raise."""
    inside = text_env(env)
    hostile = hostile_replies(inside, np.random.default_rng(seed))
    env.reset(seed=seed)
    for turn in range(replies):
        moment = say(env, next(hostile))
        check_moment(inside, moment)
        check_form(inside, moment)
        if moment.terminated or moment.truncated:
            env.reset(seed=seed + turn)

"""What all environments share: seeding, instances, turn limits, refusals and information."""

from __future__ import annotations

import copy
import inspect
import math
import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing, RecordEpisodeStatistics, TimeLimit

from turngym._errors import InputError
from turngym.envs.core import HOOKS, MAX_ACTION_CHARS, MAX_WAITING_TEXTS, AnnounceTurnLimit, TextEnv, is_wrapped
from turngym.envs.registry import register

GUESS = "turngym/GuessForTests-v0"


@pytest.fixture
def guess_id(guess_env: type[TextEnv]) -> Iterator[str]:
    """The toy game with a turn limit of 5, registered for one test."""
    register(GUESS, guess_env, max_turns=5)
    yield GUESS
    del gym.registry[GUESS]


def test_step_reports_observation_reward_and_information(guess_env: Any) -> None:
    env = guess_env()
    observation, info = env.reset(seed=0)
    assert observation == "Which number?"
    assert info == {
        "success": False,
        "valid": True,
        "well_formed": True,
        "state_key": f"secret={env.secret}|-1|inf",
        "potential": 0.0,
        "task_reward": 0.0,
    }
    near = (env.secret + 1) % 1000
    observation, reward, terminated, truncated, info = env.step(f" {near}\n")
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, False, False)
    assert info["potential"] == pytest.approx(0.999)
    observation, reward, terminated, truncated, info = env.step(str(env.secret))
    assert (observation, reward, terminated, truncated) == ("Right.", 1.0, True, False)
    assert info["success"] and info["task_reward"] == 1.0
    assert info["potential"] == 0.0, "a terminated game has no potential left to pay out"


@pytest.mark.parametrize(
    ("reply", "well_formed"),
    [("twelve", True), ("1000", True), ("x" * MAX_ACTION_CHARS, True), ("x" * (MAX_ACTION_CHARS + 1), False)]
    + [(reply, False) for reply in ("", " \n", None, 7, b"7", ["7"])],
)
def test_unusable_reply_costs_a_turn_and_says_why(guess_id: str, reply: Any, well_formed: bool) -> None:
    env = gym.make(guess_id, disable_env_checker=True)
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(reply)
    assert observation.startswith("Invalid action: ") and observation.endswith(".")
    assert (reward, terminated, truncated, info["valid"]) == (0.0, False, False, False)
    assert info["well_formed"] is well_formed
    assert info["state_key"].endswith("|-1|4")


def test_reasoning_wants_a_block(guess_env: Any) -> None:
    env = guess_env(reasoning=True)
    env.reset(seed=0)
    near = (env.secret + 1) % 1000
    for reply, well_formed, valid in (
        (str(near), False, False),
        (f"<answer>{near}</answer><answer>{near}</answer>", False, False),
        ("So: <answer>one less</answer>", True, False),
        (f"So: <answer>{near}</answer>", True, True),
    ):
        info = env.step(reply)[4]
        assert (info["well_formed"], info["valid"]) == (well_formed, valid)
    assert env.step(f"I think so. <answer>{env.secret}</answer>")[4]["success"]
    assert "<answer>...</answer>" in env.instructions
    assert "Reply with the action alone." in guess_env().instructions


def test_seed_determines_the_instances_that_follow(guess_env: Any) -> None:
    def secrets(seed: int) -> list[int]:
        env = guess_env()
        env.reset(seed=seed)
        drawn = [env.secret]
        for _ in range(5):
            env.reset()
            drawn.append(env.secret)
        return drawn

    assert secrets(1) == secrets(1) != secrets(2)


def test_index_names_an_instance_whatever_the_seed(guess_env: Any) -> None:
    env = guess_env()
    env.reset(seed=1, options={"split": "test", "index": 7})
    secret, chance = env.secret, env.np_random.random()
    env.reset(seed=2, options={"split": "test", "index": 7})
    assert env.secret == secret
    env.reset(seed=1)
    assert env.np_random.random() == chance, "naming an instance must not shift the chances of play"


def test_default_split_is_the_environments_own(guess_env: Any) -> None:
    env = guess_env(split="test")
    env.reset(options={"index": 4})
    secret = env.secret
    env.reset(options={"split": "test", "index": 4})
    assert env.secret == secret


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "exam"}, "split must be one of 'train', 'validation', 'test', got 'exam'"),
        ({"split": 3}, "split must be one of .*, got 3"),
        ({"split": ["test"]}, r"split must be one of .*, got \['test'\]"),
        ([("split", "test")], "options must be a table, got"),
        ("test", "options must be a table, got 'test'"),
        ({3: "test"}, "a key of options must be a text, got 3"),
        ({"index": -1}, "index must be at least 0, got -1"),
        ({"index": 2.0}, "index must be a whole number, got 2.0"),
        ({"index": 1.5}, "got 1.5"),
        ({"index": True}, "got True"),
        ({"index": "3"}, "got '3'"),
        ({"level": 3}, r"unknown reset options \['level'\]; known are 'split' and 'index'"),
    ],
)
def test_bad_options_are_refused(guess_env: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        guess_env().reset(options=options)


def test_bad_arguments_are_refused(guess_env: Any) -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        guess_env(split="exam")
    with pytest.raises(ValueError, match="render_mode must be None or 'ansi', got 'human'"):
        guess_env(render_mode="human")
    for reasoning in ("false", "no", 0, None):
        with pytest.raises(InputError, match=f"reasoning must be true or false, got {reasoning!r}"):
            guess_env(reasoning=reasoning)


@pytest.mark.parametrize(
    "seed", [3, 10**19 + 3, 2**200, np.int8(3), np.int64(2**62), np.uint64(2**64 - 1), np.array(3)]
)
def test_seeds_of_any_size_and_kind_are_what_they_are(guess_env: Any, seed: Any) -> None:
    env, other = guess_env(), guess_env()
    assert env.reset(seed=seed) == other.reset(seed=int(seed))
    assert env.np_random.integers(2**62) == other.np_random.integers(2**62)


@pytest.mark.parametrize("seed", [-1, np.int64(-1), 2.0, math.nan, "3", True, np.True_, [3]])
def test_other_seeds_are_refused(guess_env: Any, seed: Any) -> None:
    env = guess_env()
    with pytest.raises(InputError, match=r"^seed must be (a whole number|at least 0), got "):
        env.reset(seed=seed)


def test_a_refused_reset_leaves_the_episode_as_it_is(guess_env: Any) -> None:
    env = guess_env()
    env.reset(seed=3)
    generator, secret = env.np_random, env.secret
    with pytest.raises(InputError, match="unknown reset options"):
        env.reset(seed=4, options={"level": 3})
    assert env.np_random is generator and env.secret == secret and env.step("0")[4]["valid"]


@pytest.mark.parametrize("limit", [1, 3])
def test_an_episode_ends_in_one_way(limit: int) -> None:
    """A game that ends in the very turn of the limit has terminated, and was not truncated."""
    env = gym.make("turngym/Multiplication-v0", max_episode_steps=limit)
    env.reset(seed=0)
    for _ in range(limit - 1):
        assert env.step("1")[2:4] == (False, False)
    assert env.step(env.get_wrapper_attr("oracle_action")())[2:4] == (True, False)
    env.reset(seed=0)
    ends = [env.step("1")[2:4] for _ in range(limit)]
    assert ends == [(False, False)] * (limit - 1) + [(False, True)]


def test_render_shows_the_observation(guess_env: Any) -> None:
    env = guess_env(render_mode="ansi")
    observation, _ = env.reset(seed=0)
    assert env.render() == observation
    observation = env.step("nonsense")[0]
    assert env.render() == observation
    silent = guess_env()
    silent.reset(seed=0)
    assert silent.render() is None


@pytest.mark.parametrize(("limit", "left"), [(None, 5), (3, 3), (12, 12)])
def test_limit_in_force_is_announced(guess_id: str, limit: int | None, left: int) -> None:
    env = gym.make(guess_id, max_episode_steps=limit)
    inside = env.unwrapped
    assert isinstance(inside, TextEnv)
    _, info = env.reset(seed=0)
    assert f"You have {left} turns." in inside.instructions
    assert info["state_key"].endswith(f"|{left}")
    for turn in range(1, left + 1):
        _, _, terminated, truncated, info = env.step("no number")
        assert info["state_key"].endswith(f"|{left - turn}")
        assert (terminated, truncated) == (False, turn == left)


def test_no_limit_is_announced_as_none(guess_id: str) -> None:
    env = gym.make(guess_id, max_episode_steps=-1)
    inside = env.unwrapped
    assert isinstance(inside, TextEnv)
    _, info = env.reset(seed=0)
    assert inside.turn_limit is None and inside.turns_left is None
    assert "turns" not in inside.instructions
    assert info["state_key"].endswith("|inf")


def test_wrappers_are_found_at_any_depth(guess_id: str) -> None:
    env = gym.make(guess_id)
    assert all(is_wrapped(env, kind) for kind in (AnnounceTurnLimit, TimeLimit, OrderEnforcing))
    assert not is_wrapped(env, RecordEpisodeStatistics)
    assert not is_wrapped(env.unwrapped, AnnounceTurnLimit)


def test_environment_never_truncates_itself(guess_id: str) -> None:
    inside = gym.make(guess_id).unwrapped
    inside.reset(seed=0)
    for _ in range(12):
        assert inside.step("no number")[3] is False
    assert isinstance(inside, TextEnv) and inside.turns_left == 0


def test_announcing_needs_a_text_environment() -> None:
    with pytest.raises(TypeError, match="needs a TextEnv inside, got FrozenLakeEnv"):
        AnnounceTurnLimit(gym.make("FrozenLake-v1"))


def without(guess: type[TextEnv], *names: str) -> type[TextEnv]:
    """Return the game without some of its hooks."""
    hooks = {name: value for name, value in vars(guess).items() if name not in names and not name.startswith("__")}
    kept = {name: value for name, value in hooks.items() if not name.startswith("_abc")}
    return type("PartEnv", (TextEnv,), kept)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_is_missing_is_named(five_hooks: type[TextEnv], hook: str) -> None:
    with pytest.raises(TypeError) as caught:
        without(five_hooks, hook)()
    assert str(caught.value) == f"PartEnv cannot be made: it lacks {hook} ({HOOKS[hook]}); see turngym.envs.TextEnv"


def test_hooks_that_are_missing_are_all_named(five_hooks: type[TextEnv]) -> None:
    sentence = "it lacks _play (apply an action) and _success (whether the task is solved); see turngym.envs.TextEnv"
    with pytest.raises(TypeError, match=re.escape(sentence)):
        without(five_hooks, "_play", "_success")()
    with pytest.raises(TypeError, match=re.escape("_observe (describe the state), _play (apply an action) and _succ")):
        TextEnv(split="test")  # type: ignore[abstract]
    further = type("FurtherEnv", (five_hooks,), {"_draw": abstractmethod(lambda env: None)})
    with pytest.raises(TypeError, match="FurtherEnv cannot be made: it lacks _draw; see"):
        further()


def test_the_signature_of_a_class_is_that_of_its_arguments(five_hooks: type[TextEnv]) -> None:
    assert list(inspect.signature(five_hooks).parameters) == ["split", "reasoning", "render_mode"]


def test_instances_are_told_apart_by_split_and_index(five_hooks: type[TextEnv]) -> None:
    env = five_hooks()
    assert env.reset(options={"split": "test", "index": 7})[1]["state_key"].startswith("test/7|")
    assert env.instance_key == "test/7"
    _, info = env.reset(seed=0)
    assert re.fullmatch(r"train/\d+\|0:[0-9a-f]{32}\|inf", info["state_key"])


def test_the_state_is_the_history_of_usable_actions(five_hooks: type[TextEnv]) -> None:
    env = five_hooks()

    def state(*replies: str) -> str:
        info = env.reset(seed=1, options={"index": 3})[1]
        for reply in replies:
            info = env.step(reply)[4]
        return str(info["state_key"])

    assert state() == state("three") == state("three", "", "\ud800")
    assert state("one") == state("three", "one ") == state("one", "one")
    assert len({state(), state("one"), state("one", "two")}) == 3
    assert "|2:" in state("one", "two")


def test_the_state_tells_chance_apart(five_hooks: type[TextEnv]) -> None:
    def observe(env: Any, feedback: str) -> str:
        return f"{env.said} {env.np_random.integers(2)}"

    env = type("ChancyEnv", (five_hooks,), {"_observe": observe})()
    seen: dict[tuple[str, str], str] = {}
    for seed in range(30):
        start, _ = env.reset(seed=seed, options={"index": 3})
        observation, *_, info = env.step("one")
        assert seen.setdefault((start, observation), info["state_key"]) == info["state_key"]
    assert len(seen) == len(set(seen.values())) == 4


def test_the_history_is_the_same_whenever_it_is_read_and_waits_in_bounds(guess_env: type[TextEnv]) -> None:
    """A game that names its states reads no history, whose texts are digested in bunches."""
    always, seldom = guess_env(), guess_env()
    for env in (always, seldom):
        env.reset(seed=0, options={"index": 1})
    most, read = 0, ""
    for turn in range(3 * MAX_WAITING_TEXTS):
        for env in (always, seldom):
            env.step(str(turn))
        read = TextEnv._state.fget(always)  # type: ignore[attr-defined]
        most = max(most, len(seldom._TextEnv__texts))  # type: ignore[attr-defined]
    assert read == TextEnv._state.fget(seldom)  # type: ignore[attr-defined]
    assert read.startswith(f"{3 * MAX_WAITING_TEXTS}:")
    assert 2 <= most <= MAX_WAITING_TEXTS


def test_an_episode_can_be_copied_and_go_on(five_hooks: type[TextEnv]) -> None:
    env = five_hooks()
    env.reset(seed=0)
    env.step("one")
    assert copy.deepcopy(env).step("two") == env.step("two")


def test_without_a_potential_it_is_zero(five_hooks: type[TextEnv]) -> None:
    env = five_hooks()
    assert env.reset(seed=0)[1]["potential"] == 0.0 == env.step("one")[4]["potential"]


def test_a_game_may_call_its_attributes_what_it_likes(five_hooks: type[TextEnv]) -> None:
    taken = {"_history": "mine", "_plays": "mine", "_instance": "mine", "_remember": None}
    env = type("MineEnv", (five_hooks,), taken)()
    env.reset(seed=0)
    assert env.step("one")[4]["valid"] and env._history == "mine"


def test_registering_again_changes_nothing(guess_id: str, guess_env: type[TextEnv]) -> None:
    register(guess_id, guess_env, max_turns=99)
    assert gym.spec(guess_id).max_episode_steps == 5

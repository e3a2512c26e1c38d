"""Rollouts: order, slots, statuses, and environments that fail, hang or lie at the cost of their own episode alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
import pytest
from tests.envs.five_hooks import FiveHooksEnv

from turngym._errors import InputError
from turngym.agents.base import Reply
from turngym.agents.episode import Episode, Status
from turngym.agents.rollout import Instance, PlayError, collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent, ScriptedAgent, Seat
from turngym.envs.core import TextEnv, UnfitEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split

STAIRS = "test/Stairs-v0"
TROUBLES = ("reset", "step", "number as observation", "no key", "no success", "five is four")


class StairsEnv(TextEnv):
    """Climb `index % 3 + 1` steps; the instances in `troubles` fail in the way that is written there."""

    _rules = "Say up."
    made: ClassVar[list[StairsEnv]] = []
    broken_when_made: ClassVar[set[int]] = set()
    wake: ClassVar[threading.Event] = threading.Event()

    def __init__(self, *, troubles: dict[int, str] | None = None, split: Split = "train") -> None:
        super().__init__(split=split)
        self.troubles = troubles or {}
        self.closed = False
        self.made.append(self)
        if len(self.made) - 1 in self.broken_when_made:
            raise OSError("no room for stairs")

    @property
    def instance_key(self) -> str:
        return f"stairs {self.index}"

    def _begin(self, split: Split, index: int) -> None:
        self.index, self.height, self.trouble = index, 0, self.troubles.get(index, "")
        if self.trouble == "reset":
            raise RuntimeError("the stairs are gone")
        if self.trouble == "hang in reset":
            self.wake.wait(30)

    def _observe(self, feedback: str) -> str:
        return f"{feedback} Stair {self.height}.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self.trouble == "step":
            raise RuntimeError("a stair broke")
        if self.trouble == "timeout":
            raise TimeoutError("the stairs do not answer")
        if self.trouble == "hang" and self.height:
            self.wake.wait(30)
        if action != "up":
            raise InvalidAction("say up")
        self.height += 1
        return float(self._success), self._success, "Good."

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.trouble == "number as observation":
            return 7, reward, terminated, truncated, info  # type: ignore[return-value]
        if self.trouble == "endless reward":
            return observation, math.inf, terminated, truncated, info
        if self.trouble == "no key":
            info.pop("task_reward")
        if self.trouble == "no success":
            info.pop("success")
        if self.trouble == "five is four":
            return observation, reward, terminated, info  # type: ignore[return-value]
        return observation, reward, terminated, truncated, info

    @property
    def _state(self) -> str:
        return str(self.height)

    @property
    def _success(self) -> bool:
        return self.height == self.index % 3 + 1

    @property
    def _potential(self) -> float:
        return self.height / 4

    def sample_action(self, rng: np.random.Generator) -> str:
        return ("up", "down")[rng.integers(2)]

    def oracle_action(self) -> str:
        return "up"

    def close(self) -> None:
        self.closed = True
        if self.trouble == "close":
            raise RuntimeError("the door is stuck")


@pytest.fixture(autouse=True)
def stairs() -> Iterator[None]:
    """Register the stairs for one test."""
    StairsEnv.made.clear()
    StairsEnv.broken_when_made = set()
    StairsEnv.wake = threading.Event()
    gym.register(STAIRS, entry_point=cast("Any", StairsEnv), max_episode_steps=4)
    yield
    StairsEnv.wake.set()
    gym.registry.pop(STAIRS)


def instances(count: int) -> list[Instance]:
    return [Instance(split="train", index=index, seed=100 + index) for index in range(count)]


def climb(count: int, slots: int = 4, troubles: dict[int, str] | None = None, **options: Any) -> list[Episode]:
    """Let the oracle play."""
    return collect_episodes(
        OracleAgent(), STAIRS, instances(count), env_kwargs={"troubles": troubles or {}}, slots=slots, **options
    )


# Playing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_episodes_come_in_the_order_of_the_instances(slots: int) -> None:
    seen: list[Episode] = []
    episodes = climb(10, slots, on_episode=seen.append)
    assert [episode.index for episode in episodes] == list(range(10))
    assert [len(episode.turns) for episode in episodes] == [index % 3 + 1 for index in range(10)]
    assert sorted(episode.index for episode in seen) == list(range(10))
    assert all(any(episode is one for one in episodes) for episode in seen)
    assert len(StairsEnv.made) == min(slots, 10), "one environment per slot, made when it is needed"


def test_an_episode_records_what_happened() -> None:
    (episode,) = collect_episodes(OracleAgent(), STAIRS, [Instance(split="test", index=1, seed=5)])
    assert (episode.env_id, episode.split, episode.index, episode.seed) == (STAIRS, "test", 1, 5)
    assert episode.instructions == "Say up. You have 4 turns. Reply with the action alone."
    assert [turn.observation for turn in episode.turns] == ["Stair 0.", "Good. Stair 1."]
    assert [turn.potential for turn in episode.turns] == [0.0, 0.25], "that of the state before the reply"
    assert [turn.state_key for turn in episode.turns] == ["stairs 1|0|4", "stairs 1|1|3"]
    assert [turn.reward for turn in episode.turns] == [0.0, 1.0] == [turn.task_reward for turn in episode.turns]
    assert episode.final_observation == "Good. Stair 2."
    assert (episode.status, episode.success, episode.error) == (Status.COMPLETED, True, "")


class SilentAgent:
    """Says a wrong word, reports what it is asked, and runs out of room after `turns` replies."""

    policy_version = 7

    def __init__(self, turns: int = 99) -> None:
        self.turns = turns
        self.log: list[str] = []
        self.said: dict[int, int] = {}

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        self.log.append(f"start {slot}")
        self.said[slot] = 0

    def act(self, slots: Sequence[int]) -> list[Reply]:
        self.log.append(f"act {slots}")
        replies = []
        for slot in slots:
            self.said[slot] += 1
            replies.append(Reply(text="", out_of_room=True) if self.said[slot] > self.turns else Reply(text="no"))
        return replies

    def observe(self, slot: int, observation: str) -> None:
        self.log.append(f"observe {slot}")

    def finish(self, slot: int) -> list[int]:
        self.log.append(f"finish {slot}")
        return [slot, 1, 2]


def test_a_player_is_asked_in_the_documented_order() -> None:
    agent = SilentAgent()
    episodes = collect_episodes(agent, STAIRS, instances(3), slots=2)
    turn = ["act [0, 1]", "observe 0", "observe 1"]
    assert agent.log[:2] == ["start 0", "start 1"]
    assert agent.log[2:11] == turn * 3
    assert agent.log[11:16] == ["act [0, 1]", "finish 0", "finish 1", "start 0", "act [0]"]
    assert agent.log[-1] == "finish 0"
    assert [episode.token_ids for episode in episodes] == [[0, 1, 2], [1, 1, 2], [0, 1, 2]]
    assert {turn.policy_version for episode in episodes for turn in episode.turns} == {7}


def test_the_turn_limit_truncates() -> None:
    (episode,) = collect_episodes(SilentAgent(), STAIRS, instances(1))
    assert (episode.status, episode.success, len(episode.turns)) == (Status.TRUNCATED_TURNS, False, 4)
    assert not any(turn.valid for turn in episode.turns)
    assert episode.final_observation == "Invalid action: say up. Stair 0."


def test_turns_tell_a_reply_without_form_from_one_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter(["", "no", "up"])
    monkeypatch.setattr(OracleAgent, "choose", lambda self, seat: next(replies))
    (episode,) = climb(1)
    assert [(turn.well_formed, turn.valid) for turn in episode.turns] == [(False, False), (True, False), (True, True)]


def test_a_full_stream_truncates() -> None:
    (episode,) = collect_episodes(SilentAgent(turns=2), STAIRS, instances(1))
    assert (episode.status, len(episode.turns), episode.error) == (Status.TRUNCATED_LENGTH, 2, "")
    assert episode.final_observation == "Invalid action: say up. Stair 0."


def test_play_is_a_function_of_the_seeds() -> None:
    runs = [collect_episodes(RandomAgent(), STAIRS, instances(8), slots=slots) for slots in (1, 5, 5)]
    assert runs[0] == runs[1] == runs[2]
    others = [Instance(split="train", index=index, seed=200 + index) for index in range(8)]
    assert collect_episodes(RandomAgent(), STAIRS, others) != runs[0]


def test_instances_are_drawn_as_they_are_needed() -> None:
    drawn: list[int] = []

    def source() -> Iterator[Instance]:
        for instance in instances(6):
            drawn.append(instance.index)
            yield instance

    seen: list[int] = []
    collect_episodes(OracleAgent(), STAIRS, source(), slots=2, on_episode=lambda episode: seen.append(len(drawn)))
    assert drawn == list(range(6)) and seen[0] == 2
    assert collect_episodes(OracleAgent(), STAIRS, []) == []


# Failing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_failing_environment_costs_its_own_episode(trouble: str, slots: int) -> None:
    episodes = climb(9, slots, {4: trouble, 5: trouble})
    healthy = climb(9, slots)
    for episode, expected in zip(episodes, healthy, strict=True):
        if episode.index in (4, 5):
            assert episode.status is Status.ERROR_ENVIRONMENT and ": " in episode.error and not episode.success
        else:
            assert (episode.turns, episode.status) == (expected.turns, Status.COMPLETED)
    assert all(env.closed for env in StairsEnv.made), "also the failed ones"


def test_the_error_is_the_environments_own() -> None:
    episodes = climb(4, troubles={0: "reset", 1: "step", 2: "number as observation", 3: "endless reward"})
    assert [episode.error for episode in episodes] == [
        "RuntimeError: the stairs are gone",
        "RuntimeError: a stair broke",
        "TypeError: the observation of the environment is of type int, not text",
        "ValueError: the environment gave a reward of inf, which is not finite",
    ]


def test_an_environment_that_cannot_be_made_costs_one_episode() -> None:
    StairsEnv.broken_when_made = {1, 2}
    episodes = climb(8, slots=2)
    assert [episode.error for episode in episodes] == ["", *["OSError: no room for stairs"] * 2, *[""] * 5]
    assert all(episode.success for episode in episodes if not episode.error)


def test_three_failures_of_three_at_the_start_are_told_at_once() -> None:
    seen: list[Episode] = []
    reason = "no episode can begin: 3 of 3 failed at their start, the last one with RuntimeError: the stairs are gone"
    with pytest.raises(PlayError, match=reason):
        climb(50, slots=2, troubles=dict.fromkeys(range(50), "reset"), on_episode=seen.append)
    assert len(seen) == 2
    with pytest.raises(PlayError, match="unexpected keyword argument 'height'"):
        collect_episodes(OracleAgent(), STAIRS, instances(9), env_kwargs={"height": 4})


def test_fewer_failures_or_later_ones_are_counted() -> None:
    for count, options in ((2, {}), (9, {"give_up_after": 0})):
        episodes = climb(count, slots=2, troubles=dict.fromkeys(range(9), "reset"), **options)
        assert [episode.index for episode in episodes] == list(range(count))
        assert {episode.status for episode in episodes} == {Status.ERROR_ENVIRONMENT}
    episodes = climb(9, slots=2, troubles=dict.fromkeys(range(1, 9), "reset"))
    assert [episode.status.is_error() for episode in episodes] == [False] + [True] * 8
    same = [Instance(split="train", index=0, seed=seed) for seed in range(5)]
    episodes = collect_episodes(OracleAgent(), STAIRS, same, env_kwargs={"troubles": {0: "reset"}})
    assert len(episodes) == 5, "one instance alone says nothing of the others"


def test_a_mistake_of_the_caller_is_no_episode() -> None:
    with pytest.raises(gym.error.UnregisteredEnv, match="Stares"):
        collect_episodes(OracleAgent(), "test/Stares-v0", instances(1))
    with pytest.raises(UnfitEnv, match="CartPoleEnv is no text environment"):
        collect_episodes(OracleAgent(), "CartPole-v1", instances(1))


def test_an_environment_with_nothing_but_its_hooks() -> None:
    class Words(ScriptedAgent):
        def choose(self, seat: Seat) -> str:
            return ("one", "two")[seat.env.turns_taken]

    gym.register("test/FiveHooks-v0", cast("Any", FiveHooksEnv), max_episode_steps=3)
    try:
        episodes = collect_episodes(Words(), "test/FiveHooks-v0", instances(5), slots=2)
    finally:
        del gym.registry["test/FiveHooks-v0"]
    assert all(episode.success and episode.task_return == 1.0 and not episode.error for episode in episodes)
    assert episodes[0].instructions == "Say one, then two. You have 3 turns. Reply with the action alone."
    keys = [turn.state_key.split("|") for turn in episodes[2].turns]
    assert [(key[0], key[1][:2], key[2]) for key in keys] == [("train/2", "0:", "3"), ("train/2", "1:", "2")]


def test_environments_are_closed_in_the_end() -> None:
    climb(7, slots=3, troubles={1: "close"})
    assert len(StairsEnv.made) == 3 and all(env.closed for env in StairsEnv.made)


def test_a_failing_player_stops_the_rollout_and_leaves_nothing_open() -> None:
    class Faint(SilentAgent):
        def observe(self, slot: int, observation: str) -> None:
            raise MemoryError("the player fainted")

    with pytest.raises(MemoryError, match="fainted"):
        collect_episodes(Faint(), STAIRS, instances(4), slots=2)
    assert len(StairsEnv.made) == 2 and all(env.closed for env in StairsEnv.made)


# Hanging ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["hang", "hang in reset"])
def test_a_hanging_environment_costs_its_own_episode(trouble: str) -> None:
    episodes = climb(6, slots=2, troubles={1: trouble}, step_timeout=1.0)
    assert [episode.status for episode in episodes] == [
        Status.ERROR_TIMEOUT if index == 1 else Status.COMPLETED for index in range(6)
    ]
    assert episodes[1].error == "TimeoutError: no answer within 1 seconds"
    assert len(episodes[1].turns) == (1 if trouble == "hang" else 0), "what was played before is kept"
    assert len(StairsEnv.made) == 2, "there was no other instance for its slot"


def test_an_environment_may_report_a_timeout_of_its_own() -> None:
    (episode,) = climb(1, troubles={0: "timeout"})
    assert (episode.status, episode.error) == (Status.ERROR_TIMEOUT, "TimeoutError: the stairs do not answer")


def test_play_with_a_deadline_is_the_same_play() -> None:
    troubles = {2: "reset", 3: "step"}
    assert climb(9, slots=3, troubles=troubles, step_timeout=30) == climb(9, slots=3, troubles=troubles)
    assert all(env.closed for env in StairsEnv.made)
    assert not [thread for thread in threading.enumerate() if thread.name == "turngym-deadline" and _stays(thread)]


def _stays(thread: threading.Thread) -> bool:
    thread.join(timeout=5)
    return thread.is_alive()


@pytest.mark.parametrize("number", [np.int64(7), np.uint64(2**64 - 7), 10**19 + 7])
def test_instances_take_numbers_of_any_size_and_kind(number: Any) -> None:
    """What NumPy counted is what Python counts, in the record of the episode too."""
    played = [
        collect_episodes(RandomAgent(seed=one), "turngym/FrozenLake-v0", [Instance(split="test", index=one, seed=one)])
        for one in (number, int(number))
    ]
    assert played[0] == played[1] and played[0][0].status is not Status.ERROR_ENVIRONMENT
    assert type(played[0][0].seed) is int and Episode.from_json(played[0][0].to_json()) == played[0][0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": "tset"}, "split must be one of 'train', 'validation', 'test', got 'tset'; did you mean 'test'?"),
        ({"index": -1}, "index must be at least 0, got -1"),
        ({"seed": "3"}, "seed must be a whole number, got '3'"),
        ({"seed": np.int64(-3)}, "seed must be at least 0, got -3"),
        ({"seed": 2.5}, "seed must be a whole number, got 2.5"),
    ],
)
def test_instances_that_are_none_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        Instance(**{"split": "test", "index": 0, "seed": 0, **changes})
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("seed", [-1, "3", 2.5, True])
def test_scripted_agents_refuse_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(InputError, match=r"^seed must be "):
        RandomAgent(seed=seed)


@pytest.mark.parametrize(
    "arguments", [{"slots": 0}, {"slots": "3"}, {"slots": 2.5}, {"isolate": True}, {"step_timeout": "1"}]
)
def test_amounts_that_are_none_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(arguments))} must be "):
        collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", [], **arguments)

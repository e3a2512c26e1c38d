"""Environments that fail, wherever they run: they cost their own episode, and the others are the same to the bit."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest
from tests.agents.hosting.faulty import FAULTY, FaultyStairs, register_faulty

from turngym._errors import InputError
from turngym._exits import ForcedExit, exits_raise
from turngym.agents.base import Reply
from turngym.agents.episode import Episode, Status
from turngym.agents.evaluation import error_note, instance_range, optimal_rate, score_episodes
from turngym.agents.hosting.host import Patience
from turngym.agents.hosting.stage import reason_of
from turngym.agents.rollout import Instance, PlayError, collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent, ScriptedAgent, Seat
from turngym.envs import MissingCapability
from turngym.envs.core import TextEnv

WHERE: dict[str, dict[str, Any]] = {
    "here": {"step_timeout": math.inf},
    "thread": {"step_timeout": 1.0},
    "processes": {"step_timeout": 1.0, "isolate": 2},
}
RATE = 10
REASONS = {
    "raise": "RuntimeError: a stair broke",
    "exit": "SystemExit: 0",
    "interrupt": "KeyboardInterrupt:",
    "hang": "TimeoutError: no answer within 1 seconds",
    "spin": "TimeoutError: no answer within 1 seconds",
    "nan": "ValueError: the environment gave a reward of nan, which is not finite",
    "infinity": "ValueError: the environment gave a reward of -inf, which is not finite",
    "os exit": "ForcedExit: os._exit(0) was called",
}


def climb(
    count: int = 30, fault: str = "", place: str = "step", agent: ScriptedAgent | None = None, **options: Any
) -> list[Episode]:
    return collect_episodes(
        agent or RandomAgent(), FAULTY, instance_range("train", count), slots=6,
        env_kwargs={"fault": fault, "place": place, "rate": RATE} if fault else {}, **options,
    )  # fmt: skip


def check_isolated(episodes: list[Episode], reason: str, healthy: list[Episode]) -> None:
    """Check that every tenth episode failed and all others are as they are without any fault."""
    for episode, expected in zip(episodes, healthy, strict=True):
        if episode.index % RATE == RATE - 1:
            assert episode.status.is_error() and episode.error == reason and not episode.success
            assert (episode.status is Status.ERROR_TIMEOUT) == reason.startswith("TimeoutError")
        else:
            assert (episode.turns, episode.status, episode.success) == (
                expected.turns, expected.status, expected.success,
            )  # fmt: skip
        assert "NaN" not in episode.to_json() and "Infinity" not in episode.to_json()


@pytest.fixture(scope="module", autouse=True)
def stairs() -> Iterator[None]:
    register_faulty()
    yield
    del gym.registry[FAULTY]


@pytest.fixture(scope="module")
def healthy() -> list[Episode]:
    return climb(**WHERE["here"])


@pytest.mark.parametrize("where", WHERE)
def test_episodes_are_the_same_wherever_they_are_played(where: str, healthy: list[Episode]) -> None:
    assert climb(**{**WHERE[where], "step_timeout": 60.0}) == healthy
    assert {episode.success for episode in healthy} == {True, False}


@pytest.mark.parametrize("fault", ["raise", "exit", "interrupt", "hang", "spin", "nan", "infinity", "os exit"])
def test_every_kind_of_fault_costs_its_own_episode(fault: str, healthy: list[Episode]) -> None:
    check_isolated(climb(fault=fault, **WHERE["thread"]), REASONS[fault], healthy)


@pytest.mark.parametrize("fault", ["raise", "exit", "nan", "os exit"])
def test_without_a_thread_too(fault: str, healthy: list[Episode]) -> None:
    check_isolated(climb(fault=fault, **WHERE["here"]), REASONS[fault], healthy)


@pytest.mark.parametrize("place", ["reset", "sample", "instructions"])
@pytest.mark.parametrize("fault", ["raise", "hang"])
def test_every_place_of_a_fault(place: str, fault: str, healthy: list[Episode]) -> None:
    check_isolated(climb(fault=fault, place=place, **WHERE["thread"]), REASONS[fault], healthy)


@pytest.mark.parametrize("fault", ["raise", "hang", "spin", "exit", "interrupt", "os exit", "kill"])
def test_worker_processes_survive_what_ends_a_process(fault: str, healthy: list[Episode]) -> None:
    reasons = {
        **REASONS,
        "os exit": "the environment ended its process with exit code 0",
        "kill": "the environment's process was ended by SIGKILL, as the system does when memory runs out",
    }
    check_isolated(climb(fault=fault, **WHERE["processes"]), reasons[fault], healthy)


def test_an_environment_that_does_not_close_costs_nothing() -> None:
    for fault in ("raise", "hang"):
        began = time.perf_counter()
        assert not any(episode.error for episode in climb(fault=fault, place="close", **WHERE["thread"]))
        assert time.perf_counter() - began < 5.0


def test_nobody_waits_long_for_environments_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of six hangs has a thread of its own and a tenth of ten seconds until it is late."""
    monkeypatch.setattr(FaultyStairs, "close", lambda self: time.sleep(60))
    monkeypatch.setattr("turngym.agents.hosting.threads.CLOSING_TIME", 0.5)
    began = time.perf_counter()
    episodes = collect_episodes(Reader(), FAULTY, instance_range("train", 12), slots=6, step_timeout=10.0)
    assert time.perf_counter() - began < 2.0 and not any(episode.status.is_error() for episode in episodes)


@pytest.mark.parametrize("where", WHERE)
def test_what_an_oracle_does_not_know_costs_its_own_episode(where: str) -> None:
    episodes = climb(fault="none", place="oracle", agent=OracleAgent(), **WHERE[where])
    assert [episode.error for episode in episodes if episode.status.is_error()] == [
        "TypeError: OracleAgent chose None in FaultyStairs, which is not text"
    ] * (len(episodes) // RATE)


def test_what_python_programs_are_spared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the process while an optimum is asked for, and another working directory."""
    monkeypatch.chdir(tmp_path)
    env_kwargs = {"fault": "os exit", "place": "optimum", "rate": RATE}
    optimum = optimal_rate(FAULTY, instance_range("train", 30), env_kwargs)
    assert (optimum.failures, optimum.reason) == (3, REASONS["os exit"])
    climb(fault="leave")
    assert Path.cwd() == tmp_path


def test_a_hang_does_not_stop_the_others() -> None:
    """Twenty hangs of a second each would be twenty seconds one after another."""
    began = time.perf_counter()
    episodes = climb(200, fault="hang", **WHERE["thread"])
    assert sum(episode.status is Status.ERROR_TIMEOUT for episode in episodes) == 20
    assert time.perf_counter() - began < 8.0


def test_the_others_finish_while_one_hangs() -> None:
    done: list[tuple[int, float]] = []
    began = time.perf_counter()
    climb(50, fault="hang", place="reset", on_episode=lambda one: done.append((one.index, time.perf_counter())),
          step_timeout=3.0)  # fmt: skip
    assert all(at - began < 2.9 for index, at in done if index % RATE != RATE - 1)


def test_threads_that_hang_in_python_are_ended() -> None:
    before = set(threading.enumerate())
    climb(20, fault="spin", step_timeout=0.5)
    assert not [thread for thread in set(threading.enumerate()) - before if _stays(thread)]


def _stays(thread: threading.Thread) -> bool:
    thread.join(timeout=5)
    return thread.is_alive()


def test_patience_grows_with_what_is_usual() -> None:
    patience = Patience(60.0, 0.01)
    assert patience.late("turn") == pytest.approx(0.6)
    patience.learn("turn", 3.0)
    assert (patience.late("turn"), patience.late("begin")) == (12.0, pytest.approx(0.6))
    patience.learn("turn", 30.0)
    assert patience.late("turn") == 60.0
    assert Patience(math.inf, 0.1).late("turn") == math.inf
    for limit in (0.0, -1.0, math.nan):
        for play in (climb, partial(optimal_rate, FAULTY, [])):
            with pytest.raises(InputError, match="step_timeout must be above 0"):
                play(step_timeout=limit)


def test_slow_calls_are_no_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is late and then comes back goes on with its episode."""
    play = FaultyStairs._play

    def slow(self: FaultyStairs, action: str) -> tuple[float, bool, str]:
        if self.index == 3:
            time.sleep(0.3)
        return play(self, action)

    monkeypatch.setattr(FaultyStairs, "_play", slow)
    episodes = climb(12, step_timeout=5.0)
    monkeypatch.setattr(FaultyStairs, "_play", play)
    assert episodes == climb(12)


# Agents that do not look into the environment ------------------------------------------------------------------------


class Reader:
    """Says up, and knows of an environment what it is told; fails if two slots wait for each other in vain."""

    policy_version = 3

    def __init__(self) -> None:
        self.told: dict[int, str] = {}
        self.rounds: list[int] = []

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        self.told[slot] = env.instructions

    def act(self, slots: Sequence[int]) -> list[Reply]:
        self.rounds.append(len(slots))
        return [Reply(text="up") for _ in slots]

    def observe(self, slot: int, observation: str) -> None:
        assert slot in self.told

    def finish(self, slot: int) -> list[int]:
        del self.told[slot]
        return [slot]


def read(fault: str = "", **options: Any) -> tuple[list[Episode], Reader]:
    agent = Reader()
    episodes = collect_episodes(
        agent, FAULTY, instance_range("train", 30), slots=6, env_kwargs={"fault": fault, "rate": RATE} if fault else {},
        **options,
    )  # fmt: skip
    return episodes, agent


@pytest.mark.parametrize("where", ["thread", "processes"])
def test_agents_in_this_process_play_the_same_too(where: str) -> None:
    healthy, agent = read(**WHERE["here"])
    assert {len(episode.token_ids) for episode in healthy} == {1} and not agent.told
    episodes, other = read(**{**WHERE[where], "step_timeout": 60.0})
    assert episodes == healthy and other.rounds == agent.rounds


@pytest.mark.parametrize(("fault", "where"), [("raise", "thread"), ("hang", "thread"), ("kill", "processes")])
def test_failures_beside_an_agent_in_this_process(fault: str, where: str) -> None:
    healthy, _ = read(**WHERE["here"])
    episodes, agent = read(fault, **WHERE[where])
    assert not agent.told, "it has left every slot"
    for episode, expected in zip(episodes, healthy, strict=True):
        failed = episode.index % RATE == RATE - 1
        assert episode.status.is_error() == failed and (failed or episode.turns == expected.turns)


def test_an_environment_in_another_process_is_out_of_reach() -> None:
    class Curious(Reader):
        def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
            env.oracle_action()  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match=r"oracle_action of an environment in a worker process is out of reach"):
        collect_episodes(Curious(), FAULTY, instance_range("train", 3), isolate=1)


# What is no failure of an episode -----------------------------------------------------------------------------------


class Wordless(ScriptedAgent):
    needs = "rule"

    def choose(self, seat: Seat) -> str:
        return "up"


@pytest.mark.parametrize("where", WHERE)
def test_mistakes_of_the_caller_are_raised(where: str) -> None:
    with pytest.raises(MissingCapability, match="defines no rule_action"):
        collect_episodes(Wordless(), FAULTY, instance_range("train", 3), **WHERE[where])
    with pytest.raises(gym.error.UnregisteredEnv, match=r"Stares|faulty"):
        collect_episodes(RandomAgent(), "faulty/Stares-v0", instance_range("train", 3), **WHERE[where])
    with pytest.raises(PlayError, match=r"3 of 3 failed at their start.*RuntimeError: a stair broke"):
        climb(fault="raise", place="make", **WHERE[where])


def test_what_cannot_be_taken_to_another_process_is_said() -> None:
    class Local(FaultyStairs):
        pass

    gym.register("faulty/Local-v0", entry_point=cast("Any", Local), max_episode_steps=3)
    try:
        with pytest.raises(InputError, match=r"Local-v0 cannot be taken to another process.*into a module"):
            collect_episodes(RandomAgent(), "faulty/Local-v0", instance_range("train", 3), isolate=1)
    finally:
        del gym.registry["faulty/Local-v0"]
    with pytest.raises(InputError, match="isolate must be in"):
        climb(isolate=-1)


def test_a_game_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turngym.agents.rollout.MOST_TURNS", 40)
    gym.register("faulty/Endless-v0", entry_point="tests.agents.hosting.faulty:FaultyStairs")
    monkeypatch.setattr(FaultyStairs, "oracle_action", lambda self: "down" if self.index > 1 else "up")
    try:
        episodes = collect_episodes(OracleAgent(), "faulty/Endless-v0", instance_range("train", 9), slots=1)
        assert [len(episode.turns) == 40 for episode in episodes] == [False] * 2 + [True] * 7
        assert episodes[2].error == "the game did not end within 40 turns; give it a turn limit (max_episode_steps)"
        monkeypatch.setattr(FaultyStairs, "oracle_action", lambda self: "down")
        with pytest.raises(PlayError, match="did not end within 40 turns"):
            collect_episodes(OracleAgent(), "faulty/Endless-v0", instance_range("train", 9))
    finally:
        del gym.registry["faulty/Endless-v0"]


def test_rewards_whose_sum_is_infinite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.agents.hosting.faulty.ODD_REWARDS", {"huge": 1e308})
    episodes = climb(12, fault="huge", agent=None, **WHERE["here"])
    failed = [episode for episode in episodes if episode.error]
    assert [episode.index for episode in failed] == [9]
    assert failed[0].error == "ValueError: the rewards of the environment add up to no finite number"


# What is said of them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE)
def test_the_optimum_is_that_of_the_other_instances(where: str) -> None:
    env_kwargs = {"fault": "raise", "place": "optimum", "rate": RATE}
    optimum = optimal_rate(FAULTY, instance_range("test", 30), env_kwargs, **WHERE[where])
    assert (optimum.rate, optimum.failures, optimum.instances) == (1.0, 3, 30)
    assert optimum.note() == ("The optimum of 3 of 30 instances is unknown, since the environment failed, the first "
                              "time with RuntimeError: a stair broke")  # fmt: skip
    assert not optimal_rate(FAULTY, instance_range("test", 5)).note()


@pytest.mark.parametrize("told", [math.nan, 2.0, "often"])
def test_an_optimum_that_is_no_probability_is_unknown(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaultyStairs, "optimal_success", lambda self: told if self.index == 4 else 0.5)
    optimum = optimal_rate(FAULTY, instance_range("test", 10))
    assert (optimum.rate, optimum.failures) == (0.5, 1)


def test_errors_are_counted_apart_and_told() -> None:
    episodes = climb(fault="nan")
    score = score_episodes(episodes, 1.0)
    assert (score.episodes, score.errors) == (27, 3) and math.isfinite(score.mean_return)
    assert error_note("random", episodes) == (
        "random: 3 of 30 episodes ended in an error and count in no mean, the first (train instance 9) with "
        "ValueError: the environment gave a reward of nan, which is not finite"
    )
    assert not error_note("random", episodes[:5])


def test_reasons_are_one_line_whatever_the_exception() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert reason_of(Rude()) == "Rude: (its message cannot be read)"
    assert reason_of(ValueError("a\nb" + "c" * 5000)) == ("ValueError: a b" + "c" * 5000)[:2000]
    assert "step_timeout inf" in reason_of(ValueError("signal only works in main thread of the main interpreter"))


def test_os_exit_raises_in_this_process_alone() -> None:
    with exits_raise(), pytest.raises(ForcedExit, match=r"os\._exit\(7\) was called"):
        os._exit(7)

    def in_a_child(end: Callable[[], None]) -> int:
        child = os.fork()
        if child == 0:
            end()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with exits_raise():
        assert in_a_child(lambda: os._exit(5)) == 5


def test_instances_are_plain_numbers_in_the_record() -> None:
    (episode,) = collect_episodes(OracleAgent(), FAULTY, [Instance(split="train", index=3, seed=2**70)])
    assert json.loads(episode.to_json())["seed"] == 2**70 and not episode.error

"""Explorers' episodes in a value store: apart from the reference's, and with what weighs them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from turngym.agents.episode import Episode, Status, Turn
from turngym.trainers.value_store import ValueStore

HOT = "temperature 2.0"
SCORES = [[-3.0, -0.5]]


def episode(index: int, seed: int, reward: float = 1.0, *, split: str = "train") -> Episode:
    turns = [
        Turn(observation="o", action=action, reward=paid, task_reward=paid, state_key=f"{index}|{left}", potential=0.1,
             valid=True, logprobs=logprobs)
        for action, paid, left, logprobs in (("up", 0.0, 2, [-1.0, -0.25]), ("right", reward, 1, [-0.75]))
    ]  # fmt: skip
    return Episode(env_id="lake", split=split, index=index, seed=seed, turns=turns, token_ids=[1, 2, 3], success=True)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_turns_come_back_with_behaviour_and_log_ratio(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", {}) as store:
        assert store.explorers.add(HOT, [episode(4, 1), episode(3, 1)], SCORES * 2) == 2
        assert store.explorers.add("another model", [episode(3, 1)], [[-1.0, -1.0]]) == 1
        turns = list(store.explorers.turns())
        assert [(turn.instance, turn.behaviour, turn.sample, turn.turn) for turn in turns] == [
            (3, "another model", 0, 0), (3, "another model", 0, 1), (3, HOT, 0, 0), (3, HOT, 0, 1), (4, HOT, 0, 0),
            (4, HOT, 0, 1),
        ]  # fmt: skip
        assert [turn.log_ratio for turn in turns] == [0.25, -0.25, -1.75, 0.25, -1.75, 0.25]
        assert (turns[3].state_key, turns[3].action, turns[3].reward, turns[3].valid) == ("3|1", "right", 1.0, True)
        assert [turn.instance for turn in store.explorers.turns(4)] == [4, 4]
        assert list(store.explorers.turns(split="test")) == []


def test_the_reference_is_left_out_of_it(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", {}) as store:
        store.add([episode(3, 1, 0.5)])
        before = store.returns(), store.counts(), store.success_rates(), list(store.turns()), store.summary()
        store.explorers.add(HOT, [episode(3, 1), episode(3, 2), episode(9, 1)], SCORES * 3)
        after = store.returns(), store.counts(), store.success_rates(), list(store.turns()), store.summary()
        assert after == before
        assert store.explorers.counts(HOT) == {3: 2, 9: 1}
        assert store.explorers.counts("another model") == {}
        (summary,) = store.explorers.summaries().values()
        assert (summary.episodes, summary.success_rate) == (3, 1.0)
        with pytest.raises(ValueError, match="'reference' is no explorer"):
            store.explorers.add("reference", [episode(3, 3)], SCORES)


def test_a_store_without_explorers_is_as_it_always_was(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", {}) as store:
        store.add([episode(3, 1)])
        assert list(store.explorers.turns()) == []
        assert store.explorers.counts(HOT) == store.explorers.summaries() == {}
        assert tables(tmp_path / "v") == {"fingerprint", "episodes", "turns"}
        store.explorers.add(HOT, [episode(3, 1)], SCORES)
    assert tables(tmp_path / "v") == {"fingerprint", "episodes", "turns", "explorer_episodes", "explorer_turns"}


def test_adding_again_changes_nothing(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", {}) as store:
        assert store.explorers.add(HOT, [episode(3, 1), episode(3, 2), episode(3, 1)], SCORES * 3) == 2
        assert store.explorers.add(HOT, [episode(3, 2, 0.0), episode(3, 4)], SCORES * 2) == 1
        assert store.explorers.counts(HOT) == {3: 3}
        assert sorted({turn.sample for turn in store.explorers.turns()}) == [0, 1, 2]


def with_logprobs(logprobs: list[float]) -> Episode:
    broken = episode(3, 2)
    broken.turns[0].logprobs = logprobs
    return broken


def ended_badly() -> Episode:
    broken = episode(3, 2)
    broken.status = Status.ERROR_TIMEOUT
    return broken


@pytest.mark.parametrize(
    ("broken", "scores", "message"),
    [
        (with_logprobs([]), SCORES[0], "instance 3 .* has a reply without log-probabilities"),
        (with_logprobs([-math.inf]), SCORES[0], "log-probability that is not finite"),
        (episode(3, 2), [math.nan, 0.0], "log-probability that is not finite"),
        (episode(3, 2), [0.0], "shorter"),
        (ended_badly(), SCORES[0], "ended in error_timeout"),
    ],
)
def test_what_cannot_be_weighed_is_refused_with_its_whole_batch(
    tmp_path: Path, broken: Episode, scores: Sequence[float], message: str
) -> None:
    with ValueStore(tmp_path / "v", {}) as store:
        with pytest.raises(ValueError, match=message):
            store.explorers.add(HOT, [episode(3, 1), broken], [*SCORES, scores])
        assert store.explorers.summaries() == {}


def test_merged_stores_hold_what_one_store_would(tmp_path: Path) -> None:
    first, second = [episode(1, 10), episode(2, 20, 0.25)], [episode(1, 11, 0.5), episode(1, 10), episode(3, 30)]
    with (
        ValueStore(tmp_path / "one", {}) as one,
        ValueStore(tmp_path / "two", {}) as two,
        ValueStore(tmp_path / "all", {}) as everything,
    ):
        two.add([episode(7, 1)])
        two.explorers.add(HOT, second, SCORES * 3)
        everything.explorers.add(HOT, first + second, SCORES * 5)
        assert one.merge(tmp_path / "two") == 4  # into a store that never had explorers
        assert list(one.explorers.turns()) == list(two.explorers.turns()) and one.counts() == {7: 1}
        one.explorers.add(HOT, first, SCORES * 2)
        assert sorted(map(repr, one.explorers.turns(2))) == sorted(map(repr, everything.explorers.turns(2)))
        assert one.explorers.counts(HOT) == everything.explorers.counts(HOT) == {1: 2, 2: 1, 3: 1}
        assert one.merge(tmp_path / "two") == 0
        two.explorers.add("another model", [episode(1, 10)], SCORES)
        assert one.merge(tmp_path / "two") == 1
        assert {turn.sample for turn in one.explorers.turns(1)} == {0, 1}

"""The value store: raw episodes in, the same numbers out, and no mixing of set-ups."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from turngym.agents.episode import Episode, Status, Turn
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreError, ValueStoreMismatch

FINGERPRINT = {"reference": "ab" * 32, "temperature": "1.0", "env_id": "turngym/FrozenLake-v0", "turn_limit": "10"}


def episode(index: int, seed: int, reward: float = 1.0, *, split: str = "train", action: str = "right") -> Episode:
    turns = [
        Turn(observation="o", action="up", reward=0.0, task_reward=0.0, state_key=f"{index}|a|2", potential=0.1,
             valid=True),
        Turn(observation="o", action=action, reward=reward, task_reward=0.5, state_key=f"{index}|b|1", potential=0.3,
             valid=False),
    ]  # fmt: skip
    return Episode(
        env_id="turngym/FrozenLake-v0", split=split, index=index, seed=seed, turns=turns, token_ids=[1, 2, 3],
        success=reward == 1.0,
    )  # fmt: skip


def test_returns_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rewards = [0.1 + 0.2, 1 / 3, 5e-324, -0.0, math.pi]
    with ValueStore(tmp_path / "folder" / "values.sqlite", FINGERPRINT) as store:
        assert store.add(episode(5, seed, reward) for seed, reward in enumerate(rewards)) == 5
        assert store.add([episode(2, 0, 0.25)]) == 1
    with ValueStore(tmp_path / "folder" / "values.sqlite", FINGERPRINT) as store:
        returns = store.returns()
    assert list(returns) == [2, 5]
    assert [value.hex() for value in returns[5]] == [(0.0 + reward).hex() for reward in rewards]
    assert estimate_values(returns, 0.5, 1.0, (0.0, 4.0)).counts.tolist() == [1, 5]


def test_turns_come_back(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([episode(3, 8, action="9 × 7 \x00 \ud800 'DROP TABLE turns'"), episode(4, 8), episode(3, 9)])
        turns = list(store.turns(3))
    assert [(turn.sample, turn.turn) for turn in turns] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert turns[1].action == "9 × 7 \x00 \\ud800 'DROP TABLE turns'"
    assert (turns[1].state_key, turns[1].reward, turns[1].task_reward) == ("3|b|1", 1.0, 0.5)
    assert (turns[1].valid, turns[1].potential, turns[0].valid) == (False, 0.3, True)


def test_adding_again_changes_nothing(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        assert store.add([episode(1, 10), episode(1, 11), episode(1, 10)]) == 2
        assert store.add([episode(1, 11, reward=0.0), episode(1, 12, reward=0.0)]) == 1
        assert store.returns() == {1: [1.0, 1.0, 0.0]}
        assert {turn.sample for turn in store.turns(1)} == {0, 1, 2}


def test_splits_are_apart(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([episode(1, 1), episode(1, 2, 0.0), episode(1, 1, 0.5, split="validation")])
        assert store.returns() == {1: [1.0, 0.0]}
        assert store.counts() == {1: 2}
        assert store.success_rates() == {1: 0.5}
        assert store.returns("validation") == {1: [0.5]}
        assert store.returns("test") == {}


def test_summary(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        empty = store.summary()
        assert (empty.episodes, empty.tokens) == (0, 0)
        assert math.isnan(empty.mean_return)
        assert math.isnan(empty.success_rate)
        store.add([episode(1, 1), episode(1, 2, 0.0), episode(2, 1, 0.5)])
        summary = store.summary()
    assert (summary.episodes, summary.instances, summary.turns, summary.tokens) == (3, 2, 6, 9)
    assert summary.mean_return == 0.5
    assert summary.success_rate == pytest.approx(1 / 3)


def test_numpy_numbers_are_fine(tmp_path: Path) -> None:
    sample = episode(1, 1, np.float32(0.5))  # type: ignore[arg-type]
    sample.index, sample.seed, sample.success = np.int64(1), np.int64(2**62), np.bool_(True)  # type: ignore[assignment]
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([sample])
        assert (store.returns(), store.success_rates()) == ({1: [0.5]}, {1: 1.0})


@pytest.mark.parametrize("status", [Status.ERROR_ENVIRONMENT, Status.ERROR_TIMEOUT])
def test_errors_are_refused_with_their_whole_batch(tmp_path: Path, status: Status) -> None:
    broken = episode(2, 1)
    broken.status, broken.error = status, "boom"
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(ValueError, match=r"instance 2 .*with seed 1 ended in error_.*: boom"):
            store.add([episode(1, 1), broken])
        assert store.counts() == {}
        truncated = episode(3, 1, 0.0)
        truncated.status = Status.TRUNCATED_TURNS
        assert store.add([truncated]) == 1


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_rewards_that_are_not_finite_are_refused(tmp_path: Path, reward: float) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(ValueError, match="not finite"):
            store.add([episode(1, 1, reward)])
        with pytest.raises(ValueError, match="seed must lie"):
            store.add([episode(1, 2**63)])


def test_an_error_in_the_middle_leaves_no_trace(tmp_path: Path) -> None:
    unusable = episode(2, 1)
    unusable.split = None  # type: ignore[assignment]
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(sqlite3.IntegrityError):
            store.add([episode(1, 1), unusable])
        assert store.counts() == {}
        assert store.add([episode(1, 1)]) == 1


@pytest.mark.parametrize("name", sorted(FINGERPRINT))
def test_another_set_up_is_refused_by_name(tmp_path: Path, name: str) -> None:
    ValueStore(tmp_path / "v", FINGERPRINT).close()
    with pytest.raises(ValueStoreMismatch) as caught:
        ValueStore(tmp_path / "v", {**FINGERPRINT, name: "changed"})
    message = str(caught.value)
    assert f"{name} is {FINGERPRINT[name]!r} in the store, 'changed' here" in message
    assert "give another path" in message
    assert all(f"{other} is" not in message for other in FINGERPRINT if other != name)


def test_missing_and_additional_names_are_a_mismatch(tmp_path: Path) -> None:
    ValueStore(tmp_path / "v", FINGERPRINT).close()
    here = {**FINGERPRINT, "reward": "binary"}
    del here["temperature"]
    with pytest.raises(
        ValueStoreMismatch, match=r"reward is '\(absent\)' in the store, 'binary' here; temperature is '1.0'"
    ):
        ValueStore(tmp_path / "v", here)


def test_files_that_are_no_database_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("dear diary, " * 1000)
    with pytest.raises(ValueStoreError, match=r"not a usable value store .*move it away"):
        ValueStore(text, FINGERPRINT)
    assert text.read_text() == "dear diary, " * 1000
    with pytest.raises(ValueStoreError, match="cannot be opened"):
        ValueStore(tmp_path, FINGERPRINT)


def test_databases_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ValueStoreError, match="another program"):
        ValueStore(path, FINGERPRINT)
    assert path.read_bytes() == before


def test_another_schema_is_refused(tmp_path: Path) -> None:
    ValueStore(tmp_path / "v", FINGERPRINT).close()
    with sqlite3.connect(tmp_path / "v") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ValueStoreError, match="schema 99, this version reads 4"):
        ValueStore(tmp_path / "v", FINGERPRINT)


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_damage_is_found_when_opening(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "v"
    with ValueStore(path, FINGERPRINT) as store:
        store.add(episode(index, 0) for index in range(200))
    contents = path.read_bytes()
    middle = len(contents) // 2
    path.write_bytes(
        contents[:middle] if damage == "cut off" else contents[:middle] + bytes(8192) + contents[middle + 8192 :]
    )
    with pytest.raises(ValueStoreError, match="restore it from a checkpoint"):
        ValueStore(path, FINGERPRINT)


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a?b#c%20" / "v"
    with ValueStore(path, FINGERPRINT) as store:
        store.add([episode(1, 1)])
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with ValueStore(path, None) as store:
        assert store.returns() == {1: [1.0]}
        assert [file.name for file in path.parent.iterdir()] == ["v"], "no log beside it"
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store.add([episode(2, 1)])
    assert path.read_bytes() == before


def test_two_writers_share_a_store(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as one, ValueStore(tmp_path / "v", FINGERPRINT) as two:
        one.add([episode(1, 1)])
        two.add([episode(1, 2)])
        one.add([episode(1, 3)])
        assert one.counts() == two.counts() == {1: 3}
        assert {turn.sample for turn in two.turns(1)} == {0, 1, 2}


def test_all_turns_come_in_order_of_instance(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([episode(4, 8), episode(3, 8), episode(3, 9), episode(2, 1, split="test")])
        order = [(turn.instance, turn.sample, turn.turn) for turn in store.turns()]
        assert order == [(3, 0, 0), (3, 0, 1), (3, 1, 0), (3, 1, 1), (4, 0, 0), (4, 0, 1)]
        assert [turn.instance for turn in store.turns(split="test")] == [2, 2]
        assert list(store.turns(5)) == []


def test_a_store_can_be_looked_at_without_its_fingerprint(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([episode(1, 1)])
    with ValueStore(tmp_path / "v", None) as store:
        assert store.fingerprint == FINGERPRINT
        assert store.counts() == {1: 1}
    with pytest.raises(ValueStoreError, match="there is no value store"):
        ValueStore(tmp_path / "absent" / "v", None)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueStoreError, match="is empty"):
        ValueStore(tmp_path / "empty", None)
    assert not (tmp_path / "absent").exists() and (tmp_path / "empty").read_bytes() == b""


def test_merged_stores_hold_what_one_store_would(tmp_path: Path) -> None:
    first = [episode(1, 10), episode(2, 20, 0.25), episode(1, 11, 0.0)]
    second = [episode(1, 12, 0.5), episode(1, 11, 0.0), episode(3, 30), episode(1, 13), episode(1, 1, split="test")]
    stores = {name: ValueStore(tmp_path / name, FINGERPRINT) for name in ("one", "two", "all")}
    stores["one"].add(first)
    stores["two"].add(second)
    stores["all"].add(first + second)
    assert stores["one"].merge(tmp_path / "two") == 4
    for split in ("train", "test"):
        assert stores["one"].returns(split) == stores["all"].returns(split)
        assert list(stores["one"].turns(split=split)) == list(stores["all"].turns(split=split))
        assert stores["one"].summary(split) == stores["all"].summary(split)
    assert stores["one"].merge(tmp_path / "two") == stores["one"].merge(tmp_path / "one") == 0
    assert stores["two"].counts() == {1: 3, 3: 1}  # the other store stays as it is
    assert stores["one"].add([episode(1, 14)]) == 1
    for store in stores.values():
        store.close()


def test_a_store_of_another_set_up_is_not_merged(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "other", {**FINGERPRINT, "temperature": "0.7"}) as other:
        other.add([episode(1, 1)])
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(ValueStoreMismatch, match=r"temperature is '0\.7' there, '1\.0' here"):
            store.merge(tmp_path / "other")
        with pytest.raises(ValueStoreError, match=r"there is no value store .*absent to merge"):
            store.merge(tmp_path / "absent")
        assert not (tmp_path / "absent").exists()
        assert store.counts() == {}


_KILLED_WRITER = """
import os, signal, sys
from turngym.trainers.stage_one import store as value_store
from turngym.agents.episode import Episode
store = value_store.ValueStore(sys.argv[1], {})
def episodes(count, seed):
    return [Episode(env_id="e", split="train", index=i, seed=seed) for i in range(count)]
store.add(episodes(3, 0))
insert = value_store.ValueStore._insert
def die_at_two(self, behaviour, episode, log_ratios, **others):
    if episode.index == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return insert(self, behaviour, episode, log_ratios, **others)
value_store.ValueStore._insert = die_at_two
store.add(episodes(3, 1))
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_kill_loses_only_the_unfinished_batch(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(tmp_path / "v")], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    with ValueStore(tmp_path / "v", {}) as store:
        assert store.counts() == {0: 1, 1: 1, 2: 1}
        assert store.add(Episode(env_id="e", split="train", index=i, seed=1) for i in range(3)) == 3


# Explorers ------------------------------------------------------------------------------------------------------

HOT = "temperature 2.0"
SCORES = [[-3.0, -0.5]]


def sampled(index: int, seed: int, reward: float = 1.0) -> Episode:
    """Return an episode whose replies have the log-probabilities -1.25 and -0.75."""
    made = episode(index, seed, reward)
    made.turns[0].logprobs, made.turns[1].logprobs = [-1.0, -0.25], [-0.75]
    made.turns[0].span, made.turns[1].span = (0, 2), (2, 3)
    return made


def everything(store: ValueStore) -> list[object]:
    """Return all that a store says of the reference."""
    return [store.returns(), store.counts(), store.success_rates(), list(store.turns()),
            store.summary()]  # fmt: skip


def test_turns_come_back_with_behaviour_and_log_ratio(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        assert store.add([sampled(4, 1), sampled(3, 1)], HOT, SCORES * 2) == 2
        assert store.add([sampled(3, 1)], "another model", [[-1.0, -1.0]]) == 1
        assert store.add([episode(4, 1)]) == 1
        turns = list(store.turns(behaviour=None))
        assert [(turn.instance, turn.behaviour, turn.turn) for turn in turns[::2]] == [
            (4, "reference", 0), (3, "another model", 0), (3, HOT, 0), (4, HOT, 0),
        ]  # fmt: skip
        assert [turn.log_ratio for turn in turns] == [0.0, 0.0, 0.25, -0.25, -1.75, 0.25, -1.75, 0.25]
        assert [turn.behaviour for turn in store.turns(3, behaviour=HOT)] == [HOT, HOT]
        assert list(store.turns(split="test", behaviour=None)) == []
        assert store.behaviours() == ["reference", "another model", HOT] and store.behaviours("test") == []


def test_explorers_are_read_only_by_name(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        store.add([episode(3, 1, 0.5)])
        before = everything(store)
        store.add([sampled(3, 1), sampled(3, 2), sampled(9, 1)], HOT, SCORES * 3)
        assert everything(store) == before
        assert store.counts(behaviour=HOT) == {3: 2, 9: 1}
        assert store.counts(behaviour="another model") == {}
        summary = store.summary(behaviour=HOT)
        assert (summary.episodes, summary.turns, summary.success_rate) == (3, 6, 1.0)
        assert store.sampled_tokens() == 3 * 3  # the first one has none


def test_reference_logprobs_are_required_for_explorers_alone(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(ValueError, match="'reference' is no explorer"):
            store.add([sampled(3, 3)], "reference", SCORES)
        for name, scores in (("reference", None), ("agent rule", [[0.0, 0.0]])):
            with pytest.raises(ValueError, match=r"add its episodes without ref_logprobs"):
                store.add([episode(1, 1)], name, scores, scripted=True)
        with pytest.raises(ValueError, match=r"'temperature 2\.0' is not the reference; say with ref_logprobs"):
            store.add([sampled(3, 3)], HOT)
        assert store.behaviours() == []


def test_scripts_have_no_odds(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        assert store.add([episode(1, 1), episode(1, 2)], "agent rule", scripted=True) == 2
        assert {turn.log_ratio for turn in store.turns(behaviour="agent rule")} == {-math.inf}
        assert (store.counts(behaviour="agent rule"), store.returns()) == ({1: 2}, {})
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:  # checked by its checksums
        assert store.behaviours() == ["agent rule"]


def test_adding_an_explorers_episodes_again_changes_nothing(tmp_path: Path) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        assert store.add([sampled(3, 1), sampled(3, 2), sampled(3, 1)], HOT, SCORES * 3) == 2
        assert store.add([sampled(3, 2, 0.0), sampled(3, 4)], HOT, SCORES * 2) == 1
        assert store.counts(behaviour=HOT) == {3: 3}
        assert sorted({turn.sample for turn in store.turns(behaviour=HOT)}) == [0, 1, 2]


def with_logprobs(logprobs: list[float]) -> Episode:
    broken = sampled(3, 2)
    broken.turns[0].logprobs = logprobs
    return broken


def ended_badly() -> Episode:
    broken = sampled(3, 2)
    broken.status = Status.ERROR_TIMEOUT
    return broken


@pytest.mark.parametrize(
    ("broken", "scores", "message"),
    [
        (with_logprobs([]), SCORES[0], "instance 3 .* has a reply without log-probabilities"),
        (with_logprobs([-math.inf]), SCORES[0], "log-probability that is not finite"),
        (sampled(3, 2), [math.nan, 0.0], "log-probability that is not finite"),
        (sampled(3, 2), [0.0], "shorter"),
        (ended_badly(), SCORES[0], "ended in error_timeout"),
    ],
)
def test_episodes_without_log_ratios_are_refused_with_their_whole_batch(
    tmp_path: Path, broken: Episode, scores: Sequence[float], message: str
) -> None:
    with ValueStore(tmp_path / "v", FINGERPRINT) as store:
        with pytest.raises(ValueError, match=message):
            store.add([sampled(3, 1), broken], HOT, [*SCORES, scores])
        assert store.behaviours() == []


def test_explorers_are_merged_each_with_their_own(tmp_path: Path) -> None:
    first, second = [sampled(1, 10), sampled(2, 20, 0.25)], [sampled(1, 11, 0.5), sampled(1, 10), sampled(3, 30)]
    with (
        ValueStore(tmp_path / "one", FINGERPRINT) as one,
        ValueStore(tmp_path / "two", FINGERPRINT) as two,
        ValueStore(tmp_path / "all", FINGERPRINT) as both,
    ):
        two.add([episode(7, 1), episode(1, 10)])
        two.add(second, HOT, SCORES * 3)
        both.add(first + second, HOT, SCORES * 5)
        assert one.merge(tmp_path / "two") == 5  # into a store that never had explorers
        assert list(one.turns(behaviour=None)) == list(two.turns(behaviour=None)) and one.counts() == {1: 1, 7: 1}
        one.add(first, HOT, SCORES * 2)
        assert list(one.turns(2, behaviour=HOT)) == list(both.turns(2, behaviour=HOT))
        assert one.counts(behaviour=HOT) == both.counts(behaviour=HOT) == {1: 2, 2: 1, 3: 1}
        assert one.merge(tmp_path / "two") == 0
        two.add([sampled(1, 10)], "another model", SCORES)
        assert one.merge(tmp_path / "two") == 1
        assert {turn.sample for turn in one.turns(1, behaviour=HOT)} == {0, 1}


def without_rights(work: Callable[[], object]) -> bytes:
    """Do something in a process that may write nowhere but to a temporary folder; return what it printed or raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        if os.geteuid() == 0:  # root may write everywhere
            os.setuid(65534)
        try:
            answer = repr(work())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer_read = answers.read()
    os.waitpid(child, 0)
    return answer_read


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)
        Path(place, "run").chmod(0o755)


def test_a_store_is_read_where_nothing_can_be_written(tmp_path: Path, open_folder: Path) -> None:
    """With the episodes in the log that a killed run left; adding to it is refused."""
    folder = open_folder / "run"
    with ValueStore(folder / "v", FINGERPRINT) as store:
        store.add([episode(1, 10)])
        kept = [shutil.copyfile(folder / f"v{part}", tmp_path / f"v{part}") for part in ("", "-wal")]
    assert kept[1].stat().st_size
    for copy in kept:
        copy.replace(folder / copy.name)
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & 0o555)

    def read() -> object:
        with ValueStore(folder / "v", None) as store:
            return store.returns(), store.fingerprint == FINGERPRINT

    def add() -> None:
        with ValueStore(folder / "v", None) as store:
            store.add([episode(1, 11)])

    assert without_rights(read) == b"({1: [1.0]}, True)"
    assert without_rights(add) == b"OperationalError: attempt to write a readonly database"
    assert sorted(path.name for path in folder.iterdir()) == ["v", "v-wal"]

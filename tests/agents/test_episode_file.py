"""A file of episodes that goes on: what it holds of the same agent, game and seed, and lines that a stop has torn."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.agents.base import Instance
from turngym.agents.episode import Episode, Status, read_episodes
from turngym.agents.episode_file import EpisodeFile, agent_text
from turngym.extras import install_command

GAME: dict[str, Any] = {"env_id": "test/Game-v0", "env_kwargs": {"size": 3, "parts": [1, 2]}}
ME = agent_text({"agent": "me", "temperature": None})
INSTANCES = [Instance(split="test", index=index, seed=index) for index in range(5)]


def episode(index: int, *, seed: int | None = None, status: Status = Status.COMPLETED, **game: Any) -> Episode:
    return Episode(split="test", index=index, seed=index if seed is None else seed, status=status, **(GAME | game))


def indices(path: Path, agent: str = ME, **game: Any) -> list[int]:
    held = EpisodeFile(path, resume=True).played(agent, instances=INSTANCES, **(GAME | game))
    assert all(instance.index == one.index for instance, one in held.items())
    return sorted(one.index for one in held.values())


def test_what_was_played_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.jsonl"
    file = EpisodeFile(path)
    assert file.played(ME, instances=INSTANCES, **GAME) == {}
    for index in (3, 0):
        file.write(ME, episode(index))
    assert [one.agent for one in read_episodes(path)] == [ME, ME]
    assert indices(path) == [0, 3]
    with pytest.raises(InputError, match="exists already; name another file with --out, or go on with it by --resume"):
        EpisodeFile(path)


def test_of_others_nothing_counts(tmp_path: Path) -> None:
    file = EpisodeFile(tmp_path / "x.jsonl")
    for one in (episode(1), episode(2, seed=9), episode(3, env_kwargs={"size": 4}), episode(4, env_id="test/Other-v0")):
        file.write(ME, one)
    file.write(agent_text({"agent": "me", "temperature": 0.5}), episode(0))
    again = EpisodeFile(tmp_path / "x.jsonl", resume=True)
    assert [one.index for one in again.played(ME, instances=INSTANCES, **GAME).values()] == [1] and again.others == 4
    assert indices(tmp_path / "x.jsonl", env_kwargs={"parts": (1, 2), "size": 3}) == [1], "as JSON has them"


def test_an_error_of_the_environment_is_played_again(tmp_path: Path) -> None:
    file = EpisodeFile(tmp_path / "x.jsonl")
    file.write(ME, episode(0, status=Status.ERROR_TIMEOUT))
    file.write(ME, episode(1, status=Status.ERROR_ENVIRONMENT))
    file.write(ME, episode(1))
    assert indices(tmp_path / "x.jsonl") == [1]


def test_a_torn_line_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    EpisodeFile(path).write(ME, episode(0))
    first = path.read_bytes()
    EpisodeFile(path, resume=True).write(ME, episode(1))
    whole = path.read_bytes()
    for end in range(len(first), len(whole) + 1):
        path.write_bytes(whole[:end])
        file = EpisodeFile(path, resume=True)
        held = file.played(ME, instances=INSTANCES, **GAME)
        assert len(held) == 1 + (end >= len(whole) - 1)
        file.write(ME, episode(2))
        assert indices(path) == ([0, 1, 2] if len(held) == 2 else [0, 2])


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"x.jsonl:1: not an episode: 'schema'; name another file with --out"):
        EpisodeFile(tmp_path / "x.jsonl", resume=True)


def test_secrets_of_addresses_do_not_tell_episodes_apart(tmp_path: Path) -> None:
    file = EpisodeFile(tmp_path / "x.jsonl")
    file.write(ME, episode(2, env_kwargs={"url": "http://me:hush-hush@127.0.0.1"}))
    assert "hush" not in (tmp_path / "x.jsonl").read_text()
    assert indices(tmp_path / "x.jsonl", env_kwargs={"url": "http://me:other@127.0.0.1"}) == [2]


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_grows_beside_itself(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")
    path, growing = tmp_path / "deep" / "x.parquet", tmp_path / "deep" / "x.parquet.jsonl"
    file = EpisodeFile(path)
    file.write(ME, episode(3))
    file.write(ME, episode(0))
    assert growing.exists() and not path.exists()
    file.finish()
    assert [one.index for one in read_episodes(path)] == [3, 0] and not growing.exists()
    assert indices(path) == [0, 3]
    with pytest.raises(InputError, match=r"x\.parquet exists already; name another file with --out"):
        EpisodeFile(path)


def test_parquet_loses_nothing_at_a_stop(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")
    path, growing = tmp_path / "x.parquet", tmp_path / "x.parquet.jsonl"
    first = EpisodeFile(path)
    first.write(ME, episode(1))
    first.finish()
    whole = path.read_bytes()
    stopped = EpisodeFile(path, resume=True)
    stopped.write(ME, episode(2))
    stopped.write(ME, episode(4, status=Status.ERROR_TIMEOUT))
    with growing.open("ab") as line:
        line.write(b'{"schema": 3, "env_id"')  # torn
    (tmp_path / ".x.parquet.01234567.tmp").write_bytes(b"half of one")
    with pytest.raises(InputError, match=r"exists already; .* or go on with it by --resume"):
        EpisodeFile(path)
    assert indices(path) == [1, 2] and path.read_bytes() == whole

    lines = growing.read_bytes()
    EpisodeFile(path, resume=True).finish()
    growing.write_bytes(lines)  # as a stop before the last step leaves it
    again = EpisodeFile(path, resume=True)
    again.write(ME, episode(4))
    again.finish()
    assert [one.index for one in read_episodes(path)] == [1, 2, 4, 4] and indices(path) == [1, 2, 4]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.parquet"]


def test_a_damaged_parquet_file_and_seeds_beyond_it_are_told(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"x\.parquet: no Parquet file of episodes: .*; name another file with --out"):
        EpisodeFile(path, resume=True)
    arrow.parquet.write_table(arrow.table({"text": ["of another kind"]}), path)
    with pytest.raises(InputError, match=r"x\.parquet: no Parquet file of episodes: 'env_kwargs'"):
        EpisodeFile(path, resume=True)
    far = [Instance(split="test", index=0, seed=2**63)]
    with pytest.raises(InputError, match=r"y\.parquet holds seeds up to 9223372036854775807"):
        EpisodeFile(tmp_path / "y.parquet").played(ME, instances=far, **GAME)


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    said = f"Parquet files need the package pyarrow: {install_command('parquet')}"
    with pytest.raises(InputError, match=re.escape(said)):
        EpisodeFile(tmp_path / "x.parquet")

"""A file of episodes that goes on: what it holds of the same agent, game and seed, and lines that a stop has torn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.agents.base import Instance
from turngym.agents.episode import Episode, Status, read_episodes
from turngym.agents.episode_file import EpisodeFile, agent_text

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

"""Episodes as Parquet: the columns of their JSON lines, and what comes back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from turngym.agents import Instance, OracleAgent, collect_episodes
from turngym.agents.episode import Episode, Turn, read_episodes
from turngym.agents.parquet import read_parquet, write_parquet
from turngym.agents.scripted import HostileAgent

arrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")


def played(agent: object, env_id: str, count: int = 4, **env_kwargs: object) -> list[Episode]:
    instances = [Instance(split="test", index=index, seed=index) for index in range(count)]
    return collect_episodes(agent, env_id, instances, env_kwargs=env_kwargs)  # type: ignore[arg-type]


def test_columns_are_the_keys_of_the_lines(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    episodes = played(OracleAgent(), "turngym/FrozenLake-v0", size=3)
    assert write_parquet(tmp_path / "deep" / "x.parquet", episodes) == 4
    rows = pq.read_table(tmp_path / "deep" / "x.parquet").to_pylist()
    for episode, row in zip(episodes, rows, strict=True):
        line = json.loads(episode.to_json())
        assert row.pop("total_reward") == episode.total_reward
        assert json.loads(row.pop("env_kwargs")) == line.pop("env_kwargs") == {"size": 3}
        assert json.loads(row.pop("measures")) == line.pop("measures")
        assert row == line and list(row)[:2] == ["schema", "env_id"]
        assert row["messages"] == episode.messages() and row["success"]


@pytest.mark.parametrize(("agent", "env_id"), [(HostileAgent(), "turngym/Countdown-v0"),
                                               (OracleAgent(), "turngym/MultiplicationSteps-v0")])  # fmt: skip
def test_episodes_come_back(agent: object, env_id: str, tmp_path: Path) -> None:
    """As those of JSON lines do: of the hostile agent half characters are spelled."""
    episodes = played(agent, env_id, 20)
    path = tmp_path / "x.parquet"
    write_parquet(path, episodes)
    assert list(read_episodes(path)) == [Episode.from_json(episode.to_json()) for episode in episodes]


def test_what_a_model_played_and_what_is_not_finite_comes_back(tmp_path: Path) -> None:
    turn = Turn(observation="o", action="a\ud800", reward=math.nan, task_reward=1.0, state_key="s", potential=0.5,
                valid=True, span=(2, 5), forced=(3, 4), row_start=1, logprobs=[-0.1, math.nan], policy_version=3,
                tokens=9)  # fmt: skip
    episode = Episode(env_id="x/Y-v0", split="train", index=2**40, seed=2**62, turns=[turn], token_ids=[5, 6, 7],
                      env_kwargs={"a": {"b": [1, None]}}, measures={"share": 0.25}, agent="{}")  # fmt: skip
    write_parquet(tmp_path / "x.parquet", [episode, Episode(env_id="x/Y-v0", split="train", index=0, seed=0)])
    back, empty = read_parquet(tmp_path / "x.parquet")
    assert back.to_json() == episode.to_json() and math.isnan(back.turns[0].reward)
    assert back.turns[0].span == (2, 5) and back.measures == {"share": 0.25} and back.env_kwargs == episode.env_kwargs
    assert (empty.turns, empty.token_ids, empty.measures) == ([], [], {})


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_parquet(path, [Episode(env_id="x/Y-v0", split="train", index=7, seed=0)])

    def torn() -> object:
        yield Episode(env_id="x/Y-v0", split="train", index=8, seed=0)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_parquet(path, torn())  # type: ignore[arg-type]
    assert [episode.index for episode in read_parquet(path)] == [7]
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]

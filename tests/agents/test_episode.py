"""The record of play: its sums, its JSON lines, and lines that are none."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.episode import SCHEMA, Episode, Status, Turn, read_episodes, write_episodes
from turngym.strict_json import strict

# Every code point, unpaired surrogates included: players and environments may write anything.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(st.none() | st.booleans() | st.integers() | numbers | texts, st.lists, max_leaves=4)
turns = st.builds(
    Turn,
    observation=texts,
    action=texts,
    reward=numbers,
    task_reward=numbers,
    state_key=texts,
    potential=numbers,
    valid=st.booleans(),
    well_formed=st.booleans(),
    span=st.tuples(st.integers(0, 9), st.integers(9, 99)),
    forced=st.tuples(st.integers(0, 9), st.integers(9, 99)),
    row_start=st.integers(0, 9),
    logprobs=st.lists(numbers, max_size=4),
    policy_version=st.integers(0, 9),
)
episodes = st.builds(
    Episode,
    env_id=texts,
    env_kwargs=st.dictionaries(texts, values, max_size=3),
    split=texts,
    index=st.integers(),
    seed=st.integers(),
    instructions=texts,
    turns=st.lists(turns, max_size=3),
    final_observation=texts,
    token_ids=st.lists(st.integers(0, 200_000), max_size=9),
    status=st.sampled_from(Status),
    success=st.booleans(),
    error=texts,
)


def turn(**changes: Any) -> Turn:
    fields: dict[str, Any] = {"observation": "o", "action": "a", "reward": 0.5, "task_reward": 1.0, "state_key": "s",
              "potential": 0.0, "valid": True} | changes  # fmt: skip
    return Turn(**fields)


def episode(**changes: Any) -> Episode:
    fields: dict[str, Any] = {"env_id": "turngym/X-v0", "split": "train", "index": 3, "seed": 4} | changes
    return Episode(**fields)


def spelled(one: Episode) -> Episode:
    """Return an episode with half characters spelled out, as strict JSON has it."""
    plain = strict(asdict(one))
    played = [Turn(**{**turn, "span": tuple(turn["span"]), "forced": tuple(turn["forced"])}) for turn in plain["turns"]]
    return Episode(**{**plain, "turns": played, "status": one.status})


@given(one=episodes)
def test_an_episode_survives_its_line(one: Episode) -> None:
    line = one.to_json()
    assert "\n" not in line and line.isascii()
    assert Episode.from_json(line) == Episode.from_json(line.encode()) == spelled(one)
    assert json.dumps(json.loads(line), allow_nan=False) == line
    assert json.loads(line.encode(), parse_constant=pytest.fail)["messages"] == spelled(one).messages()
    assert json.loads(line)["schema"] == SCHEMA


def test_a_line_from_before_the_form_was_recorded_is_read_as_well_formed() -> None:
    record = json.loads(episode(turns=[turn(valid=False, well_formed=False)]).to_json())
    del record["turns"][0]["well_formed"]
    assert Episode.from_json(json.dumps(record)) == episode(turns=[turn(valid=False, well_formed=True)])


def test_what_was_forced_is_not_sampled() -> None:
    one = episode(turns=[turn(span=(3, 9), forced=(5, 7)), turn(span=(11, 14), forced=(12, 14)), turn(span=(15, 16))])
    assert [each.sampled() for each in one.turns] == [[(3, 5), (7, 9)], [(11, 12), (14, 14)], [(15, 16)]]
    assert [each.num_sampled for each in one.turns] == [4, 1, 1] and one.num_sampled == 6


def test_a_line_from_before_anything_was_forced_is_read_as_sampled() -> None:
    record = json.loads(episode(turns=[turn(span=(1, 3))]).to_json())
    del record["turns"][0]["forced"]
    assert Episode.from_json(json.dumps(record)).turns[0].forced == (0, 0)


def test_a_file_holds_one_episode_a_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "episodes.jsonl"
    some = [episode(index=i, error="\u2028\r\n\ud800", turns=[turn(action="é\x85\x1c")]) for i in range(4)]
    assert write_episodes(path, some[:3]) == 3
    assert write_episodes(path, iter(some[3:])) == 1, "further episodes are appended"
    assert list(read_episodes(path)) == list(map(spelled, some))
    assert path.read_bytes().count(b"\n") == 4


def test_sums() -> None:
    one = episode(turns=[turn(span=(3, 7)), turn(reward=-0.25, task_reward=0.0, span=(9, 10))])
    assert (one.total_reward, one.task_return, one.num_sampled) == (0.25, 1.0, 5)
    none = episode()
    assert (none.total_reward, none.task_return, none.num_sampled) == (0, 0, 0)


def test_masked_turns_are_read_and_not_learned_from() -> None:
    one = episode(turns=[turn(span=(1, 2)), turn(span=(3, 4))], token_ids=[1, 2, 3, 4])
    masked = one.masked([0])
    assert masked.turns[0].span == (0, 0) and masked.turns[1:] == one.turns[1:]
    assert masked.token_ids == one.token_ids and masked.num_sampled < one.num_sampled
    assert one.masked([]) == one and one.turns[0].span != (0, 0)


def test_messages_are_a_chat() -> None:
    one = episode(instructions="rules", turns=[turn(), turn(observation="p", action="b")], final_observation="end")
    expected = [("system", "rules"), ("user", "o"), ("assistant", "a"), ("user", "p"), ("assistant", "b")]
    chat = [{"role": role, "content": content} for role, content in expected]
    assert one.messages() == chat and one.texts() == ["rules", "o", "a", "p", "b", "end"]
    assert json.loads(one.to_json())["messages"] == one.messages()
    assert json.loads(one.to_json())["final_observation"] == "end"
    assert episode(turns=[turn()]).messages() == chat[1:3] and episode(turns=[turn()]).texts() == ["o", "a"]


def test_numbers_that_are_not_finite_are_null_and_read_as_nan() -> None:
    """As in the episodes of a step that failed."""
    one = episode(turns=[turn(reward=math.inf, logprobs=[-0.5, -math.inf, math.nan], span=(0, 3))],
                  env_kwargs={"wind": math.nan})  # fmt: skip
    record = json.loads(one.to_json(), parse_constant=pytest.fail)
    assert record["turns"][0]["logprobs"] == [-0.5, None, None] and record["env_kwargs"] == {"wind": None}
    (read,) = Episode.from_json(one.to_json()).turns
    assert math.isnan(read.reward) and read.logprobs[0] == -0.5 and all(map(math.isnan, read.logprobs[1:]))


def test_a_line_of_the_first_form_is_read() -> None:
    one = episode(turns=[turn()], final_observation="end")
    record = json.loads(one.to_json())
    record |= {"schema": 1, "messages": [*record["messages"], {"role": "user", "content": "end"}]}
    assert Episode.from_json(json.dumps(record)) == one


def test_a_line_of_the_second_form_is_one_row() -> None:
    one = episode(turns=[turn(span=(2, 3)), turn(span=(5, 6))], token_ids=[*range(6)])
    record = json.loads(one.to_json()) | {"schema": 2}
    for each in record["turns"]:
        del each["row_start"]
    assert Episode.from_json(json.dumps(record)) == one
    assert one.rows() == [(0, 6)] and episode().rows() == [(0, 0)]
    assert replace(one, turns=[one.turns[0], replace(one.turns[1], row_start=3)]).rows() == [(0, 3), (3, 6)]


def test_which_statuses_are_errors() -> None:
    assert [status for status in Status if status.is_error()] == [Status.ERROR_ENVIRONMENT, Status.ERROR_TIMEOUT]


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(episode(turns=[turn()]).to_json()) | fields)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not an episode"),
        ("{", "not an episode"),
        ("7", "not an episode"),
        ("[]", "not an episode"),
        ("{}", "schema"),
        (changed(schema=SCHEMA + 1), f"schema {SCHEMA + 1} cannot be read; this version reads"),
        (changed(schema=None), "schema None cannot be read"),
        (changed(colour="red"), "colour"),
        (changed(turns=[{"observation": "o"}]), "not an episode"),
        (changed(turns=None), "not an episode"),
        (changed(turns=[7]), "not an episode"),
        (changed(status="lost"), "'lost' is not a valid Status"),
        (b'{"schema": "\xff"}', "utf-8"),
    ],
)
def test_a_line_that_is_no_episode_is_refused_where_it_stands(tmp_path: Path, line: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Episode.from_json(line)
    path = tmp_path / "broken.jsonl"
    raw = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(episode().to_json().encode() + b"\n" + raw + b"\n")
    reading = read_episodes(path)
    assert next(reading) == episode()
    with pytest.raises(ValueError, match=rf"broken\.jsonl:2: .*{message}"):
        next(reading)


@given(record=st.dictionaries(texts | st.sampled_from(["turns", "status", "messages"]), values, max_size=4))
def test_no_record_is_anything_but_an_episode_or_a_value_error(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"episode|Status"):
        Episode.from_json(json.dumps(record | {"schema": SCHEMA}))

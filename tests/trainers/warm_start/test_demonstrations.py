"""Demonstrations from a file: every form that is read, every fault that is named, and a model that learns from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.episode import Episode, Status, write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent
from turngym.trainers.config import WarmStartConfig
from turngym.trainers.warm_start.course import cloning_optimizers, cloning_step
from turngym.trainers.warm_start.demonstrations import read_demonstrations

RULES = "Guess a number from 0 to 9."
CHAT = [
    {"role": "system", "content": RULES},
    {"role": "user", "content": "Which number?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "Too low."},
    {"role": "assistant", "content": "7"},
    {"role": "user", "content": "Right."},
]


def written(folder: Path, *lines: object) -> Path:
    """Write a file of lines; what is no text or bytes becomes JSON."""
    parts = [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(part.encode() if isinstance(part, str) else part for part in parts) + b"\n")
    return path


def chat(*words: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in words]}


def test_a_conversation_becomes_an_episode(tmp_path: Path) -> None:
    (episode,) = read_demonstrations(written(tmp_path, {"messages": CHAT, "source": "a tool"}))
    assert episode.instructions == RULES
    assert [(turn.observation, turn.action) for turn in episode.turns] == [("Which number?", "4"), ("Too low.", "7")]
    assert episode.final_observation == "Right." and episode.success
    assert [*episode.messages(), {"role": "user", "content": episode.final_observation}] == CHAT
    assert len({turn.state_key for turn in episode.turns}) == 2


def test_system_and_last_user_message_may_be_missing(tmp_path: Path) -> None:
    (episode,) = read_demonstrations(written(tmp_path, {"messages": CHAT[1:5]}))
    assert (episode.instructions, episode.final_observation, len(episode.turns)) == ("", "", 2)


def test_a_prompt_with_its_completion_is_one_turn(tmp_path: Path) -> None:
    (episode,) = read_demonstrations(written(tmp_path, {"prompt": "2 + 2?", "completion": "4"}))
    assert episode.messages() == [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


def test_recorded_episodes_are_read_as_they_were(tmp_path: Path) -> None:
    played = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 5))
    write_episodes(tmp_path / "played.jsonl", played)
    assert read_demonstrations(tmp_path / "played.jsonl") == played


def test_failures_and_errors_may_be_left_out(tmp_path: Path) -> None:
    won, lost, failed = (
        Episode.from_json(episode.to_json())
        for episode in collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 3))
    )
    lost.success, failed.status, failed.turns = False, Status.ERROR_TIMEOUT, []
    write_episodes(tmp_path / "played.jsonl", [failed, won, lost])
    assert read_demonstrations(tmp_path / "played.jsonl") == [won, lost]
    assert read_demonstrations(tmp_path / "played.jsonl", successes_only=True) == [won]


def test_what_is_left_out_is_not_judged_by_its_replies(tmp_path: Path) -> None:
    won, lost = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 2))
    lost.success, lost.turns[0].action = False, ""
    write_episodes(tmp_path / "played.jsonl", [won, lost])
    assert read_demonstrations(tmp_path / "played.jsonl", successes_only=True) == [won]
    with pytest.raises(ValueError, match=r"played\.jsonl:2: the reply of turn 1 is empty"):
        read_demonstrations(tmp_path / "played.jsonl")


def test_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + json.dumps({"messages": CHAT}).encode(), "", "  \r", {"messages": CHAT})
    assert [episode.index for episode in read_demonstrations(path)] == [0, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not a line of JSON: Expecting property name"),
        ("[" * 100_000, "not a line of JSON"),
        (b'{"messages": "\xff"}', "not UTF-8 text"),
        ([CHAT], "a demonstration is a JSON object, not a list"),
        ("3", "a demonstration is a JSON object, not a number"),
        ({"text": "hello"}, "has 'messages', or 'prompt' and 'completion'; this one has 'text'"),
        ({}, "this one has nothing"),
        ({"messages": "hello"}, "'messages' must be a list, not text"),
        ({"messages": []}, "there is no reply to learn from"),
        (chat(("system", RULES)), "there is no reply to learn from"),
        (chat(("user", "Which?")), "there is no reply to learn from"),
        ({"messages": ["hello"]}, "message 1 must be an object with 'role' and 'content'"),
        ({"messages": [{"role": "user"}]}, "message 1 must be an object with 'role' and 'content'"),
        (chat(("user", "?"), ("tool", "4")), "message 2 has the role 'tool'; the roles are system, user and assistant"),
        (chat(("user", "?"), (["user"], "4")), "message 2 has the role ['user']"),
        (chat(("assistant", "4")), "message 1 is by the assistant, with none by the user before it"),
        (
            chat(("system", RULES), ("user", "?"), ("assistant", "4"), ("assistant", "5")),
            "message 4 is by the assistant, as is the one before it",
        ),
        (chat(("user", "?"), ("user", "?")), "message 2 is by the user, as is the one before it"),
        (chat(("user", "?"), ("system", RULES)), "message 2 is a system message; only the first may be"),
        (chat(("system", RULES), ("system", RULES)), "message 2 is a system message"),
        (chat(("user", "?"), ("assistant", " \n")), "the reply of turn 1 is empty"),
        (chat(("user", "?"), ("assistant", None)), "the content of message 2 must be text, not null"),
        (chat(("user", [{"type": "text"}]), ("assistant", "4")), "the content of message 1 must be text, not a list"),
        ({"prompt": "2 + 2?", "completion": 4}, "the content of message 2 must be text, not a number"),
        ({"schema": 4}, "episode schema 4 cannot be read"),
        ({"schema": 1, "turns": []}, "not an episode"),
    ],
)
def test_a_bad_line_is_one_sentence(line: object, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"messages": CHAT}, "", line)
    with pytest.raises(ValueError, match=re.escape(reason)) as refusal:
        read_demonstrations(path)
    text = str(refusal.value)
    assert text.startswith(f"{path}:3: ") and "\n" not in text


def test_recorded_replies_must_be_text(tmp_path: Path) -> None:
    (episode,) = collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", instance_range("train", 1))
    record = json.loads(episode.to_json())
    record["turns"][0]["action"] = 7
    with pytest.raises(ValueError, match="the reply of turn 1 must be text, not a number"):
        read_demonstrations(written(tmp_path, record))


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_a_file_without_demonstrations_says_so(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.jsonl holds no demonstration$"):
        read_demonstrations(written(tmp_path, *lines))


def test_a_file_of_failures_says_so(tmp_path: Path) -> None:
    (lost,) = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 1))
    lost.success = False
    path = written(tmp_path, lost.to_json())
    with pytest.raises(ValueError, match="holds no demonstration: none of its 1 solved its task"):
        read_demonstrations(path, successes_only=True)
    lost.status = Status.ERROR_ENVIRONMENT
    with pytest.raises(ValueError, match="none of its 1 ended without an error"):
        read_demonstrations(written(tmp_path, lost.to_json()))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.jsonl cannot be read: No such file"):
        read_demonstrations(tmp_path / "absent.jsonl")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_demonstrations(str(tmp_path))


TEXT = st.text(st.characters(), min_size=1).filter(str.strip)


@given(rules=st.none() | TEXT, turns=st.lists(st.tuples(st.text(), TEXT), min_size=1, max_size=4), last=st.text())
def test_every_conversation_comes_back(
    rules: str | None, turns: list[tuple[str, str]], last: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    messages = [{"role": "system", "content": rules}] if rules else []
    for observation, reply in turns:
        messages += [{"role": "user", "content": observation}, {"role": "assistant", "content": reply}]
    folder = tmp_path_factory.mktemp("chat")
    end = [{"role": "user", "content": last}] if last else []
    (episode,) = read_demonstrations(written(folder, {"messages": messages + end}))
    assert episode.messages() == messages and episode.final_observation == last
    recorded = read_demonstrations(written(folder, episode.to_json()))
    assert recorded == [episode]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["user", "assistant", "system"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["messages", "role", "content", "schema"]), inner),
)


@given(line=st.binary() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps({"messages": value})))
def test_any_line_is_read_or_refused(line: str | bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.mktemp("any"), line)
    try:
        episodes = read_demonstrations(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert all(episode.turns for episode in episodes)


@pytest.fixture
def model() -> LanguageModel:
    """A tiny model whose chat format shows the rules."""
    tokenizer = train_tokenizer([RULES, "Which number? Too low."] * 3, vocabulary_size=320, show_instructions=True)
    decoder = build_decoder(tokenizer, hidden_size=32, layers=2, heads=2, feedforward_size=64)
    return LanguageModel(decoder, tokenizer)


def test_a_model_learns_from_a_conversation(model: LanguageModel, tmp_path: Path) -> None:
    (episode,) = read_demonstrations(written(tmp_path, {"messages": CHAT}))
    encoded = model.encode_episode(episode)
    assert [model.chat.text(encoded.token_ids[slice(*turn.span)]) for turn in encoded.turns] == ["4", "7"]
    assert str(model.tokenizer.decode(encoded.token_ids)).startswith(f"<|system|>{RULES}<|user|>Which number?")
    optimizers = cloning_optimizers(model.model, WarmStartConfig())
    losses = [cloning_step(model, optimizers, [encoded]) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]


def test_rules_matter_to_what_is_learned(model: LanguageModel, tmp_path: Path) -> None:
    pair = written(tmp_path, {"messages": CHAT}, {"messages": CHAT[1:]})
    with_rules, without = (model.encode_episode(episode) for episode in read_demonstrations(pair))
    rules = model.chat.content(RULES)
    assert len(with_rules.token_ids) - len(without.token_ids) == len(rules)

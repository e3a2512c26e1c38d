"""Demonstrations from a file: episodes that turngym recorded, and conversations as fine-tuning tools write them.

One line of JSON each:

    an episode       {"schema": 1, ...}, as `turngym rollout` writes it
    a conversation   {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]},
                     with a system message first or none
    one exchange     {"prompt": "...", "completion": "..."}

The user says what an environment would observe, the assistant what an agent would reply, and the system message gives
the rules.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from turngym.agents.episode import Episode, Turn


def read_demonstrations(path: str | Path, *, successes_only: bool = False) -> list[Episode]:
    """Read demonstrations for a warm start, in the order of the file.

    What a conversation does not tell is left at a default: it names no environment, earns nothing and counts as a
    success, and its index is that of its line. `LanguageModel.encode_episode` gives the episodes their tokens.

    Args:
        path: A file of JSON lines in UTF-8; empty lines are skipped. Episodes that ended in an error are left out.
        successes_only: Leave out episodes that did not solve their task too.

    Raises:
        ValueError: The file cannot be read or holds no demonstration to learn from, or a line is none; the message
            names file, line and reason.
    """
    return [episode for _, episode in numbered_demonstrations(path, successes_only=successes_only)]


def numbered_demonstrations(path: str | Path, *, successes_only: bool = False) -> list[tuple[int, Episode]]:
    """Return what `read_demonstrations` does, each with the number of its line, from 1."""
    episodes = []
    lines = 0
    for number, line in _lines(Path(path)):
        lines += 1
        try:
            episode = _episode(line, index=number - 1)
            if episode.status.is_error() or (successes_only and not episode.success):
                continue
            _check_replies(episode)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        episodes.append((number, episode))
    if not episodes:
        wanted = "solved its task" if successes_only else "ended without an error"
        raise ValueError(f"{path} holds no demonstration" + (f": none of its {lines} {wanted}" if lines else ""))
    return episodes


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    yield number, text
    except OSError as error:
        raise ValueError(f"the demonstrations {path} cannot be read: {error.strerror}") from error


def _episode(line: bytes, *, index: int) -> Episode:
    """Read one line.

    Raises:
        ValueError: It is no demonstration.
    """
    try:
        text = line.decode()
        record = json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a line of JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"a demonstration is a JSON object, not {_kind(record)}")
    if "schema" in record:
        return Episode.from_json(text)
    if "messages" in record:
        return _conversation(record["messages"], index)
    if "prompt" in record and "completion" in record:
        contents = {"user": record["prompt"], "assistant": record["completion"]}
        return _conversation([{"role": role, "content": content} for role, content in contents.items()], index)
    raise ValueError("a demonstration is an episode of turngym or has 'messages', or 'prompt' and 'completion'; "
                     f"this one has {', '.join(map(repr, record)) or 'nothing'}")  # fmt: skip


def _conversation(messages: Any, index: int) -> Episode:
    """Return a conversation as an episode.

    Raises:
        ValueError: It is not one of a user and an assistant in turns.
    """
    if not isinstance(messages, list):
        raise ValueError(f"'messages' must be a list, not {_kind(messages)}")
    said = [_message(message, number) for number, message in enumerate(messages, start=1)]
    instructions = said.pop(0)[1] if said and said[0][0] == "system" else ""
    _check_order([role for role, _ in said], first=len(messages) - len(said) + 1)
    contents = [content for _, content in said]
    turns = [
        Turn(observation=observation, action=reply, reward=0.0, task_reward=0.0, state_key=f"{index}|{number}",
             potential=0.0, valid=True)
        for number, (observation, reply) in enumerate(zip(contents[::2], contents[1::2], strict=False))
    ]  # fmt: skip
    return Episode(env_id="", split="train", index=index, seed=0, instructions=instructions, turns=turns,
                   final_observation=contents[-1] if len(contents) % 2 else "", success=True)  # fmt: skip


def _message(message: Any, number: int) -> tuple[str, str]:
    """Return role and content of a message."""
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise ValueError(f"message {number} must be an object with 'role' and 'content'")
    role, content = message["role"], message["content"]
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"message {number} has the role {role!r}; the roles are system, user and assistant")
    if not isinstance(content, str):
        raise ValueError(f"the content of message {number} must be text, not {_kind(content)}")
    return role, content


def _check_order(roles: Sequence[str], *, first: int) -> None:
    """Refuse any order but user and assistant in turns, the user first."""
    for place, role in enumerate(roles):
        wanted = ("user", "assistant")[place % 2]
        if role == "system":
            raise ValueError(f"message {first + place} is a system message; only the first may be")
        if role != wanted:
            fault = "as is the one before it" if place else "with none by the user before it"
            raise ValueError(f"message {first + place} is by the {role}, {fault}; user and assistant take turns")


def _check_replies(episode: Episode) -> None:
    """Refuse an episode that there is nothing to learn from, or that is not text."""
    if not episode.turns:
        raise ValueError("there is no reply to learn from")
    texts = {"instructions": episode.instructions, "final_observation": episode.final_observation}
    for number, turn in enumerate(episode.turns, start=1):
        texts |= {f"the observation of turn {number}": turn.observation, f"the reply of turn {number}": turn.action}
    for place, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{place} must be text, not {_kind(text)}")
        if not text.strip() and "reply" in place:
            raise ValueError(f"{place} is empty")


def _kind(value: object) -> str:
    """Return what a JSON value is called."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

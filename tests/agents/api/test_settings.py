"""Which model behind which server: addresses, ranges, and what makes another agent of it."""

from __future__ import annotations

from typing import Any

import pytest

from turngym._errors import InputError
from turngym.agents.api import BASE_VARIABLE, ApiSettings


@pytest.mark.parametrize(
    ("given", "base", "origin"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("https://models.example/openai/v1", "https://models.example/openai/v1", "https://models.example"),
        ("https://models.example/v1beta/openai/", "https://models.example/v1beta/openai", "https://models.example"),
        ("http://[::1]:80", "http://[::1]:80/v1", "http://[::1]:80"),
    ],
)
def test_addresses(given: str, base: str, origin: str) -> None:
    settings = ApiSettings(model="m", base_url=given)
    assert (settings.base_url, settings.origin) == (base, origin) and settings.origin + settings.path == base


def test_the_address_comes_from_the_environment_or_is_openai_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiSettings(model="m").base_url == "https://api.openai.com/v1"
    monkeypatch.setenv(BASE_VARIABLE, "http://127.0.0.1:1234/v1")
    assert ApiSettings(model="m").base_url == "http://127.0.0.1:1234/v1"
    assert ApiSettings(model="m", base_url="http://127.0.0.1:9").base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"model": " "}, "name the model behind the server"),
        ({"base_url": "127.0.0.1:8000"}, "is no address of a server"),
        ({"base_url": "https://me:hush-hush@models.example"}, "OPENAI_API_KEY"),
        ({"base_url": "https://models.example/v1?key=hush-hush"}, "OPENAI_API_KEY"),
        ({"api": "responses"}, "api must be one of 'chat', 'completions', got 'responses'"),
        ({"parallel": 0}, "parallel must be at least 1"),
        ({"request_timeout": 0}, "request_timeout must be above 0"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"temperature": float("nan")}, "temperature must be at least 0"),
        ({"history": "some"}, "history must be one of"),
        ({"max_reply_tokens": 1.5}, "max_reply_tokens must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        ApiSettings(**{"model": "m", **wrong})
    assert "hush" not in str(caught.value)


def test_what_makes_another_agent_of_it() -> None:
    one = ApiSettings(model="m").identity()
    assert ApiSettings(model="m", parallel=1, retries=0, request_timeout=1.0, history_turns=7).identity() == one
    others: list[dict[str, Any]] = [
        {"model": "n"}, {"base_url": "http://127.0.0.1"}, {"api": "completions"}, {"temperature": 0},
        {"max_reply_tokens": 5}, {"history": "turn"}, {"chat_template_kwargs": {"a": 1}},
    ]  # fmt: skip
    told = [ApiSettings(**{"model": "m", **other}).identity() for other in others]
    assert all(told[at] not in [one, *told[:at]] for at in range(len(told)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "temperature of the server, replies of at most 1024, history all"),
        ({"temperature": 0, "history": "window"}, "greedy, replies of at most 1024, history window 2"),
        ({"temperature": 0.7, "history": "turn", "api": "completions"},
         "temperature 0.7, replies of at most 1024, plain completions, history turn"),
    ],
)  # fmt: skip
def test_titles(given: dict[str, Any], words: str) -> None:
    assert ApiSettings(model="m", **given).describe() == words

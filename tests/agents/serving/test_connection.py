"""Requests to a server of a model: what is repeated, what is not, and the words for what fails."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from tests.agents.serving.conftest import Serve
from tests.agents.serving.model_server import Answer, at_first

from turngym._errors import InputError, WorkError
from turngym.addresses import KEY_VARIABLE, check_address
from turngym.agents.serving import (
    RefusedError,
    ServerConnection,
    ServerError,
    Terms,
    connection,
)

MODELS = "/v1/models"


def test_an_error_is_no_bug_but_a_sentence() -> None:
    assert issubclass(ServerError, WorkError)


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, False, "")),
        ("http://127.0.0.1:8000/v1", ("127.0.0.1", 8000, False, "")),
        ("https://models.example/qwen/", ("models.example", None, True, "/qwen")),
        ("http://[::1]:80/a/v1/", ("::1", 80, False, "/a")),
    ],
)
def test_addresses(address: str, parts: tuple[str, int | None, bool, str]) -> None:
    assert check_address(address) == parts


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://a", "http://", "http://a:b", "http://a?x=1", "http://[a"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is no address of a server: write http://HOST:PORT"):
        check_address(address)


def test_a_key_in_an_address_is_refused_and_not_told() -> None:
    with pytest.raises(InputError, match=KEY_VARIABLE) as caught:
        ServerConnection("http://me:hush-hush@127.0.0.1:8000")
    assert "hush" not in str(caught.value)


# Keys -----------------------------------------------------------------------------------------------------------------


def test_a_key_comes_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(key="sesame")
    for key, fits in [("", False), ("open", False), ("sesame", True)]:
        monkeypatch.setenv(KEY_VARIABLE, key)
        if fits:
            assert ServerConnection(server.url).ask(MODELS)["data"]
        else:
            with pytest.raises(
                ServerError, match=f"asks for a key: put it into the environment variable {KEY_VARIABLE}"
            ):
                ServerConnection(server.url).ask(MODELS)
    assert server.keys == ["", "Bearer open", "Bearer sesame"]


# Repeating ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Answer(status=500), Answer(status=502), Answer(status=429), Answer(lost=True)])
def test_what_may_pass_is_repeated(serve: Serve, fault: Answer) -> None:
    server = serve()
    server.spoil = at_first(2, fault, MODELS)
    assert ServerConnection(server.url, retries=2).ask(MODELS)["object"] == "list"
    assert server.count(MODELS) == 3


def test_pauses_grow_to_the_longest(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    server.spoil = at_first(99, Answer(status=503), MODELS)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 5.0)
    pauses: list[float] = []
    link = ServerConnection(server.url, retries=5)
    monkeypatch.setattr(link._closed, "wait", pauses.append)
    with pytest.raises(ServerError, match=r"answers /v1/models with status 503: .* \(after 6 tries\); start it anew"):
        link.ask(MODELS)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_is_not_repeated(serve: Serve, status: int) -> None:
    server = serve()
    server.spoil = at_first(9, Answer(status=status, content={"error": {"message": "too long a prompt"}}), MODELS)
    with pytest.raises(ServerError, match=f"refuses /v1/models with status {status}: too long a prompt$"):
        ServerConnection(server.url).ask(MODELS)
    assert server.count(MODELS) == 1


def test_a_missing_path_tells_what_to_do(serve: Serve) -> None:
    with pytest.raises(ServerError, match=r"has no /sleep: start it otherwise$"):
        ServerConnection(serve().url).tell("/sleep", {}, absent="start it otherwise")


def test_an_answer_that_takes_too_long_is_not_waited_for_nor_asked_again(serve: Serve) -> None:
    server = serve()
    server.spoil = at_first(9, Answer(delay=5.0), MODELS)
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"gave no answer to /v1/models within 0.2 s; .*raise rollout.timeout"):
        ServerConnection(server.url, timeout=0.2).ask(MODELS)
    assert time.monotonic() - began < 3 and server.count(MODELS) == 1


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ServerError, match=r"^the server at http://127.0.0.1:9 does not answer: .* \(after 1 try\); start"
    ):
        ServerConnection("http://127.0.0.1:9", retries=0).ask(MODELS)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>Hi!</html>", "what is no JSON: '<html>Hi!</html>'; is it a server of models"),
        (b"[1]", "what is no JSON object"),
    ],
)
def test_something_else_that_answers_is_told(serve: Serve, content: bytes, sentence: str) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(content=content), MODELS)
    with pytest.raises(ServerError, match=sentence):
        ServerConnection(server.url).ask(MODELS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"message": "no such model"}, "no such model"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": "odd"}, '{"error": "odd"}'),
        (b"", "no reason is given"),
        (b"plain\nwords", "plain words"),
        ([1], r"\[1\]"),
    ],
)
def test_the_words_of_a_server_are_told(serve: Serve, content: Any, words: str) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(status=400, content=content), MODELS)
    with pytest.raises(ServerError, match=f": {words}$"):
        ServerConnection(server.url).ask(MODELS)


# Closing --------------------------------------------------------------------------------------------------------------


def test_closing_ends_requests_under_way_and_pauses(serve: Serve) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(delay=3.0), MODELS)
    link = ServerConnection(server.url)
    told: list[str] = []

    def ask() -> None:
        try:
            link.ask(MODELS)
        except ServerError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.count(MODELS):
        time.sleep(0.01)
    began = time.monotonic()
    link.close()
    thread.join()
    ask()
    assert time.monotonic() - began < 2
    assert len(told) == 2 and all("is asked no more" in words for words in told)


# Pauses that a server asks for, and answers that come too slowly ------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "pause"),
    [("7", 7.0), ("0.5", 0.5), ("99999", connection.LONGEST_ASKED), ("-3", 0.01), ("soon", 0.01), ("nan", 0.01),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.01), ("", 0.01)],
)  # fmt: skip
def test_a_pause_that_is_asked_for_is_kept(
    serve: Serve, asked: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(status=429, headers={"Retry-After": asked}), MODELS)
    pauses: list[float] = []
    link = ServerConnection(server.url)
    monkeypatch.setattr(link._closed, "wait", pauses.append)
    assert link.ask(MODELS) and pauses == [pause]


def test_a_pause_until_a_moment_is_kept(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, pauses = serve(), list[float]()
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.spoil = at_first(1, Answer(status=503, headers={"Retry-After": moment}), MODELS)
    link = ServerConnection(server.url)
    monkeypatch.setattr(link._closed, "wait", pauses.append)
    assert link.ask(MODELS) and 80 < pauses[0] <= 100


def test_an_answer_byte_by_byte_takes_no_longer_than_another(serve: Serve) -> None:
    server = serve()
    server.spoil = at_first(9, Answer(content=b"{}" + b" " * 99, drip=0.1), MODELS)
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"gave no answer to /v1/models within 0.5 s"):
        ServerConnection(server.url, timeout=0.5).ask(MODELS)
    assert time.monotonic() - began < 3


def test_late_answers_are_asked_for_again_where_the_terms_say_so(serve: Serve) -> None:
    server, repeated = serve(), list[int]()
    server.spoil = at_first(2, Answer(delay=2.0), MODELS)
    terms = Terms(repeats_late=True)
    link = ServerConnection(server.url, timeout=0.5, terms=terms, on_repeat=lambda: repeated.append(1))
    assert link.ask(MODELS)["object"] == "list" and len(repeated) == 2 and server.count(MODELS) == 3


def test_a_refusal_has_its_status_and_its_words(serve: Serve) -> None:
    server = serve()
    server.spoil = at_first(1, Answer(status=422, content={"error": {"message": "no", "param": "seed"}}), MODELS)
    with pytest.raises(RefusedError) as caught:
        ServerConnection(server.url).ask(MODELS)
    assert caught.value.status == 422 and '"param": "seed"' in caught.value.answer

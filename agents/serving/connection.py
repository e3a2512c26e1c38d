"""Requests to a server of a model: from many threads at once, repeated where that may help, with clear words.

Every request has a connection of its own. Servers close idle ones after seconds, while a step of learning takes longer,
and to connect costs little beside what is computed for an answer.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

from turngym._errors import InputError, WorkError

KEY_VARIABLE = "TURNGYM_ROLLOUT_KEY"
"""The environment variable with the key that a server may ask for (`vllm serve --api-key`)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before the first repetition, doubled for each further one up to the longest."""
TOO_MANY_REQUESTS = 429
GOES_ON = "a run that has begun goes on with --resume"
SHOWN_CHARACTERS = 300
"""So much of a server's own words is told."""


class ServerError(WorkError):
    """The server cannot be played with; the message names its address, says why and what to do."""


class ServerConnection:
    """A server by its address; may be used by several threads at once.

    Args:
        address: Its address, such as `http://127.0.0.1:8000`; what comes before `/v1` of every request.
        timeout: Seconds that an answer may take.
        retries: How often a request is repeated that met no server, a busy one (429) or a failing one (5xx). A request
            without an answer in time is not, since the server may still work on it.

    Raises:
        InputError: It is no address of a server.
    """

    def __init__(self, address: str, *, timeout: float = 300.0, retries: int = 5) -> None:
        self.address = address.rstrip("/")
        self._host, self._port, self._secure, self._prefix = check_address(self.address)
        self._timeout, self._retries = timeout, retries
        self._closed = Event()
        self._lock = Lock()
        self._open: set[HTTPConnection] = set()

    def close(self) -> None:
        """End the requests under way, and make no more."""
        self._closed.set()
        with self._lock:
            for connection in self._open:
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def ask(self, path: str, body: Mapping[str, Any] | None = None, *, absent: str = "") -> dict[str, Any]:
        """Return the JSON object that the server answers; the arguments are those of `tell`.

        Raises:
            ServerError: There is no such answer.
        """
        answer = self.tell(path, body, absent=absent)
        try:
            told = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise self.error(f"answers {path} with what is no JSON: {_shown(answer)!r}; is it a server of models?"
                             ) from error  # fmt: skip
        if not isinstance(told, dict):
            raise self.error(f"answers {path} with what is no JSON object: {_shown(answer)!r}")
        return told

    def tell(self, path: str, body: Mapping[str, Any] | None = None, *, absent: str = "") -> bytes:
        """Send a request and return the answer as it is.

        Args:
            path: What is asked for, such as `/v1/completions`.
            body: What is sent along, as JSON; None for a GET.
            absent: What to do about a server that knows no such path.

        Raises:
            ServerError: The server is gone, does not answer in time, fails again and again, or refuses.
        """
        problem = ""
        for repeated in range(self._retries + 1):
            if repeated and self._closed.wait(min(FIRST_PAUSE * 2 ** (repeated - 1), LONGEST_PAUSE)):
                break
            try:
                status, answer = self._exchange(path, body)
            except TimeoutError as error:
                raise self.error(
                    f"gave no answer to {path} within {self._timeout:g} s; see whether it still works, or raise "
                    f"rollout.timeout or lower rollout.parallel; {GOES_ON}"
                ) from error
            except (OSError, HTTPException) as error:
                problem = f"does not answer: {_reason(error)}"
                continue
            if status < 500 and status != TOO_MANY_REQUESTS:
                return self._checked(path, status, answer, absent)
            problem = f"answers {path} with status {status}: {_message(answer)}"
        if self._closed.is_set():
            raise self.error("is asked no more: another request to it has failed, or play has ended")
        raise self.error(f"{problem} (after {_times(self._retries + 1)}); start it anew if it has ended, and see "
                         f"that rollout.server names it; {GOES_ON}")  # fmt: skip

    def error(self, words: str) -> ServerError:
        """Return the error that says something about this server."""
        return ServerError(f"the server at {self.address} {words}")

    def _exchange(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        """Send a request once; return the status and the answer."""
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body)
        try:
            with self._lock:
                self._open.add(connection)
            connection.connect()
            if self._closed.is_set():
                raise ConnectionAbortedError("closed")
            connection.request("GET" if body is None else "POST", self._prefix + path, data, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _checked(self, path: str, status: int, answer: bytes, absent: str) -> bytes:
        if status in (401, 403):
            raise self.error(f"asks for a key: put it into the environment variable {KEY_VARIABLE}")
        if status == 404 and absent:
            raise self.error(f"has no {path}: {absent}")
        if not 200 <= status < 300:
            raise self.error(f"refuses {path} with status {status}: {_message(answer)}")
        return answer


def check_address(address: str) -> tuple[str, int | None, bool, str]:
    """Return host, port, whether it is HTTPS, and what comes before the path of every request.

    Raises:
        InputError: It is no address of a server, or holds what does not belong into one.
    """
    try:
        parts = urlsplit(address)
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme in {"http", "https"} and parts.hostname and plain:
            return parts.hostname, parts.port, parts.scheme == "https", parts.path.rstrip("/").removesuffix("/v1")
    except ValueError:  # of a port that is no number, or brackets that are no address
        pass
    shown = address.partition("?")[0].rpartition("@")[2]
    raise InputError(f"{shown!r} is no address of a server: write http://HOST:PORT, and put a key that it asks for "
                     f"into the environment variable {KEY_VARIABLE}")  # fmt: skip


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _times(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"


def _shown(answer: bytes) -> str:
    return " ".join(answer[: 4 * SHOWN_CHARACTERS].decode(errors="replace").split())[:SHOWN_CHARACTERS]


def _message(answer: bytes) -> str:
    """Return the words of an answer that tells an error, as vLLM and SGLang write it."""
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return _shown(answer) or "no reason is given"
    if isinstance(told, dict) and isinstance(told.get("error"), dict):
        told = told["error"]
    words = (told.get("message") or told.get("detail")) if isinstance(told, dict) else None
    return _shown(str(words).encode()) if words else _shown(answer)

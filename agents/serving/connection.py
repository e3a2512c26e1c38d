"""Requests to a server of a model: from many threads at once, repeated where that may help, with clear words.

Every request has a connection of its own. Servers close idle ones after seconds, while a step of learning takes longer,
and to connect costs little beside what is computed for an answer.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import TIMEOUT_MAX, Event, Lock, Timer
from typing import Any

from turngym._errors import InputError, WorkError
from turngym.addresses import KEY_VARIABLE, check_address
from turngym.credentials import HIDDEN, SHORTEST

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before the first repetition, doubled for each further one up to the longest."""
LONGEST_ASKED = 600.0
"""Seconds of the longest pause that a server may ask for (`Retry-After`)."""
TOO_MANY_REQUESTS = 429
SHOWN_CHARACTERS = 300
"""So much of a server's own words is told."""
SECRET_CHARACTERS = 16
"""Keys from this length on are taken out of answers; shorter ones, such as "none", are no secrets and stand in texts.
From messages all are taken that are looked for at all."""


class ServerError(WorkError):
    """The server cannot be played with; the message names its address, says why and what to do."""


class RefusedError(ServerError):
    """The server refuses a request: an answer with a status of 400 to 499.

    Args:
        message: What is told.
        status: The status.
        answer: The answer as text.
    """

    def __init__(self, message: str, status: int = 0, answer: str = "") -> None:
        super().__init__(message)
        self.status, self.answer = status, answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a server is asked, and what its user is told to do where it fails."""

    key_variable: str = KEY_VARIABLE
    """The environment variable with the key that the server may ask for."""
    repeats_late: bool = False
    """Whether a request without an answer in time is repeated; the server may still work on the first one."""
    late: str = "raise rollout.timeout or lower rollout.parallel"
    """What to do about answers that come too late."""
    gone: str = "see that rollout.server names it"
    """What to do about a server that does not answer."""
    goes_on: str = "a run that has begun goes on with --resume"
    """How work goes on afterwards."""


class ServerConnection:
    """A server by its address; may be used by several threads at once.

    The key stands in no message, and where it is `SECRET_CHARACTERS` long in no answer, should the server repeat it.

    Args:
        address: Its address, such as `http://127.0.0.1:8000`; what comes before `/v1` of every request.
        timeout: Seconds that an answer may take, from the request to its last byte.
        retries: How often a request is repeated that met no server, a busy one (429) or a failing one (5xx). A request
            without an answer in time is repeated where the terms say so. Pauses grow, and are as long as the server
            asks for.
        terms: How it is asked.
        on_repeat: Called before every repetition, by the thread that repeats.

    Raises:
        InputError: It is no address of a server.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 300.0,
        retries: int = 5,
        terms: Terms | None = None,
        on_repeat: Callable[[], None] | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self.terms = terms or Terms()
        self._host, self._port, self._secure, self._prefix = check_address(self.address, self.terms.key_variable)
        self._timeout, self._retries, self._on_repeat = timeout, retries, on_repeat
        self._closed = Event()
        self._lock = Lock()
        self._open: set[socket.socket] = set()

    def close(self) -> None:
        """End the requests under way, and make no more."""
        self._closed.set()
        with self._lock:
            for link in self._open:
                _end(link)

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
        problem, asked = "", 0.0
        for repeated in range(self._retries + 1):
            if repeated:
                pause = min(FIRST_PAUSE * 2 ** (repeated - 1), LONGEST_PAUSE)
                if self._closed.wait(max(pause, asked)):
                    break
                if self._on_repeat:
                    self._on_repeat()
            asked = 0.0
            try:
                status, answer, asked = self._exchange(path, body)
            except TimeoutError as error:
                problem = f"gave no answer to {path} within {self._timeout:g} s"
                if not self.terms.repeats_late and not self._closed.is_set():
                    raise self.error(f"{problem}; see whether it still works, or {self.terms.late}; "
                                     f"{self.terms.goes_on}") from error  # fmt: skip
                continue
            except (OSError, HTTPException) as error:
                problem = f"does not answer: {_reason(error)}"
                continue
            if status < 500 and status != TOO_MANY_REQUESTS:
                return self._checked(path, status, answer, absent)
            problem = f"answers {path} with status {status}: {_message(answer)}"
        if self._closed.is_set():
            raise self.error("is asked no more: another request to it has failed, or play has ended")
        raise self.error(f"{problem} (after {_times(self._retries + 1)}); start it anew if it has ended, and "
                         f"{self.terms.gone}; {self.terms.goes_on}")  # fmt: skip

    def error(self, words: str) -> ServerError:
        """Return the error that says something about this server."""
        return ServerError(self._told(words))

    def _told(self, words: str) -> str:
        key = self._key()
        return f"the server at {self.address} {words.replace(key, HIDDEN) if len(key) >= SHORTEST else words}"

    def _key(self) -> str:
        """Return the key of the environment; empty without one.

        Raises:
            InputError: It cannot be one; http.client would show it in its own error.
        """
        key = os.environ.get(self.terms.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InputError(f"the environment variable {self.terms.key_variable} holds characters that no key has; "
                             "set it to the key alone")  # fmt: skip
        return key

    def _exchange(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes, float]:
        """Send a request once; return the status, the answer, and the pause that is asked for, seconds."""
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        headers, key = {"Content-Type": "application/json", "Connection": "close"}, self._key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body)
        try:
            connection.connect()
            assert connection.sock is not None
            with self._watched(connection.sock):
                connection.request("GET" if body is None else "POST", self._prefix + path, data, headers)
                response = connection.getresponse()
                answer = response.read()
        finally:
            connection.close()
        if len(key) >= SECRET_CHARACTERS:
            answer = answer.replace(key.encode(), HIDDEN.encode())
        return response.status, answer, _seconds(response.headers.get("Retry-After", ""))

    @contextmanager
    def _watched(self, link: socket.socket) -> Iterator[None]:
        """End what waits on a socket when the connection is closed, or when it has taken too long.

        The time-out of a socket alone is that of a single read: a server that sends a byte now and then never meets it.

        Raises:
            TimeoutError: It has taken too long.
        """
        late = Event()

        def give_up() -> None:
            late.set()
            _end(link)

        watch = Timer(min(self._timeout, TIMEOUT_MAX), give_up)
        watch.daemon = True
        with self._lock:
            self._open.add(link)
        watch.start()
        try:
            if self._closed.is_set():
                raise ConnectionAbortedError("closed")
            yield
        except (OSError, HTTPException) as error:
            if late.is_set():
                raise TimeoutError from error
            raise
        finally:
            watch.cancel()
            with self._lock:
                self._open.discard(link)
        if late.is_set():  # what was read may end too early
            raise TimeoutError

    def _checked(self, path: str, status: int, answer: bytes, absent: str) -> bytes:
        if status in (401, 403):
            have = ", which holds one that it refuses" if self._key() else ""
            raise self.error(f"asks for a key: put it into the environment variable {self.terms.key_variable}{have}")
        if status == 404 and absent:
            raise self.error(f"has no {path}: {absent}")
        if not 200 <= status < 300:
            raise RefusedError(self._told(f"refuses {path} with status {status}: {_message(answer)}"), status,
                               answer.decode(errors="replace"))  # fmt: skip
        return answer


def _end(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)


def _seconds(asked: str) -> float:
    """Return the pause that a `Retry-After` asks for: seconds, or a date; 0 where it cannot be read."""
    try:
        seconds = float(asked)
    except ValueError:
        try:
            date = parsedate_to_datetime(asked)
        except ValueError:
            return 0.0
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_ASKED)


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

"""The connection to a shop on a server: requests with the operator's key, and clear words where they fail."""

from __future__ import annotations

import json
import os
import ssl
import weakref
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from turngym._errors import InputError
from turngym.credentials import password_of, with_credentials, without_credentials

KEY_VARIABLE = "TURNGYM_WEBSHOP_KEY"
"""The environment variable that has the operator's key, where the address has none."""
TIMEOUT = 30.0
"""Seconds to wait for an answer."""
GIVE_UP = 3
"""Requests without an answer in a row after which no more are made."""
_unanswered: Counter[str] = Counter()
"""Requests without an answer in a row, by address: those of all environments of this process."""


class RemoteShopError(InputError, ConnectionError):
    """The server cannot be used; the message says why and what to do."""


class ShopServer:
    """An HTTP server that answers in JSON; the connection is kept. A copy holds the address alone and connects anew."""

    def __init__(self, url: str) -> None:
        self.address = without_credentials(url)
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        """Return the address."""
        return {"address": self.address}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the address."""
        self.address = state["address"]
        self._connect()

    def _connect(self) -> None:
        """Make a connection, which opens with the first request."""
        host, port, secure, self._prefix = _parts_of(self.address)
        keys = (password_of(with_credentials(self.address)), os.environ.get(KEY_VARIABLE, ""))
        self._keys = [key for key in keys if key] or [""]
        """The operator's key of the address, then that of the variable: one of them may be that of an earlier start."""
        self._connection = (HTTPSConnection if secure else HTTPConnection)(host, port, timeout=TIMEOUT)
        weakref.finalize(self, self._connection.close)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, absent_is_fine: bool = False) -> Any:
        """Return what the server answers.

        Args:
            method: The HTTP method.
            path: What is asked for.
            body: What is sent along, as JSON.
            absent_is_fine: Return an empty answer where there is no such thing.

        Raises:
            RemoteShopError: It does not answer, or not with what was asked for.
        """
        if _unanswered[self.address] >= GIVE_UP:
            raise RemoteShopError(f"the shop at {self.address} left {GIVE_UP} requests in a row without answer and is "
                                  "asked no more; start it anew, and then this program")  # fmt: skip
        try:
            status, answer = self._exchange(method, path, body)
        except (OSError, HTTPException) as error:
            _unanswered[self.address] += isinstance(error, TimeoutError)
            raise self._unreachable(error) from error
        _unanswered[self.address] = 0
        if status == 401 and len(self._keys) > 1:
            del self._keys[0]
            return self.ask(method, path, body, absent_is_fine=absent_is_fine)
        if status == 401:
            refusal = "does not take this operator's key but the one" if self._keys[0] else "needs the operator's key,"
            raise RemoteShopError(f"the shop at {self.address} {refusal} which it printed when it started: put it into "
                                  f"{KEY_VARIABLE} or into the address")  # fmt: skip
        try:
            told = json.loads(answer) if answer else {}
        except (ValueError, RecursionError) as error:
            raise self.no_shop() from error
        if status == 404 and absent_is_fine:
            return {}
        if status >= 400:
            reason = told.get("error", status) if isinstance(told, dict) else status
            raise RemoteShopError(f"the shop at {self.address} refuses {method} {path}: {reason}")
        return told

    def _unreachable(self, error: OSError | HTTPException) -> RemoteShopError:
        """Return the error that says why there is no answer."""
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, ssl.SSLError):
            return RemoteShopError(
                f"what is at {self.address} cannot be asked by HTTPS: {reason}; "
                "`turngym webshop serve` speaks HTTP, so write http:// where no proxy stands before it"
            )
        return RemoteShopError(f"the shop at {self.address} does not answer: {reason}; "
                               "is `turngym webshop serve` running there?")  # fmt: skip

    def no_shop(self) -> RemoteShopError:
        """Return the error that says that something else answers."""
        return RemoteShopError(f"what answers at {self.address} is no shop of this version of turngym")

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what fails while an answer is read into an error that says so."""
        try:
            yield
        except RemoteShopError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise self.no_shop() from error

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Send a request; repeat it once if the server has closed the kept connection.

        The number of an action travels with it, so that the server does not do a repeated one twice.
        """
        kept = self._connection.sock is not None
        data = None if body is None else json.dumps(body)
        credentials = b64encode(f"operator:{self._keys[0]}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        for last in (not kept, True):
            try:
                self._connection.request(method, self._prefix + path, data, headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (ConnectionError, HTTPException):
                self._connection.close()
                if last:
                    raise
            except OSError:
                self._connection.close()
                raise
        raise AssertionError("unreachable")


def _parts_of(address: str) -> tuple[str, int | None, bool, str]:
    """Return host, port, whether it is HTTPS, and what comes before the path of every request.

    Raises:
        InputError: It is no address of a server.
    """
    try:
        parts = urlsplit(address)
        if parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment):
            return parts.hostname, parts.port, parts.scheme == "https", parts.path.rstrip("/")
    except ValueError:  # of a port that is no number, or brackets that are no address
        pass
    shown = address.partition("?")[0].rpartition("@")[2]  # a key may stand before and behind, whatever it is no part of
    raise InputError(f"{shown!r} is no address of a server; write http://HOST:PORT")

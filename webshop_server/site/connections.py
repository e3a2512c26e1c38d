"""The server of the site: waitress, with bounds on what one client may hold and an end that loses no request.

Waitress reads requests and sends answers in one thread, and four others work, so that a slow client holds a connection
and no thread. What it lacks is added here: a share of the connections for each client, a limit to the time that a
request or an answer may take on its way, the site's headers on its own answers, and a stop after which what has
arrived is answered.
"""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from turngym.webshop_server.site.headers import HEADERS, NO_STORE

MAX_CONNECTIONS = 900
"""Connections at a time: about as many as the usual limit of 1,024 open files leaves."""
MAX_CONNECTIONS_PER_CLIENT = MAX_CONNECTIONS // 2
"""Connections of one address at a time."""
REQUEST_SECONDS = 10.0
"""How long a request may take from its first byte to its last."""
ANSWER_SECONDS = 30.0
"""How long a client may take to receive an answer."""
IDLE_SECONDS = 60.0
"""How long a connection is kept between two requests."""
STOP_SECONDS = 20.0
"""How long the end waits for requests in progress."""
_LOOK_SECONDS = 0.5
"""How often connections are looked at for being late."""
_ACCEPTED_AT_ONCE = 64
_BACKLOG = 4096
"""How many connections may wait to be accepted; clients try again only after seconds."""
_RETRY_SECONDS = 5


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request as it arrives."""

    def parse_header(self, header_plus: bytes) -> None:
        """Read what comes before the body.

        Waitress waits for a body that a request expects to be allowed to send even where there is none, and ends the
        connection without an answer at an address such as `http://[`.
        """
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError("Bad URI") from error
        if self.body_rcv is None:
            self.expect_continue = False


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection, which knows for how long it has been waiting for its client."""

    server: SiteServer
    parser_class = _Request
    served = 0
    """How many requests have been answered."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._state: tuple[str, int] = ("idle", 0)
        self.since = time.monotonic()
        """When the present state began."""
        super().__init__(*arguments, **named)

    @property
    def state(self) -> str:
        """What is going on: `working` on a request, `sending` an answer, `receiving` a request, or `idle`."""
        if self.requests:
            return "working"
        if self.total_outbufs_len:
            return "sending"
        return "idle" if self.request is None else "receiving"

    def look(self, now: float) -> float:
        """Return for how many seconds the connection has been in its state, as far as it was looked at before."""
        state = (self.state, self.served)
        if state != self._state:
            self._state, self.since = state, now
        return now - self.since

    def received(self, data: bytes) -> bool:
        """Take what a client has sent."""
        taken = bool(super().received(data))
        self.look(time.monotonic())
        return taken

    def service(self) -> None:
        """Answer the next request."""
        super().service()
        self.served += 1

    class task_class(WSGITask):  # type: ignore[misc]  # noqa: N801  (waitress looks for it under this name)
        """An answer of the site; the last one of a connection when the server is about to end."""

        def build_response_header(self) -> bytes:
            """Return status and headers."""
            if self.channel.server.stopping:
                self.set_close_on_finish()
            return bytes(super().build_response_header())

    class error_task_class(ErrorTask):  # type: ignore[misc]  # noqa: N801
        """An answer of the server itself."""

        def execute(self) -> None:
            """Write the answer."""
            self.response_headers += [*HEADERS.items(), *NO_STORE.items()]
            super().execute()


LIMITS = {"receiving": REQUEST_SECONDS, "sending": ANSWER_SECONDS, "idle": IDLE_SECONDS}
"""How long a connection may be in a state, in seconds."""
LIMITS_AT_THE_END = {"receiving": 2.0, "idle": 0.2}
"""The same when the server ends: what has begun to arrive, and what may be on its way, is waited for a little."""


class SiteServer(TcpWSGIServer):  # type: ignore[misc]
    """A server for a WSGI application.

    Args:
        application: What answers.
        listening: The socket to listen on.
        proxy: The address of a proxy, through which many clients come; none if empty.
        settings: Those of `waitress`.
    """

    channel_class = Channel
    active_channels: dict[int, Channel]

    def __init__(self, application: Any, listening: socket.socket, *, proxy: str = "", **settings: Any) -> None:
        self.stopping = False
        self._proxy = proxy
        self._next_look = 0.0
        self._to_close: list[Channel] = []
        at = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            application, _sock=listening, sockinfo=at, bind_socket=False,
            trusted_proxy=proxy or None, trusted_proxy_headers={"x-forwarded-for"} if proxy else set(),
            clear_untrusted_proxy_headers=True, connection_limit=2 * MAX_CONNECTIONS, backlog=_BACKLOG,
            asyncore_use_poll=True, log_socket_errors=False, **settings,
        )  # fmt: skip

    def run(self) -> None:
        """Serve until `stop` is called, and then finish what is in progress."""
        while not self.stopping:
            self._turn(_LOOK_SECONDS)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + _LOOK_SECONDS
                self._close_late(LIMITS)
        self._take_what_has_arrived()
        self.accepting = False
        self.del_channel()
        self.socket.close()
        end = time.monotonic() + STOP_SECONDS
        while self.active_channels and time.monotonic() < end:
            self._turn(0.05)
            self._close_late(LIMITS_AT_THE_END)
        self.task_dispatcher.shutdown()

    def stop(self) -> None:
        """Let `run` end; any thread and any signal handler may call this."""
        self.stopping = True
        self.pull_trigger()

    def close(self) -> None:
        """Let go of all connections."""
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        super().close()

    def handle_accept(self) -> None:
        """Accept connections that wait, and close others where there are too many."""
        before = set(self.active_channels.values())
        for _ in range(_ACCEPTED_AT_ONCE):
            known = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == known:
                break
        new = set(self.active_channels.values()) - before
        for channel in _given_up([*before], new, self._proxy):
            if channel in new:
                _refuse(channel)
            self._to_close.append(channel)

    def maintenance(self, now: float) -> None:
        """Do nothing: `run` closes connections, between two turns of the loop."""

    def _close_late(self, limits: Mapping[str, float]) -> None:
        """Close the connections whose clients take too long."""
        now = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.look(now) > limits.get(channel.state, math.inf):
                channel.handle_close()

    def _take_what_has_arrived(self) -> None:
        """Accept and read all that clients had sent when the server was told to stop."""
        known = -1
        while known < len(self.active_channels):
            known = len(self.active_channels)
            self._turn(0)
        self._turn(0)

    def _turn(self, timeout: float) -> None:
        """Let the loop turn once. What is to be closed waits until then: a new connection could get its number."""
        self.asyncore.loop(timeout=timeout, map=self._map, use_poll=True, count=1)
        for channel in self._to_close:
            channel.handle_close()
        self._to_close.clear()


def _given_up(before: Sequence[Channel], new: Collection[Channel], proxy: str) -> Iterator[Channel]:
    """Yield the connections to be closed, so that neither a client nor all together have too many.

    Of a client those go first that are in the middle of a request or of an answer, then those that have asked for
    nothing, then those that are kept between two requests, and then new ones; each time the one that waits for longest.
    """
    now = time.monotonic()

    def worth(channel: Channel) -> tuple[bool, bool, bool, bool, float]:
        state = channel.state
        is_kept = channel.served > 0 and state == "idle"
        return state == "working", channel in new, is_kept, state == "idle", -channel.look(now)

    clients: dict[str, list[Channel]] = {}
    for channel in (*before, *new):
        clients.setdefault(channel.addr[0], []).append(channel)
    sizes = Counter({client: len(channels) for client, channels in clients.items()})
    crowded = {client for client, size in sizes.items() if size > MAX_CONNECTIONS_PER_CLIENT and client != proxy}
    if not crowded and sizes.total() <= MAX_CONNECTIONS:
        return
    for channels in clients.values():
        channels.sort(key=worth, reverse=True)  # the worst is the last
    while crowded or sizes.total() > MAX_CONNECTIONS:
        client = next(iter(crowded)) if crowded else sizes.most_common(1)[0][0]
        yield clients[client].pop()
        sizes[client] -= 1
        if sizes[client] <= MAX_CONNECTIONS_PER_CLIENT:
            crowded.discard(client)


def _refuse(channel: Channel) -> None:
    """Answer that all connections are at work."""
    lines = [
        "HTTP/1.1 503 Service Unavailable", "Content-Type: text/plain; charset=utf-8", "Connection: close",
        f"Retry-After: {_RETRY_SECONDS}", *(f"{name}: {value}" for name, value in {**HEADERS, **NO_STORE}.items()),
        "", "All connections that one client may have are at work; try again in a few seconds.",
    ]  # fmt: skip
    channel.send("\r\n".join(lines).encode())

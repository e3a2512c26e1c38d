"""Agents that ask a server: several requests at once, and the end of all of them when one fails for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, TypeVar

from turngym.agents.serving.connection import ServerConnection

SEEDS = 2**31
"""Seeds of requests lie below this."""

Answer = TypeVar("Answer")


class AskingAgent:
    """An agent with requests to a server under way, which are ended when it is closed."""

    _connection: ServerConnection
    _pool: ThreadPoolExecutor

    def _open(self, connection: ServerConnection, parallel: int) -> None:
        """Begin to ask a server.

        Args:
            connection: The connection to it.
            parallel: Requests at once.
        """
        self._connection = connection
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="turngym-requests")

    def __enter__(self) -> Self:
        """Return the agent, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the requests under way; the agent is of no use from now on."""
        self._connection.close()
        self._pool.shutdown(cancel_futures=True)

    def _all(self, calls: Sequence[Callable[[], Answer]], awaited: tuple[type[Exception], ...] = ()) -> list[Answer]:
        """Return what all of some calls return; where one raises, or an interrupt comes, the agent is closed.

        Args:
            calls: What is called, several at once.
            awaited: Errors after which requests under way are waited for, not ended.

        Raises:
            Exception: What a call has raised, of several that of the first one; those that are not awaited go first.
        """
        futures = [self._pool.submit(call) for call in calls]
        try:
            self._await(futures, awaited)
        except BaseException:  # an interrupt too
            self.close()
            raise
        return [future.result() for future in futures]

    def _await(self, futures: Sequence[Future[Answer]], awaited: tuple[type[Exception], ...]) -> None:
        """Wait for answers, or for the first error; the errors are those of `_all`."""
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        errors = [error for future in futures if future in done and (error := future.exception())]
        for error in errors:
            if not isinstance(error, awaited):
                raise error
        if errors:
            wait(futures)
            raise errors[0]

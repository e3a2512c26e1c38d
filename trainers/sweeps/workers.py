"""Work in several processes at once, of which some waits for other; whatever ends the first process ends all."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from turngym.trainers.interrupt import DeferredInterrupt, Stopped

SECONDS = 0.5
"""Between two looks at signals and progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a process of its own does."""

    name: str
    """Unique among all that is done together."""
    call: Callable[..., Any]
    """A function of a module, which the process imports."""
    arguments: tuple[Any, ...] = ()
    """Its arguments."""
    needs: str = ""
    """The name of the work that must be done before; empty where it waits for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Work that has ended, well or not."""

    work: Work
    """Which."""
    exit_code: int | None
    """Of its process: 0 where it ended well, below 0 after a signal; None where what it needs has failed."""
    result: Any = None
    """What the function returned."""
    seconds: float = 0.0
    """How long it took, its start included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Work that is being done."""

    work: Work
    process: BaseProcess
    answers: Connection
    since: float
    """When it began, as `time.monotonic` counts."""


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Does all of some work, a few at once, and yields each as it ends.

    What fails keeps nothing else from being done but what needs it. A signal (Ctrl-C, SIGTERM, SIGHUP) is passed on to
    every process, as SIGINT or SIGTERM, so that it may save what it has, and raised as `Stopped` when all have ended; a
    second one is passed on too, and a third kills. The processes end as after SIGTERM also when this one is killed. A
    terminal's Ctrl-C reaches them through this process alone, since each has a session of its own.

        with Workers(works, 2) as workers:
            for done in workers:
                print(done.work.name)

    Args:
        works: In the order in which they shall begin.
        jobs: How many at once, at least 1.
        on_tick: Called twice a second while work is being done.
        preload: Modules that the work needs and that take long to import; on Linux one process imports them, from
            which the others are forked. None of them may begin to use a GPU.
    """

    def __init__(
        self, works: Sequence[Work], jobs: int, on_tick: Callable[[], None] = lambda: None, preload: Sequence[str] = ()
    ) -> None:
        self._context: Any = get_context("forkserver" if preload and sys.platform == "linux" else "spawn")
        self._preload = list(preload)
        self._waiting = list(works)
        self._jobs = jobs
        self._on_tick = on_tick
        self._names = {work.name for work in works}
        self._ended: dict[str, bool] = {}
        self._interrupt = DeferredInterrupt()
        self.running: list[Running] = []
        """What is being done now."""

    def __enter__(self) -> Self:
        """Take note of signals from now on."""
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(self._preload)
            before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # so that it outlives the terminal
            forkserver.ensure_running()
            signal.signal(signal.SIGHUP, before)
        self._interrupt.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every process, gently at first, and put the signal handlers back."""
        try:
            self._stop(
                signal.SIGINT if isinstance(error, Stopped) and error.number == signal.SIGINT else signal.SIGTERM
            )
        finally:
            self._interrupt.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[Done]:
        """Yield what has ended, until all has.

        Raises:
            Stopped: A signal has come.
        """
        while self._waiting or self.running:
            yield from self._give_up()
            self._begin()
            if not self.running:
                continue
            parts: list[Any] = [running.answers for running in self.running]
            ready = connection.wait([*parts, *(running.process.sentinel for running in self.running)], SECONDS)
            if self._interrupt.requested:
                raise self._interrupt.requested
            self._on_tick()
            for running in [each for each in self.running if {each.answers, each.process.sentinel} & {*ready}]:
                done = self._end(running)
                self._ended[running.work.name] = done.exit_code == 0
                yield done

    def _give_up(self) -> Iterator[Done]:
        """Yield what cannot be done, since what it needs has failed."""
        for work in [each for each in self._waiting if self._ended.get(each.needs) is False]:
            self._waiting.remove(work)
            self._ended[work.name] = False
            yield Done(work=work, exit_code=None)

    def _begin(self) -> None:
        """Begin what can be, in order, as far as there is room."""
        for work in list(self._waiting):
            if len(self.running) == self._jobs:
                return
            if work.needs in self._names and not self._ended.get(work.needs):
                continue
            answers, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(target=_do, args=(work.call, work.arguments, theirs), name=work.name)
            process.start()
            theirs.close()
            self._waiting.remove(work)
            self.running.append(Running(work=work, process=process, answers=answers, since=time.monotonic()))

    def _end(self, running: Running) -> Done:
        """Take the result of a process and wait for its end."""
        result = None
        with suppress(EOFError):  # it has ended without one
            result = running.answers.recv()
        running.process.join()
        running.answers.close()
        self.running.remove(running)
        return Done(work=running.work, exit_code=running.process.exitcode, result=result,
                    seconds=time.monotonic() - running.since)  # fmt: skip

    def _stop(self, number: int) -> None:
        """Send a signal to every process and wait for all to end; each further signal that comes is sent as well."""
        for send in (number, number, getattr(signal, "SIGKILL", signal.SIGTERM)):
            try:
                for running in self.running:
                    if running.process.pid is not None and running.process.is_alive():
                        with suppress(ProcessLookupError):
                            os.kill(running.process.pid, send)
                for running in self.running:
                    running.process.join()
                break
            except KeyboardInterrupt:
                continue
        self.running = [running for running in self.running if running.process.is_alive()]


def _do(call: Callable[..., Any], arguments: tuple[Any, ...], answers: Connection) -> None:
    """Do work in this process, which ends with the one that started it."""
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers.send(call(*arguments))
    answers.close()


def _end_with_parent() -> None:
    """End this process as after SIGTERM when the one that started it has ended."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

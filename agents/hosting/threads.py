"""Environments in a thread beside the agent's, which is replaced when a call hangs: Python cannot end a thread.

One thread runs the calls of all slots, one after another, and is asked for a whole round at once, since handing over
costs more than a step of a small game. A call that is late keeps its thread; a new one takes over the others.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from turngym._deadline import CLOSING_TIME
from turngym.agents.hosting.host import Patience
from turngym.agents.hosting.stage import Failed, Game, Method, Opening, Result, Stage, reason_of
from turngym.envs.core import TextEnv

Call = tuple[int, Method, Callable[[], Result]]
"""A slot, the method that is to be called for it, and how."""


SLACK = 0.001
"""Seconds between looks at the clock, at least."""


class Line:
    """A thread that runs calls one after another.

    Args:
        bell: Gets an item whenever there is nothing left to run.
        patience: Told how many seconds each call took.
    """

    def __init__(self, bell: SimpleQueue[None], patience: Patience) -> None:
        self._bell, self._patience = bell, patience
        self._lock = Lock()
        self._calls: deque[Call] = deque()
        self._results: deque[tuple[int, Result | BaseException]] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._running: tuple[int, Method] | None = None
        self.since = 0.0
        """When the running call began, seconds of the monotonic clock."""
        self._thread = Thread(target=copy_context().run, args=(self._work,), name="turngym-environments", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether calls run or wait."""
        with self._lock:
            return self._running is not None or bool(self._calls)

    @property
    def seconds_left(self) -> float:
        """Seconds until the running call is late; 0 where none runs."""
        with self._lock:
            return 0.0 if self._running is None else self._until_late(self._running[1])

    def send(self, calls: Iterable[Call]) -> None:
        """Run calls after those that wait."""
        with self._lock:
            self._calls.extend(calls)
        self._wake.put(True)

    def take(self) -> list[tuple[int, Result]]:
        """Return the results so far, each once.

        Raises:
            BaseException: What a call raised.
        """
        taken: list[tuple[int, Result]] = []
        while self._results:
            slot, result = self._results.popleft()
            if isinstance(result, BaseException):
                raise result
            taken.append((slot, result))
        return taken

    def retire(self) -> tuple[int, list[Call]] | None:
        """Let a running call that is late be the last; return its slot and the calls that wait, or None."""
        with self._lock:
            if self._running is None or self._until_late(self._running[1]) > 0.0:
                return None
            waiting, self._calls = list(self._calls), deque()
            return self._running[0], waiting

    def finish(self) -> None:
        """End the thread after its calls; does not wait for it."""
        self._wake.put(False)

    def interrupt(self) -> None:
        """Raise SystemExit in the running call as soon as it runs Python code, so that no endless loop eats time."""
        identity = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(SystemExit))

    def _work(self) -> None:
        while self._wake.get():
            call = self._next()
            while call is not None:
                slot, method, function = call
                try:
                    result: Result | BaseException = function()
                except KeyboardInterrupt as error:  # Ctrl-C goes to the main thread: this one is the environment's own
                    result = Failed(reason=reason_of(error))
                except BaseException as error:  # noqa: BLE001 - it is raised again where the call was asked for
                    result = error
                self._patience.learn(method, time.monotonic() - self.since)
                call = self._next((slot, result))
            self._bell.put(None)

    def _next(self, done: tuple[int, Result | BaseException] | None = None) -> Call | None:
        """Keep the result of the running call and begin the next one, in one: a call either runs or has its result."""
        with self._lock:
            if done is not None:
                self._results.append(done)
            self._running = None
            if not self._calls:
                return None
            call = self._calls.popleft()
            self._running, self.since = call[:2], time.monotonic()
            return call

    def _until_late(self, method: Method) -> float:
        return self.since + self._patience.late(method) - time.monotonic()


class ThreadHost:
    """Runs calls with a limit; implements `Host`.

    Args:
        game: What is played.
        patience: How long calls are waited for.
    """

    def __init__(self, game: Game, patience: Patience) -> None:
        self._game, self._patience = game, patience
        self._stages: dict[int, Stage] = {}
        self._calls: list[Call] = []
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._line = Line(self._bell, patience)
        self._late: dict[int, Line] = {}

    @property
    def expecting(self) -> bool:
        """Whether calls were submitted since results were last gathered."""
        return bool(self._calls)

    def submit(self, slot: int, method: Method, *arguments: Any) -> None:
        """Ask for a call."""
        if slot not in self._stages:
            self._stages[slot] = Stage(self._game, slot)
        self._calls.append((slot, method, partial(self._stages[slot].call, method, *arguments)))

    def gather(self) -> list[tuple[int, Result]]:
        """Run what was submitted and return its results; calls that are late are left out and come with later ones."""
        self._send()
        results: list[tuple[int, Result]] = []
        while True:
            busy = self._line.busy
            results += self._line.take() + self._settled()
            if not busy and (results or not self._late):
                return sorted(results, key=lambda result: result[0])
            self._wait()

    def env(self, slot: int, opening: Opening) -> TextEnv:
        """Return the environment of a slot."""
        return self._stages[slot].text_env()

    def close(self) -> None:
        """Close all environments; those that take too long are left behind, to be closed when they come back."""
        self._calls.clear()
        for slot in self._stages.keys() - self._late.keys():
            self.submit(slot, "close")
        self._send()
        end = time.monotonic() + CLOSING_TIME
        while self._line.busy and time.monotonic() < end:
            self._wait()
        self._line.finish()
        for slot in list(self._late):
            self._leave(slot)

    def _send(self) -> None:
        if self._calls:
            self._line.send(self._calls)
            self._calls = []

    def _settled(self) -> list[tuple[int, Result]]:
        """Return the results of late calls that have come back, or are to be waited for no longer."""
        results: list[tuple[int, Result]] = []
        for slot, line in list(self._late.items()):
            taken = line.take()  # maybe of slots before it in line too
            results += taken
            if slot in dict(taken):
                line.finish()
                del self._late[slot]
            elif time.monotonic() - line.since > self._patience.limit:
                self._leave(slot)
                reason = f"TimeoutError: no answer within {self._patience.limit:g} seconds"
                results.append((slot, Failed(reason=reason, timeout=True)))
        return results

    def _leave(self, slot: int) -> None:
        """Leave a call that hangs behind: should it come back, its environment is closed."""
        line, stage = self._late.pop(slot), self._stages.pop(slot)
        stage.leave()
        line.send([(slot, "close", partial(stage.call, "close"))])
        line.finish()
        line.interrupt()

    def _wait(self) -> None:
        """Wait until a thread has run out of calls or a call takes too long; one that is late gets the thread."""
        now = time.monotonic()
        due = [line.since + self._patience.limit - now for line in self._late.values()]
        due += [self._line.seconds_left] if self._line.busy else []
        with suppress(Empty):
            self._bell.get(timeout=max(0.0, min(due, default=0.0)) + SLACK)
        if retired := self._line.retire():
            slot, waiting = retired
            self._late[slot] = self._line
            self._line = Line(self._bell, self._patience)
            self._line.send(waiting)

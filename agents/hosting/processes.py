"""Environments in worker processes, where what ends a process, fills memory or blocks the interpreter ends a worker.

A worker runs one call at a time. When it dies, its call counts as failed; the other episodes that were in it are
interrupted, through no fault of their own, and begin anew. A worker that is late keeps its call alone, and another one
takes its place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import gymnasium as gym

from turngym._deadline import CLOSING_TIME
from turngym._errors import InputError, WorkError
from turngym.agents.hosting.host import Patience
from turngym.agents.hosting.stage import Died, Failed, Game, Interrupted, Method, Opening, Outcome, Refusal, Result
from turngym.envs.core import TextEnv
from turngym.plugins import requested

START_LIMIT = 300.0
"""How long a worker may take to import what it needs, seconds."""
BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; from importlib import import_module; "
    "import_module(sys.argv[1]).work(int(sys.argv[2]))"
)
"""The program of a worker. A module would be imported by its name before the path is set."""
WORKER = "turngym.agents.hosting.worker"
"""The module of workers that hold environments."""


def start_process(module: str) -> tuple[Connection, subprocess.Popen[bytes]]:
    """Start a process that calls `work(handle)` of a module; return the connection to it, and the process.

    It has a session of its own, so that a terminal's Ctrl-C does not reach it, and a standard input that ends with this
    process.

    Args:
        module: Its name; `handle` is the file descriptor of its end of the connection.
    """
    ours, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", BOOT, module, str(theirs.fileno()), *sys.path],
        stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], start_new_session=True,
    )  # fmt: skip
    theirs.close()
    return ours, process


def kill_process(process: subprocess.Popen[bytes]) -> None:
    """End a process of `start_process` and those that it has started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def bury_process(process: subprocess.Popen[bytes], seconds: float | None = None) -> int:
    """Wait for the end of a process of `start_process` and return its exit code.

    Raises:
        subprocess.TimeoutExpired: It takes longer.
    """
    code = process.wait(timeout=seconds)
    assert process.stdin is not None
    process.stdin.close()
    return code


class Described:
    """What an agent in this process knows of an environment in another: how it described itself at the start.

    Args:
        opening: The start of the episode.
    """

    def __init__(self, opening: Opening) -> None:
        self.instructions = opening.instructions
        self.reasoning = opening.reasoning

    def __getattr__(self, name: str) -> Any:
        """Refuse everything else."""
        raise AttributeError(f"{name} of an environment in a worker process is out of reach; derive the agent from "
                             "turngym.agents.ScriptedAgent, which plays there too, or do not isolate")  # fmt: skip


class Worker:
    """A process that holds environments, and the calls that wait for it.

    Args:
        setup: What it has to know, as `packed` returns it.
    """

    def __init__(self, setup: Sequence[bytes]) -> None:
        self.connection, self._process = start_process(WORKER)
        with suppress(OSError):  # if it has died already, the first call tells
            for part in setup:
                self.connection.send_bytes(part)
        self.ready = False
        """Whether it has imported what it needs."""
        self.since = time.monotonic()
        """When the running call began, or the process, seconds of the monotonic clock."""
        self.generation = 0
        """How many processes have died in its place."""
        self.running: tuple[int, Method] | None = None
        """The slot and the method of the running call."""
        self.calls: deque[tuple[int, Method, tuple[Any, ...]]] = deque()
        """The calls that wait."""
        self.slots: set[int] = set()
        """Slots with an episode in it."""

    @property
    def busy(self) -> bool:
        """Whether calls run or wait."""
        return self.running is not None or bool(self.calls)

    def run_next(self) -> None:
        """Run the next call, if it can."""
        if self.ready and self.running is None and self.calls:
            call = self.calls.popleft()
            self.running, self.since = call[:2], time.monotonic()
            with suppress(OSError):  # where it has died, reading tells
                self.connection.send((self.generation, *call))

    def kill(self) -> None:
        """End the process and those that it has started."""
        kill_process(self._process)
        self.dismiss()
        bury_process(self._process)

    def dismiss(self) -> None:
        """Let the process end after its call; `reap` waits for that."""
        self.connection.close()

    def reap(self, seconds: float) -> None:
        """Wait for the end of a process that was dismissed, and end it if it takes longer."""
        try:
            bury_process(self._process, seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class ProcessHost:
    """Runs calls in worker processes; implements `Host`.

    Args:
        game: What is played; with everything in it, it must be importable from another process.
        patience: How long calls are waited for.
        workers: How many processes.

    Raises:
        InputError: The game cannot be taken to another process.
    """

    def __init__(self, game: Game, patience: Patience, workers: int) -> None:
        if os.name != "posix":
            raise InputError("environments can be isolated on Linux and macOS alone; play without isolation")
        self._setup, self._patience = packed(game.env_id, game, "play without isolation"), patience
        self._workers = [Worker(self._setup) for _ in range(workers)]
        self._spare: Worker | None = None
        self._late: list[Worker] = []
        self._home: dict[int, Worker] = {}
        self._lost: list[tuple[int, Result]] = []
        self._submitted = False

    @property
    def expecting(self) -> bool:
        """Whether calls were submitted since results were last gathered, or episodes were interrupted."""
        return self._submitted or bool(self._lost)

    def submit(self, slot: int, method: Method, *arguments: Any) -> None:
        """Ask for a call."""
        home = self._home.get(slot)
        if home is None or method != "turn":  # a new episode goes where there is room, whatever became of the last one
            if home is not None:
                self._vacate(home, slot)
            home = self._workers[slot % len(self._workers)]
            home.slots.add(slot)
            self._home[slot] = home
        home.calls.append((slot, method, arguments))
        self._submitted = True

    def gather(self) -> list[tuple[int, Result]]:
        """Run what was submitted and return its results; calls that are late are left out and come with later ones."""
        self._submitted = False
        results: list[tuple[int, Result]] = []
        while True:
            results += self._lost
            self._lost = []
            for worker in (*self._workers, *self._late):
                worker.run_next()
            busy = any(worker.busy for worker in self._workers)
            if not busy and (results or not any(worker.busy for worker in self._late)):
                return sorted(dict(results).items())  # an interruption takes the place of a result before it
            results += self._received()
            self._look_at_clock()

    def env(self, slot: int, opening: Opening) -> TextEnv:
        """Return what is known here of the environment of a slot."""
        return cast("TextEnv", Described(opening))

    def close(self) -> None:
        """End all workers, after they have closed their environments where they are idle."""
        workers = [*self._workers, *self._late, *filter(None, [self._spare])]
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.reap(0.0 if worker.running else CLOSING_TIME)

    def _received(self) -> list[tuple[int, Result]]:
        """Return the results that have come in, after waiting for some or for a moment when a call takes too long."""
        active = {worker.connection: worker for worker in (*self._workers, *self._late) if worker.busy}
        results = []
        for connection in wait([*active], timeout=self._until_due([*active.values()])):
            worker = active[cast("Connection", connection)]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker, "the environment's worker process has gone")
                continue
            if isinstance(message, Died):
                self._survive(worker, message.reason)
                continue
            if isinstance(message, Refusal):
                raise message.error()
            if not worker.ready:
                worker.ready = True
                continue
            assert worker.running is not None
            slot, method = worker.running
            results.append((slot, cast("Result", message)))
            self._patience.learn(method, time.monotonic() - worker.since)
            worker.running = None
            if is_over(message):
                worker.slots.discard(slot)
        return results

    def _until_due(self, workers: list[Worker]) -> float:
        """Return the seconds until a call is late or given up."""
        now = time.monotonic()
        due = [worker.since + self._allowed(worker) for worker in workers]
        return min(max(0.0, min(due, default=now) - now) + 0.001, 3600.0)

    def _allowed(self, worker: Worker) -> float:
        if not worker.ready:
            return START_LIMIT
        if worker in self._late or worker.running is None:
            return self._patience.limit
        return self._patience.late(worker.running[1])

    def _look_at_clock(self) -> None:
        """Put workers whose call is late aside, and end those whose call is given up."""
        now = time.monotonic()
        for worker in [*self._workers, *self._late]:
            if not worker.busy or (worker.ready and not worker.running):
                continue
            if now - worker.since <= self._allowed(worker):
                continue
            if not worker.ready:
                raise WorkError(f"a worker process for environments did not start within {START_LIMIT:g} seconds")
            if worker in self._late or self._allowed(worker) == self._patience.limit:
                self._bury(worker, f"TimeoutError: no answer within {self._patience.limit:g} seconds", timeout=True)
            else:
                self._replace(worker, "another environment in its process is late")
                self._late.append(worker)

    def _bury(self, worker: Worker, reason: str, *, timeout: bool = False) -> None:
        """Count the call of a worker that is to be gone as failed, and replace the worker."""
        self._lose(worker, reason, timeout=timeout)
        if worker in self._late:
            self._late.remove(worker)
        else:
            self._replace(worker, reason)
        worker.kill()

    def _survive(self, worker: Worker, reason: str) -> None:
        """Count the call of a worker whose process has died as failed; it goes on with another process."""
        self._lose(worker, reason)
        worker.generation += 1
        worker.running = None
        if worker in self._late:
            self._late.remove(worker)
            worker.kill()

    def _lose(self, worker: Worker, reason: str, *, timeout: bool = False) -> None:
        """Let the running call of a worker fail, and the other episodes in it begin anew."""
        self._interrupt(worker, reason)
        for slot in sorted(worker.slots):  # that of the running call
            self._home.pop(slot, None)
            self._lost.append((slot, Failed(reason=reason, timeout=timeout)))
        worker.slots.clear()

    def _replace(self, worker: Worker, reason: str) -> None:
        """Let another worker take the place of one, from whose other episodes it is free."""
        self._interrupt(worker, reason)
        self._workers[self._workers.index(worker)] = self._spare or Worker(self._setup)
        self._spare = Worker(self._setup)  # starts while the others play

    def _vacate(self, worker: Worker, slot: int) -> None:
        """Take note that an episode is over; a worker that was put aside for it is needed no longer."""
        worker.slots.discard(slot)
        if worker in self._late and not worker.slots:
            self._late.remove(worker)
            worker.dismiss()
            worker.reap(CLOSING_TIME)

    def _interrupt(self, worker: Worker, reason: str) -> None:
        """Let the episodes in a worker begin anew elsewhere, but for that of its running call."""
        worker.calls.clear()
        kept = {worker.running[0]} if worker.running else set()
        for slot in sorted(worker.slots - kept):
            self._home.pop(slot, None)
            self._lost.append((slot, Interrupted(reason=reason)))
        worker.slots &= kept


def is_over(result: Result) -> bool:
    """Whether no episode goes on after this result, so that none could be interrupted."""
    return not isinstance(result, Opening | Outcome) or (
        isinstance(result, Outcome) and (result.terminated or result.truncated)
    )


def packed(env_id: str, content: object, otherwise: str) -> list[bytes]:
    """Return what a process has to know, as messages: the modules to import, then what can be read once they are there.

    Args:
        env_id: The environment that is played.
        content: What `receive` returns there.
        otherwise: What to do where it cannot be taken there, as the end of a sentence.

    Raises:
        InputError: Something in it cannot be found from another process.
    """
    spec = gym.registry.get(env_id.rpartition(":")[2])
    try:
        return [bytes(ForkingPickler.dumps(part)) for part in (requested(), (spec, content))]
    except Exception as error:
        raise InputError(f"{env_id} cannot be taken to another process ({error}); put what it needs into a module "
                         f"and import that, or {otherwise}") from error  # fmt: skip

"""The other side of `processes`: a process that holds environments and runs the calls that it is sent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NoReturn

import gymnasium as gym

from turngym._errors import InputError
from turngym.agents.hosting.stage import Died, Failed, Game, Refusal, Result, Stage, reason_of
from turngym.plugins import load_plugins


def work(handle: int) -> None:
    """Run calls until the other side is gone, in a process forked from this one, and in another when that one ends.

    Args:
        handle: The file descriptor of the connection to it. Standard input ends with the process on the other side.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, play_on)
    lifeline = take_standard_input()
    connection = Connection(handle)
    try:
        game: Game = receive(connection)
        connection.send(None)
        for generation in count():
            child = os.fork()  # far faster than to start and to import all anew
            if child == 0:
                threading.Thread(target=end_with_parent, args=(lifeline,), daemon=True).start()
                serve(connection, game, generation)
            connection.send(Died(reason=epitaph(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))))
    except (EOFError, OSError):  # nobody is left to tell
        return
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is raised where the game came from
        message = f"an environment cannot be brought to a worker process: {reason_of(error)}"
        connection.send(Refusal(kind=InputError, message=message))


def play_on(number: int, frame: FrameType | None) -> None:
    """Do nothing on a signal that a scheduler sends to all processes of a job: the other side ends this one.

    It does so when it has brought its work to a place where it can be continued. Programs that environments start get
    the usual answers to signals back, unlike those that are ignored.
    """


def serve(connection: Connection, game: Game, generation: int) -> NoReturn:
    """Run the calls that are meant for this process, and close the environments in the end."""
    stages: dict[int, Stage] = {}
    with suppress(EOFError, OSError):
        while True:
            meant, slot, method, arguments = connection.recv()
            if meant != generation:  # its environment has died with an earlier process
                continue
            if slot not in stages:
                stages[slot] = Stage(game, slot)
            try:
                result: Result | Refusal = stages[slot].call(method, *arguments)
            except KeyboardInterrupt as error:  # Ctrl-C does not get here: this one is the environment's own
                result = Failed(reason=reason_of(error))
            except BaseException as error:  # noqa: BLE001 - one of `CALLERS_FAULTS`
                result = Refusal(kind=type(error), message=str(error))
            connection.send(result)
    for stage in stages.values():
        stage.close()
    sys.stdout.flush()
    os._exit(0)


def epitaph(code: int) -> str:
    """Return how a process came to its end.

    Args:
        code: Its exit code, or the number of the signal that ended it, negative.
    """
    if code >= 0:
        return f"the environment ended its process with exit code {code}"
    name = signal.Signals(-code).name
    memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the environment's process was ended by {name}{memory}"


def receive(connection: Connection) -> Any:
    """Import what the other side has imported, register its environment, and return what it has packed."""
    load_plugins(connection.recv())
    spec, content = connection.recv()
    if spec is not None:
        gym.registry.setdefault(spec.id, spec)
    return content


def take_standard_input() -> int:
    """Keep the standard input for `end_with_parent`; environments find an empty one."""
    kept = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return kept


def end_with_parent(lifeline: int) -> None:
    """End this process, whatever it is doing, when the one that started it is gone."""
    while os.read(lifeline, 1):
        pass
    os._exit(1)

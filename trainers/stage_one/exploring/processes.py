"""Explorers in processes of their own, each of which plays one block at a time.

A block is played as a whole by one process, with as many threads as this one has, and so comes out the same to the bit
wherever it is played. A process that ends before its time gives its block back, to whichever process is free next; when
none is left, this process plays what remains. Whatever ends this process ends the others: their standard input, which
they watch, ends with it.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from turngym._errors import WorkError
from turngym.agents.hosting.processes import bury_process, kill_process, packed, start_process
from turngym.agents.hosting.stage import Refusal, reason_of
from turngym.agents.hosting.worker import end_with_parent, play_on, receive, take_standard_input
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.hardware import precision_name
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.placement import Placement
from turngym.trainers.stage_one.exploring.explorers import Block, Cast, Played
from turngym.trainers.stage_one.sampling import StageOneSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process has to know before it plays."""

    setup: StageOneSetup
    """The settings of stage 1."""
    reference: Path
    """The folder of the reference."""
    fingerprint: str
    """What tells its weights from others."""
    decoding: Decoding
    """How it plays."""
    placement: Placement
    """Where it lies, and in which precisions."""
    threads: int
    """Torch threads; equal threads give equal bits."""

    def load(self) -> LanguageModel:
        """Return the frozen reference.

        Raises:
            CheckpointError: It cannot be loaded.
            WorkError: Other weights come out than those that were saved.
        """
        model = LanguageModel.from_pretrained(
            self.reference, decoding=self.decoding, allow_pickle=self.setup.model.allow_pickle,
            day=self.setup.model.day, placement=self.placement, learns=False,
        ).freeze()  # fmt: skip
        if model.fingerprint() != self.fingerprint:
            raise WorkError("the reference is another one in the processes of the explorers: set "
                            "values.explorer_processes to 0")  # fmt: skip
        return model


class ExplorerProcesses:
    """Plays blocks in several processes.

    Args:
        reference: The frozen policy, which is written to a temporary folder for the processes to read.
        setup: The settings of stage 1.
        plan: The blocks, in the order in which they are wanted.
        count: How many processes.

    Raises:
        InputError: The settings cannot be taken to another process.
    """

    def __init__(self, reference: LanguageModel, setup: StageOneSetup, plan: Sequence[Block], count: int) -> None:
        self._plan, self._count = plan, count
        self._folder = TemporaryDirectory(prefix="turngym-explorers-")
        self._reference = reference
        order = Order(
            setup=setup, reference=Path(self._folder.name), fingerprint=reference.fingerprint(),
            decoding=reference.decoding, threads=torch.get_num_threads(),
            placement=Placement(device=str(reference.device), dtype=precision_name(reference.model.dtype),
                                compute_dtype=precision_name(reference.compute_dtype)),
        )  # fmt: skip
        self._order = packed(setup.rollouts.env.id, order, "set values.explorer_processes to 0")
        self._changed = threading.Condition()
        self._waiting = deque(range(len(plan)))
        self._unplayed = len(plan)
        self._played: dict[int, Played | Refusal] = {}
        self._lost: list[str] = []
        self._attended = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        """Those that were started, in order."""

    def start(self) -> None:
        """Start the processes, each with a thread here that hands it blocks."""
        self._reference.save_pretrained(self._folder.name)
        for _ in range(self._count):
            connection, process = start_process(__name__)
            self.processes.append(process)
            self._attended += 1
            self._threads.append(threading.Thread(target=self._attend, args=(connection, process), daemon=True))
        for thread in self._threads:
            thread.start()

    def take(self, place: int) -> tuple[Played | None, list[str]]:
        """Wait for a block and return it; blocks are taken in the order of the plan.

        Args:
            place: Its place in the plan.

        Returns:
            played: The block; None where no process is left to play it, so that this one has to.
            lost: What happened to processes that ended since the last call, a sentence for each.

        Raises:
            CheckpointError: A process could not load a model.
            Exception: What else playing it raised.
        """
        with self._changed:
            while place not in self._played and self._attended:
                self._changed.wait()
            lost, self._lost = self._lost, []
            played = self._played.pop(place, None)
            if played is None:
                self._waiting.remove(place)
        if isinstance(played, Refusal):
            raise played.error()
        return played, lost

    def close(self) -> None:
        """End all processes and forget what they have played."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for process in self.processes:
            if process.poll() is None:
                kill_process(process)
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()

    def _attend(self, connection: Connection, process: subprocess.Popen[bytes]) -> None:
        """Hand blocks to a process, until all are played or it ends."""
        place = None
        try:
            for part in self._order:
                connection.send_bytes(part)
            while (place := self._next()) is not None:
                connection.send(self._plan[place])
                answer = connection.recv()
                with self._changed:
                    self._played[place] = answer
                    self._unplayed -= 1
                    self._changed.notify_all()
        except (EOFError, OSError):
            pass
        finally:
            connection.close()
            kill_process(process)
            self._give_back(place, bury_process(process))

    def _next(self) -> int | None:
        """Return the place of the first block that waits, or will since its process ends; None when all are played."""
        with self._changed:
            while not self._waiting and self._unplayed and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting and not self._closed else None

    def _give_back(self, place: int | None, code: int) -> None:
        """Let others play the block that a process had, and say so."""
        with self._changed:
            self._attended -= 1
            if place is not None and not self._closed:
                self._waiting.appendleft(place)
                self._lost.append(self._epitaph(self._plan[place], code))
            self._changed.notify_all()

    def _epitaph(self, block: Block, code: int) -> str:
        how = f"exit code {code}"
        if code < 0:
            memory = ", as when memory runs out" if -code == signal.SIGKILL else ""
            how = f"signal {signal.Signals(-code).name}{memory}"
        return (f"one of {self._count} processes of explorers has ended ({how}); its {len(block.pairs)} episodes of "
                f"{block.explorer.name} are played again by another")  # fmt: skip


def work(handle: int) -> None:
    """Play the blocks that this process is sent, until the other side is gone.

    Args:
        handle: The file descriptor of the connection to it. Standard input ends with the process on the other side.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, play_on)
    threading.Thread(target=end_with_parent, args=(take_standard_input(),), daemon=True).start()
    connection = Connection(handle)
    try:
        order: Order = receive(connection)
        torch.set_num_threads(order.threads)
        cast = Cast(cache(order.load), order.setup)
        while True:
            connection.send(_played(cast, connection.recv()))
    except (EOFError, OSError):  # nobody is left to tell
        return


def _played(cast: Cast, block: Block) -> Played | Refusal:
    try:
        return cast.play(block)
    except Exception as error:  # noqa: BLE001 - it is raised where the block came from
        known = type(error).__module__.startswith("turngym.")
        return Refusal(kind=type(error), message=str(error)) if known else Refusal(
            kind=WorkError, message=f"explorers failed in a process of their own: {reason_of(error)}"
        )  # fmt: skip

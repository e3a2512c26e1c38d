"""Several processes that train together, as `torchrun` starts them, which are called ranks.

All of them know all episodes and take the same decisions. What is shared out is the work: a rank plays its share of
the episodes and learns from its share of the micro-batches (`torch.distributed`, FSDP2). The first rank alone reads
what the user asks for, writes to the run folder and speaks; the others are told what to do, and keep what a run writes
and reads again, its metrics and value stores, in a folder of their own that is deleted at the end.

One process alone is the usual case, in which nothing of this does anything.
"""

from __future__ import annotations

import atexit
import copy
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from turngym import _durable
from turngym._errors import InputError
from turngym.agents.models.errors import reason_of
from turngym.agents.models.sharding import is_shard
from turngym.trainers.interrupt import DeferredInterrupt, Stopped
from turngym.trainers.run_files import BASE, CHECKPOINTS, REFERENCES, WARM_START
from turngym.trainers.torchrun import is_first, launched

Part = TypeVar("Part")
Result = TypeVar("Result")

LINKED = (WARM_START, BASE, REFERENCES, CHECKPOINTS)
"""Folders of a run that the first rank writes and all of them read."""


CLOSED = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused")
"""What libraries say of a connection whose other end is gone."""


class LostRankError(RuntimeError):
    """Another process of the training has ended, or cannot be reached."""


class _State:
    """What this process does at present."""

    joined = False
    """It is in the block of `joined`."""
    training = False
    """It trains together with others; before and after that each is alone."""
    exchanging = False
    """It does what `exchange` was given."""


def several() -> bool:
    """Return whether several processes train together now."""
    return _State.training


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if several() else 0


def size() -> int:
    """Return how many processes train together now."""
    return dist.get_world_size() if several() else 1


# From the start to the end ------------------------------------------------------------------------------------------


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes that `torchrun` has started, if it has, while the block runs.

    At the end of the block the first rank tells the others that there is nothing more to do.

    Raises:
        InputError: There are more processes on this machine than CUDA devices.
        LostRankError: The others cannot be reached.
    """
    if launched() == 1 or _State.joined:
        yield
        return
    if not dist.is_initialized():
        _connect()
    _State.joined = True
    try:
        yield
        if is_first():
            with suppress(LostRankError):  # which have ended by themselves, stopped by the same signal
                _send(None)
    finally:
        _State.joined = False


def _connect() -> None:
    """Connect the processes until they end."""
    if torch.cuda.is_available():
        place, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= there:
            raise InputError(f"there are more processes on this machine than its {there} CUDA devices: lower "
                             "--nproc-per-node")  # fmt: skip
        torch.cuda.set_device(place)
    with _connection():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(dist.destroy_process_group)  # which cannot be connected a second time


@contextmanager
def leading(job: Any) -> Iterator[None]:
    """Tell the other ranks, if there are any, what to do, and do it together with them while the block runs."""
    if launched() == 1:
        yield
        return
    _send(job)
    with _begun():
        yield


def following(do: Callable[[Any], Result]) -> Result | None:
    """Do what the first rank tells, until there is nothing more to do, and return the last result."""
    result = None
    while (job := _send(None)) is not None:
        with _begun():
            result = do(job)
    return result


@contextmanager
def _begun() -> Iterator[None]:
    _State.training = True
    try:
        with _connection():
            yield
    finally:
        _State.training = False


def _send(job: Any) -> Any:
    """Return in every rank what the first one sends."""
    box = [job]
    with _connection():
        dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def _connection() -> Iterator[None]:
    """Raise `LostRankError` for what the libraries under `torch.distributed` raise when another process is gone.

    Gloo raises plain errors, so these are known by their text.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        text = str(error)
        ended = any(word in text for word in CLOSED)
        if not ended and not isinstance(error, dist.DistError) and "gloo" not in text:
            raise
        reason = "" if ended else f", or cannot be reached ({reason_of(error)})"
        raise LostRankError(f"another process of the training has ended{reason}") from error


def has_last_word() -> bool:
    """Return whether it is this one of several processes that says how the training goes on, now that it ends early.

    It is the first one that asks: any of them may be gone. Where the store of `torchrun` is gone too, each says it.
    """
    mine = os.environ["RANK"]
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=5)
        )
        return bool(store.compare_set("turngym/last_word", "", mine) == mine.encode())
    except (dist.DistError, RuntimeError):
        return True


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """Give every rank a folder to write to: the first one the run folder, the others one of their own.

    There, models and checkpoints are those of the run folder, which all ranks must see, and files are copies.
    """
    if not several():
        yield folder
        return
    with TemporaryDirectory(prefix="turngym-rank-") as place:
        own = folder
        if not is_first():
            own = Path(place)
            for name in LINKED:
                (own / name).symlink_to(folder.absolute() / name)
            for file in folder.iterdir():
                if file.is_file():
                    shutil.copyfile(file, own / file.name)
        exchange(lambda: None)  # the first one does not write before all have copied
        yield own


# Work that is shared out --------------------------------------------------------------------------------------------


def exchange(do: Callable[[], Result]) -> list[Result]:
    """Do something in every rank and return the results of all, by rank.

    Raises:
        Exception: What it raised in any of them, in all of them.
    """
    if not several():
        return [do()]
    if _State.exchanging:  # the other ranks would wait for each other for ever
        raise RuntimeError("what one rank does while the others wait cannot wait for them")
    _State.exchanging = True
    try:
        outcome: tuple[Result | None, Exception | None] = do(), None
    except Exception as error:  # noqa: BLE001 - it is raised again in all ranks
        outcome = None, _sendable(error)
    finally:
        _State.exchanging = False
    outcomes: list[Any] = [None] * size()
    dist.all_gather_object(outcomes, outcome)
    for _, raised in outcomes:
        if raised is not None:
            raise raised
    return [result for result, _ in outcomes]


def once(do: Callable[[], Result]) -> Result:
    """Do something in the first rank, while the others wait, and return its result in all of them.

    Raises:
        Exception: What it raised, in all of them.
    """
    return exchange(do if rank() == 0 else lambda: None)[0]  # type: ignore[return-value]


@contextmanager
def replacement(target: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """Give a path to write a file or folder to that takes the place of `target`, as `_durable.replacement` does.

    All ranks get the same path, which they must all see. An error that all of them raise leaves `target` as it was.

    Args:
        target: The file or folder, of the first rank.
        aside: Where an older folder stands meanwhile.

    Raises:
        OSError: It cannot be written or renamed, in all ranks.
    """
    ours = ExitStack()
    unfinished = once(lambda: ours.enter_context(_durable.replacement(target, aside=aside)).absolute())
    try:
        yield unfinished
    except BaseException as error:
        ours.__exit__(type(error), error, error.__traceback__)
        raise
    once(ours.close)


def _sendable(error: Exception) -> Exception:
    """Return an error that can be made again from its arguments, as it is in the processes that it is sent to."""
    try:
        return copy.copy(error)
    except TypeError:
        return RuntimeError(f"{type(error).__name__}: {error}")


def share(items: Sequence[Part]) -> list[Part]:
    """Return the share of this rank: one item for each rank in turn."""
    return list(items[rank() :: size()])


def put_together(shares: Sequence[Sequence[Part]]) -> list[Part]:
    """Return all items in order, from the shares of all ranks."""
    items: list[Part | None] = [None] * sum(map(len, shares))
    for number, part in enumerate(shares):
        items[number :: len(shares)] = part
    return items  # type: ignore[return-value]


def passes(parts: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
    """Yield what this rank computes with, and whether it counts.

    All ranks take as many forward and backward passes, so one that has fewer parts repeats one without counting it.
    """
    mine = share(parts)
    yield from ((part, True) for part in mine)
    for _ in range(-(-len(parts) // size()) - len(mine)):
        yield parts[0], False


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks."""
    if several():
        dist.all_reduce(tensor)
    return tensor


def total_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add up over all ranks the gradients of what every rank holds as a whole; FSDP2 has done so with parts."""
    for parameter in parameters if several() else ():
        if not is_shard(parameter) and parameter.requires_grad:
            if parameter.grad is None:  # where a rank had nothing to learn from
                parameter.grad = torch.zeros_like(parameter)
            total(parameter.grad)


def total_number(number: float) -> float:
    """Return the sum of a number over all ranks."""
    return float(total(torch.tensor(number, dtype=torch.float64))) if several() else number


def agree_on(interrupt: DeferredInterrupt) -> None:
    """Take a signal that any rank has noted for one of all of them."""
    if several():
        number = max(exchange(lambda: interrupt.requested.number if interrupt.requested else 0))
        if number and not interrupt.requested:
            interrupt.requested = Stopped(number)


def check_agreement(what: str, value: object) -> None:
    """Check that a value is the same in all ranks, which take the same decisions by it.

    Args:
        what: What it is called in the message.
        value: The value; its `repr` tells it from others.

    Raises:
        RuntimeError: It is not.
    """
    if several() and len(set(exchange(lambda: sha256(repr(value).encode()).hexdigest()))) > 1:
        raise RuntimeError(f"{what} are not the same in all processes of the training: does the environment depend on "
                           "anything but its seeds, or do the machines differ?")  # fmt: skip

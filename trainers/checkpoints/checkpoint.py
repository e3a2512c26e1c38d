"""Checkpoints that are whole or absent: written aside, made durable, renamed into place, verified when read.

    step-000500/
        policy/                 the model as `save_pretrained` writes it
        optimizer.safetensors   tensors of the optimizer state
        optimizer.json          everything else of it
        state.json              step and whatever else the trainer needs to go on
        ...                     copied files, such as the value store
        manifest.json           size and SHA-256 of every file above

Nothing is pickled, so reading a checkpoint runs no code. One run writes to a folder at a time; any may read. Where
several ranks train together all of them call `save_checkpoint`: each writes its part of what is shared out, into the
files that one process would write, and the first one writes the rest.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from turngym._checksums import DamagedError, verify, write_checksums
from turngym._durable import remove, remove_unfinished
from turngym.trainers import ranks
from turngym.trainers.checkpoints.tensor_tree import from_json, read_tensors, to_json, write_tensors
from turngym.trainers.run_files import MANIFEST, POLICY

OPTIMIZER_TENSORS, OPTIMIZER, STATE = "optimizer.safetensors", "optimizer.json", "state.json"
_OWN_FILES = (OPTIMIZER_TENSORS, OPTIMIZER, STATE)

# While a step is saved a second time, its first version stands aside as "step-000500.old".
_NAME = re.compile(r"step-(\d{6,})(\.old)?")


class CheckpointError(ValueError):
    """The checkpoint is absent, incomplete or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files were verified."""

    step: int
    """Optimizer steps taken."""
    policy: Path
    """The folder for `from_pretrained`."""
    extra: dict[str, Any]
    """What the trainer saved beside them."""
    path: Path
    """The folder, where copied files lie under their names."""

    def optimizer_state(self, mesh: Any = None) -> dict[str, Any]:
        """Read what was saved as the state of the optimizer, for `sharding.load_state`.

        Args:
            mesh: As of `read_tensors`: where the weights are shared out, so is this state.

        Raises:
            CheckpointError: It is damaged.
        """
        with _advised(self.path):
            return dict(from_json(_read_json(self.path / OPTIMIZER), read_tensors(self.path / OPTIMIZER_TENSORS, mesh)))


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    save_policy: Callable[[Path], None],
    optimizer_state: dict[str, Any],
    extra: dict[str, Any],
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write `folder/step-<step>` so that it appears complete and durable, or not at all.

    A kill or a full disk at any moment leaves every earlier checkpoint as it was, and that of the same step too.

    Args:
        folder: Folder of all checkpoints of a run; created where absent.
        step: Optimizer steps taken, at least 0.
        save_policy: Writes the model into the folder it is given, such as `model.save_pretrained`; of several ranks all
            call it, see `models.save_model`.
        optimizer_state: `optimizer.state_dict()`, or a dict of several; tensors may be shared out among the ranks.
        extra: Further state of plain Python values, without tensors.
        files: Files to copy in, by the name they get: a path within the checkpoint, such as "values.sqlite".

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: It could not be written; nothing of it remains.
        TypeError: A state holds a type that a checkpoint cannot.
        ValueError: `step` is negative, or a name in `files` leads out of the checkpoint or is taken.
    """
    files = files or {}
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    for name in files:
        _check_name(name)
    target = folder / f"step-{step:06d}"
    tensors: dict[str, Tensor] = {}
    structure = to_json(optimizer_state, tensors, "optimizer")
    state = {"step": step, "extra": to_json(extra, None, "extra")}

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder, "step-*")

    def complete(unfinished: Path) -> None:
        _write_json(unfinished / OPTIMIZER, structure)
        _write_json(unfinished / STATE, state)
        for name, source in files.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, unfinished / name)
        write_checksums(unfinished / MANIFEST, [file for file in unfinished.rglob("*") if file.is_file()])

    ranks.once(prepare)
    with ranks.replacement(target, aside=folder / f"{target.name}.old") as unfinished:
        ranks.once(unfinished.mkdir)
        save_policy(unfinished / POLICY)
        write_tensors(unfinished / OPTIMIZER_TENSORS, tensors)
        ranks.once(lambda: complete(unfinished))
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint after verifying every byte of it against its manifest.

    Args:
        path: A folder written by `save_checkpoint`.

    Raises:
        CheckpointError: It is absent or damaged; the message names the file and the newest good checkpoint before it.
    """
    with _advised(path):
        _verify(path)
        state = _read_json(path / STATE)
        return Checkpoint(
            step=state["step"], policy=path / POLICY, extra=from_json(state["extra"], {}), path=path
        )  # fmt: skip


@contextmanager
def _advised(path: Path) -> Iterator[None]:
    """Turn what readers raise into one error, which names the newest good checkpoint before this one."""
    try:
        yield
    except (CheckpointError, SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"{error}. {_advice(path)}") from error


def latest_checkpoint(
    folder: Path, last_step: float = math.inf, *, tell: Callable[[str], None] | None = None
) -> Path | None:
    """Return the newest checkpoint that verifies, or None.

    Args:
        folder: Folder of all checkpoints of a run. Unfinished ones are ignored.
        last_step: The last step whose checkpoint may be returned.
        tell: Told about every damaged checkpoint that is passed over, in one sentence.
    """
    for path in _checkpoints(folder):
        if _order(path)[0] > last_step:
            continue
        try:
            _verify(path)
        except CheckpointError as error:
            if tell is not None:
                tell(f"passed over a damaged checkpoint: {error}")
        else:
            return path
    return None


def prune(folder: Path, keep: int, good_steps: Iterable[int] = ()) -> list[Path]:
    """Delete all but the newest complete checkpoints and return the deleted ones.

    A checkpoint with missing or cut-off files does not count as kept. Contents are not read.

    Args:
        folder: Folder of all checkpoints of a run.
        keep: How many of the newest stay.
        good_steps: For each of these steps, the newest one that is not later stays too.

    Raises:
        ValueError: `keep` is less than 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    complete = 0
    wanted = set(good_steps)
    removed = []
    for path in list(_checkpoints(folder)):
        served = {step for step in wanted if _order(path)[0] <= step}
        if complete >= keep and not served:
            remove(path)
            removed.append(path)
        elif _is_good(path, contents=False):
            complete += 1
            wanted -= served
    return removed


def remove_after(folder: Path, step: int) -> None:
    """Delete the checkpoints of later steps."""
    for path in list(_checkpoints(folder)):
        if _order(path)[0] > step:
            remove(path)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    taken = path.parts[:1] == (POLICY,) or name in (".", *_OWN_FILES, MANIFEST)
    if path.is_absolute() or ".." in path.parts or str(path) != name or taken:
        raise ValueError(f"{name!r} cannot name a file in a checkpoint")


def _verify(path: Path, *, contents: bool = True) -> None:
    """Raise `CheckpointError` unless every file is listed and there, with its size and, if asked, its contents."""
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        verify(path / MANIFEST, f"checkpoint {path}", required=_OWN_FILES, contents=contents)
    except DamagedError as error:
        raise CheckpointError(str(error)) from error


def _is_good(path: Path, *, contents: bool = True) -> bool:
    try:
        _verify(path, contents=contents)
    except CheckpointError:
        return False
    return True


def _advice(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    for candidate in _checkpoints(path.parent) if match else ():
        if candidate != path and _order(candidate) < _order(path) and _is_good(candidate):
            return f"The newest good checkpoint before it is {candidate}"
    return "There is no good checkpoint before it; start the run anew"


def _checkpoints(folder: Path) -> Iterator[Path]:
    """Yield what is named like a checkpoint, newest first; a version set aside comes after its successor."""
    found = folder.iterdir() if folder.is_dir() else ()
    yield from sorted((path for path in found if _NAME.fullmatch(path.name)), key=_order, reverse=True)


def _order(path: Path) -> tuple[int, bool]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), match[2] is None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path.parent} is damaged: {path.name} is missing") from error
    except ValueError as error:  # not UTF-8 or not JSON
        raise CheckpointError(f"checkpoint {path.parent} is damaged: {path.name} is not readable ({error})") from error

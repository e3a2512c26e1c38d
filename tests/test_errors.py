"""The error about input: other errors about values become one, with the same message."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from turngym._errors import InputError, WorkError, file_error, input_errors


def test_a_value_error_becomes_an_input_error() -> None:
    with pytest.raises(InputError, match=r"^too small$") as caught, input_errors():
        raise ValueError("too small")
    assert isinstance(caught.value.__cause__, ValueError)


def test_input_errors_and_all_others_pass() -> None:
    for error in (InputError("unknown"), KeyError("key")):
        with pytest.raises(type(error)) as caught, input_errors():
            raise error
        assert caught.value is error


def os_error(number: int, name: str | None = None) -> OSError:
    """Return an error as the system raises it."""
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (os_error(errno.ENOSPC, "run/x"), WorkError, "run/x: the disk is full; make room and try again"),
        (os_error(errno.ENOSPC), WorkError, "the disk is full; make room and try again"),
        (os_error(errno.EDQUOT, "x"), WorkError, "x: the disk quota is used up; make room and try again"),
        (os_error(errno.EFBIG, "x"), WorkError, "x: the file is larger than this process may write; make room and"),
        (os_error(errno.EIO, "x"), WorkError, "x: Input/output error"),
        (os_error(errno.EROFS, "x"), InputError, "x: Read-only file system"),
        (os_error(errno.EACCES, "x"), InputError, "x: Permission denied"),
        (OSError("of somebody's own"), WorkError, "of somebody's own"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), WorkError, "the disk is full; make room"),
        (RuntimeError("Read-only file system (os error 30)"), WorkError, "Read-only file system"),
    ],
)
def test_what_a_file_refused_is_a_sentence(error: Exception, kind: type[Exception], sentence: str) -> None:
    told = file_error(error)
    assert type(told) is kind and str(told).startswith(sentence)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("(os error x)"),
        ValueError("28"),
        KeyError("x"),
        BrokenPipeError(),
        sqlite3.ProgrammingError("closed"),
    ],
)
def test_what_is_no_matter_of_files_stays_an_error(error: Exception) -> None:
    assert file_error(error) is None


def test_a_database_that_has_no_room(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "x.sqlite")
    database.execute("PRAGMA max_page_count = 2")
    database.execute("CREATE TABLE a (x)")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("CREATE TABLE b (x)")
    assert isinstance(told := file_error(full.value), WorkError) and "the disk is full" in str(told)
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT nothing FROM nowhere")
    assert file_error(wrong.value) is None
    database.close()


def test_weights_that_have_no_room(tmp_path: Path) -> None:
    """Through the library that writes them, whose own error only tells the number of the system's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SafetensorError, match="os error 27") as full:
            save_file({"x": torch.zeros(1000)}, tmp_path / "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(told := file_error(full.value), WorkError) and "larger than this process may write" in str(told)

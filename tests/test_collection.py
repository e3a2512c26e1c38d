"""The garbage collector rests while modules are imported, and is afterwards as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module

import pytest

from turngym._collection import paused_collection

ENDING = """
import atexit, gc
from turngym._collection import end_without_collection

end_without_collection()
atexit._run_exitfuncs()
print(gc.get_freeze_count() > 1_000)
"""


def test_it_rests_and_goes_on_also_after_an_error() -> None:
    with paused_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), paused_collection():
        import_module("no_such_module")
    assert gc.isenabled()


def test_one_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_process_ends_without_it() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"

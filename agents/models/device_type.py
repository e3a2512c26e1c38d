"""On which type of device a model would lie, without torch where that is no question."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

DRIVER = "libcuda.so.1"
"""The library of NVIDIA's driver, which torch itself opens to find a card."""
AMD = Path("/dev/kfd")
"""What AMD's driver shows of its cards, which torch calls cuda too."""


def find_device_type(name: str) -> str:
    """Return the type of the device that a name means, such as "cuda", as `hardware.find_device` finds it.

    torch is imported where it has to be asked: for any name but "cpu" and "auto", and for "auto" where there may be a
    card. On Linux there is none without a driver: NVIDIA's library can be opened, or AMD's device file is there.
    Elsewhere torch is always asked.

    Args:
        name: "auto" for cuda, mps or cpu, the first that there is; or a device of torch, such as "cuda:1".

    Raises:
        InputError: There is no such device here, or the name is none.
    """
    if name == "cpu" or (name == "auto" and not _may_have_card()):
        return "cpu"
    from turngym.agents.models.hardware import find_device

    return find_device(name).type


def _may_have_card() -> bool:
    """Return whether there may be a device that computes faster than the processor."""
    if sys.platform != "linux" or AMD.exists():
        return True
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True

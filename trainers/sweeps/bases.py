"""One base for many runs: which settings it is made by, and how a run takes it over."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from turngym._durable import remove_unfinished, replacement
from turngym.trainers.run_files import BASE

BASE_SECTIONS = {"env", "model", "lora", "warm_start"}
"""Sections of which every setting may change the base."""
BASE_SETTINGS = {
    "learning.temperature", "learning.temperature_final", "learning.tokens_per_microbatch",
    "learning.gradient_checkpointing", "run.seed", "run.device", "run.threads", "run.rollout_slots",
}  # fmt: skip
"""Settings of other sections that may: how demonstrations are learned from, and how the success band is checked."""
UNREAD = {"env.step_timeout", "env.isolate", "model.date"}
"""Settings of these sections that do not: how environments are hosted, and a date that is that of the base."""


def makes_base(setting: str) -> bool:
    """Return whether a setting, such as "model.layers", belongs to what a base is made by."""
    return (setting.partition(".")[0] in BASE_SECTIONS and setting not in UNREAD) or setting in BASE_SETTINGS


def share_base(source: Path, target: Path) -> None:
    """Give a run the base of another one, unless it has one; the files are the same ones where links can be made.

    Runs never write to the files of a base, and each may delete its own.

    Args:
        source: The run that has made the base.
        target: The folder of the other run; it must exist.

    Raises:
        OSError: The base is not there, or cannot be linked or copied.
    """
    if (target / BASE).is_dir():
        return
    remove_unfinished(target, f"{BASE}.*")
    with replacement(target / BASE) as unfinished:
        shutil.copytree(source / BASE, unfinished, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Make a file appear at another place too, by a link or, across file systems, as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

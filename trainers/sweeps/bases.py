"""One base for many runs: which settings it is made by."""

from __future__ import annotations

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

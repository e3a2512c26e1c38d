"""Whether a run fits into memory, and which settings would make it fit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from turngym._errors import InputError
from turngym.trainers.config import with_overrides
from turngym.trainers.memory.estimate import GB, MemoryEstimate, estimate_memory, gigabytes

ADVISED_RANK = 16
"""The rank of the adapter that is advised where all weights do not fit."""
FEWEST_SLOTS, SHORTEST_CONTEXT = 8, 256
"""Less than this is not advised."""

_Setting = tuple[str, str, Any]
"""A section, a setting in it, and its value."""


def check_memory(estimate: MemoryEstimate, available_bytes: int) -> None:
    """Check that a run fits into memory.

    Raises:
        InputError: It does not; the message says which settings would fit, each of which was estimated again.
    """
    if estimate.peak <= available_bytes:
        return
    there = "the card has" if estimate.device == "cuda" else "there are"
    needs = f"the run needs about {_rounded(estimate.peak)} GB, and {there} {_rounded(available_bytes)}"
    found, settings = _fitting(estimate, available_bytes)
    said = " and ".join(f"{section}.{name} {_toml(value)}" for section, name, value in settings)
    if found <= available_bytes:
        raise InputError(f"{needs}: with {said} it needs {_rounded(found)}")
    least = f", and with {said} still {_rounded(found)}" if settings else ""
    raise InputError(f"{needs}{least}: take a smaller model, or a device with more memory")


def _rounded(size: int) -> str:
    """Return bytes in GB with three digits, small numbers with two."""
    return f"{size / GB:.3g}" if GB <= size < 100 * GB else gigabytes(size)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fitting(estimate: MemoryEstimate, available: int) -> tuple[int, list[_Setting]]:
    """Return the mildest settings that fit and what they need, or else those that need least.

    One change is tried before two, and changes that cost time before those that change what is learned. Of several
    together, each is then made as mild as it may be.
    """
    changes = _changes(estimate)
    least: tuple[int, list[_Setting]] = (estimate.peak, [])
    for number in range(1, len(changes) + 1):
        for chosen in itertools.combinations(changes, number):
            settings = [values[-1] for values in chosen]
            needed = _needed(estimate, settings)
            if needed is None:
                continue
            if needed > available:
                least = min(least, (needed, settings), key=lambda found: found[0])
                continue
            for place, values in enumerate(chosen):
                for value in values:
                    milder = [*settings[:place], value, *settings[place + 1 :]]
                    needs = _needed(estimate, milder)
                    if needs is not None and needs <= available:
                        settings, needed = milder, needs
                        break
            return needed, settings
    return least


def _changes(estimate: MemoryEstimate) -> list[list[_Setting]]:
    """Return the changes that may make a run fit, in the order in which they are tried, each from mild to strong."""
    config = estimate.config
    model, learning = config.model, config.learning
    context = min(model.context_length, estimate.shape.context_length)
    shortest = max(SHORTEST_CONTEXT, 2 * model.max_reply_tokens)
    changes: list[list[_Setting]] = [
        [("learning", "tokens_per_microbatch", value) for value in _halves(learning.tokens_per_microbatch, context)],
        [] if learning.recomputes(estimate.shape.parameters) else [("learning", "gradient_checkpointing", True)],
        [("run", "rollout_slots", value) for value in _halves(config.run.rollout_slots, FEWEST_SLOTS)],
        [("model", "dtype", "bfloat16")] if _halvable(estimate) else [],
        [("model", "context_length", value) for value in _halves(context, shortest)],
        [("lora", "rank", ADVISED_RANK)] if model.path and not config.lora.rank else [],
    ]
    return [values for values in changes if values]


def _halvable(estimate: MemoryEstimate) -> bool:
    """Return whether weights that are frozen, or would be beside an adapter, are held in more than bfloat16.

    A card holds them in it by default.
    """
    model = estimate.config.model
    return bool(model.path) and (model.dtype == "float32" or (model.dtype == "auto" and estimate.device != "cuda"))


def _halves(number: int, least: int) -> list[int]:
    """Return halves of a number, of the half and so on, down to the least."""
    halves = []
    while number // 2 >= least:
        number //= 2
        halves.append(number)
    return halves


def _needed(estimate: MemoryEstimate, settings: Sequence[_Setting]) -> int | None:
    """Return what a run would need with other settings, bytes; None where they do not go together."""
    overrides: dict[str, dict[str, Any]] = {}
    for section, name, value in settings:
        overrides.setdefault(section, {})[name] = value
    try:
        config = with_overrides(estimate.config, overrides)
        return estimate_memory(
            config, estimate.shape, device=estimate.device, sampled_share=estimate.sampled_share,
            processes=estimate.processes,
        ).peak  # fmt: skip
    except InputError:
        return None

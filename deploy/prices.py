"""What a second of a rented machine costs: the one table of prices, which the user is asked to check."""

from __future__ import annotations

import math
from dataclasses import dataclass

from turngym._errors import InputError
from turngym.names import nearest

LIST_DATE = "2026-07-01"
"""Day of the list below. It was copied from a public record of https://modal.com/pricing of that day, not from the page
itself, and nobody has compared it with a bill: check it, or give the price with --price-per-hour."""
GPU_PRICES = {
    "T4": 0.000164,
    "L4": 0.000222,
    "A10": 0.000306,
    "L40S": 0.000542,
    "A100-40GB": 0.000583,
    "A100-80GB": 0.000694,
    "RTX-PRO-6000": 0.000842,
    "H100": 0.001097,
    "H200": 0.001261,
    "B200": 0.001736,
}
"""Dollars per second of one card, by the name that Modal knows it by."""
CPU_PRICE = 0.0000131
"""Dollars per second of a physical core."""
MEMORY_PRICE = 0.00000222
"""Dollars per second of a GiB of memory."""
NO_GPU = "none"
MOST_CORES, MOST_GIB = 64.0, 512
"""More is taken for a slip of the pen; the service has limits of its own."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is rented. It gets no more cores and memory than are asked for, so that its price is known beforehand.

    Args:
        gpu: One of `GPU_PRICES`, in any case, or "none".
        cpu: Physical cores.
        memory: GiB.
        price_per_hour: Dollars for all of it; None for the sum of the list prices.

    Raises:
        InputError: There is no such card, or a number is out of range.
    """

    gpu: str = NO_GPU
    cpu: float = 2.0
    memory: int = 8
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        """Check what the client of the service does not: it takes any name of a card."""
        names = {name.lower(): name for name in (*GPU_PRICES, NO_GPU)}
        if self.gpu.lower() not in names:
            raise InputError(f"there is no GPU {self.gpu!r} with a known price{nearest(self.gpu, names.values())}")
        object.__setattr__(self, "gpu", names[self.gpu.lower()])
        if not 0 < self.cpu <= MOST_CORES:
            raise InputError(f"--cpu takes cores, above 0 and at most {MOST_CORES:g}, not {self.cpu:g}")
        if not 0 < self.memory <= MOST_GIB:
            raise InputError(f"--memory takes GiB, 1 to {MOST_GIB}, not {self.memory}")
        if self.price_per_hour is not None and not 0 < self.price_per_hour < math.inf:
            raise InputError(f"--price-per-hour takes dollars above 0, not {self.price_per_hour:g}")

    @property
    def price(self) -> float:
        """Dollars per second."""
        if self.price_per_hour is not None:
            return self.price_per_hour / 3600
        return GPU_PRICES.get(self.gpu, 0.0) + CPU_PRICE * self.cpu + MEMORY_PRICE * self.memory

    def __str__(self) -> str:
        """Return the machine and its price in a sentence."""
        origin = f"by the list of {LIST_DATE}, which is for you to check" if self.price_per_hour is None else "as given"
        card = "no GPU" if self.gpu == NO_GPU else self.gpu
        return (f"{card}, {self.cpu:g} cores, {self.memory} GiB: ${3600 * self.price:.4f} an hour, "
                f"{origin}")  # fmt: skip

"""The shop's site over hours of moderate load: its memory and its waits, minute by minute.

    python -m turngym.benchmarks.shop_soak --log soak.jsonl

Every minute writes a line of JSON: requests and errors so far, the memory of the site, and the waits of this minute.
The last line sums up: `passed` is true if there was no error and the memory did not grow by more than a tenth in the
second half.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from turngym.benchmarks import shop_load
from turngym.benchmarks.shop_visitors import served, waits_ms

GROWTH = 1.1


@dataclass(frozen=True)
class Options:
    """Measure the shop's site over hours."""

    log: Path
    """A file for the lines, which must not exist."""
    minutes: int = 60
    """How long it lasts."""
    rate: float = 5.0
    """Requests per second, of all visitors together."""
    visitors: int = 20
    """Visitors at once; those of the next minute begin anew and leave sessions behind."""
    num_products: int = 1000
    """Size of the catalogue."""
    minute: float = 60.0
    """Seconds of a minute."""


def soak(options: Options) -> dict[str, Any]:
    """Measure, write the lines and return the last one."""
    lines: list[dict[str, Any]] = []
    requests = errors = 0
    load = shop_load.Options(visitors=options.visitors, rate=options.rate, seconds=options.minute)
    with options.log.open("x", encoding="utf-8") as log, served(options.num_products) as site:
        for minute in range(1, options.minutes + 1):
            waits = asyncio.run(shop_load.crowd(site.port, load))
            seconds = [wait for each in waits.seconds.values() for wait in each]
            middle, most, longest = waits_ms(seconds, (0.5, 0.99, 1))
            requests, errors = requests + len(seconds), errors + len(waits.errors)
            lines.append({
                "minute": minute,
                "time": round(time.time()),
                "requests": requests,
                "errors": errors,
                "memory_mb": round(site.memory, 1),
                "p50_ms": round(middle, 1),
                "p99_ms": round(most, 1),
                "longest_ms": round(longest, 1),
                **({"first_error": waits.errors[0]} if waits.errors else {}),
            })  # fmt: skip
            print(json.dumps(lines[-1]), file=log, flush=True)
        last = summary(lines)
        print(json.dumps(last), file=log, flush=True)
    return last


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all minutes come to."""
    memory = [line["memory_mb"] for line in lines]
    middle = memory[len(memory) // 2]
    return {
        "minutes": len(lines),
        "requests": lines[-1]["requests"],
        "errors": lines[-1]["errors"],
        "memory_mb": {"first": memory[0], "middle": middle, "last": memory[-1], "most": max(memory)},
        "longest_ms": max(line["longest_ms"] for line in lines),
        "passed": lines[-1]["errors"] == 0 and max(memory[len(memory) // 2 :]) <= GROWTH * middle,
    }


if __name__ == "__main__":
    print(json.dumps(soak(tyro.cli(Options))))

"""The table as Markdown, CSV and JSON, all of the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from turngym._version import __version__
from turngym.benchmarks.cells import count_text, over_text, sentences
from turngym.benchmarks.page import csv_text, table, write_files
from turngym.benchmarks.webshop.picture import draw
from turngym.benchmarks.webshop.protocols import PROTOCOLS
from turngym.benchmarks.webshop.published import PUBLISHED, published_table
from turngym.benchmarks.webshop.rows import COLUMNS, Result, ShopRow, by_stand, ceilings, repeated, rows_of
from turngym.extras import install_command
from turngym.strict_json import dumps

PAGE, FIGURES, RECORD, PICTURE = "webshop.md", "webshop.csv", "webshop.json", "webshop.png"
HEADS = ("agent", "success", "95% over goals", "runs", "95% over runs", "unseen products", "score", "bought", "type",
         "attributes", "options", "price", "turns", "tokens", "invalid", "cut", "seconds", "errors",
         "goals")  # fmt: skip
"""The columns of the Markdown table of a stand."""
READING = """Success: the purchase was all that was asked for (reward 1). Unseen products: success on the goals (so
many) for products that no goal of training wants. Those are products with few goals, and easier where they have fewer
options; the other goals are new combinations of options of products that training has. Score: the mean share of the
wish that was bought, 0 where nothing was, whatever reward the protocol makes of it. Bought: share of the episodes
that end with a purchase. Type, attributes, options and price are the parts of the score, over purchases. Invalid:
share of the turns that were unusable; cut: share of the episodes in which a limit of tokens ended a reply or the
whole. Intervals are of 95%: over distinct goals, and where there are several runs of an agent (training seeds, or
seeds of its chance) also over these, by Student's t. Seconds are of all episodes of a run. Episodes with an error of
the environment are counted and in nothing else.
"""


def write_report(folder: Path, results: Sequence[Result], command: str) -> list[str]:
    """Write the page, the figures and the picture of a benchmark; return lines for the user about what was left out.

    Args:
        folder: Where to.
        results: The cells.
        command: What was run.
    """
    rows = rows_of(results)
    notes = []
    try:
        draw(rows, folder / PICTURE)
        drawn = True
    except ModuleNotFoundError:
        drawn = False
        notes.append(f"no picture was drawn: install matplotlib with: {install_command('plot')}")
    write_files(folder, {PAGE: page(results, command, picture=drawn),
                         FIGURES: csv_text(COLUMNS, (row.to_dict() for row in rows)),
                         RECORD: dumps(record(results, command), indent=1) + "\n"})  # fmt: skip
    return notes


# Markdown -----------------------------------------------------------------------------------------------------------


def page(results: Sequence[Result], command: str, *, picture: bool = True) -> str:
    """Return the whole page."""
    rows = rows_of(results)
    split = results[0].cell.split if results else "test"
    parts = ["# WebShop\n", f"    {command}\n", f"turngym {__version__}, {split} goals.\n", READING]
    for (catalogue, protocol), own in by_stand(rows).items():
        parts += [f"## {catalogue}, {protocol}\n", f"{about(results, catalogue, protocol)}\n",
                  table(HEADS, [row_cells(row) for row in own]) + "\n", f"{ceiling_note(own)}\n"]  # fmt: skip
    parts += [f"{sentence}\n" for sentence in (*repeated(results), *sentences(results))]
    if picture:
        parts.append(f"![Success of agents]({PICTURE})\n")
    return "\n".join([*parts, "## Published\n", published_table()])


def about(results: Sequence[Result], catalogue: str, protocol: str) -> str:
    """Return what a stand is, with the arguments beyond those of the protocol."""
    played = (result.cell.stand for result in results)
    stand = next(one for one in played if (one.catalogue.name, one.protocol.name) == (catalogue, protocol))
    extra = ", ".join(f"{name} = {value}" for name, value in stand.extra.items())
    shop, split = stand.shop(), results[0].cell.split
    return (f"`{stand.env_id}`: {PROTOCOLS[protocol].about} {len(shop.shop.catalogue):,} products, "
            f"{len(shop.goals):,} goals, {stand.num_goals(split):,} {split} goals."
            f"{f' Changed here: {extra}.' if extra else ''}")  # fmt: skip


def row_cells(row: ShopRow) -> list[str]:
    """Return a row as text, in the order of `HEADS`."""
    shares = [share(value) for value in (row.r_type, row.r_att, row.r_option, row.r_price)]
    unseen = "" if row.unseen is None else f"{row.unseen:.3f} of {row.unseen_goals}"
    return [
        row.agent.replace("|", "\\|"), f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]", str(row.runs),
        over_text(row), unseen, f"{row.score:.3f}", share(row.bought),
        *shares, f"{row.turns:.1f}", f"{row.tokens:.1f}", share(row.invalid), share(row.cut), f"{row.seconds:.1f}",
        str(row.errors), count_text(row),
    ]  # fmt: skip


def share(value: float | None) -> str:
    """Return a share as text; empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def ceiling_note(rows: Sequence[ShopRow]) -> str:
    """Return what can be reached at a stand."""
    reached = ceilings(rows).get((rows[0].catalogue, rows[0].protocol), {})
    said = []
    if oracle := reached.get("oracle"):
        said.append(f"the oracle, which searches for the hidden title of the wanted product, has {oracle.success:.3f}")
    if reader := reached.get("reader"):
        said.append(f"the best script that reads visible text alone has {reader.success:.3f} ({reader.agent})")
    if not said:
        return "No ceiling was measured: play `oracle` and `shopper`."
    return f"What can be reached: {'; '.join(said)}."


# JSON ---------------------------------------------------------------------------------------------------------------


def record(results: Sequence[Result], command: str) -> dict[str, Any]:
    """Return the benchmark for JSON: the rows, the ceilings, every cell with its key, and the published figures."""
    rows = rows_of(results)
    reached: Mapping[tuple[str, str], Mapping[str, ShopRow]] = ceilings(rows)
    return {
        "command": command,
        "turngym": __version__,
        "rows": [row.to_dict() for row in rows],
        "ceilings": [{"catalogue": catalogue, "protocol": protocol,
                      **{who: {"agent": row.agent, "success": row.success} for who, row in found.items()}}
                     for (catalogue, protocol), found in reached.items()],
        "cells": [{"agent": result.cell.player.name, "seed": result.cell.seed, "digest": result.cell.digest,
                   "key": result.cell.key,
                   "success": sum(outcome.success for outcome in result.outcomes)} for result in results],
        "published": [asdict(row) for row in PUBLISHED],
    }  # fmt: skip

"""The tables of `turngym bench webshop` for the terminal: the columns of the page that fit into its width."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from turngym.benchmarks.webshop import Row

COLUMNS = ("agent", "success", "95% interval", "runs", "score", "type", "attr", "opt", "price", "turns", "tokens",
           "invalid", "seconds", "n")  # fmt: skip


def stand_table(rows: Sequence[Row]) -> Table:
    """Return the rows of a stand as a table."""
    table = Table(title=f"{rows[0].catalogue}, {rows[0].protocol}", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=0, pad_edge=False, show_edge=False)  # fmt: skip
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "agent" else "right", no_wrap=column != "agent")
    for row in rows:
        parts = [_short(value) for value in (row.r_type, row.r_att, row.r_option, row.r_price)]
        over = f"{row.runs}" if row.over_runs is None else f"{row.runs} ±{row.over_runs:.3f}".replace("±0.", "±.")
        table.add_row(row.agent, f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]", over, f"{row.score:.3f}",
                      *parts, f"{row.turns:.1f}", f"{row.tokens:.1f}", _short(row.invalid), f"{row.seconds:.1f}",
                      f"{row.episodes}" + (f" (+{row.errors} errors)" if row.errors else ""))  # fmt: skip
    return table


def _short(value: float | None) -> str:
    """Return a share in two digits; nothing where there is none."""
    return "" if value is None else f"{value:.2f}"

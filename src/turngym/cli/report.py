"""What a run leaves to look at: the closing table, the learning curve, and a page that holds both."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from turngym.agents.evaluation import Score
from turngym.extras import install_command
from turngym.trainers.reporting.curves import SMOOTHING, Curve, read_curve
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.tables import COLUMNS, ROWS, Rows, result_rows, table_cells, table_notes
from turngym.trainers.run_files import METRICS_FILE

CURVE_FILE, REPORT_FILE = "learning_curve.png", "report.html"


# The table ----------------------------------------------------------------------------------------------------------


def score_table(rows: Rows, title: str) -> Table:
    """Return the table for the terminal; turns, tokens and return are means per episode."""
    # Gaps of one blank, so that the table with the longest names fits into a terminal of 80 columns.
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False,
                  show_edge=False)  # fmt: skip
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "agent" else "right", no_wrap=True)
    for cells in table_cells(rows):
        table.add_row(*cells)
    return table


def alarm_line(result: Mapping[str, Any]) -> str:
    """Return how often each alarm rang and how often learning was rolled back; empty where nothing rang."""
    rung = ", ".join(f"{alarm} {count}" for alarm, count in result.get("alarms", {}).items())
    back = f"; rollbacks: {result['rollbacks']}" if result.get("rollbacks") else ""
    return f"Alarms: {rung}{back} (details in {METRICS_FILE})" if rung else ""


# The learning curve -------------------------------------------------------------------------------------------------


def draw_curve(curve: Curve, rows: Rows, title: str, path: Path) -> None:
    """Draw the success in training with the base, the random floor and the optimum as lines.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(curve.steps, curve.success, color="#9ecae1", linewidth=1, label="each step")
    axes.plot(curve.steps, curve.smoothed(), color="#08519c", linewidth=2, label=f"mean of {SMOOTHING} steps")
    styles = {"optimum": ("#31a354", "--"), "base_sampled": ("#e6550d", ":"), "random": ("#636363", "-.")}
    for key, (color, style) in styles.items():
        row = rows.get(ROWS[key])
        level = row.rate if isinstance(row, Score) else row
        if level is not None:
            axes.axhline(level, color=color, linestyle=style, linewidth=1.2, label=f"{ROWS[key]} {level:.2f}")
    axes.set(xlabel="optimizer step", ylabel="success (sampled, training instances)", ylim=(-0.02, 1.02), title=title)
    axes.grid(alpha=0.25)
    figure.legend(fontsize="small", ncols=5, loc="outside lower center", frameon=False)
    figure.savefig(path)


# The page -----------------------------------------------------------------------------------------------------------

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.25rem .8rem;text-align:right}
td:first-child,th:first-child{text-align:left}thead{border-bottom:2px solid #222}tbody tr{border-bottom:1px solid #ddd}
img{max-width:100%}pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:.85rem}"""


def write_page(
    path: Path, *, title: str, rows: Rows, seconds: Mapping[str, float], config: str, picture: bytes | None,
    alarms: str = "",
) -> None:  # fmt: skip
    """Write a page that needs no other file.

    Args:
        path: Where to write it.
        title: Its heading.
        rows: The closing table.
        seconds: Wall-clock time of each phase.
        config: The run's configuration as text.
        picture: The learning curve as PNG, if there is one.
        alarms: What `alarm_line` returned.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n" for cells in table_cells(rows)
    )
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in table_notes(rows))
    times = "".join(f"<tr><td>{escape(name)}</td><td>{value:.1f}</td></tr>\n" for name, value in seconds.items())
    encoded = base64.b64encode(picture).decode() if picture else ""
    image = f'<p><img alt="success over training steps" src="data:image/png;base64,{encoded}"></p>' if picture else ""
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table>
<p>Held-out instances. Success with its 95% Wilson interval over instances; return, turns and sampled tokens are means
per episode; cut: the share of episodes that the context ended, and of replies that their limit ended; seconds are the
wall-clock time of all n episodes of a row.</p>
{notes}
{f"<p>{escape(alarms)}</p>" if alarms else ""}
{image}
<h2>Time</h2>
<table><thead><tr><th>phase</th><th>seconds</th></tr></thead><tbody>
{times}</tbody></table>
<h2>Configuration</h2>
<pre>{escape(config)}</pre>
</body></html>
""",
        encoding="utf-8",
    )


def write_report(folder: Path, result: Mapping[str, Any], config: str) -> list[str]:
    """Write the learning curve and the page into a run folder; return lines for the user about what was left out."""
    rows, notes = result_rows(result), []
    title = f"{result.get('env_id', 'run')}: {folder.name}"
    picture = None
    curve = read_curve(Metrics(folder / METRICS_FILE).lines())
    try:
        draw_curve(curve, rows, title, folder / CURVE_FILE)
        picture = (folder / CURVE_FILE).read_bytes()
    except ModuleNotFoundError:
        notes.append(f"no learning curve was drawn: install matplotlib with: {install_command('plot')}")
    write_page(folder / REPORT_FILE, title=title, rows=rows, seconds=result.get("seconds", {}), config=config,
               picture=picture, alarms=alarm_line(result))  # fmt: skip
    return notes

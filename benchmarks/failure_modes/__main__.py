"""The command line of the experiments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.failure_modes import chains, samples, sparse
from turngym.benchmarks.page import empty_figure, kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

EXPERIMENTS: dict[str, Any] = {"sparse": sparse, "samples": samples, "chains": chains}
"""The modules by the name of their experiment."""


@dataclass(frozen=True)
class Options:
    """Run an experiment, or finish one that was stopped, and write its page and its picture."""

    experiment: Annotated[Literal["sparse", "samples", "chains"], tyro.conf.Positional]
    """Which one."""
    seeds: int | None = None
    """How many seeds; None for as many as the committed page has."""
    out: Path = RESULTS
    """The folder of the result file, the page and the picture."""
    picture: bool = True
    """Whether to draw; needs matplotlib."""


def draw(fill: Callable[[Figure], None], path: Path) -> None:
    """Draw a picture.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure = empty_figure(9.0, 4.8)
    fill(figure)
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    options = tyro.cli(Options, args=arguments, prog="python -m turngym.benchmarks.failure_modes")
    module = EXPERIMENTS[options.experiment]
    name = f"failure_modes_{options.experiment}"
    seeds = module.SEED_COUNT if options.seeds is None else options.seeds
    rows = module.rows_of(options.out / f"{name}.csv", seeds)
    print(kept(module.page(rows), options.out / f"{name}.md"), end="")
    if options.picture:
        draw(lambda figure: module.draw(figure, rows), options.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

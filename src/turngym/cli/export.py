"""`turngym export`: the policy of a run as a plain checkpoint with a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.cli.options import parse
from turngym.cli.terminal import make_console


@dataclass(frozen=True)
class ExportOptions:
    """Write the last policy of a run as a plain checkpoint, adapters merged, with a model card."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """A run or checkpoint folder."""
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """The folder to write; it must not exist."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """The precision of the weights; that in which they learned unless given. In bfloat16 they are rounded."""
    license: str = ""
    """The licence that the card names, such as apache-2.0; that of the base model unless given, where it names one."""
    allow_pickle: bool = False
    """Read weights that are stored as pickles; only for folders that you trust."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(ExportOptions, words, command="export")
    library = import_trained("turngym.trainers.launch.exporting")
    try:
        library.export(options.run, options.folder, dtype=options.dtype, license=options.license,
                       allow_pickle=options.allow_pickle)  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from error
    make_console().print(f"{options.folder} holds the model, as `AutoModelForCausalLM.from_pretrained` reads it, and "
                         "README.md, its card.", soft_wrap=True)  # fmt: skip
    return 0

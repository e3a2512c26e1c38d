"""`turngym view`: runs as a page, live on this machine or as one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from turngym._errors import InputError
from turngym.benchmarks.comparing.runs import run_folders
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.cli.options import parse
from turngym.cli.terminal import make_console
from turngym.trainers.live.files import ask_for
from turngym.trainers.viewing import file_record, page_of, run_record, serve
from turngym.trainers.viewing.episodes import EPISODES_PER_FILE, Ratios


@dataclass(frozen=True)
class ViewOptions:
    """Look at runs in a browser: curves of all that is logged, and episodes turn by turn."""

    runs: Annotated[Positional[list[str]], arg(metavar="RUN...")]
    """Run folders, or folders that hold run folders."""
    out: Path | None = None
    """Write the page into this file, which needs no server, and stop."""
    port: int = 8080
    """The port on this machine; 0 for any that is free."""
    episodes: int = EPISODES_PER_FILE
    """Most episodes of each file."""
    reference: bool = False
    """Also compute the log-ratio of every sampled token to the model before learning, once at the start."""
    drawings: bool = True
    """Play the episodes that are looked at again, so that their games draw them; `--no-drawings` leaves them out."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(words)
    folders = run_folders(map(Path, options.runs))
    ratios: dict[Path, Ratios] = {}
    if options.reference:
        scoring = import_trained("turngym.trainers.viewing.scoring")
        ratios = {folder: scoring.log_ratios(folder, options.episodes) for folder in folders}

    def read() -> list[dict[str, Any]]:
        return [run_record(folder) for folder in folders]

    def file_of(run: int, stem: str) -> dict[str, Any]:
        folder = folders[run]
        return file_record(folder, stem, episodes=options.episodes, ratios=ratios.get(folder), draw=options.drawings)

    def ask(run: int, setting: str, value: str) -> None:
        if not 0 <= run < len(folders):
            raise UsageError(f"there is no run {run} on the page")
        ask_for(folders[run], setting, value)

    console = make_console()
    if options.out is not None:
        records = read()
        page = page_of(records, list(_all_files(records, file_of)))
        try:
            options.out.write_text(page, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written: {error.strerror or error}") from error
        console.print(f"{options.out} holds the page; open it in a browser.", soft_wrap=True)
        return 0
    read()  # what cannot be read is said here, not in the browser
    try:
        serve(read, file_of, options.port, lambda url: console.print(f"{url} shows {len(folders)} run"
              f"{'s' * (len(folders) != 1)}; Ctrl-C ends it.", soft_wrap=True, highlight=False), ask)  # fmt: skip
    except OSError as error:
        raise UsageError(f"port {options.port} cannot be used: {error.strerror or error}; name another one with "
                         "--port") from error  # fmt: skip
    except KeyboardInterrupt:
        console.print("The page is closed.")
    return 0


def read_options(words: Sequence[str]) -> ViewOptions:
    """Return the options of a command line.

    Raises:
        UsageError: A value is out of range, or no run is named.
    """
    options = parse(ViewOptions, words, command="view")
    if options.episodes < 1:
        raise UsageError(f"--episodes takes at least 1, not {options.episodes}")
    if not 0 <= options.port < 2**16:
        raise UsageError(f"--port takes 0 to 65535, not {options.port}")
    if not options.runs:
        raise UsageError("view needs RUN, a run folder such as runs/frozen_lake-seed0")
    return options


def _all_files(
    records: Sequence[dict[str, Any]], file_of: Callable[[int, str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield, run by run, all files of episodes that can be read, by their names."""
    for place, record in enumerate(records):
        found = {}
        for file in record["files"]:
            with suppress(InputError):  # one that is being written, or damaged
                found[file["name"]] = file_of(place, file["name"])
        yield found

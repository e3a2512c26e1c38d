"""`turngym bench games`: environments and agents in one table, beside the floor and the optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shlex import join
from typing import Any

from rich.console import Console

from turngym.agents.evaluation import no_random_floor
from turngym.benchmarks import games
from turngym.benchmarks.cells import Cell, Player, Stand, left_over, plan, presentation_arguments, sentences
from turngym.benchmarks.games import GameRow, GameStand, Optimum, Result
from turngym.cli.bench_table import TableOptions, count_text, play, runs_text, table_of
from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, parse
from turngym.envs import env_ids
from turngym.envs.finding import check_env, resolve_env
from turngym.strict_json import dumps
from turngym.trainers.reporting.progress import Progress


@dataclass(frozen=True, kw_only=True)
class GamesOptions(TableOptions):
    """Measure agents in environments, beside floor and optimum; the same command goes on after an interruption."""

    envs: list[str] = field(default_factory=list)
    """Which environments; all that come with turngym, and those of the runs, if none is named. A run plays in the
    environment that it was trained in, or in all where that is not among them."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of every environment, as a JSON object; a run knows its own."""
    scripted: list[str] = field(default_factory=lambda: ["random", "rule", "oracle"])
    """Scripted agents that play as well, each where the environment serves it."""
    episodes: int = 512
    """How many instances; all of a split that has fewer."""
    first: int = 0
    """The index of the first instance; the others follow it."""
    out: Path = Path("runs/bench_games")
    """The folder of cells, page (games.md) and figures (games.csv, games.json)."""

    def count(self, stand: GameStand) -> int:
        """Return how many episodes each plays at a stand."""
        return stand.num_episodes(self.split, self.episodes)


COLUMNS = ("environment", "agent", "success", "95% interval", "runs", "of opt.", "return", "turns", "tokens", "seconds",
           "n")  # fmt: skip
"""Of the table on the terminal: those of the page that fit into its width."""


def run(words: Sequence[str], console: Console) -> int:
    """Play what was not played yet, and write the table; the exit code is 1 where an episode ended in an error."""
    options = read(words)
    cells = cells_of(options)
    results, optima = measure(options, cells, options.out, console)
    games.write_report(options.out, results, optima, join(["turngym", "bench", "games", *words]))
    tell(results, optima, [*absent_notes(options, cells), *left_over(options.out, digests(options, cells))], console)
    files = ", ".join(sorted(path.name for path in options.out.glob("games.*")))
    console.print(f"{options.out}: {files}", soft_wrap=True)
    options.tell_spent(console)
    return int(any(row.errors for row in games.rows_of(results, optima)))


def read(words: Sequence[str]) -> GamesOptions:
    """Return the options of a command line.

    Raises:
        UsageError: They cannot be used.
    """
    options = parse(GamesOptions, words, command="bench games")
    options.check([], episodes=options.episodes, first=options.first)
    return options


def cells_of(options: GamesOptions) -> list[Cell[GameStand]]:
    """Return what shall be played.

    Raises:
        UsageError: An agent means nothing, or nobody plays.
        InputError: An environment is unknown or does not take its arguments.
    """
    ids = list(dict.fromkeys(map(resolve_env, options.envs))) or env_ids()
    stands = [GameStand(env=env_id, kwargs=options.env_kwargs) for env_id in ids]
    players = []
    for player in options.players():
        own = home(player, options.env_kwargs)
        if own is None or (options.envs and own.env_id not in ids):
            players.append(player)
        else:
            stands.append(own)
            players.append(replace(player, able=partial(is_stand, own.title)))
    ids += [stand.env_id for stand in stands]
    stands = sorted({stand.title: stand for stand in stands}.values(), key=lambda stand: ids.index(stand.env_id))
    for stand in stands:
        check_env(stand.env_id, stand.arguments)
    cells = list(plan(stands, players, seeds=options.seeds, split=options.split, episodes=options.count,
                      slots=options.slots, first=options.first, lenient=options.lenient))  # fmt: skip
    if not cells:
        raise UsageError(f"nobody plays: {', '.join(player.name for player in players)} can play in none of "
                         f"{', '.join(stand.title for stand in stands)}")  # fmt: skip
    presented = {dumps([cell.stand.env_id, cell.arguments]): cell for cell in cells if cell.player.presentation}
    for cell in presented.values():
        check_env(cell.stand.env_id, cell.arguments)
    return cells


def home(player: Player, env_kwargs: Mapping[str, Any]) -> GameStand | None:
    """Return where a player was trained, as far as it is not a matter of presentation; None where that is not known.

    Args:
        player: The player.
        env_kwargs: Arguments in place of those that it was trained with.
    """
    if player.trained_in is None:
        return None
    env_id, trained = player.trained_in
    own = {name: value for name, value in trained.items() if name not in presentation_arguments(env_id)}
    return GameStand(env=env_id, kwargs=env_kwargs or own)


def is_stand(title: str, stand: Stand) -> bool:
    """Whether a stand is the one of this title."""
    return stand.title == title


def measure(
    options: GamesOptions, cells: Sequence[Cell[GameStand]], out: Path, console: Console
) -> tuple[list[Result], dict[str, Optimum]]:
    """Return the results of cells and the optima of their stands; what the folder does not hold is played.

    Raises:
        InputError: A limit of environments is out of range.
    """
    timeout, isolate = options.hosting()

    def optima(_: object, progress: Progress) -> dict[str, Optimum]:
        return games.find_optima(stands_of(cells), out, progress, split=options.split, episodes=options.count,
                                 first=options.first, step_timeout=timeout, isolate=isolate)  # fmt: skip

    return play(options, cells, out, console, optima)


def stands_of(cells: Sequence[Cell[GameStand]]) -> list[GameStand]:
    """Return the stands of cells, each once."""
    return list({cell.stand.title: cell.stand for cell in cells}.values())


def digests(options: GamesOptions, cells: Sequence[Cell[GameStand]]) -> list[str]:
    """Return what the files of a table are found by."""
    optima = games.optimum_digests(stands_of(cells), split=options.split, episodes=options.count, first=options.first)
    return [*(cell.digest for cell in cells), *optima]


def absent_notes(options: GamesOptions, cells: Sequence[Cell[GameStand]]) -> list[str]:
    """Return a sentence for each environment that is in no row, and for each without a random floor."""
    ids = list(dict.fromkeys(map(resolve_env, options.envs))) or env_ids()
    played = {cell.stand.env_id for cell in cells}
    floors = {cell.stand.env_id for cell in cells if cell.player.name == games.FLOOR}
    names = ", ".join(dict.fromkeys([*options.scripted, *options.agent]))
    notes = [f"{env_id} is in no row: none of {names} can play it." for env_id in ids if env_id not in played]
    if games.FLOOR in options.scripted:
        notes += [no_random_floor(env_id) for env_id in ids if env_id not in floors]
    return notes


# What is shown ------------------------------------------------------------------------------------------------------


def tell(results: Sequence[Result], optima: Mapping[str, Optimum], notes: Sequence[str], console: Console) -> None:
    """Print the table, and what is to be said of it."""
    rows = games.rows_of(results, optima)
    lines: list[list[str]] = []
    for title, own in games.by_stand(rows).items():
        lines += [["" if row is not own[0] else title.removeprefix("turngym/"), *row_text(row)] for row in own]
        lines.append(["", "optimum", str(optima[title]), *[""] * (len(COLUMNS) - 3)])
    split = results[0].cell.split
    console.print(table_of(f"{split} instances", COLUMNS, lines, ["environment", "agent"]))
    for note in (*sentences(results), *games.optimum_notes(optima), *notes):
        console.print(note, soft_wrap=True)


def row_text(row: GameRow) -> list[str]:
    """Return a row as text, in the order of `COLUMNS` without the environment."""
    return [row.agent, f"{row.success:.3f}", f"[{row.low:.3f}, {row.high:.3f}]", runs_text(row.runs, row.over_runs),
            "" if row.share is None else f"{row.share:.3f}", f"{row.mean_return:.3f}", f"{row.turns:.1f}",
            f"{row.tokens:.1f}", f"{row.seconds:.1f}", count_text(row.episodes, row.errors)]  # fmt: skip

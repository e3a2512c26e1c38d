"""Playing the cells that were not played yet, one after another, each kept as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.episode_file import EpisodeFile, agent_text, collect_rest
from turngym.agents.evaluation import instance_range
from turngym.benchmarks.webshop.cells import Cell, CellResult, Outcome, Player, episodes_file, read_cell, write_cell
from turngym.benchmarks.webshop.protocols import Stand
from turngym.envs.lenient import LenientReplies
from turngym.envs.splits import Split
from turngym.trainers.reporting.progress import Progress, SuccessSoFar


def plan(
    stands: Sequence[Stand],
    players: Sequence[Player],
    *,
    seeds: Sequence[int],
    split: Split,
    episodes: int,
    slots: int,
    lenient: bool = False,
) -> Iterator[Cell]:
    """Yield the cells of a table, stand by stand, so that few shops are open at once.

    Args:
        stands: Where.
        players: Who.
        seeds: Of chance; players that do not draw play with the first alone.
        split: Which goals.
        episodes: How many; 0 for every goal of the split once.
        slots: Episodes played at once.
        lenient: Whether a reply that the shop refuses is read once more, leniently.
    """
    for stand in stands:
        count = episodes or stand.num_goals(split)
        for player in players:
            for seed in seeds if player.draws else seeds[:1]:
                yield Cell(stand=stand, player=player, seed=seed, split=split, episodes=count, slots=slots,
                           lenient=lenient)  # fmt: skip


def play_cells(cells: Sequence[Cell], folder: Path, progress: Progress) -> list[CellResult]:
    """Return the results of cells, of which those are played that the folder does not hold.

    Args:
        cells: What to play.
        folder: Where results are kept.
        progress: Told about every cell that is played.
    """
    results = []
    agents: dict[int, Agent] = {}  # one at a time: models are large
    for cell in cells:
        result = read_cell(folder, cell)
        if result is None:
            if id(cell.player) not in agents:
                agents = {id(cell.player): cell.player.make(min(cell.slots, cell.episodes))}
            progress.phase(f"{cell.stand.title}: {cell.player.name}, seed {cell.seed}", cell.episodes)
            result = play_cell(cell, agents[id(cell.player)], progress, folder)
            write_cell(folder, result)
            episodes_file(folder, cell).unlink(missing_ok=True)
        results.append(result)
    return results


def play_cell(cell: Cell, agent: Agent, progress: Progress, folder: Path | None = None) -> CellResult:
    """Play a cell.

    Args:
        cell: What to play.
        agent: Who plays.
        progress: Told about every episode.
        folder: Where episodes of players that keep them are, until the cell is whole.
    """
    began = time.perf_counter()
    instances, count = instance_range(cell.split, cell.episodes, seed=cell.seed), SuccessSoFar(progress)
    file = EpisodeFile(episodes_file(folder, cell), resume=True) if folder and cell.player.keeps else None
    who = agent_text(cell.key)
    held = file.played(who, cell.stand.env_id, cell.arguments, instances) if file else {}

    def keep(episode: Episode) -> None:
        if file:
            file.write(who, episode)
        count(episode)

    episodes = collect_rest(
        agent, cell.stand.env_id, instances, held, env_kwargs=cell.arguments, on_episode=keep,
        slots=min(cell.slots, cell.player.most_slots or cell.slots), wrap=LenientReplies if cell.lenient else None,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    num_goals = cell.stand.num_goals(cell.split)
    outcomes = [Outcome.of(episode, num_goals) for episode in episodes]
    return CellResult(cell=cell, outcomes=outcomes, seconds=seconds)

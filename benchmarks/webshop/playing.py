"""Playing the cells that were not played yet, one after another, each kept as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from turngym.agents.base import Agent
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.benchmarks.webshop.cells import Cell, CellResult, Outcome, Player, read_cell, write_cell
from turngym.benchmarks.webshop.protocols import Stand
from turngym.envs.splits import Split
from turngym.trainers.reporting.progress import Progress, SuccessSoFar


def plan(
    stands: Sequence[Stand], players: Sequence[Player], *, seeds: Sequence[int], split: Split, episodes: int, slots: int
) -> Iterator[Cell]:
    """Yield the cells of a table, stand by stand, so that few shops are open at once.

    Args:
        stands: Where.
        players: Who.
        seeds: Of chance; players that do not draw play with the first alone.
        split: Which goals.
        episodes: How many; 0 for every goal of the split once.
        slots: Episodes played at once.
    """
    for stand in stands:
        count = episodes or stand.num_goals(split)
        for player in players:
            for seed in seeds if player.draws else seeds[:1]:
                yield Cell(stand=stand, player=player, seed=seed, split=split, episodes=count, slots=slots)


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
            result = play_cell(cell, agents[id(cell.player)], progress)
            write_cell(folder, result)
        results.append(result)
    return results


def play_cell(cell: Cell, agent: Agent, progress: Progress) -> CellResult:
    """Play a cell."""
    began = time.perf_counter()
    episodes = collect_episodes(
        agent, cell.stand.env_id, instance_range(cell.split, cell.episodes, seed=cell.seed),
        env_kwargs=cell.arguments, slots=cell.slots, on_episode=SuccessSoFar(progress),
    )  # fmt: skip
    seconds = time.perf_counter() - began
    num_goals = cell.stand.num_goals(cell.split)
    return CellResult(cell=cell, outcomes=[Outcome.of(episode, num_goals) for episode in episodes], seconds=seconds)

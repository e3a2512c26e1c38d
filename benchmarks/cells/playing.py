"""Playing the cells that were not played yet, one after another; a stop loses no episode that was over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.episode_file import EpisodeFile, agent_text, collect_rest
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import STEP_TIMEOUT
from turngym.benchmarks.cells.cell import Cell, CellResult, Player, StandT, episodes_file, read_cell, write_cell
from turngym.envs.lenient import LenientReplies
from turngym.envs.splits import Split
from turngym.trainers.reporting.progress import Progress, SuccessSoFar


def plan(
    stands: Sequence[StandT],
    players: Sequence[Player],
    *,
    seeds: Sequence[int],
    split: Split,
    episodes: Callable[[StandT], int],
    slots: int,
    first: int = 0,
    lenient: bool = False,
) -> Iterator[Cell[StandT]]:
    """Yield the cells of a table, stand by stand, so that few shops are open at once.

    Args:
        stands: Where.
        players: Who; each plays where it is able to.
        seeds: Of chance; players that do not draw play with the first alone.
        split: Which instances.
        episodes: Returns how many at a stand.
        slots: Episodes played at once.
        first: The index of the first instance.
        lenient: Whether a reply that is refused is read once more, leniently.
    """
    for stand in stands:
        count = episodes(stand)
        for player in players:
            if player.able(stand):
                for seed in seeds if player.draws else seeds[:1]:
                    yield Cell(stand=stand, player=player, seed=seed, split=split, episodes=count, slots=slots,
                               first=first, lenient=lenient)  # fmt: skip


def play_cells(
    cells: Sequence[Cell[StandT]],
    folder: Path,
    progress: Progress,
    *,
    step_timeout: float = STEP_TIMEOUT,
    isolate: int = 0,
) -> list[CellResult[StandT, Any]]:
    """Return the results of cells, of which those are played that the folder does not hold.

    Args:
        cells: What to play.
        folder: Where results are kept, and the episodes of a cell until it is whole.
        progress: Told about every cell that is played.
        step_timeout: As of `collect_episodes`.
        isolate: As of `collect_episodes`.

    Raises:
        InputError: A file of episodes is damaged.
    """
    results = []
    agents: dict[int, Agent] = {}  # one at a time: models are large
    for cell in cells:
        result = read_cell(folder, cell)
        if result is None:
            if id(cell.player) not in agents:
                agents = {id(cell.player): cell.player.make(min(cell.slots, cell.episodes))}
            progress.phase(f"{cell.stand.title}: {cell.player.name}, seed {cell.seed}", cell.episodes)
            result = play_cell(cell, agents[id(cell.player)], folder, progress, step_timeout=step_timeout,
                               isolate=isolate)  # fmt: skip
            write_cell(folder, result)
        episodes_file(folder, cell).unlink(missing_ok=True)  # also after a stop between the two
        results.append(result)
    return results


def play_cell(
    cell: Cell[StandT], agent: Agent, folder: Path, progress: Progress, *, step_timeout: float, isolate: int
) -> CellResult[StandT, Any]:
    """Play what is missing of a cell."""
    began = time.perf_counter()
    instances = instance_range(cell.split, cell.episodes, cell.first, seed=cell.seed)
    file, count, who = _open(episodes_file(folder, cell)), SuccessSoFar(progress), agent_text(cell.key)
    held = file.played(who, cell.stand.env_id, cell.arguments, instances)
    for episode in held.values():
        count(episode)

    def keep(episode: Episode) -> None:
        file.write(who, episode)
        count(episode)

    episodes = collect_rest(
        agent, cell.stand.env_id, instances, held, env_kwargs=cell.arguments, on_episode=keep,
        slots=min(cell.slots, cell.player.most_slots or cell.slots), wrap=LenientReplies if cell.lenient else None,
        step_timeout=step_timeout, isolate=isolate,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    return CellResult(cell=cell, outcomes=cell.stand.outcomes(episodes, cell.split), seconds=seconds, held=len(held))


def _open(path: Path) -> EpisodeFile:
    """Return the file of the episodes of a cell.

    Raises:
        InputError: A line of it is no episode.
    """
    try:
        return EpisodeFile(path, resume=True)
    except InputError as error:
        raise InputError(f"{error.__cause__}; delete the file, and its cell is played anew") from error

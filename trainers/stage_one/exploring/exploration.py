"""Exploration: what the explorers have yet to play, in this process or in others, and how it gets into the value store.

Their episodes show the outcomes of replies that the reference seldom gives, which the values of states need. Values of
instances, which are estimated from whole returns, never use them.

What is played is planned at the start as a list of blocks, and blocks are stored in the order of this list, by whatever
process they were played and whenever they ended: the same settings and the same seed make the same store to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from turngym.agents.evaluation import cut_shares
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import ranks
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.stage_one.exploring.explorers import Block, Cast
from turngym.trainers.stage_one.exploring.processes import ExplorerProcesses
from turngym.trainers.stage_one.sampling import BLOCK, StageOneSetup
from turngym.trainers.stage_one.store import ValueStore


class Exploration:
    """Lets the explorers play the pool, until the store holds what the configuration asks for.

    In processes of their own, which `values.explorer_processes` asks for, they begin when it is entered, beside
    whatever this process does then, and end when it is left.

        with Exploration(reference, store, setup) as exploration:
            for numbers in exploration.blocks(progress):
                print(numbers["explorer"])

    Args:
        reference: The frozen policy.
        store: The value store. Episodes that it holds are not played again.
        setup: The settings of stage 1.

    Raises:
        CheckpointError: A model cannot be loaded, or has another tokenizer than the reference.
        InputError: The processes cannot be given what they play.
    """

    def __init__(self, reference: LanguageModel, store: ValueStore, setup: StageOneSetup) -> None:
        values = setup.values
        self._store, self._cast = store, Cast(lambda: reference, setup)
        self._whole = setup.keeps_episodes
        self._plan: list[Block] = []
        explorers, held = self._cast.explorers(), 0
        for explorer in explorers:
            counts = store.counts(behaviour=explorer.name)
            held += sum(counts.values())
            missing = [
                (i, k) for i in range(values.instances) for k in range(counts.get(i, 0), values.explorer_samples)
            ]
            for start in range(0, len(missing), BLOCK):
                self._plan.append(Block(explorer=explorer, pairs=missing[start : start + BLOCK]))
        self._total, self._held = len(explorers) * values.instances * values.explorer_samples, held
        several = 0 if ranks.several() else min(values.explorer_processes, len(self._plan))
        self._processes = ExplorerProcesses(reference, setup, self._plan, several) if several else None

    def __enter__(self) -> Self:
        """Start the processes, if there are to be any."""
        if self._processes is not None:
            self._processes.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes, whatever they are doing."""
        if self._processes is not None:
            self._processes.close()

    def blocks(self, progress: Progress) -> Iterator[dict[str, Any]]:
        """Store what is played, block by block.

        Args:
            progress: Told about every episode, and about processes that ended before their time.

        Yields:
            The numbers of each block that was stored: who explored, its episodes, success, seconds, errors and tokens.

        Raises:
            CheckpointError: As of the class.
        """
        if not self._total:
            return
        progress.phase("stage 1: explorers", self._total)
        progress.advance(self._held)
        count = SuccessSoFar(progress)
        for place, block in enumerate(self._plan):
            played, lost = None, list[str]()
            if self._processes is not None:
                played, lost = self._processes.take(place)
                for reason in lost:
                    progress.note(f"stage 1: {reason}")
                for episode in played.episodes if played is not None else ():
                    count(episode)
            if played is None:
                played = self._cast.play(block, count)
            usable, name, scripted = played.episodes, block.explorer.name, bool(block.explorer.agent)
            self._store.add(usable, name, played.ref_logprobs, scripted=scripted, whole=self._whole and not scripted)
            yield {"explorer": name, "seconds": played.seconds, "errors": played.errors,
                   "explorer_episodes": len(usable),
                   "explorer_success": sum(episode.success for episode in usable) / max(1, len(usable)),
                   "sampled_tokens": sum(episode.num_sampled for episode in usable), **cut_shares(usable),
                   **({"lost_processes": len(lost)} if lost else {})}  # fmt: skip

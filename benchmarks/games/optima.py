"""What the best agent achieves on the instances of a stand, kept beside the cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turngym.agents.evaluation import instance_range, optimal_rate
from turngym.agents.rollout import STEP_TIMEOUT
from turngym.benchmarks.cells.cell import digest, read_kept, write_kept, written_key
from turngym.benchmarks.games.stands import GameStand
from turngym.envs.splits import Split
from turngym.trainers.reporting.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The mean probability that the best agent solves the instances of a stand."""

    rate: float | None = None
    """It; None where it is unknown."""
    at_least: float | None = None
    """What it cannot be below; None where nothing is known."""
    note: str = ""
    """What to say of instances on which the environment failed."""

    @property
    def known(self) -> float | None:
        """The rate, or else what it cannot be below; None where neither is known."""
        return self.at_least if self.rate is None else self.rate

    def __str__(self) -> str:
        """Return it as it stands in tables."""
        return "unknown" if self.known is None else f"{self.known:.3f}{' at least' if self.rate is None else ''}"


def find_optima(
    stands: Iterable[GameStand],
    folder: Path,
    progress: Progress,
    *,
    split: Split,
    episodes: Callable[[GameStand], int],
    first: int = 0,
    step_timeout: float = STEP_TIMEOUT,
    isolate: int = 0,
) -> dict[str, Optimum]:
    """Return the optimum of stands by their titles; those are computed that the folder does not hold.

    Args:
        stands: Where.
        folder: That of the benchmark.
        progress: Told about every stand that is computed.
        split: Which instances.
        episodes: Returns how many at a stand.
        first: The index of the first instance.
        step_timeout: As of `collect_episodes`.
        isolate: As of `collect_episodes`.
    """
    found = {}
    for stand in stands:
        key = _key(stand, split, first, episodes(stand))
        optimum = _read(folder, key)
        if optimum is None:
            progress.phase(f"{stand.title}: optimum", 1)
            rate = optimal_rate(stand.env_id, instance_range(split, episodes(stand), first), stand.arguments,
                                step_timeout=step_timeout, isolate=isolate)  # fmt: skip
            optimum = Optimum(rate=rate.rate, at_least=rate.at_least, note=rate.note())
            write_kept(folder, f"{stand.title} optimum", key, asdict(optimum))
            progress.advance()
        found[stand.title] = optimum
    return found


def optimum_digests(
    stands: Sequence[GameStand], *, split: Split, episodes: Callable[[GameStand], int], first: int = 0
) -> list[str]:
    """Return the digests under which the optima of stands are kept."""
    return [digest(_key(stand, split, first, episodes(stand))) for stand in stands]


def _key(stand: GameStand, split: Split, first: int, episodes: int) -> dict[str, Any]:
    return written_key({**stand.describe({}), "split": split, "first": first, "episodes": episodes, "optimum": True})


def _read(folder: Path, key: dict[str, Any]) -> Optimum | None:
    for kept in read_kept(folder, key):
        with suppress(KeyError, TypeError):  # a damaged one is computed again, and replaced
            return Optimum(rate=kept["rate"], at_least=kept["at_least"], note=kept["note"])
    return None

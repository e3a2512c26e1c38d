"""The reference of each round of stage 2: the base in round 1, then the policy as it was at each reset.

A reset depends on the checkpoint of its step alone, which is saved before it. So a reset that was interrupted is
repeated with the same result.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.trainers import ranks
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.run_files import CHECKPOINTS, reference_folder, store_name
from turngym.trainers.stage_one.instance_values import ValueEstimates
from turngym.trainers.stage_one.sampling import REFERENCE_WEIGHTS, StageOneSetup, estimate
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import EmptyValueStore


class References:
    """The frozen model whose log-probabilities the policy's are compared with, in the present round.

    Args:
        folder: The folder of the run.
        first: The reference of round 1, which is frozen. The others lie where it does, and are played as it is.
    """

    def __init__(self, folder: Path, first: LanguageModel) -> None:
        self._folder = folder
        self.number = 1
        """The present round, from 1."""
        self.current = first.freeze()
        """The reference of the present round."""

    @property
    def store(self) -> Path:
        """The file of the value store of the present round."""
        return self._folder / store_name(self.number)

    @property
    def stores(self) -> dict[str, Path]:
        """The files of the value stores of all rounds so far, by their names in a checkpoint."""
        names = map(store_name, range(1, self.number + 1))
        return {name: path for name in names if (path := self._folder / name).exists()}

    def go_to(self, number: int) -> None:
        """Load the reference of another round, which was saved before, and make that round the present one."""
        if number != self.number:
            self.current, self.number = load_reference(self._folder, number, self.current.load_beside), number

    def reset(self, policy: LanguageModel) -> None:
        """Make the present policy the reference of the next round, and begin that round.

        Args:
            policy: The policy with the weights that its last checkpoint holds, so that a run which is killed here
                repeats the reset with the same weights.
        """
        following = policy.copy().freeze()
        save_reference(following, reference_folder(self._folder, self.number + 1))
        if self.number > 1:  # the first one is measured at the end
            self.current.discard()
        self.current, self.number = following, self.number + 1
        remove_stale_store(self.store, following)


def save_reference(reference: LanguageModel, target: Path) -> None:
    """Save a reference, whole or not at all, in place of one that the folder holds."""
    ranks.once(lambda: target.parent.mkdir(parents=True, exist_ok=True))
    with ranks.replacement(target) as unfinished:
        save_model(reference, unfinished)


def load_reference(
    folder: Path, number: int, load: Callable[[Path], LanguageModel] = LanguageModel.from_pretrained
) -> LanguageModel:
    """Return the frozen reference of a round of a run.

    Args:
        folder: The folder of the run.
        number: The round, from 1.
        load: Loads a folder of weights.

    Raises:
        CheckpointError: It is damaged; the message says what to do.
    """
    try:
        return load(reference_folder(folder, number)).freeze()
    except CheckpointError as error:
        raise CheckpointError(f"{error}. Without this reference the run cannot go on as it began; another can begin "
                              f"from its policy: --model.path {folder}") from error  # fmt: skip


def remove_stale_store(path: Path, reference: LanguageModel) -> None:
    """Delete a value store of another reference, which a rollback to an earlier round left behind."""
    if not path.exists():
        return
    try:
        with ValueStore(path, None) as store:
            stale = store.fingerprint[REFERENCE_WEIGHTS] != reference.fingerprint()
    except EmptyValueStore:  # of no reference: stage 1 fills it
        return
    if stale:
        path.unlink()


# Reading the rounds of a run -------------------------------------------------------------------------------------


def rounds_begun(folder: Path, reset_every: int | None) -> int:
    """Return how many rounds of a run have begun, by its checkpoints; value stores may be left of later ones."""
    names = [re.fullmatch(r"step-(\d+)", path.name) for path in (folder / CHECKPOINTS).glob("step-*")]
    return 1 if reset_every is None else 1 + max((int(name[1]) for name in names if name), default=0) // reset_every


def round_betas(metrics: Metrics, rounds: int, reset_every: int) -> list[float] | None:
    """Return the temperature at which each round was solved: that of the last step taken by its end.

    It is read from the metrics, since with a budget of tokens it depends on what was generated. A round whose steps
    are still to come has the temperature of the last step before it.

    Args:
        metrics: The metrics of the run.
        rounds: The number of rounds, at least 1.
        reset_every: Steps of a round.

    Returns:
        Temperatures in the unit of the returns, one for each round; None where the metrics lack steps to tell, or the
        objective has no such temperature.
    """
    taken: list[tuple[int, float]] = []
    for line in metrics.lines():
        if line["phase"] == "learning" and isinstance(line.get("beta"), int | float):
            while taken and taken[-1][0] >= line["step"]:  # learning was rolled back past it
                taken.pop()
            taken.append((line["step"], float(line["beta"])))
    before = [bisect_right(taken, (number * reset_every, math.inf)) for number in range(1, rounds + 1)]
    return [taken[count - 1][1] for count in before] if before[0] else None


def round_estimates(
    folder: Path, betas: Sequence[float], setup: StageOneSetup, split: str = "train"
) -> list[ValueEstimates]:
    """Return V* of the pool for the reference of each round, at the temperature of that round, shaping included.

    Args:
        folder: The folder of the run.
        betas: The temperature of each round, in the unit of the returns.
        setup: The settings of stage 1.
        split: The split of the instances: "train", "validation" or "test".

    Raises:
        ValueError: A store has no episode of the split, or its returns do not fit the environment.
        ValueStoreError: A store is absent or unusable.
    """
    estimates = []
    for number, beta in enumerate(betas, 1):
        with ValueStore(folder / store_name(number), None) as store:
            estimates.append(estimate(store, setup, beta=beta, split=split))
    return estimates

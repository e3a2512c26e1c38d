"""Rounds of stage 2, each with a reference of its own: which one a step belongs to, and the files of each.

    base/, values.sqlite                        round 1: the first reference and its stage 1
    references/round-2/, values-2.sqlite        round 2: the policy as it was at the first reset, and its stage 1

A reset depends on nothing but the checkpoint of its step, which is saved before it; so a reset that is cut off is
repeated with the same end.
"""

from __future__ import annotations

import copy
import math
import re
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from turngym.agents.language_model import LanguageModel
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.stage_one.instance_values import ValueEstimates
from turngym.trainers.stage_one.sampling import REFERENCE_WEIGHTS, estimate
from turngym.trainers.stage_one.store import ValueStore


def round_of(step: int, config: TrainConfig) -> int:
    """Return the round, from 1, of a checkpoint: that of the last of its steps, since a reset comes after saving."""
    every = config.astarpo.reset_every
    return 1 + max(0, step - 1) // every if every else 1


def rounds_begun(folder: Path, config: TrainConfig) -> int:
    """Return how many rounds of a run have begun; after a rollback there may be a value store of a later one."""
    every = config.astarpo.reset_every
    names = [re.fullmatch(r"step-(\d+)", path.name) for path in (folder / "checkpoints").glob("step-*")]
    return 1 + max((int(name[1]) for name in names if name), default=0) // every if every else 1


def reference_folder(folder: Path, number: int) -> Path:
    """Return where a run keeps the reference of a round."""
    return folder / "base" if number == 1 else folder / "references" / f"round-{number}"


def store_name(number: int) -> str:
    """Return the name of the value store of a round in the run folder and in checkpoints."""
    return "values.sqlite" if number == 1 else f"values-{number}.sqlite"


def frozen_copy(policy: LanguageModel, config: TrainConfig) -> LanguageModel:
    """Return the policy as it is now, without gradients."""
    frozen = LanguageModel(copy.deepcopy(policy.model), policy.tokenizer, keep_thoughts=config.model.keep_thoughts)
    frozen.model.requires_grad_(False)
    return frozen


def save_reference(reference: LanguageModel, target: Path) -> None:
    """Save a reference whole or not at all, in place of an earlier one."""
    unfinished = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    if target.is_dir():
        target.rename(unfinished)
        shutil.rmtree(unfinished)
    reference.save_pretrained(unfinished)
    unfinished.rename(target)


def load_reference(folder: Path, number: int, config: TrainConfig) -> LanguageModel:
    """Return the frozen reference of a round of a run."""
    path = reference_folder(folder, number)
    reference = LanguageModel.from_pretrained(path, keep_thoughts=config.model.keep_thoughts)
    reference.model.requires_grad_(False)
    return reference


def remove_stale_store(path: Path, reference: LanguageModel) -> None:
    """Delete a value store of another reference: one of a round that learning was rolled back past."""
    if not path.exists():
        return
    with ValueStore(path, None) as store:
        stale = store.fingerprint[REFERENCE_WEIGHTS] != fingerprint_of(reference.model.state_dict())
    if stale:
        path.unlink()


def round_betas(metrics: Metrics, rounds: int, config: TrainConfig) -> list[float] | None:
    """Return the temperature at which each round was solved: that of the last step taken by its end.

    It is read from the metrics, since with a budget of tokens it depends on what was generated. A round whose steps
    are still to come has the temperature of the last step before it.

    Args:
        metrics: Those of the run.
        rounds: How many rounds, at least 1, of a run that resets its reference.
        config: The run.

    Returns:
        Temperatures in the unit of the returns, one for each round; None where the metrics lack steps to tell.
    """
    taken: list[tuple[int, float]] = []
    for line in metrics.lines():
        if line["phase"] == "astarpo":
            while taken and taken[-1][0] >= line["step"]:  # learning was rolled back past it
                taken.pop()
            taken.append((line["step"], float(line["beta"])))
    before = [bisect_right(taken, (number * config.astarpo.reset_every, math.inf)) for number in range(1, rounds + 1)]
    return [taken[count - 1][1] for count in before] if before[0] else None


def round_estimates(
    folder: Path, betas: Sequence[float], config: TrainConfig, split: str = "train"
) -> list[ValueEstimates]:
    """Return V* of the pool for the reference of each round, at the temperature of that round, shaping included.

    Args:
        folder: The run's.
        betas: The temperature of each round, in the unit of the returns.
        config: The run.
        split: Which instances.

    Raises:
        ValueError: A store has no episode of the split, or its returns do not fit the environment.
        ValueStoreError: A store is absent or unusable.
    """
    estimates = []
    for number, beta in enumerate(betas, 1):
        with ValueStore(folder / store_name(number), None) as store:
            estimates.append(estimate(store, config, beta=beta, split=split))
    return estimates

"""The policy of a run or of a checkpoint: whole, as it was written, also while the run goes on."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from turngym._checksums import MODEL_FILES, SEAL, DamagedError, listing, verify, verify_sealed
from turngym._errors import InputError, InputWarning, input_errors
from turngym.agents.models.decoding import Decoding
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.run_folder import agent_config, saved_steps
from turngym.trainers.run_files import BASE, CONFIG_FILE, MANIFEST, POLICY

Loaded = TypeVar("Loaded")

ATTEMPTS = 100
"""How often a run's last policy is looked for, whose folder the run deletes as it saves later ones."""


WEIGHTS = ("config.json", "adapter_config.json")
"""One of these lies in every folder of weights: of a whole model, or of an adapter."""


def policy_folder(folder: Path) -> Path:
    """Return the folder with the weights: of a run that of its last sound checkpoint, of a checkpoint its policy.

    A damaged checkpoint of a run is passed over with a warning, and before the first one its base is returned, with a
    warning too. A folder that holds weights itself is returned as it
    is.

    Raises:
        InputError: There are none, or none that is sound.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; models of the hub are named organization/name")
    if _holds_weights(folder):
        with input_errors():
            _verify_policy(folder)
        return folder
    found: list[Path] = []
    for _ in range(ATTEMPTS):
        found, problems = _policies(folder), list[str]()
        for weights in found:
            try:
                _verify_policy(weights)
            except DamagedError as error:
                if not weights.is_dir():  # the run has deleted it meanwhile
                    break
                problems.append(str(error))
            else:
                for problem in problems:
                    warnings.warn(InputWarning(f"passing over a damaged checkpoint: {problem}"), stacklevel=1)
                return weights
        if problems and len(problems) == len(found):
            raise InputError(f"{problems[0]}. No policy in {folder} is sound; name another checkpoint, or the run "
                             "for the last one that is sound")  # fmt: skip
    if found:
        raise InputError(f"the checkpoints of {folder} are deleted faster than they can be read; try again later")
    return _base_of(folder)


def _base_of(folder: Path) -> Path:
    """Return the base of a run that has no checkpoint yet.

    Raises:
        InputError: It is no run, or has none.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{folder} is neither a run nor a checkpoint: it has no {CONFIG_FILE} and no config.json")
    if not _holds_weights(folder / BASE):
        raise InputError(f"the run {folder} has no checkpoint yet; continue it with: turngym train --resume {folder}")
    warnings.warn(InputWarning(f"{folder} has learned nothing yet: its base plays"), stacklevel=1)
    return policy_folder(folder / BASE)


def _holds_weights(folder: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return any((folder / name).is_file() for name in WEIGHTS)


def load_policy(folder: Path, load: Callable[[Path], Loaded]) -> Loaded:
    """Return what `load` makes of the last policy, also where the run deletes that while it is read.

    Args:
        folder: A run, a checkpoint or a folder of weights.
        load: Reads a folder of weights.

    Raises:
        InputError: There is no sound policy.
        ValueError: `load` cannot read the policy.
    """
    weights = policy_folder(folder)
    try:
        return load(weights)
    except (OSError, ValueError):
        if weights.is_dir():
            raise
    for _ in range(ATTEMPTS):  # a copy is made faster than a model is loaded
        weights = policy_folder(folder)
        with TemporaryDirectory() as place:
            try:
                return load(shutil.copytree(weights, Path(place) / POLICY))
            except (OSError, ValueError):
                if weights.is_dir():
                    raise
    raise InputError(f"the checkpoints of {folder} are deleted faster than they can be read; try again later")


def decoding_of(weights: Path) -> Decoding:
    """Return the limits and the temperature by which the model in a folder plays, unless told otherwise.

    These are kept beside the weights; where nothing is, the run around them tells, and else the defaults of training.

    Raises:
        InputError: The file or the configuration cannot be read.
    """
    with input_errors():
        kept = Decoding.read(weights)
    return kept or (agent_config(weights) or TrainConfig()).decoding


def weights_digest(weights: Path) -> str:
    """Return what tells a folder of weights from others: a digest of its files, tokenizer and template included."""
    files = [file for file in weights.iterdir() if file.suffix in MODEL_FILES and file.name != SEAL]
    return blake2b(listing(files), digest_size=16).hexdigest()


def _policies(folder: Path) -> list[Path]:
    """Return the folders that may hold the policy, the last one first."""
    steps = [folder] if (folder / POLICY).is_dir() else [path for _, path in saved_steps(folder)]
    return [path / POLICY for path in steps if (path / POLICY).is_dir()]


def _verify_policy(weights: Path) -> None:
    """Check a policy by its seal, and one that an earlier version wrote by the manifest of its checkpoint.

    Raises:
        DamagedError: It has changed since it was written.
    """
    verify_sealed(weights)
    manifest = weights.parent / MANIFEST
    if weights.name == POLICY and manifest.is_file() and not (weights / SEAL).is_file():
        verify(manifest, f"checkpoint {weights.parent}", under=f"{POLICY}/")

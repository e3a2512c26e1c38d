"""A model as a folder that `from_pretrained` reads, written by all processes that hold a part of its weights."""

from __future__ import annotations

from pathlib import Path

from turngym._checksums import seal
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import ranks

WEIGHTS_FILE = "model.safetensors"
"""Where programs that read safetensors look for the weights of a model."""


def save_model(model: LanguageModel, folder: Path) -> None:
    """Do what `LanguageModel.save_pretrained` does, together with the other ranks.

    Args:
        model: The model; what of it is shared out is written by all ranks, each its part.
        folder: The folder, which all ranks see.

    Raises:
        OSError: One of the ranks could not write, in all of them.
    """
    if model.adapter is not None or not model.is_sharded:
        ranks.once(lambda: model.save_pretrained(folder))
        return
    from turngym.agents.models.sharded_files import write_sharded  # not in every build of torch

    ranks.once(lambda: model.save_settings(folder))
    write_sharded(folder / WEIGHTS_FILE, model.stored_weights(), {"format": "pt"})
    ranks.once(lambda: seal(folder))

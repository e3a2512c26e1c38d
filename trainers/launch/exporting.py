"""A policy as a plain checkpoint of the transformers library, adapters merged, with a model card."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch

from turngym._checksums import seal
from turngym._durable import replacement
from turngym._errors import InputError
from turngym._version import __version__
from turngym.agents.models.adapter import ADAPTER_FILE, adapter_settings
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.policies import load_policy
from turngym.trainers.launch.run_folder import agent_config
from turngym.trainers.reporting.tables import COLUMNS, result_rows, table_cells, table_notes
from turngym.trainers.run_files import RESULT_FILE

CARD = "README.md"


def export(
    source: Path,
    target: Path,
    *,
    dtype: Literal["float32", "bfloat16"] | None = None,
    license: str = "",  # noqa: A002 - as model cards call it
    allow_pickle: bool = False,
) -> None:
    """Write the last policy of a run, or a checkpoint, as a plain checkpoint with a model card.

    An adapter is added to the weights that it belongs to. What is written needs no turngym to be loaded, and plays as
    before with it.

    Args:
        source: A run, a checkpoint, or a folder of weights.
        target: The folder to write; it must not exist.
        dtype: In which precision; None for that of the weights that learned. In bfloat16 they are rounded.
        license: The licence that the card names; that of the base model where nothing is given and it names one.
        allow_pickle: Read weights that are stored as pickles.

    Raises:
        InputError: The target exists, or the source holds no policy.
        CheckpointError: It cannot be loaded.
    """
    if target.exists():
        raise InputError(f"{target} exists already; name another folder")
    config, adapter, base = None, None, ""

    def load(weights: Path) -> LanguageModel:
        nonlocal config, adapter, base
        config = agent_config(weights)
        base = config.model.path if config else ""
        if (weights / ADAPTER_FILE).is_file():
            adapter = adapter_settings(weights)
            base = base or str(adapter["base_model_name_or_path"])
        return LanguageModel.from_pretrained(weights, merged=True, allow_pickle=allow_pickle)

    model = load_policy(source, load)
    if dtype is not None:
        model.model.to(getattr(torch, dtype))
    card = model_card(target.name, model, source, config, base=base, license=license or _license_of(base))
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacement(target) as unfinished:
        model.save_pretrained(unfinished)
        (unfinished / CARD).write_text(card, encoding="utf-8")
        seal(unfinished)


def model_card(
    name: str,
    model: LanguageModel,
    source: Path,
    config: TrainConfig | None,
    *,
    base: str,
    license: str,  # noqa: A002
) -> str:
    """Return a model card in Markdown, with the metadata that the Hugging Face hub reads.

    Args:
        name: How the model is called.
        model: The model.
        source: The run, where its result is looked for.
        config: How it was trained, None where that is not known.
        base: What it was trained from: a folder or a name of the hub; empty for nothing.
        license: Its licence; empty where it is not known.
    """
    public = base if base and not Path(base).is_absolute() else ""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [turngym]"]
    lines += [f"license: {license}"] if license else []
    lines += [f"base_model: {public}"] if public else []
    came = f"`{public}`" if public else f"a checkpoint called `{Path(base).name}`" if base else "weights of its own"
    weights = sum(parameter.numel() for parameter in model.model.parameters())
    about = f"A language model of {weights:,} weights that plays text games over several turns, trained from {came}"
    lines += ["---", "", f"# {name}", "", f"{about} with turngym {__version__}."]
    if config is not None:
        lines += ["", *_training(config)]
    result = _result(source)
    if result is not None:
        rows = result_rows(result)
        lines += ["", "## Scores", "", f"On the test split of `{result['env_id']}`, one run"
                  + (f" with seed {config.run.seed}" if config else "") + "; intervals of 95% over instances.", "",
                  "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS),
                  *("| " + " | ".join(cells) + " |" for cells in table_cells(rows)), "",
                  *table_notes(rows)]  # fmt: skip
    lines += ["", "## Use", "", "```", f"turngym play {_env(config)}--agent {name}",
              f"turngym evaluate {name} {'--env ' + _env(config) if config else '--env ENV'}".rstrip(), "```", "",
              _played(model.decoding)]  # fmt: skip
    if not license:
        lines += ["", "The licence is not stated; that of the base model and of its data applies."]
    return "\n".join(lines) + "\n"


def _env(config: TrainConfig | None) -> str:
    return f"{config.env.id} " if config else "ENV "


def _training(config: TrainConfig) -> list[str]:
    """Return what the card says of the training, as far as the configuration tells."""
    learning = config.learning
    rates = f"learning rate {learning.learning_rate:g} to {learning.final_rate:g}"
    lines = ["## Training", "", f"* Environment: `{config.env.id}`, arguments `{json.dumps(config.env.kwargs)}`",
             f"* Objective: {config.objective.name}, {learning.steps} steps of {learning.batch_size} episodes, {rates}",
             f"* Seed: {config.run.seed}"]  # fmt: skip
    if config.lora.rank:
        settings = config.lora.settings
        lines.append(f"* Adapter: rank {settings.rank}, alpha {settings.alpha:g}, added to the weights here")
    if config.warm_start.enabled:
        shown = (config.warm_start.demonstrations and "a file of demonstrations") or config.warm_start.demonstrator
        lines.append(f"* Before that it cloned {shown}, {config.warm_start.course_steps} steps")
    return lines


def _played(decoding: Decoding) -> str:
    thoughts = f" and thoughts of {decoding.max_thought_tokens}" if decoding.max_thought_tokens else ""
    return (f"It was trained by, and plays by: temperature {decoding.temperature:g}, replies of at most "
            f"{decoding.max_reply_tokens} tokens{thoughts}, a context of {decoding.context_length or 'any'} tokens, "
            f"{decoding.history_words}.")  # fmt: skip


def _result(source: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        result = json.loads((source / RESULT_FILE).read_text(encoding="utf-8"))
        return result if isinstance(result, dict) else None
    return None


def _license_of(base: str) -> str:
    """Return the licence that the card of the base model names, if it has one here."""
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r"\A---\n.*?^license: *(\S+) *$.*?^---$", (Path(base) / CARD).read_text(encoding="utf-8"),
                          re.DOTALL | re.MULTILINE)  # fmt: skip
        return found[1] if found else ""
    return ""

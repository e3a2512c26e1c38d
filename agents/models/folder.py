"""Weights and tokenizer from a folder, checked: no other code is run, and no weight is missing, strange or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from turngym.agents.models.chat_template import with_date, with_settings
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.playable import check_folder

_WRAPPERS = {
    "_orig_mod.": "a model wrapped by torch.compile: save its _orig_mod",
    "module.": "a model wrapped for several devices: save its module",
    "base_model.model.": "a model with adapters: save what merge_and_unload() returns",
}
"""What wrapped models put before the names of their weights, and what to save in their place."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
"""How files of weights end that are no safetensors."""
_NAMED = 3
"""So many names of weights are shown in a message."""


def read_model(folder: Path, *, allow_pickle: bool = False, **kwargs: Any) -> Any:
    """Load the weights of a folder. Code in the folder is never run.

    Args:
        folder: Written by `save_pretrained`, ours or any other.
        allow_pickle: Read weights that are stored as pickles if there are no safetensors.
        **kwargs: For `AutoModelForCausalLM.from_pretrained`, such as `dtype`.

    Raises:
        CheckpointError: The weights cannot be read, are not those of the architecture, or are not finite; or the
            architecture cannot be played, before any is read.
    """
    _configuration(folder)
    with _readable(folder):
        check_folder(folder)
    if not allow_pickle:
        _refuse_pickles(folder)
    kwargs.setdefault("use_safetensors", None if allow_pickle else True)
    with _readable(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True,
            ignore_mismatched_sizes=True, **kwargs,
        )  # fmt: skip
    model, report = loaded
    _check_names(folder, report)
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointError(f"{folder} holds weights that are not finite, in {name}: take an earlier checkpoint")
        # Matrix products may differ in the last bit on memory that torch did not align itself, such as a file's.
        parameter.data = parameter.data.clone()
    return model


def read_tokenizer(
    folder: Path, day: date, template_kwargs: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder.

    Args:
        folder: Written by `save_pretrained`, ours or any other.
        day: What a chat template that shows the date shows from now on, in copies that are saved too.
        template_kwargs: Values of variables that the chat template reads, from now on and in copies too.

    Raises:
        CheckpointError: It cannot be read, or its chat template reads no such variable.
    """
    with _readable(folder):
        tokenizer: PreTrainedTokenizerBase = _tokenizer_class(folder).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if tokenizer.chat_template:
            tokenizer.chat_template = with_settings(
                with_date(tokenizer.get_chat_template(), day), template_kwargs or {}
            )
    return tokenizer


def check_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that every token has a row of the embedding.

    Raises:
        CheckpointError: The tokenizer knows more tokens.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    token, last = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if last >= rows:
        raise CheckpointError(f"the tokenizer has the token {token!r} with the number {last}, but the model has only "
                              f"{rows} embeddings: call model.resize_token_embeddings({last + 1}) before saving it, or "
                              "take the tokenizer of the model")  # fmt: skip


def _configuration(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`, of a folder that holds a model whose code the library has."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no model: there is no config.json in it")
    with _readable(folder):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise TypeError("its config.json is no object")
    return settings


def stored_dtype(folder: Path) -> torch.dtype:
    """Return in which precision the configuration of a folder says that its weights are; float32 where it does not.

    Raises:
        CheckpointError: There is no model in it.
    """
    settings = _configuration(folder)
    name = settings.get("dtype") or settings.get("torch_dtype") or ""
    found = getattr(torch, str(name).removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(
        file.name for file in folder.iterdir() if file.suffix in _PICKLES and file.name != "training_args.bin"
    )
    if pickles:
        raise CheckpointError(f"{folder} holds its weights in {pickles[0]}, which is no safetensors file and may be a "
                              "pickle: save the model again with save_pretrained, or, if you trust it, set "
                              "model.allow_pickle")  # fmt: skip


def _check_names(folder: Path, report: dict[str, Any]) -> None:
    """Check that the file held the weights of the architecture, no more and no fewer, in their shapes."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    for prefix, advice in _WRAPPERS.items():
        if missing and any(name.startswith(prefix) for name in unexpected):
            raise CheckpointError(f"{folder} holds weights whose names begin with {prefix!r}, those of {advice}")
    faults = [f"{len(names)} are {what} ({', '.join(names[:_NAMED])}{', ...' if names[_NAMED:] else ''})"
              for what, names in (("missing", missing), ("unknown to it", unexpected)) if names]  # fmt: skip
    for name, stored, expected in list(report["mismatched_keys"])[:1]:
        faults.append(f"{name} has the shape {tuple(stored)} in place of {tuple(expected)}")
    if faults:
        raise CheckpointError(f"{folder} does not hold the weights that its config.json describes: "
                              f"{'; '.join(faults)}; save the model again with save_pretrained")  # fmt: skip


def _tokenizer_class(folder: Path) -> Any:
    """Choose the class that reads `tokenizer.json` as it was written.

    `AutoTokenizer` picks a class by the model's type and would rebuild a generic tokenizer with that class's own
    splitting rules, which gives different ids.
    """
    config = folder / "tokenizer_config.json"
    name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class", "") if config.is_file() else ""
    generic = name in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return PreTrainedTokenizerFast if generic else AutoTokenizer


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn whatever the library raises into one sentence, and keep its own reports off the terminal."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # the readers of damaged files raise what they like
        reason = reason_of(error)
        if damaged := _damaged_json(folder):
            reason = f"its {damaged[0]} is no JSON object; restore it from where the model came from"
        elif "backend tokenizer" in reason:
            reason = "there is no tokenizer.json in it; save the model's tokenizer there with save_pretrained"
        elif "custom code" in reason or "trust_remote_code" in str(error):
            reason = "it needs code of its own (auto_map in its config.json), and no code of a model folder is run"
        raise CheckpointError(f"{folder} cannot be loaded: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)


def _damaged_json(folder: Path) -> list[str]:
    """Return the names of the JSON files of a folder that hold no object, of which each should hold one."""

    def is_object(file: Path) -> bool:
        try:
            return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError, RecursionError):
            return False

    return [file.name for file in sorted(folder.glob("*.json")) if not is_object(file)]

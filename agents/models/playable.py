"""Which architectures cannot be played, told from a configuration alone, before weights are fetched or loaded.

A conversation is kept as the keys and values of its tokens, by which rows of different lengths share one cache. State
spaces, recurrences and convolutions carry a state from token to token instead, and some kinds of attention keep more
than keys and values: there is no place for either. All other architectures are tried once they are loaded, by
`decoder_check`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig

from turngym.agents.models.errors import UnplayableError

PLAYED = (
    "llama", "mistral", "mixtral", "ministral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2",
    "gemma3_text", "phi", "phi3", "olmo2", "olmo3", "granite", "smollm3", "glm4", "gpt_oss", "gpt2",
)  # fmt: skip
"""Some of the architectures that are played, by the `model_type` of their configurations."""
STATEFUL_WORDS = ("linear", "conv", "mamba", "recurrent", "hybrid")
"""A kind of layer with one of these in its name carries a state from token to token."""
INDEXED_WORDS = ("indexed", "compressed")
"""A kind of layer with one of these in its name attends by an index or a summary of earlier tokens."""


def check_config(config: PreTrainedConfig) -> None:
    """Check that the layers of a network keep nothing of a conversation but keys and values.

    Args:
        config: Of the network.

    Raises:
        UnplayableError: Some keep more; the message says which, and what can be played.
    """
    kinds = sorted(set(getattr(config.get_text_config(decoder=True), "layer_types", None) or ()))
    stateful = [kind for kind in kinds if any(word in kind for word in STATEFUL_WORDS)]
    indexed = [kind for kind in kinds if any(word in kind for word in INDEXED_WORDS)]
    named = f" ({', '.join(stateful or indexed)} among its layer_types)" if stateful or indexed else ""
    if stateful or (not kinds and _keeps_state(config)):
        why = f"its layers{named} carry a state from token to token"
    elif indexed:
        why = f"its layers{named} keep an index or a summary of the tokens"
    else:
        return
    raise UnplayableError(f"a model of the type {config.model_type} cannot be played: {why}, and only keys and values "
                          "are kept of a conversation; take one whose layers all attend to the whole stream or to a "
                          f"sliding window, such as {', '.join(PLAYED[:-1])} or {PLAYED[-1]}")  # fmt: skip


def _keeps_state(config: PreTrainedConfig) -> bool:
    """Return whether the library says of the network of a configuration that it carries a state."""
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return bool(getattr(kind, "_is_stateful", False))


def check_folder(folder: Path) -> None:
    """Check the configuration in a folder; one that cannot be read is told where the model is loaded.

    Raises:
        UnplayableError: As `check_config`.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # noqa: BLE001 - the library's readers raise what they like
        return
    check_config(config)

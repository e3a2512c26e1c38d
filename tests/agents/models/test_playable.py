"""Architectures that are refused by their configuration alone, and those that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.agents.models.test_decoder_check import PLAYED as TRIED
from tests.agents.models.test_decoder_check import SHAPE, WINDOWED
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from turngym.agents.models.errors import UnplayableError
from turngym.agents.models.playable import PLAYED, check_config, check_folder
from turngym.trainers.memory import ModelShape

STATE = "carry a state from token to token"
REFUSED: dict[str, dict[str, Any]] = {
    **{family: {} for family in
        ("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma", "jamba", "zamba", "zamba2", "bamba",
         "falcon_h1", "nemotron_h", "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "kimi_linear", "minimax",
         "olmo_hybrid", "granitemoehybrid", "bailing_hybrid", "zaya", "qwen4_exp", "inkling_text", "lfm3")},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
}  # fmt: skip
"""Families with layers that carry a state, and what is set beside the shape."""
INDEXED = ("deepseek_v32", "deepseek_v4", "glm_moe_dsa", "axk2", "hy_v4")
"""Families whose attention keeps an index or summaries."""
DEFAULT_SHAPE = ("mamba2", "granitemoehybrid", "olmo_hybrid", "bamba", "zaya", "zamba", "zamba2", "nemotron_h",
                 "falcon_h1", "lfm3", "qwen3_5", "qwen3_5_moe", "qwen4_exp", "inkling_text")  # fmt: skip
"""Families whose sizes depend on each other, or lie in a part of the configuration; nothing is built from them."""


def tiny_config(family: str, **more: Any) -> PreTrainedConfig:
    """Return a configuration of a family, of a tiny network where the shape of one fits it."""
    if family not in CONFIG_MAPPING:
        pytest.skip(f"this version of transformers has no {family}")
    kind = CONFIG_MAPPING[family]
    shape = {} if family in DEFAULT_SHAPE else {key: value for key, value in SHAPE.items() if hasattr(kind(), key)}
    config: PreTrainedConfig = kind(**{key: value for key, value in (shape | more).items() if value is not None})
    return config


@pytest.mark.parametrize("family", REFUSED)
def test_a_state_from_token_to_token_is_refused_by_the_configuration(family: str) -> None:
    config = tiny_config(family, **REFUSED[family])
    with pytest.raises(UnplayableError, match=f"type {config.model_type} cannot be played.*{STATE}") as caught:
        check_config(config)
    assert "\n" not in str(caught.value) and "llama, mistral" in str(caught.value)
    with pytest.raises(UnplayableError, match=STATE):
        ModelShape.of(config)


@pytest.mark.parametrize("family", INDEXED)
def test_attention_by_an_index_is_refused_by_the_configuration(family: str) -> None:
    with pytest.raises(UnplayableError, match=r"attention among its layer_types\) keep an index or a summary"):
        check_config(tiny_config(family))


def test_everything_that_the_library_calls_stateful_is_refused() -> None:
    found = [config() for config, network in MODEL_FOR_CAUSAL_LM_MAPPING.items()
             if getattr(network, "_is_stateful", False)]  # fmt: skip
    assert len(found) > 5
    for config in found:
        with pytest.raises(UnplayableError, match="cannot be played"):
            check_config(config)


@pytest.mark.parametrize("family", sorted({*PLAYED, *TRIED, *WINDOWED}))
def test_what_is_played_is_not_refused(family: str) -> None:
    check_config(tiny_config(family, **WINDOWED.get(family, TRIED.get(family, {}))))


def test_hybrids_without_such_layers_are_tried() -> None:
    for family in ("qwen3_next", "lfm2"):
        check_config(tiny_config(family, layer_types=["full_attention", "full_attention"]))


def test_what_is_named_as_an_example_is_played() -> None:
    assert set(PLAYED) <= {*TRIED, *WINDOWED}


def test_a_folder_is_refused_by_its_configuration(tmp_path: Path) -> None:
    check_folder(tmp_path)
    tiny_config("mamba").save_pretrained(tmp_path)
    with pytest.raises(UnplayableError, match=f"type mamba cannot be played.*{STATE}"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    check_folder(tmp_path)

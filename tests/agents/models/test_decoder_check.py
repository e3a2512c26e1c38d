"""Architectures: those that are played have the log-probabilities of a plain pass, and the others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.agents.models.test_language_model import expected_logprobs, play
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import set_verbosity_error

from turngym.agents.models.cache import RaggedCache
from turngym.agents.models.decoder_check import check_decoder
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import CheckpointError, LanguageModel

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
CONTEXT = 256
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 4,
    "n_positions": CONTEXT, "n_inner": 48, "d_model": 32, "num_layers": 2, "num_heads": 4, "ffn_dim": 48,
    "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT, "word_embed_proj_dim": 32, "rotary_dim": 4, "head_dim": 8,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "dff": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""What the configurations call the shape of a tiny model."""
PLAYED: dict[str, dict[str, Any]] = {
    **{family: {} for family in
        ("llama", "qwen2", "qwen3", "gemma", "phi", "phi3", "gpt2", "gpt_neox", "gpt_bigcode", "gptj", "codegen",
         "olmo", "olmo2", "granite", "glm", "glm4", "cohere", "stablelm", "starcoder2", "smollm3", "arcee", "helium",
         "nemotron", "opt", "biogpt", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "ernie4_5", "diffllama", "ctrl",
         "exaone4", "persimmon", "xglm")},
    "mpt": {"attn_config": {"alibi": True}},
    "falcon": {"alibi": False, "head_dim": None},
    "mistral": {"sliding_window": CONTEXT},
    "gemma2": {"sliding_window": CONTEXT},
    "gemma3_text": {"sliding_window": CONTEXT},
    "cohere2": {"sliding_window": CONTEXT},
    "gpt_oss": {"sliding_window": CONTEXT},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": CONTEXT},
}  # fmt: skip
"""Families by their `model_type`, and what is set beside the shape; windows as wide as the context change nothing."""
WINDOW = 24
WINDOWED: dict[str, dict[str, Any]] = {
    **{family: {"sliding_window": WINDOW} for family in
        ("mistral", "mixtral", "phi3", "starcoder2", "gemma2", "gemma3_text", "cohere2", "gpt_oss", "olmo3",
         "exaone4")},
    "qwen2": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 0},
    "ministral": {"sliding_window": WINDOW},
}  # fmt: skip
"""Families with layers that see fewer tokens at once than an episode has: all of them, or some."""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gpt_neo": (
        {"attention_types": [[["global", "local"], 1]], "window_size": 64},
        "probabilities.*window_size 64",
    ),
    "bloom": ({}, "it fails with ValueError"),
    "falcon": ({"alibi": True, "head_dim": None}, "cannot be played"),
    "llama4_text": (
        {"attention_chunk_size": 64, "intermediate_size_mlp": 48},
        "sees 64 tokens at once .attention_chunk_size.*set model.context_length to at most 64",
    ),
    "bart": ({"is_decoder": True}, "cannot be played"),
    "bert": ({"is_decoder": False}, "cannot be played"),
}
"""Those that cannot be played, and what is said; others are refused by their configurations alone."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    set_verbosity_error()  # type: ignore[no-untyped-call]


def decoder(name: str, vocabulary: int = 64, **more: Any) -> Any:
    """Build a tiny decoder of an architecture, whose distribution is neither flat nor certain."""
    kind = CONFIG_MAPPING[name]
    known = kind()
    shape = {key: value for key, value in SHAPE.items() if hasattr(known, key)} | {"vocab_size": vocabulary} | more
    torch.manual_seed(0)
    config = kind(**{key: value for key, value in shape.items() if value is not None})
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "settings"),
    [*PLAYED.items(), *(pytest.param(*each, id=f"{each[0]}-windowed") for each in WINDOWED.items())],
)
def test_what_is_played_has_the_probabilities_of_a_plain_pass(
    qwen_tokenizer: MakeTokenizer, echo_env: str, name: str, settings: dict[str, Any]
) -> None:
    tokenizer = qwen_tokenizer()
    network = decoder(name, len(tokenizer), **settings)
    model = LanguageModel(network, tokenizer, decoding=Decoding(context_length=CONTEXT))
    episodes = play(model, echo_env, count=6, slots=3)
    for episode in episodes:
        for turn, expected in zip(episode.turns, expected_logprobs(model, episode), strict=True):
            assert np.allclose(turn.logprobs, expected, rtol=0, atol=1e-5)
    assert max(len(episode.token_ids) for episode in episodes) > 100


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_played_in_another_way_than_it_is_trained_is_refused(name: str) -> None:
    settings, message = REFUSED[name]
    network = decoder(name, **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        check_decoder(network, CONTEXT)
    assert type(network).__name__ in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_refused_by_its_configuration_is_so_in_memory_too() -> None:
    with pytest.raises(CheckpointError, match="type jamba cannot be played"):
        check_decoder(decoder("jamba"), CONTEXT)


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_that_is_not_kept_to_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    network = decoder(name, **WINDOWED[name])
    check_decoder(network, CONTEXT)
    monkeypatch.setattr(RaggedCache, "recent", lambda self, positions_BT, window: torch.tensor(True))
    with pytest.raises(CheckpointError, match=f"other probabilities.*sliding_window {WINDOW}"):
        check_decoder(network, CONTEXT)


@pytest.mark.parametrize("name", ["llama4_text", "gpt_neo"])
def test_a_context_within_the_window_is_accepted(name: str) -> None:
    settings, _ = REFUSED[name]
    network = decoder(name, **settings)
    check_decoder(network, 64)
    with pytest.raises(CheckpointError):
        check_decoder(network, CONTEXT)


def test_factors_of_positions_that_change_with_the_length_are_refused() -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 100,
            "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}  # fmt: skip
    network = decoder("phi3", rope_parameters=rope, original_max_position_embeddings=100)
    check_decoder(network, 100)
    with pytest.raises(CheckpointError, match=r"sees 100 tokens at once .original_max_position_embeddings"):
        check_decoder(network, CONTEXT)


def test_the_check_leaves_everything_as_it_was() -> None:
    network = decoder("qwen2", attention_dropout=0.5).train()
    before = torch.get_rng_state(), {name: weight.clone() for name, weight in network.state_dict().items()}
    check_decoder(network, CONTEXT)
    assert network.training and torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(weight, before[1][name]) for name, weight in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_mistake_in_the_cache_is_found_in_every_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    network = decoder("llama").to(dtype)
    check_decoder(network, CONTEXT)
    place = RaggedCache.place

    def forgetful(self: RaggedCache, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Hide one id of every row."""
        return place(self, *args, **kwargs).index_fill(-1, torch.tensor([2]), value=False)

    monkeypatch.setattr(RaggedCache, "place", forgetful)
    with pytest.raises(CheckpointError, match="other probabilities"):
        check_decoder(network, CONTEXT)


def test_attention_that_takes_no_mask_is_refused() -> None:
    network = decoder("llama")
    network.config._attn_implementation = "flash_attention_2"
    with pytest.raises(CheckpointError, match="attn_implementation='sdpa'"):
        check_decoder(network, CONTEXT)

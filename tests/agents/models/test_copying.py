"""Weights that copy: a fresh decoder says what it has read, and its checkpoint is like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, SeedOssForCausalLM

from turngym.agents.models.small import build_decoder, train_tokenizer

CHANCE = 1 / 300


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["some words to read, and to say again"] * 3, vocabulary_size=300)


def decoder(tokenizer: PreTrainedTokenizerFast, hidden_size: int, heads: int, **options: object) -> SeedOssForCausalLM:
    shape = {"layers": 2, "feedforward_size": 64, "rope_base": 1e7, "copying": True, **options}
    return build_decoder(tokenizer, hidden_size=hidden_size, heads=heads, **shape)  # type: ignore[arg-type]


def repeated(network: SeedOssForCausalLM, *, words: int = 40, between: int = 0, rows: int = 8) -> Tensor:
    """Return random ids, others between, and the first ones again, `[rows, 2 * words + between]`."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(network.config.vocab_size, (rows, words + between), generator=generator)
    return torch.cat([ids, ids[:, :words]], dim=1)


@torch.inference_mode()
def copied(network: SeedOssForCausalLM, *, words: int = 40, between: int = 0) -> float:
    """Return the share of ids, the second time they come, that follow the id before them with the largest logit."""
    ids = repeated(network, words=words, between=between)
    told = network(input_ids=ids).logits[:, words + between : -1].argmax(-1)
    return float((told == ids[:, words + between + 1 :]).float().mean())


@pytest.mark.parametrize(
    ("hidden_size", "heads", "least"), [(96, 3, 0.9), (128, 2, 0.9), (64, 2, 0.85), (64, 1, 0.85), (64, 4, 0.5)]
)
def test_a_fresh_decoder_copies(tokenizer: PreTrainedTokenizerFast, hidden_size: int, heads: int, least: float) -> None:
    assert copied(decoder(tokenizer, hidden_size, heads)) > least
    assert copied(decoder(tokenizer, hidden_size, heads, copying=False)) < 10 * CHANCE


def test_a_fresh_decoder_copies_from_afar(tokenizer: PreTrainedTokenizerFast) -> None:
    assert copied(decoder(tokenizer, 96, 3), between=300) > 0.7
    assert copied(decoder(tokenizer, 128, 2, rope_base=1e4), between=100) > 0.5


@torch.inference_mode()
def test_heads_of_the_first_layer_attend_to_the_token_before(tokenizer: PreTrainedTokenizerFast) -> None:
    network = decoder(tokenizer, 96, 3)
    network.set_attn_implementation("eager")
    first, second = network(input_ids=repeated(network), output_attentions=True).attentions
    before = first[:, :2].diagonal(offset=-1, dim1=-2, dim2=-1)
    assert before.min() > 0.9
    after_the_same = second[:, :2, 40:, 1:].diagonal(dim1=-2, dim2=-1)  # 39 back, the token after the present one
    assert after_the_same.mean() > 0.7


def test_the_seed_draws_the_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    before = torch.get_rng_state()
    first, again, other = (decoder(tokenizer, 64, 2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"):
        assert not torch.equal(first[name], other[name])


def test_the_other_weights_are_the_usual_ones(tokenizer: PreTrainedTokenizerFast) -> None:
    copying, usual = (decoder(tokenizer, 96, 3, layers=3, copying=flag).state_dict() for flag in (True, False))
    changed = {name for name in usual if not torch.equal(copying[name], usual[name])}
    attention = {f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in "qkvo"}
    biases = {f"model.layers.0.self_attn.{part}_proj.bias" for part in "qk"}
    assert changed == {f"{name}.weight" for name in attention} | biases | {
        "model.embed_tokens.weight",
        "lm_head.weight",
    }
    last = slice(64, 96)  # the last head is left as it was
    for name in (f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "qkv"):
        assert torch.equal(copying[name][last], usual[name][last])


def test_transformers_alone_reads_the_checkpoint(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    network = decoder(tokenizer, 64, 2)
    network.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.rope_parameters["rope_theta"] == 1e7
    assert type(loaded) is SeedOssForCausalLM
    ids = repeated(network)
    with torch.inference_mode():
        assert torch.equal(loaded(input_ids=ids).logits, network(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("options", "sentence"), [({"layers": 1}, "copying takes two layers"), ({"rope_base": 1e4}, "raise rope_base")]
)
def test_a_shape_without_room_is_refused(
    tokenizer: PreTrainedTokenizerFast, options: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        decoder(tokenizer, 64, 2, **options)

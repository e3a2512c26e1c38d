"""The built-in agent: a small modern decoder and a tokenizer trained on the games' own text. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import PreTrainedTokenizerFast, SeedOssConfig, SeedOssForCausalLM

from turngym.agents.models.copying import write_copying
from turngym.agents.models.small_tokenizer import ASSISTANT, PAD, STOP, SYSTEM, USER, chat_template, train_backend


def train_tokenizer(
    texts: Iterable[str], *, vocabulary_size: int = 512, digits_per_token: int = 1, show_instructions: bool = False
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer whose common words are single tokens.

    Any text whatever encodes and decodes to itself, since every byte is in the vocabulary. Of long texts, and of many,
    the beginning is read.

    Args:
        texts: What the environments and scripted agents say.
        vocabulary_size: Largest vocabulary, bytes and control tokens included.
        digits_per_token: Most digits in a token: with 1 an agent computes digit by digit, with more it can copy and
            know a number as a whole, and a word with digits too.
        show_instructions: Whether the chat template shows the system prompt.
    """
    backend = train_backend(texts, vocabulary_size=vocabulary_size, digits_per_token=digits_per_token)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token=STOP, pad_token=PAD, additional_special_tokens=[USER, ASSISTANT, SYSTEM]
    )
    tokenizer.chat_template = chat_template(show_instructions=show_instructions)
    return tokenizer


def decoder_config(
    *, vocabulary_size: int, hidden_size: int, layers: int, heads: int, feedforward_size: int, context_length: int
) -> SeedOssConfig:
    """Return the configuration of a decoder of this shape, as of `build_decoder`."""
    return SeedOssConfig(
        vocab_size=vocabulary_size, hidden_size=hidden_size, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, head_dim=hidden_size // heads, intermediate_size=feedforward_size,
        max_position_embeddings=context_length, attention_bias=True, attention_out_bias=False, attention_dropout=0.0,
        residual_dropout=0.0, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip


def build_decoder(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 64,
    layers: int = 4,
    heads: int = 4,
    feedforward_size: int = 192,
    context_length: int = 1024,
    rope_base: float = 10_000.0,
    copying: bool = False,
    seed: int = 0,
) -> SeedOssForCausalLM:
    """Build a randomly initialised decoder with RMSNorm, rotary positions, gated feed-forward and tied embeddings.

    It is a Qwen2 by its weights and by what they compute, and is named Seed-OSS, whose layers are the same: the
    library's `AutoTokenizer` takes the tokenizer of Qwen2 for every model of that name, and would read other ids.

    Args:
        tokenizer: Gives the vocabulary and the stop token.
        hidden_size: Width, a multiple of `2 * heads`.
        layers: Depth.
        heads: Attention heads; each is `hidden_size / heads` wide.
        feedforward_size: Inner width of the SwiGLU layers.
        context_length: Longest token stream.
        rope_base: Base of the rotary positions; the higher, the more of their pairs hardly turn within the context.
        copying: Whether the first weights copy what was read, see `turngym.agents.models.copying`.
        seed: Seeds the weights; the global generator is left as it was.

    Raises:
        ValueError: The width does not divide into heads of even size, or the shape cannot hold weights that copy.
    """
    if hidden_size % (2 * heads):
        raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 * heads = {2 * heads}")
    config = decoder_config(
        vocabulary_size=len(tokenizer), hidden_size=hidden_size, layers=layers, heads=heads,
        feedforward_size=feedforward_size, context_length=context_length,
    )  # fmt: skip
    config.rope_parameters = {"rope_type": "default", "rope_theta": rope_base}
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = SeedOssForCausalLM(config)
        if copying:
            write_copying(decoder)
        return decoder

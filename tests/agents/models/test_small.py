"""The built-in player: a tokenizer that loses nothing and splits digits, and a decoder made from a few numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from turngym.agents.models import small_tokenizer
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.models.small_tokenizer import ASSISTANT, PAD, STOP, SYSTEM, USER, chat_template

TEXTS = ["You are on the ice. Go left, down, right or up.", "Target: 24. Numbers: 3 7 9.", "3 * (7 - 2) = 15"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, vocabulary_size=330)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(encode(tokenizer, text), clean_up_tokenization_spaces=False) == text


def test_common_words_are_one_token_and_digits_stand_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(encode(tokenizer, " right")) == 1
    assert encode(tokenizer, "2024") == [tokenizer.convert_tokens_to_ids(digit) for digit in "2024"]
    assert encode(tokenizer, "at 20")[-2:] == encode(tokenizer, "20"), "a number is spelled alike everywhere"
    assert longest_number(tokenizer) == 1


def test_numbers_may_be_read_in_larger_pieces() -> None:
    tokenizer = train_tokenizer(["123 456 12345"] * 5, digits_per_token=3)
    pieces = [tokenizer.convert_ids_to_tokens(i) for i in encode(tokenizer, "12345")]
    assert pieces == ["123", "45"] and longest_number(tokenizer) == 3
    assert tokenizer.decode(encode(tokenizer, "7 1234567")) == "7 1234567"


def test_words_with_digits_are_wholes_where_numbers_are() -> None:
    texts = ["size : 24x36in / spf50 , 12"] * 5
    pieces = {}
    for digits in (1, 3):
        tokenizer = train_tokenizer(texts, digits_per_token=digits)
        pieces[digits] = [tokenizer.decode([i]) for i in encode(tokenizer, texts[0])]
    assert pieces[3] == ["size", " : ", "24x36in", " /", " spf50", " , ", "12"]
    assert pieces[1] == ["size", " : ", "2", "4", "x", "3", "6", "in", " /", " spf", "5", "0", " , ", "1", "2"]


def test_the_frame_of_an_action_is_two_tokens() -> None:
    tokenizer = train_tokenizer(["so <answer>up</answer>"] * 5)
    pieces = [tokenizer.decode([i]) for i in encode(tokenizer, "so <answer>up</answer>")]
    assert pieces == ["so", " <answer>", "up", "</answer>"]


def longest_number(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the most digits of a token, after a check that they stand alone."""
    tokens = [str(tokenizer.convert_ids_to_tokens(i)) for i in range(len(tokenizer))]
    numbers = [token for token in tokens if any(character.isdecimal() for character in token)]
    assert all(number.isdecimal() for number in numbers)
    return max(map(len, numbers))


def test_the_vocabulary_is_bounded_and_holds_every_byte(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) <= 330
    assert len(train_tokenizer([], vocabulary_size=1)) == 256 + 5


def test_the_control_tokens_have_their_roles(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, STOP)
    assert {PAD, STOP, USER, ASSISTANT, SYSTEM} == set(tokenizer.all_special_tokens)
    assert [len(encode(tokenizer, control)) for control in (PAD, STOP, USER, ASSISTANT, SYSTEM)] == [1] * 5


def test_training_twice_gives_the_same_tokenizer() -> None:
    first, second = (train_tokenizer(iter(TEXTS)).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_the_chat_template_shows_the_rules_or_not(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]
    shown, hidden = (
        tokenizer.apply_chat_template(
            chat, chat_template=chat_template(show_instructions=show), tokenize=False, add_generation_prompt=True
        )
        for show in (True, False)
    )
    assert hidden == "<|user|>u<|assistant|>a<|end|><|user|>u<|assistant|>"
    assert shown == "<|system|>s" + str(hidden)


# The decoder --------------------------------------------------------------------------------------------------------


def test_the_decoder_has_the_shape_that_was_asked_for(tokenizer: PreTrainedTokenizerFast) -> None:
    decoder = build_decoder(tokenizer, hidden_size=48, layers=3, heads=6, feedforward_size=80, context_length=200)
    config = decoder.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 3, 6)
    assert (config.intermediate_size, config.max_position_embeddings) == (80, 200)
    assert config.vocab_size == len(tokenizer)
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert decoder.get_output_embeddings().weight is decoder.get_input_embeddings().weight
    ids = torch.arange(12)[None]
    assert decoder(input_ids=ids).logits.shape == (1, 12, len(tokenizer))


def test_the_default_decoder_is_small(tokenizer: PreTrainedTokenizerFast) -> None:
    parameters = sum(parameter.numel() for parameter in build_decoder(tokenizer).parameters())
    assert 200_000 < parameters < 250_000


def test_the_seed_makes_the_weights_and_the_global_generator_is_left_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_decoder(tokenizer, layers=1, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(first[name], other[name])
    assert np.isfinite(first[name].numpy()).all()


@pytest.mark.parametrize(("hidden_size", "heads"), [(30, 4), (36, 4), (65, 1)])
def test_a_width_that_does_not_divide_is_refused(
    tokenizer: PreTrainedTokenizerFast, hidden_size: int, heads: int
) -> None:
    with pytest.raises(ValueError, match=rf"must be a multiple of 2 \* heads = {2 * heads}"):
        build_decoder(tokenizer, hidden_size=hidden_size, heads=heads)


def test_only_the_beginnings_of_long_texts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    long = TEXTS[0] * 50
    monkeypatch.setattr(small_tokenizer, "MOST_CHARACTERS", 100)
    monkeypatch.setattr(small_tokenizer, "MOST_CHARACTERS_IN_ALL", 250)
    read = train_tokenizer([long, long, long, "zebra " * 30], vocabulary_size=330)
    expected = train_tokenizer([long[:100], long[:100], long[:50]], vocabulary_size=330)
    assert read.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()

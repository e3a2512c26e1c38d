"""Tokenizers that put blanks before texts: the stream has the ids of the template all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.agents.conftest import CORPUS, PLAIN
from tests.agents.models.test_chat_template import ALPACA, LLAMA_2, MISTRAL_03, VICUNA, messages, stream
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from turngym.agents.models.chat import ChatFormat

CONTROLS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
BARE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Contents stand right after control tokens."""
SPACED = BARE.replace("'|>' + m", "'|>\n' + m").replace("'<|assistant|>'", "'<|assistant|>\n'")
"""Like Phi-3's, whose control tokens take the white space after them."""
TEMPLATES = {"ChatML": PLAIN, "bare": BARE, "spaced": SPACED, "Llama 2": LLAMA_2, "Mistral 0.3": MISTRAL_03,
             "Vicuna": VICUNA, "Alpaca": ALPACA}  # fmt: skip
CONTENTS = "".join(chr(code) for code in range(32, 127)) + "\nΩ▁"


def sentencepiece(prefix: str, *, takes_space: bool = False) -> Tokenizer:
    """Train a tokenizer in the style of SentencePiece, which puts a blank before texts in one of its ways."""
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if prefix == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
        backend.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Fuse(), decoders.Metaspace(prepend_scheme=prefix)]
        )
    specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learn = trainers.BpeTrainer(
        vocab_size=520, special_tokens=specials, initial_alphabet=sorted(CONTENTS), show_progress=False
    )
    backend.train_from_iterator([CORPUS] * 3, learn)
    backend.add_special_tokens([AddedToken(c, normalized=False, special=True, rstrip=takes_space) for c in CONTROLS])
    return backend


def byte_level_with_blank() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    learn = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([CORPUS] * 3, learn)
    backend.add_special_tokens([AddedToken(c, normalized=False, special=True) for c in CONTROLS])
    return backend


BACKENDS: dict[str, Callable[[], Tokenizer]] = {
    "prepended": lambda: sentencepiece("prepend"),
    "metaspace always": lambda: sentencepiece("always"),
    "metaspace first": lambda: sentencepiece("first"),
    "metaspace never": lambda: sentencepiece("never"),
    "tokens that take white space": lambda: sentencepiece("prepend", takes_space=True),
    "byte-level with a blank": byte_level_with_blank,
}


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """The state of a tokenizer that puts blanks before texts."""
    return str(BACKENDS[request.param]().to_str())


@pytest.fixture(params=list(TEMPLATES))
def tokenizer(request: pytest.FixtureRequest, backend: str) -> PreTrainedTokenizerFast:
    """Such a tokenizer with each of the templates."""
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(backend), bos_token="<s>", eos_token="</s>")
    made.chat_template = TEMPLATES[request.param]
    return made


def test_the_stream_has_the_ids_of_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    for turns in range(4):
        conversation = messages(tokenizer.chat_template != MISTRAL_03, turns)
        expected: Any = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        assert stream(chat, turns) == list(expected)


def test_replies_are_read_as_they_were_said(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    for text in ("left", "Right & up", "<down>", "3 * (7 - 2)", "two\nlines", "Ω"):
        assert chat.text(chat.reply(text)) == text

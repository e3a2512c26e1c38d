"""Checkpoints made on the spot, in the style of those that people load, and a game whose texts depend on replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from tests.trainers.conftest import _cloned, tiny  # noqa: F401 - what `player` is copied from
from tests.trainers.conftest import model as player  # noqa: F401
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.envs.core import TextEnv
from turngym.envs.splits import Split

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
MakeModel = Callable[..., LanguageModel]

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers split text before merging."""

CORPUS = (
    "system user assistant\nYou are on a frozen lake. Reply with the action alone.\nGo left, down, right or up.\n"
    "You are at 0,0; the goal is at 3,3. That makes 17, 7 away from 24. Invalid action: the reply is empty.\n"
)

PLAIN = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen's frame without anything else: every reply stays as it was."""

STRIPPING = (
    "{%- set ns = namespace(last=0) -%}{%- for message in messages -%}{%- if message.role == 'user' -%}"
    "{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- for message in messages -%}{%- set content = message.content -%}"
    "{%- if message.role == 'assistant' and loop.index0 < ns.last and '</think>' in content -%}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') -%}{%- endif -%}"
    "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""Like Qwen3's: replies before the last question lose their thoughts."""

OPENED_THOUGHT = STRIPPING.replace("assistant\n' -}}{%- endif", "assistant\n<think>\n' -}}{%- endif")
"""Like the templates of models that always think: the prompt for a reply already opens its thought."""

LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""Like Llama 3's."""

TEMPLATES = {"plain": PLAIN, "stripping": STRIPPING, "opened-thought": OPENED_THOUGHT}


def byte_level(controls: Sequence[str], words: Sequence[str] = ()) -> Tokenizer:
    """Train a byte-level tokenizer on a few lines, then add control tokens and whole words to it."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [CORPUS] * 3, trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in controls])
    backend.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    return backend


@pytest.fixture(scope="session")
def qwen_tokenizer() -> MakeTokenizer:
    """Make a tokenizer like Qwen's, whose padding token is no stop token of the chat, with the named template."""
    backend = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<think>", "</think>"]).to_str()

    def make(template: str = "plain", *, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(backend), eos_token=eos, pad_token="<|endoftext|>"
        )
        tokenizer.chat_template = TEMPLATES[template]
        return tokenizer

    return make


@pytest.fixture(scope="session")
def llama_tokenizer() -> MakeTokenizer:
    """Make a tokenizer like Llama's, which puts a token of its own before every text unless told not to."""
    controls = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trained = byte_level(controls)
    begin = "<|begin_of_text|>"
    trained.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, trained.token_to_id(begin))]
    )
    backend = trained.to_str()

    def make() -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(backend),
            bos_token=begin,
            eos_token="<|eot_id|>",
            pad_token="<|eot_id|>",
        )
        tokenizer.chat_template = LLAMA
        return tokenizer

    return make


@pytest.fixture(scope="session")
def built_in_tokenizer() -> PreTrainedTokenizerFast:
    """The built-in tokenizer, trained on a few lines."""
    return train_tokenizer([CORPUS] * 3, vocabulary_size=320, show_instructions=True)


@pytest.fixture
def make_model(
    qwen_tokenizer: MakeTokenizer, llama_tokenizer: MakeTokenizer, built_in_tokenizer: PreTrainedTokenizerFast
) -> MakeModel:
    """Make a checkpoint with random weights, 2 layers and 32 channels.

    `style` is "qwen2", "qwen3", "llama" or "built-in"; `scale` and `stop_scale` multiply the output weights of all
    tokens and of the stop token, so that the distribution is neither flat nor certain and replies have all lengths;
    further arguments go to the configuration.
    """

    def make(
        style: str = "qwen2",
        *,
        template: str = "plain",
        eos: str = "<|im_end|>",
        keep_thoughts: bool = False,
        attention: str = "sdpa",
        dtype: torch.dtype = torch.float32,
        scale: float = 8.0,
        stop_scale: float = 5.0,
        **config: Any,
    ) -> LanguageModel:
        if style == "built-in":
            tokenizer = built_in_tokenizer
        else:
            tokenizer = llama_tokenizer() if style == "llama" else qwen_tokenizer(template, eos=eos)
        shape: dict[str, Any] = {
            "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 512,
            "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
            "attn_implementation": attention,
        } | config  # fmt: skip
        network: PreTrainedModel
        if style == "built-in":
            network = build_decoder(tokenizer, hidden_size=32, layers=2, context_length=512)
        elif style == "llama":
            network = LlamaForCausalLM(LlamaConfig(**shape))
        elif style == "qwen3":
            network = Qwen3ForCausalLM(Qwen3Config(head_dim=8, **shape))
        else:
            network = Qwen2ForCausalLM(Qwen2Config(**shape))
        torch.nn.Module.to(network, dtype=dtype).eval()
        model = LanguageModel(network, tokenizer, decoding=Decoding(keep_thoughts=keep_thoughts))
        with torch.no_grad():
            network.get_output_embeddings().weight.mul_(scale)
            network.get_output_embeddings().weight[model.chat.stop_ids[0]].mul_(stop_scale)
        return model

    return make


class EchoEnv(TextEnv):
    """Repeats what was said, for 1 to 4 turns, after openings of very different lengths."""

    _rules = "Say anything."

    @property
    def instance_key(self) -> str:
        return f"echo {self.index}"

    def _begin(self, split: Split, index: int) -> None:
        self.index, self.said = index, 0

    def _observe(self, feedback: str) -> str:
        return feedback or f"Game {self.index}." + " Go left, down, right or up." * (self.index * 7 % 5)

    def _play(self, action: str) -> tuple[float, bool, str]:
        self.said += 1
        return 0.0, self.said > self.index % 4, f"You said {action!a}; go on."

    @property
    def _state(self) -> str:
        return str(self.said)

    @property
    def _success(self) -> bool:
        return False

    @property
    def _potential(self) -> float:
        return 0.0

    def sample_action(self, rng: np.random.Generator) -> str:
        return str(rng.integers(10))

    def oracle_action(self) -> str:
        return "up"


@pytest.fixture
def echo_env() -> Iterator[str]:
    """Register the echo for one test and give its id."""
    gym.register("test/Echo-v0", entry_point=cast("Any", EchoEnv), max_episode_steps=6)
    yield "test/Echo-v0"
    gym.registry.pop("test/Echo-v0")

"""The tokenizer of the built-in agent, and what it writes, without torch and the transformers library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, STOP, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"

_WORDS = r" ?</?answer>|%s ?[A-Za-z]+[.,:;]?\n?(?: (?=\d))?|\d{1,%d}| ?[^\sA-Za-z\d]\n?(?: (?=\d))?|\s"
"""What is never merged across: the frame of an action, a word or a mark with its spaces and line end, some digits, one
other white space.

A space before a number belongs to what stands before it, so a number is spelled alike wherever it stands."""
_MIXED = r" ?[A-Za-z]+\d[A-Za-z\d]*|\d+[A-Za-z][A-Za-z\d]*|"
"""Words with digits, such as `24x36in` and `spf50`, which are wholes where numbers are."""

MOST_CHARACTERS = 20_000
"""So much of a text is read to train a tokenizer: the time of a long word grows with its square."""
MOST_CHARACTERS_IN_ALL = 50_000_000
"""So much of all texts is read; some seconds."""


def chat_template(*, show_instructions: bool) -> str:
    """Return the built-in chat template; without instructions it leaves the system prompt out."""
    message = "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    stop = "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}"
    shown = "true" if show_instructions else "message['role'] != 'system'"
    prompt = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    return f"{{% for message in messages if {shown} %}}{message}{stop}{{% endfor %}}{prompt}"


def train_backend(texts: Iterable[str], *, vocabulary_size: int, digits_per_token: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer, as `small.train_tokenizer` says."""
    backend: Tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(
        Regex(_WORDS % (_MIXED if digits_per_token > 1 else "", digits_per_token)), behavior="isolated"
    )
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, STOP, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_bounded(texts), trainer)
    return backend


def _bounded(texts: Iterable[str]) -> Iterator[str]:
    """Yield the beginnings of texts, until there is enough of them."""
    left = MOST_CHARACTERS_IN_ALL
    for text in texts:
        if left <= 0:
            return
        yield text[: min(left, MOST_CHARACTERS)]
        left -= min(len(text), MOST_CHARACTERS)


@dataclass(frozen=True, slots=True)
class SmallTokenizer:
    """What `ChatFormat` asks of a tokenizer of the transformers library, of the built-in one alone.

    It is for checks that come before a model is made, and reads and writes the ids of `small.train_tokenizer`.
    """

    backend_tokenizer: Tokenizer
    """As `train_backend` returns it."""
    show_instructions: bool
    """Whether its chat template shows the system prompt."""

    @property
    def chat_template(self) -> str:
        """The built-in chat template."""
        return chat_template(show_instructions=self.show_instructions)

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The control tokens by their ids."""
        found: dict[int, Any] = self.backend_tokenizer.get_added_tokens_decoder()
        return found

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the control tokens."""
        return [*self.added_tokens_decoder]

    @property
    def eos_token_id(self) -> int:
        """The id of the stop token."""
        found = self.backend_tokenizer.token_to_id(STOP)
        assert found is not None
        return found

    @property
    def unk_token_id(self) -> int | None:
        """None, since it has a token for every byte."""
        return None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the ids of a text, in which control tokens are read as such."""
        ids: list[int] = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Return how ids are spelled."""
        return [str(self.backend_tokenizer.id_to_token(number)) for number in ids]

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Return the text that the built-in chat template makes of messages; it is not turned into tokens."""
        assert not tokenize
        shown = [message for message in messages if self.show_instructions or message["role"] != "system"]
        said = (f"<|{message['role']}|>{message['content']}{STOP if message['role'] == 'assistant' else ''}"
                for message in shown)  # fmt: skip
        return "".join(said) + (ASSISTANT if add_generation_prompt else "")

"""A Hugging Face causal language model as an agent: token in, token out, and a key-value cache from turn to turn.

Shapes: B rows, T tokens, V vocabulary, N sampled tokens.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from turngym._checksums import seal, verify_sealed
from turngym._errors import InputWarning
from turngym.agents.base import Reply
from turngym.agents.episode import Episode
from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.decoder import CachedDecoder, evaluating
from turngym.agents.models.decoder_check import check_decoder
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.errors import CheckpointError, NonFiniteError
from turngym.agents.models.folder import check_vocabulary, read_model, read_tokenizer
from turngym.agents.models.history import Conversation, encode_episode
from turngym.envs.core import TextEnv
from turngym.seeds import Stream, generator

__all__ = ["CheckpointError", "LanguageModel", "LanguageModelAgent", "NonFiniteError"]

DEFAULT_CONTEXT = 4096
"""Longest row of a model whose configuration names no limit."""

disable_progress_bar()  # type: ignore[no-untyped-call]  # the library would draw a bar for every model that is loaded or saved


class LanguageModel:
    """Weights, tokenizer and chat format that belong together.

    Args:
        model: Any decoder of the transformers library that attends to its whole stream, at least within the context.
        tokenizer: Its fast tokenizer, with a chat template.
        decoding: The limits and the temperature by which it plays. A context that the model cannot hold is cut to what
            it can, with a warning.

    Attributes:
        decoding: As above, with the context length that is used.
        context_length: Longest row of tokens that the model sees.

    Raises:
        CheckpointError: A token has no embedding, or the decoder is not played as it is trained; see `check_decoder`.
        ChatTemplateError: The chat template cannot be used for play over several turns.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, decoding: Decoding | None = None) -> None:
        longest = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT)
        self.model = model
        self.tokenizer = tokenizer
        self.decoding = _within(decoding or Decoding(), longest)
        self.context_length = self.decoding.context_length or longest
        check_vocabulary(model, tokenizer)
        forgets = self.decoding.window == 0  # so that no template can rewrite what the model sees of earlier turns
        self.chat = ChatFormat(tokenizer, keep_thoughts=self.decoding.keep_thoughts or forgets)
        check_decoder(model, self.context_length)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def encode_episode(self, episode: Episode) -> Episode:
        """Return a copy of a scripted episode with the token stream that this model would have produced."""
        return encode_episode(self.chat, episode, self.decoding.window)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        decoding: Decoding | None = None,
        allow_pickle: bool = False,
        day: date | None = None,
        **kwargs: Any,
    ) -> LanguageModel:
        """Load a folder written by `save_pretrained`, ours or any other, in float32 unless it holds float64.

        Args:
            path: The folder.
            decoding: The limits and the temperature by which it plays; None for those kept beside the weights.
            allow_pickle: Read weights that are stored as pickles.
            day: What a chat template that shows the date shows from now on; today if None.
            **kwargs: For `AutoModelForCausalLM.from_pretrained`, such as `dtype`.

        Raises:
            CheckpointError: The folder is missing, has changed since it was written, or holds no model that can be
                loaded and played; the message says what was found.
        """
        folder = Path(path)
        try:
            verify_sealed(folder)
            decoding = decoding or Decoding.read(folder)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        model = read_model(folder, allow_pickle=allow_pickle, **kwargs)
        tokenizer = read_tokenizer(folder, day or datetime.now().astimezone().date())
        try:
            return cls(model, tokenizer, decoding=decoding)
        except CheckpointError as error:
            raise type(error)(f"{folder}: {error}") from error

    def copy(self) -> LanguageModel:
        """Return a copy with weights of its own."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        return other

    def save_pretrained(self, path: str | Path) -> None:
        """Write weights (safetensors), config, tokenizer and chat template, readable by any transformers program.

        `turngym.json` beside them holds the limits and the temperature, and `checksums.json` tells whether they were
        changed since.
        """
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        self.decoding.save(Path(path))
        seal(Path(path))


def _within(decoding: Decoding, longest: int) -> Decoding:
    """Return how a model is played that holds `longest` tokens."""
    asked = decoding.context_length
    if asked is None or asked <= longest:
        return decoding
    said = f"the model holds {longest} tokens, so its episodes end there, not at the context length of {asked}"
    warnings.warn(InputWarning(said), stacklevel=3)
    return replace(decoding, context_length=longest)


@dataclass(slots=True, kw_only=True)
class _Episode(Conversation):
    """One episode in progress, and its last reply."""

    uniforms: np.random.Generator
    """The episode's own source of chance."""
    logprobs: list[float] = field(default_factory=list)


class LanguageModelAgent:
    """Plays many episodes at once with one model.

    Every episode draws from a generator seeded by its own seed, so what it samples does not depend on which other
    episodes are in the batch. Sampling is by pure temperature: the distribution that is sampled is the one that is
    trained.

    Args:
        model: The agent.
        temperature: Divides the logits; above 0. None for that of `model.decoding`.
        greedy: Take the likeliest token instead of sampling. For evaluation only.
        slots: Episodes held at once.
        max_reply_tokens: Longest reply, the stop token included; None for that of `model.decoding`.
        context_length: Longest row of tokens; None for that of the model, which is the most.
        policy_version: Optimizer steps behind the weights, recorded in every turn.

    Raises:
        ValueError: The temperature is not above 0, or no reply fits into the context.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        temperature: float | None = None,
        greedy: bool = False,
        slots: int = 128,
        max_reply_tokens: int | None = None,
        context_length: int | None = None,
        policy_version: int = 0,
    ) -> None:
        decoding = model.decoding.changed(temperature=temperature, max_reply_tokens=max_reply_tokens)
        self.model = model
        self.temperature = decoding.temperature
        self.greedy = greedy
        self.max_reply_tokens = decoding.max_reply_tokens
        self.policy_version = policy_version
        self.context_length = min(context_length or model.context_length, model.context_length)
        if self.max_reply_tokens >= self.context_length:
            raise ValueError(f"max_reply_tokens must be below the context length of {self.context_length}, "
                             f"got {self.max_reply_tokens}")  # fmt: skip
        self._decoder = CachedDecoder(model.model, slots, self.context_length)
        self._rows: dict[int, _Episode] = {}

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Open a conversation in `slot`.

        Raises:
            IndexError: The agent has no such slot.
        """
        if not 0 <= slot < self._decoder.cache.slots:
            raise IndexError(
                f"slot {slot} is none of the agent's {self._decoder.cache.slots}; give it as many as the rollout"
            )
        self._rows[slot] = row = _Episode(chat=self.model.chat, instructions=env.instructions,
                                          window=self.model.decoding.window,
                                          uniforms=generator(seed, Stream.TOKENS))  # fmt: skip
        row.observe(observation)

    def observe(self, slot: int, observation: str) -> None:
        """Write the environment's answer."""
        self._rows[slot].observe(observation)

    def finish(self, slot: int) -> list[int]:
        """Close the conversation and return its ids."""
        return self._rows.pop(slot).ids

    @torch.inference_mode()
    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Sample one reply in each slot."""
        speaking = [slot for slot in slots if self._has_room(slot)]
        for slot in speaking:
            self._rows[slot].logprobs = []
        active = speaking
        with evaluating(self.model.model):
            while active:
                logits_BV = self._decoder.read({slot: self._rows[slot] for slot in active})
                active = [slot for slot, done in zip(active, self._sample(active, logits_BV), strict=True) if not done]
        return [self._reply(slot) if slot in speaking else self._give_up(slot) for slot in slots]

    def _has_room(self, slot: int) -> bool:
        return len(self._rows[slot].stream) + self.max_reply_tokens <= self.context_length

    def _reply(self, slot: int) -> Reply:
        row = self._rows[slot]
        ids = row.stream[row.reply_start :]
        first = row.row_start + row.reply_start
        return Reply(text=self.model.chat.text(ids), cut=ids[-1] not in self.model.chat.stop_ids,
                     span=(first, first + len(ids)), row_start=row.row_start, logprobs=row.logprobs)  # fmt: skip

    def _give_up(self, slot: int) -> Reply:
        """Take what cannot be answered off the stream, which may be longer than what the model can read."""
        self._rows[slot].withdraw()
        return Reply(text="", out_of_room=True)

    def _sample(self, slots: list[int], logits_BV: Tensor) -> list[bool]:
        """Append one id to each row; return which rows have finished their reply."""
        logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
        logp_BV = torch.log_softmax(logits_BV / self.temperature, dim=-1)
        if not torch.isfinite(logp_BV).all():
            raise NonFiniteError("the model's logits are not finite; its weights are damaged or the learning rate is "
                                 "too high: go back to the last good checkpoint")  # fmt: skip
        if self.greedy:
            ids_B = logp_BV.argmax(dim=-1)
        else:
            cdf_BV = logp_BV.double().exp().cumsum(dim=-1)
            draws = np.array([self._rows[slot].uniforms.random() for slot in slots])
            points_B = torch.from_numpy(draws).to(cdf_BV.device) * cdf_BV[:, -1]
            ids_B = torch.searchsorted(cdf_BV, points_B[:, None], right=True)[:, 0].clamp(max=logp_BV.shape[-1] - 1)
        chosen_B = logp_BV.gather(1, ids_B[:, None])[:, 0]
        done = []
        for slot, token, logprob in zip(slots, ids_B.tolist(), chosen_B.tolist(), strict=True):
            row = self._rows[slot]
            row.stream.append(token)
            row.logprobs.append(logprob)
            said = len(row.stream) - row.reply_start
            done.append(token in self.model.chat.stop_ids or said >= self.max_reply_tokens)
        return done

"""A Hugging Face causal language model as an agent: token in, token out, one key-value cache for the whole episode.

Shapes: B rows, T tokens, V vocabulary, N sampled tokens.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from turngym._checksums import seal, verify_sealed
from turngym._errors import InputWarning, WorkError
from turngym.agents.base import Reply
from turngym.agents.cache import PADDING, RaggedCache
from turngym.agents.chat import ChatFormat
from turngym.agents.decoding import Decoding
from turngym.envs.core import TextEnv
from turngym.seeds import Stream, generator

DEFAULT_CONTEXT = 4096
MAX_STRETCH = 2
"""How many times more unread ids the longest row of a forward pass may have than the shortest, beyond `SLACK`."""
SLACK = 32
"""So few ids more or less are not worth a pass of their own."""
MAX_PASS_TOKENS = 16_384
"""Most tokens of the rows that are read in one forward pass; bounds the memory that long openings take."""
ATTENTION = ("sdpa", "eager")
"""The attention functions that take a mask of their own for every row."""

disable_progress_bar()  # type: ignore[no-untyped-call]  # the library would draw a bar for every model that is loaded or saved


class CheckpointError(ValueError):
    """A model folder cannot be used; the message says which and why."""


class NonFiniteError(WorkError, FloatingPointError):
    """Logits, loss or gradients are not finite: the run must stop before the next optimizer step."""


class LanguageModel:
    """Weights, tokenizer and chat format that belong together.

    Args:
        model: Any decoder of the transformers library with full attention.
        tokenizer: Its fast tokenizer, with a chat template.
        decoding: The limits and the temperature by which it plays. A context that the model cannot hold is cut to what
            it can, with a warning.

    Attributes:
        decoding: As above, with the context length that is used.
        context_length: Longest token stream of an episode.

    Raises:
        CheckpointError: The decoder attends through a window shorter than its context, or by a function that takes no
            mask.
        ChatTemplateError: The chat template cannot be used for play over several turns.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, decoding: Decoding | None = None) -> None:
        config = model.config.get_text_config()
        context = int(getattr(config, "max_position_embeddings", DEFAULT_CONTEXT))
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None) or context
        if kinds != {"full_attention"} or window < context:
            raise CheckpointError(f"{type(model).__name__} does not attend to its whole context (layers: "
                                  f"{', '.join(sorted(kinds))}; window: {window} of {context}); only full attention "
                                  "keeps its cache over the turns here")  # fmt: skip
        if config._attn_implementation not in ATTENTION:  # noqa: SLF001 - the library's only name for it
            raise CheckpointError(f"attention by {config._attn_implementation!r} takes no mask; "  # noqa: SLF001
                                  "load the model with attn_implementation='sdpa'")  # fmt: skip
        self.model = model
        self.tokenizer = tokenizer
        self.decoding = _within(decoding or Decoding(), context)
        self.chat = ChatFormat(tokenizer, keep_thoughts=self.decoding.keep_thoughts)
        self.context_length = self.decoding.context_length or context
        self.num_layers = int(config.num_hidden_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @classmethod
    def from_pretrained(cls, path: str | Path, *, decoding: Decoding | None = None, **kwargs: Any) -> LanguageModel:
        """Load a folder written by `save_pretrained`, ours or any other.

        Args:
            path: The folder.
            decoding: The limits and the temperature by which it plays; None for those kept beside the weights.
            **kwargs: For `AutoModelForCausalLM.from_pretrained`, such as `dtype`.

        Raises:
            CheckpointError: The folder is missing, has changed since it was written, or holds no model that can be
                loaded.
        """
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} holds no model: there is no config.json in it")
        try:
            verify_sealed(folder)
            decoding = decoding or Decoding.read(folder)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **kwargs)
            tokenizer = _tokenizer_class(folder).from_pretrained(folder, local_files_only=True)
        except Exception as error:  # the readers of damaged files raise what they like
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(f"{folder} cannot be loaded: {reason}") from error
        for parameter in model.parameters():
            # Matrix products may differ in the last bit on memory that torch did not align itself, such as a file's.
            parameter.data = parameter.data.clone()
        return cls(model, tokenizer, decoding=decoding)

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


def _tokenizer_class(folder: Path) -> Any:
    """Choose the class that reads `tokenizer.json` as it was written.

    `AutoTokenizer` picks a class by the model's type and would rebuild a generic tokenizer with that class's own
    splitting rules, which gives different ids.
    """
    config = folder / "tokenizer_config.json"
    name = json.loads(config.read_text()).get("tokenizer_class", "") if config.is_file() else ""
    generic = name in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return PreTrainedTokenizerFast if generic else AutoTokenizer


@dataclass(slots=True)
class _Row:
    """One conversation in progress."""

    stream: list[int]
    """All ids so far."""
    cached: int
    """How many of them the cache holds."""
    uniforms: np.random.Generator
    """The episode's own source of chance."""
    reply_start: int = 0
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
        context_length: Longest stream; None for that of the model, which is the most.
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
        self._cache = RaggedCache(model.num_layers, slots, self.context_length)
        self._rows: dict[int, _Row] = {}

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Open a conversation in `slot`.

        Raises:
            IndexError: The agent has no such slot.
        """
        if not 0 <= slot < self._cache.slots:
            raise IndexError(f"slot {slot} is none of the agent's {self._cache.slots}; give it as many as the rollout")
        stream = self.model.chat.opening(env.instructions, observation)
        self._rows[slot] = _Row(stream=stream, cached=0, uniforms=generator(seed, Stream.TOKENS))

    def observe(self, slot: int, observation: str) -> None:
        """Append the environment's answer."""
        row = self._rows[slot]
        closed = row.stream[-1] in self.model.chat.stop_ids
        row.stream += self.model.chat.continuation(observation, closed=closed)

    def finish(self, slot: int) -> list[int]:
        """Close the conversation and return its ids."""
        return self._rows.pop(slot).stream

    @torch.inference_mode()
    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Sample one reply in each slot."""
        room = {slot: self.context_length - len(self._rows[slot].stream) for slot in slots}
        speaking = [slot for slot in slots if room[slot] >= self.max_reply_tokens]
        for slot in speaking:
            row = self._rows[slot]
            row.reply_start, row.logprobs = len(row.stream), []
        active = speaking
        with _evaluating(self.model.model):
            while active:
                logits_BV = self._read(active)
                active = [slot for slot, done in zip(active, self._sample(active, logits_BV), strict=True) if not done]
        return [self._reply(slot) if room[slot] >= self.max_reply_tokens else Reply(text="", out_of_room=True)
                for slot in slots]  # fmt: skip

    def _reply(self, slot: int) -> Reply:
        row = self._rows[slot]
        ids = row.stream[row.reply_start :]
        return Reply(text=self.model.chat.text(ids), cut=ids[-1] not in self.model.chat.stop_ids,
                     span=(row.reply_start, len(row.stream)), logprobs=row.logprobs)  # fmt: skip

    def _read(self, slots: list[int]) -> Tensor:
        """Feed every id that the cache does not hold yet; return the logits after the last one, `[B, V]`."""
        unread = {slot: len(self._rows[slot].stream) - self._rows[slot].cached for slot in slots}
        parts = _similar_parts(unread)
        if len(parts) == 1:
            return self._pass(slots)
        logits = {slot: row_V for part in parts for slot, row_V in zip(part, self._pass(part), strict=True)}
        return torch.stack([logits[slot] for slot in slots])

    def _pass(self, slots: list[int]) -> Tensor:
        """Feed the unread ids of `slots` in one forward pass; return the logits after the last ones, `[B, V]`."""
        rows = [self._rows[slot] for slot in slots]
        width = max(len(row.stream) - row.cached for row in rows)
        # Rows are padded on the left so that the last column is the last id of every row. While most of the slots in
        # use are busy all of them take part, the idle ones with padding: a view of the cache is cheaper than a copy.
        in_use = max(slots) + 1
        everyone = 2 * len(slots) >= in_use
        height = in_use if everyone else len(slots)
        ids = np.zeros((height, width), dtype=np.int64)
        positions = np.full((height, width), PADDING, dtype=np.int64)
        for place, (slot, row) in enumerate(zip(slots, rows, strict=True)):
            new = row.stream[row.cached :]
            line = slot if everyone else place
            ids[line, width - len(new) :] = new
            positions[line, width - len(new) :] = np.arange(row.cached, len(row.stream))
            row.cached = len(row.stream)
        device = self.model.device
        positions_BT = torch.from_numpy(positions).to(device)
        members = None if everyone else torch.tensor(slots, device=device)
        may_see = self._cache.place(members, positions_BT, length=max(row.cached for row in rows))
        dtype = self.model.model.dtype
        mask = torch.zeros_like(may_see, dtype=dtype).masked_fill_(~may_see, torch.finfo(dtype).min)
        output = self.model.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask,
            position_ids=positions_BT.clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV[slots] if everyone else logits_BV

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


def _similar_parts(unread: dict[int, int]) -> list[list[int]]:
    """Split slots by their numbers of unread ids, so that a long opening does not pad the short answers beside it."""
    parts: list[list[int]] = []
    shortest = 0
    for slot in sorted(unread, key=unread.__getitem__):
        count = unread[slot]
        if parts and count <= MAX_STRETCH * shortest + SLACK and (len(parts[-1]) + 1) * count <= MAX_PASS_TOKENS:
            parts[-1].append(slot)
        else:
            parts.append([slot])
            shortest = count
    return parts


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Turn dropout off, and back on afterwards if it was on."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()

"""A Hugging Face causal language model as an agent: token in, token out, and a key-value cache from turn to turn.

Shapes: B rows, T tokens, V vocabulary, N sampled tokens.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils.logging import disable_progress_bar

from turngym._checksums import seal, verify_sealed
from turngym._errors import InputWarning
from turngym.agents.base import Reply
from turngym.agents.episode import Episode
from turngym.agents.models.adapter import (
    ADAPTER_FILE,
    Adapter,
    activate,
    adapter_settings,
    base_record,
    is_adapted,
    merge,
    new_adapter,
    read_adapter,
    weights_digest,
)
from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.decoder import CachedDecoder, evaluating
from turngym.agents.models.decoder_check import check_decoder
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.errors import CheckpointError, NonFiniteError
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.folder import check_vocabulary, read_model, read_tokenizer, stored_dtype
from turngym.agents.models.hardware import find_device, on_device, precision_name, precisions
from turngym.agents.models.history import Conversation, encode_episode
from turngym.agents.models.hub import fetch_model, is_hub_name
from turngym.agents.models.limits import DEFAULT_CONTEXT
from turngym.agents.models.placement import AdapterSettings, Placement
from turngym.agents.models.sharding import is_sharded, shard, sharded_copy
from turngym.envs.core import TextEnv
from turngym.seeds import Stream, generator

__all__ = ["CheckpointError", "LanguageModel", "LanguageModelAgent", "NonFiniteError"]

disable_progress_bar()  # type: ignore[no-untyped-call]  # the library would draw a bar for every model that is loaded or saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the weights under an adapter come from."""

    path: str
    """A folder, or a name of the hub."""
    revision: str = ""
    """The commit of a name of the hub."""
    digest: str
    """What tells the files of these weights from others."""


class LanguageModel:
    """Weights, tokenizer and chat format that belong together.

    Args:
        model: Any decoder of the transformers library that attends to its whole stream, at least within the context.
        tokenizer: Its fast tokenizer, with a chat template.
        decoding: The limits and the temperature by which it plays. A context that the model cannot hold is cut to what
            it can, with a warning.
        compute_dtype: In which precision matrix products are computed; None for that of the weights.
        adapter: What it computes with beside the weights of `model`, which it may share with others.
        origin: Where those weights come from; named with an adapter alone.

    Attributes:
        decoding: As above, with the context length that is used.
        context_length: Longest row of tokens that the model sees.

    Raises:
        CheckpointError: A token has no embedding, or the decoder is not played as it is trained; see `check_decoder`.
        ChatTemplateError: The chat template cannot be used for play over several turns.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        decoding: Decoding | None = None,
        compute_dtype: torch.dtype | None = None,
        adapter: Adapter | None = None,
        origin: Origin | None = None,
    ) -> None:
        longest = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT)
        self.model = model
        self.tokenizer = tokenizer
        self.adapter, self.origin = adapter, origin
        self.decoding = _within(decoding or Decoding(), longest)
        self.context_length = self.decoding.context_length or longest
        self._compute_dtype = None if compute_dtype == model.dtype else compute_dtype
        check_vocabulary(model, tokenizer)
        # No template can rewrite what the model does not see, and what it sees as served may well be rewritten.
        harmless = self.decoding.history in ("turn", "served")
        self.chat = ChatFormat(tokenizer, keep_thoughts=self.decoding.keep_thoughts or harmless)
        if self.decoding.history == "served":
            self.chat.check_served()
        with self.computing():
            check_decoder(model, self.context_length, self.compute_dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def compute_dtype(self) -> torch.dtype:
        """In which precision matrix products are computed."""
        dtype: torch.dtype = self._compute_dtype or self.model.dtype
        return dtype

    @property
    def num_weights(self) -> int:
        """How many weights it has, those of an adapter included."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def unknown_id(self) -> int | None:
        """The id of what the tokenizer has no token for; None where it has one for everything."""
        found: int | None = self.tokenizer.unk_token_id
        return found

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are shared out among processes."""
        return is_sharded(self.model)

    @property
    def learned(self) -> torch.nn.Module:
        """What learns: the adapter, or all of the weights."""
        return self.model if self.adapter is None else self.adapter

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute with the adapter of this model, if it has one, and in its precision; every forward pass is in here.

        The adapter stays on afterwards, until another model computes with the same network: so a backward pass may
        compute parts of the forward pass again.
        """
        if self.adapter is not None:
            self.adapter.activate()
        elif is_adapted(self.model):
            activate(self.model, None)
        mixed = self._compute_dtype is not None
        with torch.autocast(self.device.type, dtype=self.compute_dtype, enabled=mixed):
            yield

    def encode_episode(self, episode: Episode) -> Episode:
        """Return a copy of a scripted episode with the token stream that this model would have produced."""
        return encode_episode(self.chat, episode, self.decoding.window, served=self.decoding.history == "served")

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        decoding: Decoding | None = None,
        allow_pickle: bool = False,
        day: date | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        placement: Placement | None = None,
        learns: bool = True,
        merged: bool = False,
        sharing: LanguageModel | None = None,
        sharded: bool = False,
        **kwargs: Any,
    ) -> LanguageModel:
        """Load a folder written by `save_pretrained`, ours or any other, a whole model or a low-rank adapter.

        Args:
            path: The folder.
            decoding: The limits and the temperature by which it plays; None for those kept beside the weights.
            allow_pickle: Read weights that are stored as pickles.
            day: What a chat template that shows the date shows from now on; today if None.
            template_kwargs: Values of variables that the chat template reads, such as {"enable_thinking": False}; kept
                in what is saved.
            placement: The device and the precisions; None for the processor.
            learns: Whether the weights themselves may learn, as against an adapter beside them; tells the precision.
            merged: Add an adapter to the weights that it belongs to, and return a whole model.
            sharing: A model with an adapter, whose network is used if the adapter in the folder belongs to it.
            sharded: Share the weights out among the processes of `torch.distributed`, all of which load the folder.
            **kwargs: For `AutoModelForCausalLM.from_pretrained`, such as `dtype`, in place of the placement's.

        Raises:
            CheckpointError: The folder is missing, has changed since it was written, or holds no model that can be
                loaded and played; the message says what was found.
            InputError: There is no such device, or its precisions do not go together.
        """
        folder = Path(path)
        try:
            verify_sealed(folder)
            decoding = decoding or Decoding.read(folder)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        day = day or datetime.now().astimezone().date()
        adapted = (folder / ADAPTER_FILE).is_file()
        origin, weights = _origin(folder, allow_pickle=allow_pickle) if adapted else (None, folder)
        placement = placement or Placement()
        if adapted and not merged and placement.dtype == "auto":  # it plays beside the weights that it learned beside
            placement = replace(placement, dtype=precision_name(base_record(folder).get("dtype", "")))
        device = find_device(placement.device)
        whole = merged or not adapted
        held, computes = precisions(placement, device, stored_dtype(weights), learns=whole and learns)
        dtype = kwargs.pop("dtype", held)
        compute_dtype = computes if dtype == held else None
        if sharing is not None and origin is not None and sharing.origin == origin and not merged:
            model = sharing.model
        else:
            model = read_model(weights, allow_pickle=allow_pickle, dtype=dtype, **kwargs).to(device)
            if adapted and merged:
                merge(read_adapter(model, folder))
                adapted, origin = False, None
            if sharded:
                shard(model, compute_dtype)
        adapter = read_adapter(model, folder) if adapted else None
        tokenizer = read_tokenizer(folder, day, template_kwargs)
        try:
            return cls(model, tokenizer, decoding=decoding, compute_dtype=compute_dtype, adapter=adapter, origin=origin)
        except CheckpointError as error:
            raise type(error)(f"{folder}: {error}") from error

    def load_beside(self, path: str | Path, *, allow_pickle: bool = False, day: date | None = None) -> LanguageModel:
        """Load another model onto the same device, in the same precisions and played alike.

        An adapter of the same network shares that.

        Args:
            path: Its folder.
            allow_pickle: Read weights that are stored as pickles.
            day: What a chat template that shows the date shows from now on; today if None.

        Raises:
            CheckpointError: As `from_pretrained`.
        """
        return LanguageModel.from_pretrained(
            path, decoding=self.decoding, allow_pickle=allow_pickle, day=day, sharing=self, sharded=self.is_sharded,
            placement=Placement(device=str(self.device), dtype=precision_name(self.model.dtype),
                                compute_dtype=precision_name(self.compute_dtype)), learns=False,
        )  # fmt: skip

    def with_adapter(
        self, settings: AdapterSettings, *, seed: int, folder: Path, name: str = "", revision: str = ""
    ) -> LanguageModel:
        """Return this model with a new adapter beside its weights, which learn no more.

        Args:
            settings: The shape of the adapter, which changes nothing yet.
            seed: Seeds its first weights.
            folder: Where the weights were loaded from.
            name: Their name on the hub, by which they are found again; empty to find them in that folder.
            revision: The commit of that name.

        Raises:
            InputError: peft is not installed, or no layer is called as the targets are.
        """
        other = copy.copy(self)
        other.origin = Origin(path=name or str(folder.absolute()), revision=revision, digest=weights_digest(folder))
        other.adapter = new_adapter(self.model, settings, seed)
        return other

    def copy(self) -> LanguageModel:
        """Return a copy with weights of its own; of a model with an adapter, an adapter of its own."""
        other = copy.copy(self)
        if self.adapter is None:
            other.model = (
                sharded_copy(self.model, self._compute_dtype) if self.is_sharded else copy.deepcopy(self.model)
            )
        else:
            other.adapter = self.adapter.copy()
        return other

    def freeze(self) -> LanguageModel:
        """Let it learn no more, and return it. An adapter that has learned nothing is left off from now on."""
        self.model.requires_grad_(False) if self.adapter is None else self.adapter.freeze()
        return self

    def fingerprint(self) -> str:
        """Return what tells its weights from others: those of the network, and of the adapter where it has one."""
        if self.adapter is None:
            return fingerprint_of(self.model.state_dict())
        assert self.origin is not None
        network = f"{self.origin.digest} in {self.model.dtype}"
        return fingerprint_of({network: torch.empty(0), **self.adapter.state_dict()})

    def discard(self) -> None:
        """Take its adapter out of the network, so that it needs no memory; it is of no use from now on."""
        if self.adapter is not None:
            self.adapter.remove()

    def save_pretrained(self, path: str | Path) -> None:
        """Write weights (safetensors), config, tokenizer and chat template, readable by any transformers program.

        Of a model with an adapter the adapter alone is written, as peft reads it. `turngym.json` beside them holds the
        limits and the temperature, and `checksums.json` tells whether they were changed since. Weights that are shared
        out are written by `trainers.checkpoints.models.save_model`.
        """
        self._save(Path(path), weights=None)
        seal(Path(path))

    def save_settings(self, folder: Path) -> None:
        """Write what `save_pretrained` does but for the weights of the network and the checksums."""
        self._save(folder, weights={})

    def _save(self, folder: Path, *, weights: dict[str, Tensor] | None) -> None:
        if self.adapter is None:
            self.model.save_pretrained(folder, state_dict=weights)
        else:
            assert self.origin is not None
            folder.mkdir(parents=True, exist_ok=True)
            self.adapter.save(folder, base=self.origin.path, revision=self.origin.revision, digest=self.origin.digest)
        self.tokenizer.save_pretrained(folder)
        self.decoding.save(folder)

    def stored_weights(self) -> dict[str, Tensor]:
        """Return the weights of the network by their names in a file, tied ones once; parts where they are shared out.

        All processes that hold a part call this.
        """
        tied = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        tied -= {name for name, _ in self.model.named_parameters()}
        ignored = {*tied, *(self.model._keys_to_ignore_on_save or ())}  # noqa: SLF001 - it has no other name
        weights = {name: tensor for name, tensor in self.model.state_dict().items() if name not in ignored}
        stored: dict[str, Tensor] = revert_weight_conversion(self.model, weights)
        return stored


def _origin(folder: Path, *, allow_pickle: bool) -> tuple[Origin, Path]:
    """Return where the weights under the adapter in a folder come from, and the folder that holds them.

    Raises:
        CheckpointError: It is no plain low-rank adapter, they are not there, or not those that it was trained beside.
    """
    settings = adapter_settings(folder)
    base, revision = str(settings["base_model_name_or_path"]), str(settings.get("revision") or "")
    if revision or is_hub_name(base):
        weights = fetch_model(base, revision, allow_pickle=allow_pickle).folder
    else:
        weights = Path(base)
        if not weights.is_dir():
            raise CheckpointError(f"{folder} holds an adapter for the model in {base}, which is not there: put it back,"
                                  f" or name its folder in {ADAPTER_FILE} (base_model_name_or_path)")  # fmt: skip
        try:
            verify_sealed(weights)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
    digest = weights_digest(weights)
    if base_record(folder).get("sha256", digest) != digest:
        raise CheckpointError(f"{folder} holds an adapter for other weights than {base} has now: put those back that "
                              "it was trained beside")  # fmt: skip
    return Origin(path=base, revision=revision, digest=digest), weights


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
    max_thought_tokens: int | None = None
    """Most tokens of a reply before its answer is opened for it."""
    forced: tuple[int, int] = (0, 0)
    """Where in the present row the ids lie that did so in the last reply."""


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
        ValueError: The temperature is not above 0, no reply fits into the context, or no answer behind a thought.
    """

    reads_weights: ClassVar[bool] = True
    """Whether it computes with the weights of `model` itself."""

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
        self.max_thought_tokens = decoding.max_thought_tokens
        if self.max_thought_tokens:
            self._check_thoughts(self.max_thought_tokens)
        self._decoder = CachedDecoder(model.model, slots, self.context_length)
        self._rows: dict[int, _Episode] = {}

    def _check_thoughts(self, longest: int) -> None:
        opening = len(self.model.chat.answer(self.model.chat.content("<think>")))
        if longest + opening >= self.max_reply_tokens:
            raise ValueError(f"max_thought_tokens must leave room for {opening} tokens that open an answer, and for "
                             f"the answer, in the {self.max_reply_tokens} of max_reply_tokens, got "
                             f"{longest}")  # fmt: skip

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Open a conversation in `slot`.

        Raises:
            IndexError: The agent has no such slot.
        """
        if not 0 <= slot < self._decoder.cache.slots:
            raise IndexError(
                f"slot {slot} is none of the agent's {self._decoder.cache.slots}; give it as many as the rollout"
            )
        self._rows[slot] = row = _Episode(
            chat=self.model.chat, instructions=env.instructions, window=self.model.decoding.window,
            served=self.model.decoding.history == "served", uniforms=generator(seed, Stream.TOKENS),
            max_thought_tokens=self.max_thought_tokens if env.reasoning else None,
        )  # fmt: skip
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
            self._rows[slot].logprobs, self._rows[slot].forced = [], (0, 0)
        active = speaking
        with evaluating(self.model.model), self.model.computing():
            while active:
                logits_BV = self._decoder.read({slot: self._rows[slot] for slot in active})
                active = [slot for slot, done in zip(active, self._sample(active, logits_BV), strict=True) if not done]
        return [self._reply(slot) if slot in speaking else self._give_up(slot) for slot in slots]

    def _has_room(self, slot: int) -> bool:
        return len(self._rows[slot].stream) + self.max_reply_tokens <= self.context_length

    def _reply(self, slot: int) -> Reply:
        row = self._rows[slot]
        ids = row.stream[row.reply_start :]
        first, (start, stop) = row.row_start + row.reply_start, row.forced
        return Reply(text=self.model.chat.text(ids), cut=ids[-1] not in self.model.chat.stop_ids,
                     span=(first, first + len(ids)), row_start=row.row_start, logprobs=row.logprobs,
                     forced=(row.row_start + start, row.row_start + stop) if stop else (0, 0))  # fmt: skip

    def _open_answer(self, row: _Episode) -> None:
        """End the thought of a reply in progress, if it still thinks."""
        start = len(row.stream)
        row.stream += self.model.chat.answer(row.stream[row.reply_start :])
        if len(row.stream) > start:
            row.forced = start, len(row.stream)

    def _give_up(self, slot: int) -> Reply:
        """Take what cannot be answered off the stream, which may be longer than what the model can read."""
        self._rows[slot].withdraw()
        return Reply(text="", out_of_room=True)

    def _sample(self, slots: list[int], logits_BV: Tensor) -> list[bool]:
        """Append one id to each row; return which rows have finished their reply.

        All that is read of the device is read at once, in float64, which holds ids and log-probabilities exactly.
        """
        logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
        if logits_BV.device.type == "mps":  # which has no float64
            logits_BV = logits_BV.cpu()
        logp_BV = torch.log_softmax(logits_BV / self.temperature, dim=-1)
        if self.greedy:
            ids_B = logp_BV.argmax(dim=-1)
        else:
            cdf_BV = logp_BV.double().exp().cumsum(dim=-1)
            draws = np.array([self._rows[slot].uniforms.random() for slot in slots])
            points_B = on_device(draws, cdf_BV.device) * cdf_BV[:, -1]
            ids_B = torch.searchsorted(cdf_BV, points_B[:, None], right=True)[:, 0].clamp(max=logp_BV.shape[-1] - 1)
        chosen_B = logp_BV.gather(1, ids_B[:, None])[:, 0]
        finite_B = torch.isfinite(logp_BV).all(dim=-1)
        ids, logprobs, finite = torch.stack([ids_B.double(), chosen_B.double(), finite_B.double()]).tolist()
        if not all(finite):
            raise NonFiniteError("the model's logits are not finite; its weights are damaged or the learning rate is "
                                 "too high: go back to the last good checkpoint")  # fmt: skip
        done = []
        for slot, token, logprob in zip(slots, map(int, ids), logprobs, strict=True):
            row = self._rows[slot]
            row.stream.append(token)
            row.logprobs.append(logprob)
            said = len(row.stream) - row.reply_start
            done.append(token in self.model.chat.stop_ids or said >= self.max_reply_tokens)
            if said == row.max_thought_tokens and not done[-1]:
                self._open_answer(row)
        return done

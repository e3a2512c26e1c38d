"""How much memory a run needs, told from its configuration and the shape of its network before a weight is loaded.

What lives at the same time is added up for each phase of a run: warm start, stage 1, play and learning of stage 2,
the step of the optimizer, evaluation and so on. The largest sum is what the run needs. The sizes are derived from what
this package keeps, and from what the autograd of torch keeps of the layers of the transformers library; `_Run` says
which tensors these are. Whatever a configuration does not tell is taken at its most: episodes fill the context, and
micro-batches are full.

Letters: H hidden size, I width of the feed-forward part, V vocabulary.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from turngym._errors import InputError
from turngym.agents.models.adapter import ADAPTER_FILE, adapter_settings, new_adapter
from turngym.agents.models.cache import ALIGNMENT
from turngym.agents.models.decoder import MAX_PASS_TOKENS
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.hardware import find_device, precisions
from turngym.agents.models.hub import is_hub_name
from turngym.agents.models.language_model import DEFAULT_CONTEXT
from turngym.agents.models.placement import AdapterSettings, Placement
from turngym.agents.models.small import decoder_config
from turngym.trainers.base_model import FEEDFORWARD_FACTOR
from turngym.trainers.batches import recomputes
from turngym.trainers.config import ModelConfig, TrainConfig, WarmStartConfig, with_overrides
from turngym.trainers.objectives import find_objective
from turngym.trainers.warm_start.course import cloning_optimizers

ERROR = 0.15
"""How far an estimate may be from what is measured, relatively; tests hold it to that."""
GB = 10**9
"""The unit of everything that is printed, bytes."""
ANSWER_TOKENS = 24
"""Tokens of a turn that the agent does not sample: a short answer of the environment, and the frame of both messages.
An assumption, by which `r / (r + 24)` of the tokens are sampled where replies have up to r: 0.14 for 4, 0.8 for 96. In
the games here untrained models, whose replies are long, sample 0.07 and 0.84 of them."""
PROCESS_BYTES = 35_000_000
"""What a run takes on the processor beside tensors: pages of libraries that are read when they are first used, and
small objects. A fitted constant: what was measured beyond the tensors of small runs was 30 MB for the smallest of
them, and between 20 and 45 MB for others."""
ROUGH_KERNELS_BYTES = 45_000_000
"""The same again where the processor computes in bfloat16, whose kernels oneDNN compiles for each shape of a product
and keeps; fitted likewise, to 40 to 60 MB."""

_SHARE_INPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "w1", "w3")
"""Layers that read one tensor with others of the module that they are in."""
_GATES = ("gate_proj", "gate_up_proj", "w1")
_AFTER_ATTENTION = ("o_proj", "out_proj", "c_proj", "dense", "wo")
_ATTENTION = re.compile(r"\.\w*(?:attn|attention)\.")
_STEPWISE = ("gelu_new", "gelu_fast")
"""Activations made of several operations, of which autograd keeps four tensors instead of one."""


# The network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A linear layer, the output head, or a table of embeddings."""

    name: str
    """Its path in the network, such as "model.layers.0.self_attn.q_proj"."""
    inputs: int
    """Features that it reads; of a table, its rows."""
    outputs: int
    """Features that it writes."""
    table: bool
    """Whether it embeds or is the output head, which adapters leave out unless they are named."""
    source: str
    """What it reads: the same name for layers that read one tensor."""
    after_attention: bool
    """Whether it reads what attention returns."""

    @property
    def size(self) -> int:
        """Weights, without a bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """The norms of one kind in all layers."""

    count: int
    """How many a token passes, one for each head where heads are normed."""
    width: int
    """The features of all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What of a network decides how much memory it takes."""

    parameters: int
    """Weights, each counted once where layers share them."""
    hidden_size: int
    """H."""
    layers: int
    """Decoder layers."""
    heads: int
    """Attention heads."""
    kv_heads: int
    """Key-value heads."""
    head_dim: int
    """Width of a head."""
    intermediate_size: int
    """I, of the widest feed-forward part."""
    vocabulary: int
    """V, the rows of the output head."""
    tied: bool
    """Whether the output head and the embedding are one weight."""
    stored: torch.dtype
    """In which precision the weights are stored."""
    context_length: int
    """Most tokens that the network holds."""
    largest: int
    """Weights of its largest tensor."""
    matrices: tuple[Matrix, ...]
    """Its linear layers, tables and output head."""
    hidden_matrices: Mapping[tuple[int, int], int]
    """How many matrices of each shape learn by Muon in a warm start."""
    norms: Norms
    """Norms of the residual stream that are made of several operations."""
    head_norms: Norms
    """The same of queries and keys."""
    fused_norms: Norms
    """Norms that are one operation."""
    feedforward: int
    """Inner features of the feed-forward parts that every token passes, in all layers."""
    kept_inside: int
    """How many tensors of that width autograd keeps, beside what the last layer of the part reads."""
    expert_weights: int
    """Weights of experts, of which a token passes some."""
    expert_features: int
    """Features that autograd keeps of the experts of a token, in all layers."""
    rotary: bool
    """Whether queries and keys are turned by their positions."""
    stepwise_attention: bool
    """Whether attention is computed by several operations, of which autograd keeps the scores."""
    config: PreTrainedConfig = field(repr=False, compare=False)
    """What it was read from."""
    adapters: dict[AdapterSettings, int] = field(default_factory=dict, repr=False, compare=False)
    """The weights of adapters that peft was asked about."""

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Self:
        """Return the shape of the network that a configuration of the transformers library describes.

        The network is built without memory for its weights, so they are counted exactly whatever its architecture.

        Raises:
            CheckpointError: The library builds no causal language model from it.
        """
        network = _empty_network(config)
        text = network.config.get_text_config()
        hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
        kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
        head_dim = int(getattr(text, "head_dim", None) or hidden // heads)
        matrices = tuple(_matrices(network))
        lasts = [matrix.inputs for matrix in matrices if matrix.outputs == hidden and not matrix.table
                 and not _ATTENTION.search(matrix.name) and _leaf(matrix.name) not in _SHARE_INPUTS]  # fmt: skip
        gated = any(_leaf(matrix.name) in _GATES for matrix in matrices)
        activation = getattr(text, "hidden_act", None) or getattr(text, "activation_function", None)
        experts = [parameter for parameter in network.parameters() if parameter.ndim == 3]
        muon, _ = cloning_optimizers(network, WarmStartConfig())
        shapes = Counter(tuple(weight.shape) for group in muon.param_groups for weight in group["params"])
        norms, head_norms, fused_norms = _norms(network, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        head = network.get_output_embeddings().weight
        return cls(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            hidden_size=hidden, layers=int(text.num_hidden_layers), heads=heads, kv_heads=kv_heads, head_dim=head_dim,
            intermediate_size=max(lasts, default=hidden), vocabulary=int(head.shape[0]),
            tied=head is network.get_input_embeddings().weight, stored=_stored(config),
            context_length=int(getattr(text, "max_position_embeddings", None) or DEFAULT_CONTEXT),
            largest=max(parameter.numel() for parameter in network.parameters()), matrices=matrices,
            hidden_matrices={(rows, columns): count for (rows, columns), count in shapes.items()}, norms=norms,
            head_norms=head_norms, fused_norms=fused_norms, feedforward=sum(lasts),
            kept_inside=(4 if activation in _STEPWISE else 1) + 2 * gated,
            expert_weights=sum(parameter.numel() for parameter in experts),
            expert_features=sum(_expert_features(module, text) for module in network.modules()),
            rotary=any("rotary" in type(module).__name__.lower() for module in network.modules()),
            stepwise_attention=text._attn_implementation == "eager",  # noqa: SLF001 - it has no other name
            config=config,
        )  # fmt: skip

    @classmethod
    def read(cls, path: str | Path, revision: str = "") -> Self:
        """Return the shape of the model in a folder or by a name of the hub; of an adapter, that of its base.

        Its `config.json` alone is read, and fetched where the cache of the hub does not have it.

        Args:
            path: The folder or the name.
            revision: The branch, tag or commit of a name.

        Raises:
            CheckpointError: It describes no causal language model that the library knows.
        """
        folder = Path(path)
        if (folder / ADAPTER_FILE).is_file():
            settings = adapter_settings(folder)
            return cls.read(str(settings["base_model_name_or_path"]), str(settings.get("revision") or ""))
        if not is_hub_name(str(path)) and not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} holds no model: there is no config.json in it")
        try:
            config = AutoConfig.from_pretrained(str(path), revision=revision or "main", trust_remote_code=False)
        except Exception as error:  # the library's readers raise what they like
            raise CheckpointError(f"the config.json of {path} cannot be read: {reason_of(error)}") from error
        return cls.of(config)

    @classmethod
    def small(cls, model: ModelConfig) -> Self:
        """Return the shape of the built-in small model, with the largest vocabulary that its tokenizer may get."""
        config = decoder_config(
            vocabulary_size=model.vocabulary_size, hidden_size=model.hidden_size, layers=model.layers,
            heads=model.heads, feedforward_size=FEEDFORWARD_FACTOR * model.hidden_size,
            context_length=model.context_length,
        )  # fmt: skip
        return cls.of(config)

    @classmethod
    def configured(cls, config: TrainConfig) -> Self:
        """Return the shape of the model that a run begins from.

        Raises:
            CheckpointError: As `read`.
        """
        return cls.read(config.model.path, config.model.revision) if config.model.path else cls.small(config.model)

    def adapted(self, targets: Sequence[str]) -> list[Matrix]:
        """Return the layers that an adapter of these targets is for, as peft chooses them."""
        if not targets:
            return [matrix for matrix in self.matrices if not matrix.table]
        names = tuple(f".{target}" for target in targets)
        return [matrix for matrix in self.matrices if f".{matrix.name}".endswith(names)]

    def adapter_parameters(self, settings: AdapterSettings) -> int:
        """Return the weights of an adapter: beside each layer two matrices, its inputs and its outputs by the rank.

        Where there are experts peft chooses among their weights too, by rules for each architecture, so it is asked.

        Raises:
            InputError: It is to be asked, and is not installed or finds no layer.
        """
        if self.expert_weights:
            if settings not in self.adapters:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # rules for experts that match nothing
                    adapter = new_adapter(_empty_network(self.config), settings, 0)
                self.adapters[settings] = sum(parameter.numel() for parameter in adapter.parameters())
            return self.adapters[settings]
        return settings.rank * sum(matrix.inputs + matrix.outputs for matrix in self.adapted(settings.targets))


def _empty_network(config: PreTrainedConfig) -> Any:
    """Return a network whose weights take no memory.

    Raises:
        CheckpointError: The library builds none.
    """
    kind: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            return kind.from_config(copy.deepcopy(config))
    except Exception as error:  # the library's constructors raise what they like
        raise CheckpointError(f"no language model can be built from its config.json: {reason_of(error)}") from error


def _stored(config: PreTrainedConfig) -> torch.dtype:
    """Return in which precision a configuration says that its weights are stored, as `folder.stored_dtype` does."""
    name = str(getattr(config, "dtype", None) or "").removeprefix("torch.")
    found = getattr(torch, name, None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _matrices(network: Any) -> Iterator[Matrix]:
    """Yield the linear layers, tables and output head of a network."""
    head = network.get_output_embeddings()
    for name, module in network.named_modules():
        if not isinstance(module, torch.nn.Embedding | torch.nn.Linear | Conv1D):
            continue
        rows, columns = (int(size) for size in module.weight.shape)
        transposed = isinstance(module, torch.nn.Linear)
        parent, _, leaf = name.rpartition(".")
        yield Matrix(
            name=name, inputs=columns if transposed else rows, outputs=rows if transposed else columns,
            table=module is head or isinstance(module, torch.nn.Embedding),
            source=parent if leaf in _SHARE_INPUTS else name,
            after_attention=leaf in _AFTER_ATTENTION and bool(_ATTENTION.search(name)),
        )  # fmt: skip


def _norms(network: Any, *, heads: int, kv_heads: int, head_dim: int) -> list[Norms]:
    """Return the norms of a network: those of the stream, of queries and keys, and those that are one operation."""
    widths: list[list[int]] = [[], [], []]
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" not in type(module).__name__.lower() or weight is None:
            continue
        width, times = int(weight.numel()), {"q_norm": heads, "k_norm": kv_heads}.get(_leaf(name), 0)
        kind = 2 if isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm) else 1 if times else 0
        widths[kind] += [width] * (times if times and width == head_dim else 1)
    return [Norms(count=len(of_kind), width=sum(of_kind)) for of_kind in widths]


def _expert_features(module: Any, text: Any) -> int:
    """Return what autograd keeps of a token in the experts of a module: 2 H and 4 I for each that the token passes.

    Those are what the expert reads and returns, gate and other factor, activation and product.
    """
    weight = getattr(module, "gate_up_proj", None)
    if not isinstance(weight, torch.nn.Parameter) or weight.ndim != 3:
        return 0
    hidden, (_, rows, columns) = int(text.hidden_size), weight.shape
    width = (int(rows) if columns == hidden else int(columns)) // 2
    return int(getattr(text, "num_experts_per_tok", 1)) * (2 * hidden + 4 * width)


# Sizes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bytes:
    """Bytes of a number, by what it is."""

    held: int
    """A weight of the network, and what the residual stream carries."""
    computed: int
    """What matrix products read and return."""
    learned: int
    """A weight that learns, its gradient, and the terms of a loss: at least float32."""

    @property
    def mixed(self) -> bool:
        """Whether autocast casts what matrix products read."""
        return self.computed != self.held

    @property
    def copied(self) -> bool:
        """Whether what an adapter reads is cast first: by peft to the adapter's precision, or by autocast back."""
        return self.mixed or self.held != self.learned

    @classmethod
    def of(cls, placement: Placement, device: str, stored: torch.dtype, *, learns: bool) -> Self:
        """Return those of a placement on a type of device, which need not be here; a card computes in bfloat16.

        Raises:
            InputError: The precisions do not go together.
        """
        wide = stored == torch.float64 and placement.dtype == "auto"
        if device == "cuda" and not wide:  # what `precisions` finds by asking the card
            if placement.dtype == "auto" and not learns:
                placement = replace(placement, dtype="bfloat16")
            if placement.compute_dtype == "auto":
                placement = replace(placement, compute_dtype="bfloat16")
        here = torch.device("mps" if device == "mps" else "cpu")
        held, computed = precisions(placement, here, stored, learns=learns)
        return cls(held=held.itemsize, computed=computed.itemsize, learned=max(4, held.itemsize))


_Part = tuple[str, dict[str, int]]
"""A phase by its name, and bytes by what they are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The sizes of a run in bytes, from which its phases are put together.

    The formulas of learning count what autograd keeps for the backward pass, tensor by tensor; those for a token are
    for all layers. What the adapter changes: frozen weights keep nothing of what they read, the adapter beside them
    does, and layers whose weight is frozen keep of a product only the other factor.
    """

    config: TrainConfig
    shape: ModelShape
    device: str
    """Its type."""
    share: float
    """The share of sampled tokens."""
    size: _Bytes
    adapter_weights: int
    """Of one adapter; 0 where all weights learn."""

    # What stays ----------------------------------------------------------------------------------------------------

    @property
    def rank(self) -> int:
        """Of the adapter, 0 for none."""
        return self.config.lora.rank

    @property
    def weights(self) -> int:
        """A network."""
        return self.shape.parameters * self.size.held

    @property
    def learned(self) -> int:
        """What learns, an adapter or a network; its gradients take as much."""
        return (self.adapter_weights if self.rank else self.shape.parameters) * self.size.learned

    @property
    def adamw(self) -> int:
        """The optimizer of stage 2: two means of each weight."""
        return 2 * self.learned

    @property
    def muon(self) -> int:
        """The optimizers of the warm start: one mean of each weight of a hidden matrix, two of the others."""
        if self.rank:
            return self.adamw
        hidden = sum(rows * columns * count for (rows, columns), count in self.shape.hidden_matrices.items())
        return 2 * self.learned - hidden * self.size.learned

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed again in a backward pass."""
        return recomputes(self.shape.parameters, self.config.learning)

    @property
    def context(self) -> int:
        """Most tokens of a conversation."""
        return min(self.config.model.context_length, self.shape.context_length)

    def cache(self, slots: int) -> int:
        """Return the keys and values of that many conversations, in as many columns as `RaggedCache` takes."""
        columns = (self.context // ALIGNMENT + 1) * ALIGNMENT
        features = self.shape.layers * self.shape.kv_heads * self.shape.head_dim
        return slots * columns * features * (self.key_bytes + self.size.computed)

    @property
    def key_bytes(self) -> int:
        """A number of a key. Under autocast, positions that turn it have the precision of the stream, and give it."""
        return self.size.held if self.shape.rotary else self.size.computed

    # Play ----------------------------------------------------------------------------------------------------------

    def play(self, name: str, slots: int) -> Iterator[_Part]:
        """Yield what play takes: in the forward passes, and while a token of every conversation is sampled."""
        stays = {"cache": self.cache(slots), "cast weights": self.cast_at_once}
        yield f"{name}: reading", {**stays, "working space": self.reading(slots)}
        yield f"{name}: sampling", {**stays, "logits in play": self.sampling(slots)}

    def sampling(self, slots: int) -> int:
        """Return what `LanguageModelAgent._sample` takes at its most, while it adds probabilities up.

        There are the logits of the network, in at least float32 (the same tensor where they were), their
        log-probabilities, and the probabilities and their sums in float64.
        """
        computed, precise = self.size.computed, max(4, self.size.computed)
        return slots * self.shape.vocabulary * ((computed if computed < precise else 0) + 2 * precise + 16)

    def reading(self, slots: int) -> int:
        """Return what the larger forward passes take: those of first observations, or of answers.

        A pass of first observations, here of half a context each, has up to `MAX_PASS_TOKENS`, and a mask of numbers
        made from two of truth values. In a pass of answers, heads that share keys and values get copies of them.
        """
        size, shape = self.size, self.shape
        opening = max(1, self.context // 2)
        openings = min(MAX_PASS_TOKENS, slots * opening) * (self.layer_forward + opening * (size.held + 2))
        copied = shape.heads * (self.key_bytes + size.computed) if shape.heads > shape.kv_heads else 0
        cast = size.computed * (shape.heads if copied else shape.kv_heads) if size.mixed else 0
        answers = slots * (self.context * shape.head_dim * (copied + cast) + ANSWER_TOKENS * self.layer_forward)
        return max(openings, answers)

    @property
    def layer_forward(self) -> int:
        """What a layer takes for a token when nothing is kept.

        In a gated feed-forward part there are the activation, the other factor and their product; beside an adapter,
        before that, the activation, the other factor, and what the adapter adds to it, as it is and scaled. Attention
        turns queries by three tensors. Around either stand the stream and the normed stream.
        """
        size, shape = self.size, self.shape
        added = size.computed if size.mixed else size.learned
        inner = 2 * size.computed + (2 * added if self.rank else size.computed)
        turning = shape.heads * shape.head_dim * (2 * size.computed + 3 * size.held)
        return max(inner * shape.intermediate_size, turning) + 3 * shape.hidden_size * size.held

    @property
    def cast_at_once(self) -> int:
        """Copies of weights that autocast has at one time: all that learn, but of frozen ones the largest."""
        if not self.size.mixed:
            return 0
        sizes = [matrix.size for matrix in self.shape.adapted(()) + self._head]
        return self.size.computed * (max(sizes) if self.rank else sum(sizes))

    @property
    def _head(self) -> list[Matrix]:
        """The output head, which is a table of its own or the embedding."""
        shape = self.shape
        return [Matrix(name="", inputs=shape.hidden_size, outputs=shape.vocabulary, table=True, source="",
                       after_attention=False)]  # fmt: skip

    # What autograd keeps of a token --------------------------------------------------------------------------------

    @property
    def kept_of_token(self) -> int:
        """What is kept of a token in all layers, but for what the output head needs."""
        return self.kept_by_norms + self.kept_by_products + self.kept_by_attention + self.kept_by_feedforward

    @property
    def kept_by_norms(self) -> int:
        """What norms keep.

        `weight * (x * rsqrt(mean(x ** 2))).to(...)` keeps x in float32, which is the residual stream itself if that is
        in float32, and the root; and what the weight multiplies, if the weight learns. `layer_norm` keeps x, its mean
        and its root. In the first norm of a network that does not learn, x needs no gradient.
        """
        size, shape = self.size, self.shape
        kept = 4 * (shape.norms.width + shape.head_norms.width + shape.norms.count + shape.head_norms.count)
        kept += size.held * shape.fused_norms.width + 8 * shape.fused_norms.count
        if self.rank:
            return kept - (4 if shape.norms.count else size.held) * shape.hidden_size
        return kept + size.held * shape.norms.width + size.computed * shape.head_norms.width

    @property
    def kept_by_products(self) -> int:
        """What matrix products keep of what they read.

        Weights that learn keep it: one tensor where several layers read one, but under autocast a copy for each. Of an
        adapter, the first matrix keeps it, as peft has cast it to float32 if it was not in that, or as autocast has
        cast it back: then it is a copy for each layer. The second matrix keeps as many numbers as the rank.
        """
        size = self.size
        adapted = self.shape.adapted(self.config.lora.targets if self.rank else ())
        copied = size.mixed or (self.rank > 0 and size.copied)
        inputs = {matrix.name if copied else matrix.source: matrix.inputs
                  for matrix in adapted if not self._kept_already(matrix)}  # fmt: skip
        return (sum(inputs.values()) + self.rank * len(adapted)) * (size.computed if size.mixed else size.learned)

    def _kept_already(self, matrix: Matrix) -> bool:
        """Return whether what a layer reads is the very tensor that attention keeps."""
        return matrix.after_attention and not (self.rank and self.size.copied)

    @property
    def kept_by_attention(self) -> int:
        """What attention keeps: queries, keys, values and result, and a number in float32 for each head.

        Made of several operations, it keeps up to two rows of scores as well, and keys and values for each head.
        """
        size, shape = self.size, self.shape
        if shape.stepwise_attention:
            return shape.layers * shape.heads * size.computed * (4 * shape.head_dim + 2 * self.context)
        features = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
        return shape.layers * (size.computed * features + 4 * shape.heads)

    @property
    def kept_by_feedforward(self) -> int:
        """What feed-forward parts keep: what the activation reads, and with a gate both factors of the product.

        Experts are computed by a product of their own, which autocast leaves in the precision of the weights.
        """
        dense = self.shape.kept_inside * self.shape.feedforward
        return self.size.computed * dense + self.size.held * self.shape.expert_features

    # Learning ------------------------------------------------------------------------------------------------------

    def learning(self, name: str, tokens: int, *, again: bool) -> Iterator[_Part]:
        """Yield what a micro-batch takes, in the order in which that comes and goes.

        First the logits, with everything that is kept; then they are gone, and the last layer gives back what it kept;
        at the end, when nothing else is left, the embedding gets its gradient, a table; where it is one weight with the
        output head, whose gradient has waited for this, both and their sum are there. If layers are computed again,
        only what each reads is kept, and what is inside of one comes to the second.

        Args:
            name: What it is called.
            tokens: Padded tokens.
            again: Whether the inside of layers is computed again.
        """
        size, shape = self.size, self.shape
        table = shape.vocabulary * shape.hidden_size
        inside = tokens * self.kept_of_token + self.cast_for_gradients + self.adapted_experts
        kept = 16 * tokens  # ids, and what was sampled of them
        if not self.rank:
            kept += int(tokens * self.share) * shape.hidden_size * size.computed  # what the output head reads
        layer = self.layer_backward(tokens)
        if again:
            kept += tokens * (shape.layers + 2) * shape.hidden_size * size.held
            kept += size.computed * table if size.mixed else 0
            layer += inside // shape.layers
            forward = {"cast weights": self.cast_at_once, "working space": tokens * self.layer_forward}
            yield f"{name}: forward", {"activations": kept, **forward}
        else:
            kept += inside
        waiting = 0 if self.rank else table * size.learned
        yield f"{name}: logits", {"activations": kept, "logits in learning": self.logits(tokens)}
        yield f"{name}: layers", {"activations": kept, "working space": layer + waiting * shape.tied}
        yield f"{name}: embedding", {"working space": waiting * (3 if shape.tied else 1)}

    def logits(self, tokens: int) -> int:
        """Return what the logits of the sampled tokens take at their most.

        In the forward pass they are there as such, divided by the temperature, and as log-probabilities; in the
        backward pass there are the log-probabilities, their gradient and that of the logits. Or one gradient of them,
        and that of the weight of the output head, under autocast in both precisions.
        """
        size = self.size
        each = int(tokens * self.share) * self.shape.vocabulary * size.learned
        table = self.shape.vocabulary * self.shape.hidden_size
        of_head = 0 if self.rank else table * (size.learned + (size.computed if size.mixed else 0))
        return max(3 * each, each + of_head)

    def layer_backward(self, tokens: int) -> int:
        """Return what the backward pass of the last layer has beside all that is kept, at its most.

        In a feed-forward part that is the gradients of activation, of the other factor and of the product, which
        itself is gone; beside an adapter, that of its input twice, by the adapter and by the layer, and their sum in
        place of the product. In a norm it is four tensors, or five, as wide as the stream, in float32.
        """
        size, shape = self.size, self.shape
        inner = 2 * size.computed
        if self.rank:
            inner = 3 * size.computed if size.mixed else size.learned if size.copied else 2 * size.learned
        stream = 4 * (5 if self.rank else 4)
        return tokens * max(inner * shape.intermediate_size, stream * shape.hidden_size)

    @property
    def cast_for_gradients(self) -> int:
        """Copies of weights that autocast makes and autograd keeps."""
        if not self.size.mixed:
            return 0
        layers = sum(matrix.size for matrix in self.shape.adapted(()) + self._head)
        return self.size.computed * (layers + self.adapter_weights)

    @property
    def adapted_experts(self) -> int:
        """Weights of experts to which peft has added what an adapter says of them, where it is for them too."""
        layers = self.rank * sum(matrix.inputs + matrix.outputs for matrix in self.shape.adapted(()))
        return self.shape.expert_weights * self.size.held if self.adapter_weights > layers else 0

    # Optimizers ----------------------------------------------------------------------------------------------------

    @property
    def adamw_step(self) -> int:
        """What AdamW takes for a step: on a card a root of all weights at once, else two of one tensor at a time."""
        if self.device == "cuda":
            return self.learned
        widest = max((max(matrix.inputs, matrix.outputs) for matrix in self.shape.matrices), default=0)
        return 2 * (self.rank * widest if self.rank else self.shape.largest) * self.size.learned

    @property
    def muon_step(self) -> int:
        """What a step of Muon takes, for all matrices of one shape at once, see `warm_start.muon`.

        Those are the directions, the same in one tensor, the iterate, two terms of the next and their sum, and the
        product of each matrix with itself.
        """
        if self.rank:
            return self.adamw_step
        sizes = [count * min(shape) * (6 * max(shape) + min(shape))
                 for shape, count in self.shape.hidden_matrices.items()]  # fmt: skip
        return max([*sizes, 0]) * self.size.learned


# Phases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What lives at the same time at some point of a run."""

    name: str
    """Which point, such as "stage 2, learning: logits"."""
    parts: Mapping[str, int]
    """Bytes by what they are for, such as "activations"."""

    @property
    def total(self) -> int:
        """The sum of its parts, bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """How much memory a run needs, phase by phase; printed, it is a table."""

    config: TrainConfig
    """Of which run."""
    shape: ModelShape
    """Of its network."""
    device: str
    """The type of the device that the model lies on."""
    sampled_share: float
    """The share of sampled tokens that is assumed."""
    phases: tuple[Phase, ...]
    """The phases of the run in their order."""

    @property
    def largest(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def peak(self) -> int:
        """What the run needs, bytes."""
        return self.largest.total

    @property
    def parts(self) -> dict[str, int]:
        """The most that each part takes in any phase, bytes; not all at the same time."""
        names = dict.fromkeys(name for phase in self.phases for name in phase.parts)
        return {name: max(phase.parts.get(name, 0) for phase in self.phases) for name in names}

    def rows(self) -> list[tuple[str, str]]:
        """Return the table: the parts of the largest phase, its sum, and the sums of the other phases, in GB.

        Of phases that differ after their colon, such as "stage 2, play: reading", the largest is shown.
        """
        largest = self.largest
        rows = [(name, gigabytes(size)) for name, size in largest.parts.items() if size]
        rows.append((f"{largest.name} (peak)", gigabytes(largest.total)))
        others: dict[str, int] = {}
        for phase in self.phases:
            name = phase.name.partition(":")[0]
            others[name] = max(others.get(name, 0), phase.total)
        others.pop(largest.name.partition(":")[0])
        return [*rows, *((name, gigabytes(size)) for name, size in others.items())]

    def __str__(self) -> str:
        """Return the table as text."""
        rows = self.rows()
        left, right = (max(len(row[side]) for row in rows) for side in (0, 1))
        return "\n".join(f"{name:{left}}  {size:>{right}} GB" for name, size in rows)


def gigabytes(size: float) -> str:
    """Return bytes in GB with two decimals, below a tenth with two digits, and from a hundred on without decimals."""
    number = size / GB
    return f"{number:.0f}" if number >= 100 else f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def estimate_memory(
    config: TrainConfig, shape: ModelShape, *, device: str | None = None, sampled_share: float | None = None
) -> MemoryEstimate:
    """Return how much memory a run needs on the device that its model lies on.

    It is what the tensors take. On a card the libraries of CUDA and gaps between tensors come on top. Less is needed
    where episodes do not fill the context, where the environment says more than `ANSWER_TOKENS` in a turn, and where a
    step has a single micro-batch, while whose activations are kept there are no gradients yet.

    Args:
        config: The run.
        shape: The shape of the model that it begins from; those of explorers are taken to be the same.
        device: The type of the device, such as "cuda", which need not be here; None for that of the configuration.
        sampled_share: The share of the tokens of an episode that the agent samples, where it is known.

    Raises:
        InputError: There is no such device here, its precisions do not go together, or an adapter needs peft.
    """
    kind = find_device(config.run.device).type if device is None else torch.device(device).type
    replies = config.model.max_reply_tokens
    run = _Run(
        config=config, shape=shape, device=kind,
        share=replies / (replies + ANSWER_TOKENS) if sampled_share is None else sampled_share,
        size=_Bytes.of(config.placement, kind, shape.stored, learns=not config.lora.rank),
        adapter_weights=shape.adapter_parameters(config.lora.settings) if config.lora.rank else 0,
    )  # fmt: skip
    process = PROCESS_BYTES + (ROUGH_KERNELS_BYTES if run.size.computed == 2 else 0)
    always = {"weights": run.weights, "adapter": run.adapter_weights * run.size.learned,
              "process": process if kind == "cpu" else 0}  # fmt: skip
    phases = tuple(Phase(name=name, parts=always | parts) for name, parts in _phases(run))
    return MemoryEstimate(config=config, shape=shape, device=kind, sampled_share=run.share, phases=phases)


def _phases(run: _Run) -> Iterator[_Part]:
    """Yield the phases of a run, each with what it takes beside one network with one adapter."""
    config = run.config
    if config.warm_start.enabled:
        yield from _warm_start(run)
    if config.needs_stage_one:
        explorers = {"explorers": run.weights * min(2, len(config.values.explorer_models))}  # one while it is replaced
        yield from _beside(explorers, run.play("stage 1", config.run.rollout_slots))
    yield from _stage_two(run)


def _warm_start(run: _Run) -> Iterator[_Part]:
    """Yield the phases of cloning, which keeps weights and optimizers of the turning point as well."""
    config = run.config.warm_start
    turning_point = run.learned + run.muon
    stays = {"optimizer": run.muon, "turning point": turning_point}
    learning = {**stays, "gradients": run.learned}
    tokens = max(run.context, min(run.config.learning.tokens_per_microbatch, config.batch_size * run.context))
    yield from _beside(learning, run.learning("warm start", tokens, again=run.recomputes))
    yield "warm start: optimizer", {**learning, "working space": run.muon_step}
    if config.max_corrections and not config.demonstrations:
        yield "warm start: correction", {**stays, "copies": turning_point}
    if run.device == "cpu":
        yield "warm start: checkpoint", {**stays, "copies": run.muon + turning_point}
    yield from _beside(stays, run.play("warm start: validation", run.config.run.rollout_slots))


def _stage_two(run: _Run) -> Iterator[_Part]:
    """Yield the phases of stage 2 and of the evaluation.

    The cache of the agent stays while the policy learns, and gradients stay while it plays. The first reference is
    kept to the end, beside the present one.
    """
    config, learning = run.config, run.config.learning
    slots, fewer = config.run.rollout_slots, min(config.run.rollout_slots, learning.batch_size)
    rounds = math.ceil(learning.steps / (learning.reset_every or learning.steps))
    stays = {"reference": min(rounds, 2) * run.learned, "gradients": run.learned, "optimizer": run.adamw}
    cached = {**stays, "cache": run.cache(fewer)}
    yield from _beside(stays, run.play("stage 2, play", fewer))
    parts = run.learning("stage 2, learning", _microbatch(run), again=run.recomputes)
    yield from _beside(cached, parts)
    yield "stage 2, optimizer", {**cached, "working space": run.adamw_step}
    if run.device == "cpu":
        yield "stage 2, checkpoint", {**cached, "copies": run.adamw}
    if config.evaluation.validate_every is not None:
        yield from _beside({**stays, "cache of stage 2": run.cache(fewer)}, run.play("stage 2, validation", slots))
    if rounds > 1 and config.needs_stage_one:
        yield from _beside(stays, run.play("stage 1 of later rounds", slots))
    if rounds > 2:
        yield "reset of the reference", {**stays, "copies": run.learned}
    yield from _beside(stays, run.play("evaluation", slots))


def _microbatch(run: _Run) -> int:
    """Return the padded tokens of the largest micro-batch of stage 2, which holds whole episodes, or whole groups."""
    learning, objective = run.config.learning, run.config.objective
    paired = find_objective(objective.name).needs_pairs
    batch = math.ceil(learning.batch_size / learning.minibatches) * run.context
    return max(run.context * (objective.group_size if paired else 1), min(learning.tokens_per_microbatch, batch))


def _beside(stays: Mapping[str, int], parts: Iterator[_Part]) -> Iterator[_Part]:
    """Yield phases together with what stays in all of them."""
    for name, of_phase in parts:
        yield name, {**stays, **of_phase}


# Room ------------------------------------------------------------------------------------------------------------

ADVISED_RANK = 16
"""The rank of the adapter that is advised where all weights do not fit."""
FEWEST_SLOTS, SHORTEST_CONTEXT = 8, 256
"""Less than this is not advised."""

_Setting = tuple[str, str, Any]
"""A section, a setting in it, and its value."""


def check_memory(estimate: MemoryEstimate, available_bytes: int) -> None:
    """Check that a run fits into memory.

    Raises:
        InputError: It does not; the message says which settings would fit, each of which was estimated again.
    """
    if estimate.peak <= available_bytes:
        return
    there = "the card has" if estimate.device == "cuda" else "there are"
    needs = f"the run needs about {_rounded(estimate.peak)} GB, and {there} {_rounded(available_bytes)}"
    found, settings = _fitting(estimate, available_bytes)
    said = " and ".join(f"{section}.{name} {_toml(value)}" for section, name, value in settings)
    if found <= available_bytes:
        raise InputError(f"{needs}: with {said} it needs {_rounded(found)}")
    least = f", and with {said} still {_rounded(found)}" if settings else ""
    raise InputError(f"{needs}{least}: take a smaller model, or a device with more memory")


def _rounded(size: int) -> str:
    """Return bytes in GB with three digits, small numbers with two."""
    return f"{size / GB:.3g}" if GB <= size < 100 * GB else gigabytes(size)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fitting(estimate: MemoryEstimate, available: int) -> tuple[int, list[_Setting]]:
    """Return the mildest settings that fit and what they need, or else those that need least.

    One change is tried before two, and changes that cost time before those that change what is learned. Of several
    together, each is then made as mild as it may be.
    """
    changes = _changes(estimate)
    least: tuple[int, list[_Setting]] = (estimate.peak, [])
    for number in range(1, len(changes) + 1):
        for chosen in itertools.combinations(changes, number):
            settings = [values[-1] for values in chosen]
            needed = _needed(estimate, settings)
            if needed is None:
                continue
            if needed > available:
                least = min(least, (needed, settings), key=lambda found: found[0])
                continue
            for place, values in enumerate(chosen):
                for value in values:
                    milder = [*settings[:place], value, *settings[place + 1 :]]
                    needs = _needed(estimate, milder)
                    if needs is not None and needs <= available:
                        settings, needed = milder, needs
                        break
            return needed, settings
    return least


def _changes(estimate: MemoryEstimate) -> list[list[_Setting]]:
    """Return the changes that may make a run fit, in the order in which they are tried, each from mild to strong."""
    config = estimate.config
    model, learning = config.model, config.learning
    context = min(model.context_length, estimate.shape.context_length)
    shortest = max(SHORTEST_CONTEXT, 2 * model.max_reply_tokens)
    changes: list[list[_Setting]] = [
        [("learning", "tokens_per_microbatch", value) for value in _halves(learning.tokens_per_microbatch, context)],
        [] if recomputes(estimate.shape.parameters, learning) else [("learning", "gradient_checkpointing", True)],
        [("run", "rollout_slots", value) for value in _halves(config.run.rollout_slots, FEWEST_SLOTS)],
        [("model", "context_length", value) for value in _halves(context, shortest)],
        [("lora", "rank", ADVISED_RANK)] if model.path and not config.lora.rank else [],
    ]
    return [values for values in changes if values]


def _halves(number: int, least: int) -> list[int]:
    """Return halves of a number, of the half and so on, down to the least."""
    halves = []
    while number // 2 >= least:
        number //= 2
        halves.append(number)
    return halves


def _needed(estimate: MemoryEstimate, settings: Sequence[_Setting]) -> int | None:
    """Return what a run would need with other settings, bytes; None where they do not go together."""
    overrides: dict[str, dict[str, Any]] = {}
    for section, name, value in settings:
        overrides.setdefault(section, {})[name] = value
    try:
        config = with_overrides(estimate.config, overrides)
        return estimate_memory(
            config, estimate.shape, device=estimate.device, sampled_share=estimate.sampled_share
        ).peak
    except InputError:
        return None


def available_memory(device: torch.device | str) -> int:
    """Return how much memory a device has left, bytes.

    On a card that is what the driver says. Of the memory of the processor it is what the kernel calls available, or
    what the limits of control groups leave, if that is less; memory of files that can be read again does not count as
    used. Where there is no such kernel it is all memory of the machine.

    Args:
        device: A device of torch.
    """
    place = torch.device(device)
    if place.type == "cuda":
        free, _ = torch.cuda.mem_get_info(place)
        return int(free)
    return processor_memory(Path("/"))


def processor_memory(root: Path) -> int:
    """Return how much memory the processor has left, bytes, by the files that the kernel shows under `root`."""
    rooms = [room for folder in _control_groups(root) if (room := _room(folder)) is not None]
    known = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if known:
        rooms.append(int(known[1]) * 1024)
    return max(0, min(rooms, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process and of those around them, of both versions."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, kinds, path = line.split(":", 2)
        if number != "0" and "memory" not in kinds.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if number != "0" else "")
        inner = top / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _room(folder: Path) -> int | None:
    """Return what the limit of a control group leaves, bytes; None where it has none."""
    for limit_name, used_name, cached_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / limit_name).strip(), _text(folder / used_name).strip()
        if limit.isdecimal() and used.isdecimal():
            cached = re.search(rf"^{cached_name} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
            return int(limit) - int(used) + (int(cached[1]) if cached else 0)
    return None


def _text(path: Path) -> str:
    """Return the content of a file, nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

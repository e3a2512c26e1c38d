"""The shape of a network, read from its configuration alone: its weights, and what autograd keeps of a token.

Letters: H hidden size, I width of the feed-forward part, V vocabulary.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from turngym.agents.models.adapter import ADAPTER_FILE, adapter_settings, new_adapter
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.hub import is_hub_name
from turngym.agents.models.language_model import DEFAULT_CONTEXT
from turngym.agents.models.placement import AdapterSettings
from turngym.agents.models.playable import check_config
from turngym.agents.models.sharding import layers_of
from turngym.agents.models.small import decoder_config
from turngym.trainers.base_model import FEEDFORWARD_FACTOR
from turngym.trainers.config import ModelConfig, TrainConfig, WarmStartConfig
from turngym.trainers.warm_start.course import cloning_optimizers

_SHARE_INPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "w1", "w3")
"""Layers that read one tensor with others of the module that they are in."""
_GATES = ("gate_proj", "gate_up_proj", "w1")
_AFTER_ATTENTION = ("o_proj", "out_proj", "c_proj", "dense", "wo")
_ATTENTION = re.compile(r"\.\w*(?:attn|attention)\.")
_STEPWISE = ("gelu_new", "gelu_fast")
"""Activations made of several operations, of which autograd keeps four tensors instead of one."""


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
    layer_weights: int
    """Weights of all decoder layers; where they are shared out, what is in no layer is put together all the time."""
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
            CheckpointError: The library builds no causal language model from it, or one that cannot be played, or
                whose sizes have other names than those of the rest.
        """
        check_config(config)
        network = _empty_network(config)
        try:
            return cls._of(network, config)
        except Exception as error:  # configurations lack, or refuse to name, what they like
            raise CheckpointError(f"the sizes of a model of the type {config.model_type} cannot be told from its "
                                  f"config.json: {reason_of(error)}") from error  # fmt: skip

    @classmethod
    def _of(cls, network: Any, config: PreTrainedConfig) -> Self:
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
            largest=max(parameter.numel() for parameter in network.parameters()),
            layer_weights=sum(parameter.numel() for layer in layers_of(network) for parameter in layer.parameters()),
            matrices=matrices,
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

"""The shape of a network: its weights, and what autograd keeps of a token.

That of the built-in model is computed here; of others `network_shape` reads it, with torch, from their configuration.

Letters: H hidden size, I width of the feed-forward part, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from turngym.agents.models.placement import AdapterSettings
from turngym.trainers.config import ModelConfig, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SHARE_INPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "w1", "w3")
"""Layers that read one tensor with others of the module that they are in."""
ATTENTION = re.compile(r"\.\w*(?:attn|attention)\.")
"""A part of the name of a layer of attention."""
_AFTER_ATTENTION = ("o_proj", "out_proj", "c_proj", "dense", "wo")


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

    @classmethod
    def called(cls, name: str, *, inputs: int, outputs: int, table: bool = False) -> Matrix:
        """Return a matrix that reads what layers of its name do."""
        parent, _, leaf = name.rpartition(".")
        return cls(
            name=name, inputs=inputs, outputs=outputs, table=table, source=parent if leaf in SHARE_INPUTS else name,
            after_attention=leaf in _AFTER_ATTENTION and bool(ATTENTION.search(name)),
        )  # fmt: skip

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
    stored: str
    """In which precision the weights are stored, such as "float32"."""
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
    windowed: bool
    """Whether some layers see a sliding window alone."""
    stepwise_attention: bool
    """Whether attention is computed by several operations, of which autograd keeps the scores."""
    config: PreTrainedConfig | None = field(default=None, repr=False, compare=False)
    """What it was read from; None for the built-in model."""
    adapters: dict[AdapterSettings, int] = field(default_factory=dict, repr=False, compare=False)
    """The weights of adapters that peft was asked about."""

    @classmethod
    def of(cls, config: PreTrainedConfig) -> ModelShape:
        """Return the shape of the network that a configuration of the transformers library describes.

        The network is built without memory for its weights, so they are counted exactly whatever its architecture.

        Raises:
            CheckpointError: The library builds no causal language model from it, or one that cannot be played, or
                whose sizes have other names than those of the rest.
        """
        from turngym.trainers.memory.network_shape import shape_of

        return shape_of(config)

    @classmethod
    def read(cls, path: str | Path, revision: str = "") -> ModelShape:
        """Return the shape of the model in a folder or by a name of the hub; of an adapter, that of its base.

        Its `config.json` alone is read, and fetched where the cache of the hub does not have it.

        Args:
            path: The folder or the name.
            revision: The branch, tag or commit of a name.

        Raises:
            CheckpointError: It describes no causal language model that the library knows.
        """
        from turngym.trainers.memory.network_shape import network_config

        return cls.of(network_config(path, revision))

    @classmethod
    def small(cls, model: ModelConfig) -> ModelShape:
        """Return the shape of the built-in small model, with the largest vocabulary that its tokenizer may get.

        It is computed without torch: the layers are those of `agents.models.small.decoder_config`.
        """
        hidden, inner, layers, words = model.hidden_size, model.feedforward_size, model.layers, model.vocabulary_size
        parts = [("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden, hidden),
                 ("self_attn.v_proj", hidden, hidden), ("self_attn.o_proj", hidden, hidden),
                 ("mlp.gate_proj", hidden, inner), ("mlp.up_proj", hidden, inner),
                 ("mlp.down_proj", inner, hidden)]  # fmt: skip
        of_layers = [Matrix.called(f"model.layers.{layer}.{name}", inputs=inputs, outputs=outputs)
                     for layer in range(layers) for name, inputs, outputs in parts]  # fmt: skip
        biases_and_norms = layers * (3 * hidden + 2 * hidden)
        layer_weights = sum(matrix.size for matrix in of_layers) + biases_and_norms
        embedding = Matrix.called("model.embed_tokens", inputs=words, outputs=hidden, table=True)
        head = Matrix.called("lm_head", inputs=hidden, outputs=words, table=True)
        return cls(
            parameters=embedding.size + layer_weights + hidden, hidden_size=hidden, layers=layers, heads=model.heads,
            kv_heads=model.heads, head_dim=hidden // model.heads, intermediate_size=inner, vocabulary=words, tied=True,
            stored="float32", context_length=model.context_length, largest=max(embedding.size, hidden * inner),
            layer_weights=layer_weights, matrices=(embedding, *of_layers, head),
            hidden_matrices={(hidden, hidden): 4 * layers, (inner, hidden): 2 * layers, (hidden, inner): layers},
            norms=Norms(count=2 * layers + 1, width=(2 * layers + 1) * hidden), head_norms=Norms(count=0, width=0),
            fused_norms=Norms(count=0, width=0), feedforward=layers * inner, kept_inside=3, expert_weights=0,
            expert_features=0, rotary=True, windowed=False, stepwise_attention=False,
        )  # fmt: skip

    @classmethod
    def configured(cls, config: TrainConfig) -> ModelShape:
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
                from turngym.trainers.memory.network_shape import weights_of_adapter

                assert self.config is not None
                self.adapters[settings] = weights_of_adapter(self.config, settings)
            return self.adapters[settings]
        return settings.rank * sum(matrix.inputs + matrix.outputs for matrix in self.adapted(settings.targets))

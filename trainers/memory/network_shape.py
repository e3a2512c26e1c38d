"""The shape of a network of the transformers library, read from its configuration alone."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from turngym.agents.models.adapter import ADAPTER_FILE, adapter_settings, new_adapter
from turngym.agents.models.decoder import attention_windows
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.hub import is_hub_name
from turngym.agents.models.limits import DEFAULT_CONTEXT
from turngym.agents.models.placement import AdapterSettings
from turngym.agents.models.playable import check_config
from turngym.agents.models.sharding import layers_of
from turngym.trainers.config import WarmStartConfig
from turngym.trainers.memory.shape import ATTENTION, SHARE_INPUTS, Matrix, ModelShape, Norms
from turngym.trainers.warm_start.course import cloning_optimizers

_GATES = ("gate_proj", "gate_up_proj", "w1")
_STEPWISE = ("gelu_new", "gelu_fast")
"""Activations made of several operations, of which autograd keeps four tensors instead of one."""


def shape_of(config: PreTrainedConfig) -> ModelShape:
    """Return the shape of a network, as `ModelShape.of` says.

    Raises:
        CheckpointError: The library builds no causal language model from its configuration, or one that cannot be
            played, or whose sizes have other names than those of the rest.
    """
    check_config(config)
    network = _empty_network(config)
    try:
        return _shape(network, config)
    except Exception as error:  # configurations lack, or refuse to name, what they like
        raise CheckpointError(f"the sizes of a model of the type {config.model_type} cannot be told from its "
                              f"config.json: {reason_of(error)}") from error  # fmt: skip


def _shape(network: Any, config: PreTrainedConfig) -> ModelShape:
    text = network.config.get_text_config()
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    head_dim = int(getattr(text, "head_dim", None) or hidden // heads)
    matrices = tuple(_matrices(network))
    lasts = [matrix.inputs for matrix in matrices if matrix.outputs == hidden and not matrix.table
             and not ATTENTION.search(matrix.name) and _leaf(matrix.name) not in SHARE_INPUTS]  # fmt: skip
    gated = any(_leaf(matrix.name) in _GATES for matrix in matrices)
    activation = getattr(text, "hidden_act", None) or getattr(text, "activation_function", None)
    experts = [parameter for parameter in network.parameters() if parameter.ndim == 3]
    muon, _ = cloning_optimizers(network, WarmStartConfig())
    shapes = Counter(tuple(weight.shape) for group in muon.param_groups for weight in group["params"])
    norms, head_norms, fused_norms = _norms(network, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    head = network.get_output_embeddings().weight
    return ModelShape(
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
        windowed=any(attention_windows(text).values()),
        stepwise_attention=text._attn_implementation == "eager",  # noqa: SLF001 - it has no other name
        config=config,
    )  # fmt: skip


def network_config(path: str | Path, revision: str) -> PreTrainedConfig:
    """Return the configuration of the model in a folder or by a name of the hub; of an adapter, that of its base.

    Raises:
        CheckpointError: There is none that the library knows.
    """
    folder = Path(path)
    if (folder / ADAPTER_FILE).is_file():
        settings = adapter_settings(folder)
        return network_config(str(settings["base_model_name_or_path"]), str(settings.get("revision") or ""))
    if not is_hub_name(str(path)) and not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no model: there is no config.json in it")
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(
            str(path), revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:  # the library's readers raise what they like
        raise CheckpointError(f"the config.json of {path} cannot be read: {reason_of(error)}") from error
    return found


def weights_of_adapter(config: PreTrainedConfig, settings: AdapterSettings) -> int:
    """Return how many weights the adapter has that peft makes for a network.

    Raises:
        InputError: It is not installed or finds no layer.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rules for experts that match nothing
        adapter = new_adapter(_empty_network(config), settings, 0)
    return sum(parameter.numel() for parameter in adapter.parameters())


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


def _stored(config: PreTrainedConfig) -> str:
    """Return in which precision a configuration says that its weights are stored, as `folder.stored_dtype` does."""
    name = str(getattr(config, "dtype", None) or "").removeprefix("torch.")
    return name if isinstance(getattr(torch, name, None), torch.dtype) else "float32"


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
        yield Matrix.called(
            name, inputs=columns if transposed else rows, outputs=rows if transposed else columns,
            table=module is head or isinstance(module, torch.nn.Embedding),
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

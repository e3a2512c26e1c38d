"""Low-rank adapters: few weights that learn beside the frozen weights of a network, which several models may share.

The policy, its reference and what they began from are one network with an adapter each, so that learning needs no
second copy of it. Adapters are files of the package peft, and are read by it.

Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from turngym._checksums import listing
from turngym._errors import InputError
from turngym.agents.models.errors import CheckpointError, reason_of
from turngym.agents.models.placement import AdapterSettings
from turngym.extras import install_command

ADAPTER_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "turngym_base.json"
"""Beside an adapter: the digest of the weights that it belongs to, and their precision while it learned."""
PREFIX = "base_model.model."
"""What peft puts before the names of weights in its files."""
UNUSABLE = ("modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters", "use_dora",
            "use_qalora", "use_bdlora", "alora_invocation_tokens", "velora_config", "arrow_config")  # fmt: skip
"""Settings of an adapter that say that more than low-rank matrices was learned."""
_NUMBERS = itertools.count(1)


class Adapter(torch.nn.Module):
    """The weights of one adapter of a network, as a module of its own: what learns, is saved and is compared.

    Args:
        network: The network, which keeps using these weights.
        name: The name of the adapter in it.

    Attributes:
        idle: Whether it changes nothing and is left off, which is faster: so for a frozen adapter that has learned
            nothing yet.
    """

    def __init__(self, network: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.name = name
        self.idle = False
        self._network = [network]  # in a list, so that it is no part of this module
        for path, parameter in network.named_parameters():
            if f".{name}." in path:
                # At least float32, in which small steps are not lost.
                parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
                self.register_parameter(path.replace(f".{name}.", ".").replace(".", "/"), parameter)

    @property
    def network(self) -> Any:
        """The network that it belongs to."""
        return self._network[0]

    @property
    def config(self) -> Any:
        """Its configuration, of peft."""
        return self.network.peft_config[self.name]

    def activate(self) -> None:
        """Make the network compute with this adapter from now on."""
        activate(self.network, None if self.idle else self.name)

    def freeze(self) -> None:
        """Let it learn no more, and leave it off if it has learned nothing."""
        self.requires_grad_(False)
        self.idle = not any(bool(weights.any()) for name, weights in self.named_parameters() if "/lora_B/" in name)

    def copy(self) -> Adapter:
        """Return another adapter of the same network with the same weights."""
        other = inject(self.network, self.config)
        other.load_state_dict(self.state_dict())
        return other

    def remove(self) -> None:
        """Take it out of the network, whose memory it then needs no longer."""
        with _kept_learning(self.network), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that another one is on now, until the next pass chooses
            for layer in _layers(self.network):
                layer.delete_adapter(self.name)
        del self.network.peft_config[self.name]
        self.network.__dict__.pop(_ACTIVE, None)

    def save(self, folder: Path, *, base: str, revision: str, digest: str) -> None:
        """Write it as peft does.

        Args:
            folder: Where; it exists.
            base: The folder or the hub name of the network.
            revision: The revision of a hub name.
            digest: The digest of the network's weights.
        """
        settings = {**self.config.to_dict(), "base_model_name_or_path": base, "revision": revision or None,
                    "inference_mode": True}  # fmt: skip
        settings = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
        beside = {"sha256": digest, "dtype": str(self.network.dtype).removeprefix("torch.")}
        for name, record in {ADAPTER_FILE: settings, BASE_FILE: beside}.items():
            (folder / name).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        weights = {PREFIX + name.replace("/", "."): tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def new_adapter(network: Any, settings: AdapterSettings, seed: int) -> Adapter:
    """Return a new adapter of a network, which changes nothing before it has learned.

    Args:
        network: Its other weights are frozen by this.
        settings: The shape.
        seed: Seeds the first of its two matrices; the second is 0.

    Raises:
        InputError: peft is not installed, or no layer has such a name.
    """
    peft = import_peft()
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=list(settings.targets) or "all-linear",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return inject(network, config)
        except ValueError as error:
            raise InputError(f"lora.targets: {reason_of(error)}") from error


def inject(network: Any, config: Any) -> Adapter:
    """Put another adapter into a network, and return it."""
    peft = import_peft()
    name = f"adapter{next(_NUMBERS)}"
    first = not is_adapted(network)
    with _kept_learning(network), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are several, which is meant
        peft.inject_adapter_in_model(config, network, adapter_name=name)
    if first:
        network.requires_grad_(False)
    adapter = Adapter(network, name)
    network.__dict__.pop(_ACTIVE, None)
    adapter.requires_grad_(True)
    return adapter


def read_adapter(network: Any, folder: Path) -> Adapter:
    """Put the adapter of a folder into its network, and return it.

    Raises:
        CheckpointError: The files cannot be read, or do not fit the network.
    """
    peft = import_peft()
    try:
        config = peft.LoraConfig.from_pretrained(folder)
        stored = load_file(folder / WEIGHTS_FILE)
        adapter = inject(network, config)
    except Exception as error:  # the readers of damaged files raise what they like
        raise CheckpointError(f"{folder} holds an adapter that cannot be loaded: {reason_of(error)}") from error
    weights = {name.removeprefix(PREFIX).replace(".", "/"): tensor for name, tensor in stored.items()}
    own = adapter.state_dict()
    wrong = sorted({*weights} ^ {*own}) or sorted(name for name in own if own[name].shape != weights[name].shape)
    if wrong:
        adapter.remove()
        raise CheckpointError(f"{folder} holds an adapter of another model: {wrong[0].replace('/', '.')} is not what "
                              "its configuration describes for this base")  # fmt: skip
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        adapter.remove()
        raise CheckpointError(f"{folder} holds weights that are not finite, in {bad[0].replace('/', '.')}: take an "
                              "earlier checkpoint")  # fmt: skip
    adapter.load_state_dict(weights)
    return adapter


def merge(adapter: Adapter) -> None:
    """Add an adapter to the weights of its network, and take all adapters out of that."""
    network = adapter.network
    for path, layer in [(path, module) for path, module in network.named_modules() if _is_layer(module)]:
        layer.merge(adapter_names=[adapter.name])
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, layer.get_base_layer())
    del network.peft_config
    network.__dict__.pop(_ACTIVE, None)
    network.requires_grad_(True)


def adapter_settings(folder: Path) -> Mapping[str, Any]:
    """Return the configuration of the adapter in a folder.

    Raises:
        CheckpointError: It cannot be read, or is no plain low-rank adapter.
    """
    path = folder / ADAPTER_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        kind = settings["peft_type"]
        base = settings["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from error
    odd = [name for name in UNUSABLE if settings.get(name)]
    if kind != "LORA" or odd or settings.get("bias", "none") != "none":
        what = f"with {odd[0]}" if odd else f"of the kind {kind}"
        raise CheckpointError(f"{folder} holds an adapter {what}, which cannot be played: merge it into its base "
                              "(merge_and_unload) and save that")  # fmt: skip
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{path} does not name the model that the adapter belongs to (base_model_name_or_path)")
    return settings  # type: ignore[no-any-return]


def base_record(folder: Path) -> dict[str, str]:
    """Return the "sha256" of the weights that the adapter in a folder belongs to, and the "dtype" of them in training.

    An adapter of another program has neither.

    Raises:
        CheckpointError: The file cannot be read.
    """
    path = folder / BASE_FILE
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(record[name]) for name in ("sha256", "dtype")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from error


def weights_digest(folder: Path) -> str:
    """Return what tells the files of weights in a folder from others, 64 hexadecimal digits."""
    files = [file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")]
    return hashlib.sha256(listing(files)).hexdigest()


# The adapter that a network computes with -------------------------------------------------------------------------

_ACTIVE = "_turngym_active_adapter"


def activate(network: Any, name: str | None) -> None:
    """Make a network compute with one of its adapters from now on, or with none."""
    if network.__dict__.get(_ACTIVE, "") == name:
        return
    with _kept_learning(network):
        for layer in _layers(network):
            layer.enable_adapters(name is not None)
            if name is not None:
                layer.set_adapter(name)
    network.__dict__[_ACTIVE] = name


@contextmanager
def _kept_learning(network: torch.nn.Module) -> Iterator[None]:
    """Leave what may learn as it is, which the library changes as it adds, chooses and takes out adapters."""
    learning = {parameter: parameter.requires_grad for parameter in network.parameters()}
    yield
    for parameter, learns in learning.items():
        parameter.requires_grad_(learns)


def _layers(network: torch.nn.Module) -> Iterator[Any]:
    return (module for module in network.modules() if _is_layer(module))


def _is_layer(module: torch.nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer  # an extra

    return isinstance(module, BaseTunerLayer)


def is_adapted(network: Any) -> bool:
    """Return whether a network has adapters."""
    return bool(getattr(network, "peft_config", None))


def import_peft() -> Any:
    """Return the package.

    Raises:
        InputError: It is not installed.
    """
    try:
        import peft  # an extra
    except ImportError as error:
        raise InputError(f"adapters need the package peft: {install_command('lora')}") from error
    return peft

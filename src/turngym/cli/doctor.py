"""`turngym doctor`: whether this installation works, and what to do where it does not."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

import gymnasium as gym
from rich.console import Console

import turngym
from turngym._collection import paused_collection
from turngym._errors import InputError
from turngym.agents.evaluation import error_note, instance_range
from turngym.agents.rollout import collect_episodes, make_env
from turngym.agents.scripted import HostileAgent, OracleAgent
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.cli.options import parse
from turngym.cli.terminal import make_console
from turngym.envs import Oracle, env_ids
from turngym.envs.finding import short_name
from turngym.envs.making import discard
from turngym.extras import install_command, reinstall_command
from turngym.plugins import announced, requested
from turngym.trainers.launch.presets import load_preset, preset_names

CORE = ("numpy", "gymnasium", "tyro", "rich")
OPTIONAL = {"torch": "train", "transformers": "train", "safetensors": "train", "regex": "webshop",
            "rapidfuzz": "webshop", "flask": "webshop", "waitress": "webshop", "matplotlib": "plot",
            "pyarrow": "parquet", "tensorboard": "tensorboard", "wandb": "wandb"}  # fmt: skip
PARTS = ("envs", "agents", "trainers", "cli")


class Broken(Exception):
    """A check failed; the message says what to do."""


@dataclass(frozen=True)
class DoctorOptions:
    """Check versions, package files, environments, presets and, where torch is installed, a tiny model."""

    model: str = ""
    """A model folder, run or checkpoint to check as well: whether it can be played and trained."""
    context_length: int = 1024
    """Longest token stream of an episode with that model."""
    allow_pickle: bool = False
    """Read weights that are stored as pickles; only for folders that you trust."""


def run(words: Sequence[str]) -> int:
    """Run every check and return 1 if one of them failed."""
    options = parse(DoctorOptions, words, command="doctor")
    console = make_console()
    checks: dict[str, Callable[[], str]] = {
        "python": python_version,
        "packages": core_versions,
        "optional": optional_versions,
        "files": package_files,
        "plugins": plugins,
        "presets": presets,
        "environments": environments,
        "model": tiny_model,
    }
    if options.model:
        checks["folder"] = partial(model_folder, options)
    with paused_collection():  # most of the time goes into imports
        healthy = [report(name, check, console) for name, check in checks.items()]
    console.print("All is well." if all(healthy) else "Something is broken; see above.")
    return int(not all(healthy))


def report(name: str, check: Callable[[], str], console: Console) -> bool:
    """Run one check, print its line, and return whether it passed."""
    try:
        line, healthy = check(), True
    except Broken as error:
        line, healthy = str(error), False
    except Exception as error:  # noqa: BLE001 - a diagnosis must go on after whatever it finds
        advice = "install turngym again; if that does not help, report it"
        line, healthy = f"{type(error).__name__}: {error} ({advice})", False
    console.print(f"{'ok    ' if healthy else 'BROKEN'} {name:<13} {line}", soft_wrap=True)
    return healthy


def python_version() -> str:
    """Return interpreter and platform."""
    return f"{platform.python_version()} on {platform.platform(terse=True)}"


def core_versions() -> str:
    """Return the versions of what turngym always needs.

    Raises:
        Broken: One is missing.
    """
    try:
        return ", ".join(f"{name} {metadata.version(name)}" for name in CORE)
    except metadata.PackageNotFoundError as error:
        raise Broken(f"{error.name} is missing: {reinstall_command()}") from error


def optional_versions() -> str:
    """Return the versions of the extras, and how to install a missing one, which is no fault."""
    found = {name: _version(name) for name in OPTIONAL}
    told = ", ".join(f"{name} {version or f'absent (extra {OPTIONAL[name]})'}" for name, version in found.items())
    missing = dict.fromkeys(OPTIONAL[name] for name, version in found.items() if version is None)
    return f"{told}; {install_command(','.join(missing))}" if missing else told


def package_files() -> str:
    """Compare the installed files with the record of their hashes, and the parts with each other.

    Raises:
        Broken: A file is missing or changed, or a part comes from somewhere else.
    """
    for part in PARTS:
        if import_module(f"turngym.{part}").__file__ is None:
            raise Broken(f"turngym.{part} is a bare folder; is there a folder named turngym where you are?")
    if _version("turngym") != turngym.__version__:
        raise Broken(f"installed as {_version('turngym')} but the code is {turngym.__version__}: install it again")
    changed = [str(file) for file in metadata.files("turngym") or [] if not _unchanged(file)]
    if changed:
        raise Broken(f"{changed[0]} is missing or was changed after installation: install turngym again")
    return f"turngym {turngym.__version__} in {Path(turngym.__file__).parent}"


def plugins() -> str:
    """Return the modules of other people that were loaded, announced ones with their package and version.

    Raises:
        Broken: An announced one cannot be imported.
    """
    broken = [problem for problem in announced().values() if problem]
    if broken:
        raise Broken("; ".join(broken))
    return ", ".join([*announced(), *requested()]) or "none"


def presets() -> str:
    """Read every preset.

    Raises:
        Broken: One cannot be read or names no environment.
    """
    for name in preset_names():
        try:
            config = load_preset(name)
        except InputError as error:
            raise Broken(str(error)) from error
        if config.env.id not in gym.registry:
            raise Broken(f"preset {name} names {config.env.id}, which is not registered")
    return ", ".join(preset_names())


def environments() -> str:
    """Play two episodes of every environment whose packages are installed, as well as its agents can.

    Raises:
        Broken: An environment raised.
    """
    played, absent = [], []
    for env_id in env_ids():
        try:
            env = make_env(env_id)
        except ModuleNotFoundError as error:
            absent.append(f"; not checked: {error}")
            continue
        discard(env)
        played.append(short_name(env_id))
        agent = OracleAgent() if isinstance(env.unwrapped, Oracle) else HostileAgent()
        if note := error_note(env_id, collect_episodes(agent, env_id, instance_range("train", 2))):
            raise Broken(f"{note}: mend it, or install its package again")
    return ", ".join(played) + "".join(dict.fromkeys(absent))


def tiny_model() -> str:
    """Build the smallest model where training would, and let it play two episodes, where torch is installed.

    Raises:
        Broken: Its tokens and the record of them do not fit together.
    """
    if not (_version("torch") and _version("transformers")):
        return f"not checked: no torch and transformers ({install_command('train')})"
    import torch

    small_model = import_module("turngym.agents.models.small")
    language_model = import_module("turngym.agents.models.language_model")
    hardware, placement = (import_module(f"turngym.agents.models.{name}") for name in ("hardware", "placement"))
    env_id = env_ids()[0]
    tokenizer = small_model.train_tokenizer(["Play on."], vocabulary_size=300)
    decoder = small_model.build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16)
    device = hardware.find_device("auto")
    _, computes = hardware.precisions(placement.Placement(), device, decoder.dtype, learns=True)
    model = language_model.LanguageModel(decoder.to(device), tokenizer, compute_dtype=computes)
    agent = language_model.LanguageModelAgent(model, slots=2, max_reply_tokens=4)
    episodes = collect_episodes(agent, env_id, instance_range("train", 2), slots=2)
    if any(turn.num_sampled != len(turn.logprobs) for episode in episodes for turn in episode.turns):
        raise Broken("the model's tokens and log-probabilities do not match: check the versions of torch, transformers")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    kernels = {hardware.attention_kernel(device, computes, masked=masked): None for masked in (True, False)}
    return (f"plays on {name}, matrix products in {str(computes).removeprefix('torch.')}, attention by the kernel "
            f"{' and '.join(kernels)}; {torch.get_num_threads()} torch threads")  # fmt: skip


def model_folder(options: DoctorOptions) -> str:
    """Read a model folder as training and every other command do.

    Raises:
        Broken: It cannot be played; the message says what was found.
    """
    try:
        library = import_trained("turngym.trainers.launch.training")
        agent = library.load_agent(
            options.model, slots=1, context_length=options.context_length, keep_thoughts=True,
            allow_pickle=options.allow_pickle,
        )  # fmt: skip
    except (ValueError, UsageError) as error:
        raise Broken(str(error)) from error
    model = agent.model
    weights = sum(parameter.numel() for parameter in model.model.parameters())
    thoughts = "; its template removes earlier thoughts: set keep_thoughts" if model.chat.rewrites_history else ""
    name = type(model.model).__name__
    return f"{name}, {weights:,} weights, can be played and trained with {agent.context_length} tokens{thoughts}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _unchanged(file: metadata.PackagePath) -> bool:
    """Whether an installed file still has the hash that was recorded for it; files without one pass."""
    if file.hash is None:
        return True
    path = Path(str(file.locate()))
    if not path.is_file():
        return False
    digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value

"""What is checked before a run begins, and what of it needs torch."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.agents.models import device_type
from turngym.agents.models.device_type import find_device_type
from turngym.agents.models.hardware import find_device
from turngym.agents.models.history import encode_episode
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import base_checks
from turngym.trainers.base_checks import example_episodes, small_writer
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch import checking
from turngym.trainers.launch.checking import check_base, check_run, is_shipped
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.presets import SHIPPED

LOADED = """
import sys
from turngym.cli import main

assert main(["train", *sys.argv[1:], "--dry-run"]) == 0
print("loaded:", *{"torch", "transformers"} & {*sys.modules})
"""


def loaded(words: list[str], folder: Path) -> list[str]:
    """Return which of torch and transformers the dry run of a training loads in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True, cwd=folder, timeout=300
    )
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("words", [*(["--preset", name] for name in SHIPPED),
                                   ["MultiplicationSteps", "--algorithm", "grpo", "--processes", "2"],
                                   ["FrozenLake", "--model.layers", "3", "--env.kwargs", '{"size": 5}']],
                         ids=" ".join)  # fmt: skip
def test_a_dry_run_of_the_built_in_model_loads_no_torch(words: list[str], tmp_path: Path) -> None:
    assert loaded([*words, "--run.device", "cpu"], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_checkpoint_reads_it(model: LanguageModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "small")
    words = ["FrozenLake", "--model.path", "small", "--model.context-length", "512", "--warm-start.enabled", "false"]
    assert loaded(words, tmp_path) != []


# What is known of presets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_play_of_every_preset_fits_into_its_limits(name: str) -> None:
    """So that `check_run` need not play it."""
    config = configure(preset=name)
    assert is_shipped(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_base(config)


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"learning": {"steps": 7}, "run": {"seed": 5}, "warm_start": {"course_steps": 3}}, True),
        ({"model": {"context_length": 1000}}, False),
        ({"env": {"kwargs": {"size": 5}}}, False),
        ({"warm_start": {"mistake_rate": 0.9}}, False),
        ({"values": {"explorer_agents": ["oracle"]}}, False),
    ],
)
def test_what_is_unlike_every_preset_is_played(
    settings: dict[str, dict[str, object]], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[TrainConfig] = []
    monkeypatch.setattr(checking, "check_base", played.append)
    config = configure("FrozenLake", overrides=settings)
    check_run(config)
    assert played == ([] if known else [config])


def test_a_preset_that_other_code_registers_is_played() -> None:
    config = configure("FrozenLake")
    assert is_shipped(config) and not is_shipped(replace(config, run=replace(config.run, imports=["mine"])))


# The built-in model without its weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("history", ["all", "served", "window"])
@pytest.mark.parametrize("show_instructions", [False, True])
def test_the_writer_writes_what_the_model_would(
    tiny: TrainConfig, history: str, show_instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_checks, "TOKENIZER_EPISODES", 40)
    shape = {"history": history, "show_instructions": show_instructions, "digits_per_token": 3}
    config = replace(tiny, model=replace(tiny.model, **shape))  # type: ignore[arg-type]
    model, writer = load_or_build(config), small_writer(config)
    assert (writer.context_length, writer.decoding) == (model.context_length, model.decoding)
    assert writer.unknown_id == model.unknown_id
    for episode in example_episodes(config)[:20]:
        assert writer.encode_episode(episode) == model.encode_episode(episode)
    odd = "<|user|>  12 Ünïcode\n<|end|> \ud800"
    assert writer.chat.opening(odd, odd) == model.chat.opening(odd, odd)
    assert writer.chat.text(writer.chat.reply(odd)) == model.chat.text(model.chat.reply(odd))
    assert encode_episode(writer.chat, episode).token_ids == encode_episode(model.chat, episode).token_ids


# Devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auto", "cpu", "cpu:0"])
def test_the_type_of_a_device_is_that_which_torch_finds(name: str) -> None:
    assert find_device_type(name) == find_device(name).type


@pytest.mark.parametrize("name", ["cuda:99", "xpu", "nonsense"])
def test_what_is_no_device_is_refused_in_the_words_of_torch(name: str) -> None:
    with pytest.raises(InputError) as said:
        find_device_type(name)
    with pytest.raises(InputError) as meant:
        find_device(name)
    assert str(said.value) == str(meant.value)


@pytest.mark.parametrize(("platform", "driver", "amd", "asks"), [
    ("linux", False, False, False), ("linux", True, False, True), ("linux", False, True, True),
    ("darwin", False, False, True),
])  # fmt: skip
def test_torch_is_asked_where_there_may_be_a_card(
    platform: str, driver: bool, amd: bool, asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(name: str) -> None:
        if not driver:
            raise OSError(f"{name}: cannot open shared object file")

    asked: list[str] = []

    def found(name: str) -> object:
        asked.append(name)
        return find_device("cpu")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(device_type, "AMD", tmp_path if amd else tmp_path / "none")
    monkeypatch.setattr("turngym.agents.models.hardware.find_device", found)
    assert find_device_type("auto") == "cpu"
    assert asked == ["auto"] * asks

"""The section `rollout`: what it takes, what it refuses, and what of it may change when a run goes on."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from turngym.trainers.config import LoraConfig, ModelConfig, RolloutConfig, TrainConfig, parse_toml, write_toml
from turngym.trainers.launch.configure import with_absolute_paths
from turngym.trainers.launch.resuming import BRANCHING, FREE

URL = "http://127.0.0.1:8000"


def test_by_default_nothing_is_served() -> None:
    assert TrainConfig().rollout == RolloutConfig() and not RolloutConfig().server


def test_a_server_is_written_and_read_back() -> None:
    config = TrainConfig(rollout=RolloutConfig(server=URL, update="sglang", parallel=8, max_drift=0.1))
    assert parse_toml(write_toml(config), source="here") == config


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"parallel": 8}, "rollout.parallel is not read without rollout.server, got 8$"),
        ({"update": "none"}, "rollout.update is not read without rollout.server, got 'none'$"),
        ({"server": "127.0.0.1:8000"}, "rollout.server: '127.0.0.1:8000' is no address of a server: write http://HOST"),
        ({"server": "http://me:hush@here"}, "rollout.server: 'here' is no address of a server"),
        ({"server": URL, "update": "vlm"}, "rollout.update must be one of 'vllm', .*; did you mean 'vllm'"),
        ({"server": URL, "update": "none", "weights": "w"}, "rollout.weights is not read with rollout.update 'none'"),
        ({"server": URL, "parallel": 0}, r"rollout.parallel must be in \[1, 1024\], got 0"),
        ({"server": URL, "importance_cap": 0.5}, "rollout.importance_cap must be at least 1, got 0.5"),
        ({"server": URL, "max_drift": 0.0}, "rollout.max_drift must be above 0, got 0.0"),
        ({"server": URL, "timeout": float("inf")}, "rollout.timeout must be "),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        RolloutConfig(**settings)


@pytest.mark.parametrize(("rank", "update", "fits"), [
    (0, "vllm", True), (0, "sglang", True), (0, "none", True), (0, "vllm-lora", False),
    (4, "vllm", False), (4, "sglang", False), (4, "none", True), (4, "vllm-lora", True),
])  # fmt: skip
def test_adapters_are_sent_as_such(rank: int, update: Any, fits: bool) -> None:
    parts: dict[str, Any] = {
        "rollout": RolloutConfig(server=URL, update=update),
        "lora": LoraConfig(rank=rank),
        "model": ModelConfig(path="m"),
    }
    if fits:
        TrainConfig(**parts)
    else:
        with pytest.raises(
            ValueError, match=r"^rollout.update is for (whole models, and lora.rank|adapters: set lora.ra)"
        ):
            TrainConfig(**parts)


def test_the_folder_of_weights_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(TrainConfig(), rollout=RolloutConfig(server=URL, weights="w"))
    assert with_absolute_paths(config).rollout.weights == str(tmp_path / "w")
    assert with_absolute_paths(TrainConfig()) == TrainConfig()


def test_every_setting_may_change_when_a_run_goes_on() -> None:
    assert all(f"rollout.{part.name}" in FREE | BRANCHING for part in fields(RolloutConfig))

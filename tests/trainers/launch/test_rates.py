"""Learning rates of large checkpoints whose user names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from turngym.agents.models.language_model import LanguageModel
from turngym.cli import main
from turngym.trainers.config import LearningConfig
from turngym.trainers.launch import checking
from turngym.trainers.launch.configure import configure

PRESET = "countdown_steps_silent"  # it has rates of its own
RATE, FINAL, CLONING = "learning.learning_rate", "learning.final_learning_rate", "warm_start.learning_rate"


@pytest.fixture
def folder(model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that counts as large."""
    model.save_pretrained(tmp_path / "large")
    monkeypatch.setattr(checking, "LARGE", model.num_weights)
    return tmp_path / "large"


def resolved(folder: Path | None, preset: str = PRESET, **overrides: dict[str, Any]) -> tuple[float, float, float]:
    if folder is not None:
        overrides["model"] = {"path": str(folder)}
    given = {f"{section}.{name}" for section, values in overrides.items() for name in values}
    config = checking.with_usual_settings(configure(preset=preset, overrides=overrides), preset, given)
    return config.learning.learning_rate, config.learning.final_rate, config.warm_start.learning_rate


def test_a_large_checkpoint_learns_at_the_rates_of_its_kind(folder: Path) -> None:
    assert resolved(folder) == pytest.approx((1e-6, 2e-7, 1e-5))
    assert resolved(folder, lora={"rank": 4}) == pytest.approx((1e-5, 2e-6, 1e-4))


def test_what_is_given_stays(folder: Path) -> None:
    assert resolved(folder, learning={"learning_rate": 3e-4}) == pytest.approx((3e-4, 6e-5, 1e-5))
    rates_given = {"learning_rate": 3e-4, "final_learning_rate": 2e-4}
    assert resolved(folder, learning=rates_given, warm_start={"learning_rate": 7e-4}) == (3e-4, 2e-4, 7e-4)


def test_a_small_model_keeps_the_rates_of_its_preset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = configure(preset=PRESET)
    own = plain.learning.learning_rate, plain.learning.final_rate, plain.warm_start.learning_rate
    assert own[0] == 7e-4 and own[2] == 5e-3 and resolved(None) == own, "the built-in model, whatever its size"
    monkeypatch.setattr(checking, "LARGE", 10**9)
    assert resolved(folder) == own


def test_a_configuration_file_keeps_its_rates(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[env]\nid = "FrozenLake"\n[learning]\nlearning_rate = 4e-4\n')
    assert resolved(folder, preset=str(file)) == pytest.approx((4e-4, 8e-5, 5e-3))


def test_what_cannot_be_read_is_left_to_who_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "LARGE", 1)
    (tmp_path / "config.json").write_text('{"model_type": "none"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert resolved(tmp_path)[0] == 7e-4


@pytest.mark.parametrize(
    ("words", "told"),
    [("", "1e-06 to 2e-07"), ("--learning.learning-rate=0.001", "0.001 to 0.0002"),
     ("--learning.learning_rate 0.0005", "0.0005 to 0.0001")],
)  # fmt: skip
def test_the_command_line_knows_what_was_given(
    folder: Path, tmp_path: Path, words: str, told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = ["train", "FrozenLake", "--model.path", str(folder), "--model.context-length", "512",
             "--warm-start.enabled", "false", *words.split()]  # fmt: skip
    assert main([*given, "--dry-run"]) == 0
    rate, _, final = told.partition(" to ")
    said = capsys.readouterr().out
    assert f"learning_rate = {float(rate)}" in said
    assert LearningConfig(learning_rate=float(rate)).final_rate == pytest.approx(float(final))


def test_the_default_falls_to_a_fifth() -> None:
    assert LearningConfig().final_rate == 1e-4
    assert LearningConfig(learning_rate=1e-5).final_rate == pytest.approx(2e-6)
    assert LearningConfig(final_learning_rate=3e-5).final_rate == 3e-5

"""The script for a card, tried on a processor: its parts run, its counts are right, and it keeps to its time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from turngym.benchmarks import gpu
from turngym.benchmarks.gpu import SHAPES, SMALL, Measuring, Options


def test_small_models_on_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "small_run", lambda measuring: measuring.add("FrozenLake", "", "", "sampled success", "1"))
    out = tmp_path / "results" / "gpu.md"
    page = gpu.main(Options(device="cpu", small=True, conversations=4, out=out))
    assert out.read_text() == page and "CPU" in page and "Left out" not in page
    figures = [line.split(" | ")[3] for line in capsys.readouterr().out.splitlines() if line.count(" | ") == 4]
    assert figures == [
        "kept cache, sampled tokens/s", "generate, sampled tokens/s", "kept cache against generate",
        "tokens/s", "tokens/s", "sampled success",
    ]  # fmt: skip
    assert "utilisation" not in page and "peak memory" not in page  # which a processor does not tell


def test_what_there_is_no_time_for_is_left_out_and_told(tmp_path: Path) -> None:
    page = gpu.main(Options(device="cpu", small=True, conversations=4, minutes=0, out=tmp_path / "gpu.md"))
    assert "Left out, since the time was over: tiny, adapter; tiny, all weights; FrozenLake." in page


@pytest.mark.parametrize("shape", [*SHAPES, *SMALL], ids=lambda shape: shape.name)
def test_operations_are_those_of_the_matrices(shape: gpu.Shape) -> None:
    with torch.device("meta"):
        network = Qwen2ForCausalLM(shape.config())
    matrices = sum(weights.numel() for weights in network.parameters() if weights.ndim == 2)  # the head is the table
    assert gpu.operations_per_token(shape, frozen=False) == 6 * matrices
    assert gpu.operations_per_token(shape, frozen=True) == 4 * matrices


def test_a_card_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    assert gpu.peak_operations(torch.device("cuda")) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Something else")
    assert gpu.peak_operations(torch.device("cuda")) is None
    assert gpu.peak_operations(torch.device("cpu")) is None


def test_the_time_is_that_of_the_whole_script() -> None:
    measuring = Measuring(Options(minutes=60), torch.device("cpu"), tell=lambda _: None)
    assert measuring.has_time("anything") and not measuring.left_out

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
        "tokens/s", "estimated memory, GB", "tokens/s", "estimated memory, GB", "sampled success",
    ]  # fmt: skip
    assert "Without a card: this tries the script" in page
    assert "utilisation" not in page and "peak memory" not in page  # which a processor does not tell


def test_without_a_card_the_results_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gpu.main(Options(device="cpu", small=True, conversations=4, minutes=0))
    assert not [*tmp_path.iterdir()]


def test_the_results_name_a_card_or_are_empty_and_say_so() -> None:
    page = (Path(gpu.__file__).parent / "results" / "gpu.md").read_text(encoding="utf-8")
    values = [line.split(" | ")[-1].strip("| ") for line in page.splitlines() if line.startswith("| ")][2:]
    if "No card was at hand" in page:
        assert len(values) > 10 and not any(values)
    else:
        assert any(card in page for card in gpu.PEAKS) and all(values)


@pytest.mark.parametrize("rank", [0, 16])
def test_the_estimate_is_that_of_training_without_reference_and_cache(rank: int) -> None:
    pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")
    shape, device = SHAPES[0], torch.device("cpu")
    config = gpu.training(gpu.random_model(SMALL[0], device, adapter=rank > 0))
    assert config.lora.rank == rank
    estimated = gpu.learning_memory(shape, config, "cuda", 0.2)
    learned = 8_798_208 if rank else 494_032_768  # 0.5B: what peft adds to all of its linear layers, or all of them
    weights = (2 if rank else 4) * 494_032_768
    assert weights + 4 * 4 * learned * bool(rank) < estimated < weights + 4 * 4 * learned + 6e9


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

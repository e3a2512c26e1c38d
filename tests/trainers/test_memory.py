"""The memory that is estimated for a run, against what weights, autograd, caches and whole processes take."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainers.peak_memory import ANSWER, ENVIRONMENT, OPENING, build, network_config, train_config
from transformers import AutoModelForCausalLM, Qwen2Config

from turngym._errors import InputError
from turngym.agents.models.adapter import new_adapter
from turngym.agents.models.decoder import CachedDecoder
from turngym.agents.models.errors import CheckpointError
from turngym.agents.models.hardware import precisions
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.placement import AdapterSettings, Placement, Precision
from turngym.agents.models.row import Row
from turngym.agents.models.scoring import TokenBatch, TokenRows, sampled_logprobs
from turngym.agents.models.small import build_decoder, decoder_config, train_tokenizer
from turngym.trainers.config import ModelConfig, TrainConfig, with_algorithm, with_overrides
from turngym.trainers.memory import (
    ERROR,
    MemoryEstimate,
    ModelShape,
    available_memory,
    check_memory,
    estimate_memory,
    gigabytes,
    processor_memory,
)

GIB = 2**30


def decoder(vocabulary: int = 512, hidden: int = 64, inner: int = 200, layers: int = 3, *, heads: int = 4, kv: int = 2,
            tied: bool = True, **more: Any) -> dict[str, Any]:  # fmt: skip
    """Return the settings of a network like Llama's."""
    return {"vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "tie_word_embeddings": tied,
            "max_position_embeddings": 512, **more}  # fmt: skip


STYLES: dict[str, dict[str, Any]] = {
    "qwen2": decoder(),
    "llama": decoder(kv=4, tied=False),
    "qwen3": decoder(head_dim=32),
    "gemma": decoder(kv=1, head_dim=16),
    "gpt2": {"vocab_size": 512, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512},
}
EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": decoder(num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": decoder(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=80,
                         shared_expert_intermediate_size=100),
}  # fmt: skip
LORA = {"rank": 4}
MODES: dict[str, dict[str, dict[str, Any]]] = {
    "all weights": {},
    "all weights, autocast": {"model": {"compute_dtype": "bfloat16"}},
    "adapter": {"lora": LORA},
    "adapter, autocast": {"lora": LORA, "model": {"compute_dtype": "bfloat16"}},
    "adapter, bfloat16": {"lora": LORA, "model": {"dtype": "bfloat16"}},
    "adapter of some": {"lora": {**LORA, "targets": ["q_proj", "v_proj", "c_attn"]}},
}


def qwen(hidden: int, layers: int, heads: int, inner: int) -> ModelShape:
    """Return the shape of a model of the Qwen2.5 family."""
    return ModelShape.of(
        Qwen2Config(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=2,
                    intermediate_size=inner, vocab_size=151_936, tie_word_embeddings=True, dtype="bfloat16",
                    max_position_embeddings=32_768)
    )  # fmt: skip


@pytest.fixture(scope="module")
def large() -> ModelShape:
    """The shape of Qwen2.5-3B."""
    return qwen(2048, 36, 16, 11_008)


# Weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [*STYLES, *EXPERTS])
def test_weights_are_counted_exactly(style: str) -> None:
    architecture = network_config(style, (STYLES | EXPERTS)[style])
    network = AutoModelForCausalLM.from_config(architecture)
    shape = ModelShape.of(architecture)
    assert shape.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert shape.largest == max(parameter.numel() for parameter in network.parameters())
    assert (shape.hidden_size, shape.layers, shape.heads, shape.vocabulary) == (64, 3, 4, 512)
    assert shape.tied == (style != "llama")


@pytest.mark.parametrize("targets", [[], ["q_proj", "down_proj"], ["self_attn.v_proj"], ["lm_head"]])
@pytest.mark.parametrize("style", ["qwen2", "llama", *EXPERTS])
def test_an_adapter_is_counted_as_peft_makes_it(style: str, targets: list[str]) -> None:
    pytest.importorskip("peft")
    if style in EXPERTS and "down_proj" in targets:
        pytest.skip("peft adapts experts as it sees fit, or says that it cannot")
    architecture = network_config(style, (STYLES | EXPERTS)[style])
    settings = AdapterSettings(rank=3, alpha=6.0, targets=tuple(targets))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of peft, about experts of other architectures
        made = new_adapter(AutoModelForCausalLM.from_config(architecture), settings, 0)
    assert ModelShape.of(architecture).adapter_parameters(settings) == sum(p.numel() for p in made.parameters())


def test_the_shapes_of_known_models(large: ModelShape) -> None:
    assert large.parameters == 3_085_938_688
    assert (large.kv_heads, large.head_dim, large.intermediate_size) == (2, 128, 11_008)
    assert large.stored == "bfloat16"
    assert qwen(896, 24, 14, 4864).parameters == 494_032_768


def test_the_small_model() -> None:
    tokenizer = train_tokenizer([OPENING, ANSWER], vocabulary_size=320)
    config = ModelConfig(hidden_size=96, layers=3, heads=3, vocabulary_size=len(tokenizer))
    made = build_decoder(tokenizer, hidden_size=96, layers=3, heads=3, feedforward_size=3 * 96)
    shape = ModelShape.configured(TrainConfig(model=config))
    assert shape.parameters == made.num_parameters()
    assert (shape.layers, shape.heads, shape.kv_heads, shape.intermediate_size) == (3, 3, 3, 288)
    assert estimate_memory(TrainConfig(model=config), shape, device="cpu").peak < 3 * GIB


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden_size": 96, "layers": 3, "heads": 3, "vocabulary_size": 320},
        {"hidden_size": 32, "layers": 1, "heads": 1, "copying": False, "vocabulary_size": 4000, "context_length": 99},
    ],
)
def test_the_shape_of_the_small_model_is_that_of_its_network(settings: dict[str, Any]) -> None:
    config = ModelConfig(**settings)
    network = decoder_config(
        vocabulary_size=config.vocabulary_size, hidden_size=config.hidden_size, layers=config.layers,
        heads=config.heads, feedforward_size=config.feedforward_size, context_length=config.context_length,
    )  # fmt: skip
    assert ModelShape.small(config) == ModelShape.of(network)


def test_a_folder_is_read_without_its_weights(tmp_path: Path) -> None:
    architecture = network_config("qwen2", STYLES["qwen2"])
    architecture.save_pretrained(tmp_path / "base")
    expected = ModelShape.of(architecture)
    assert ModelShape.read(tmp_path / "base") == expected
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base")}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert ModelShape.configured(train_config({"model": {"path": str(adapter)}})) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no config.json"),
        ("{}", "cannot be read"),
        ('{"model_type": "qwen2", "hidden_size": "wide"}', "cannot be read|can be built"),
        ('{"model_type": "clip"}', "no language model can be built"),
        ('{"model_type": "mamba", "num_hidden_layers": 2}', "type mamba cannot be played"),
        (
            '{"model_type": "deepseek_v2", "num_hidden_layers": 1, "n_routed_experts": 2, "q_lora_rank": null}',
            "sizes of a model of the type deepseek_v2 cannot be told",
        ),
    ],
)
def test_what_is_no_language_model(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=said):
        ModelShape.read(tmp_path)


# Tensors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("style", STYLES)
def test_autograd_keeps_as_much_as_is_estimated(style: str, mode: str) -> None:
    rows, tokens = 4, 128
    config = _with_context(MODES[mode], tokens, rows)
    model = _built(config, style)
    model.learned.requires_grad_(True)
    kept, sampled = _kept(model, rows, tokens)
    estimate = estimate_memory(config, ModelShape.of(network_config(style, STYLES[style])), device="cpu",
                               sampled_share=sampled / (rows * tokens))  # fmt: skip
    parts = _phase(estimate, "stage 2, learning: logits")
    log_probabilities = 4 * sampled * 512
    assert parts["activations"] + log_probabilities == pytest.approx(kept, rel=0.015)
    assert parts["logits in learning"] >= 3 * log_probabilities


@pytest.mark.parametrize("mode", ["all weights", "all weights, autocast", "adapter, bfloat16"])
@pytest.mark.parametrize("style", ["qwen2", "llama", "gpt2"])
def test_the_cache_has_as_many_columns_as_is_estimated(style: str, mode: str) -> None:
    config = _with_context(MODES[mode], 128, 4)
    model = _built(config, style)
    played = CachedDecoder(model.model, 4, 128)
    with model.computing(), torch.inference_mode():
        played.read({slot: Row(stream=list(range(100 + 9 * slot))) for slot in range(4)})
        played.read({0: Row(stream=list(range(128)))})
    layers: list[Any] = played.cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    estimate = estimate_memory(config, ModelShape.of(network_config(style, STYLES[style])), device="cpu")
    assert estimate.parts["cache"] == sum(tensor.nbytes for tensor in tensors)


def test_layers_that_are_computed_again_keep_what_they_read_alone(large: ModelShape) -> None:
    config = with_overrides(_learning(rank=16, tokens=2048, slots=64), {"learning": {"gradient_checkpointing": True}})
    kept = estimate_memory(config, large, device="cuda").parts["activations"]
    assert kept == pytest.approx(2048 * 2 * 2048 * 38, rel=0.01)  # in bfloat16


def test_longer_groups_and_rounds_take_more(large: ModelShape) -> None:
    config = _learning(rank=16, tokens=1024, slots=16)

    def peak(config: TrainConfig) -> int:
        return estimate_memory(config, large, device="cuda").peak

    pairs = with_overrides(with_algorithm(config, "rebel"), {"objective": {"group_size": 4}})
    assert peak(pairs) > 1.5 * peak(config)
    assert peak(with_overrides(config, {"model": {"context_length": 4096}})) > 1.5 * peak(config)
    whole = with_overrides(config, {"lora": {"rank": 0}})
    weights = large.parameters * 4
    two = with_overrides(whole, {"learning": {"steps": 10, "reset_every": 5}})
    assert peak(two) == peak(whole) + weights
    three = estimate_memory(with_overrides(two, {"learning": {"reset_every": 2}}), large, device="cuda")
    assert _phase(three, "reset of the reference")["copies"] == weights
    explored = with_overrides(config, {"values": {"explorer_models": ["one"]}})
    assert estimate_memory(explored, large, device="cuda").parts["explorers"] == large.parameters * 2
    apart = with_overrides(explored, {"values": {"explorer_processes": 3}})
    assert estimate_memory(apart, large, device="cuda").parts["explorers"] > 3 * 2 * large.parameters * 2


# Precisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_precisions_are_those_of_a_run(
    device: str, learns: bool, stored: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from turngym.trainers.memory.number_bytes import NumberBytes

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    names: tuple[Precision, ...] = ("auto", "float32", "bfloat16")
    name = str(stored).removeprefix("torch.")
    for placement in [Placement(dtype=dtype, compute_dtype=computes) for dtype in names for computes in names]:
        try:
            held, computes = precisions(placement, torch.device(device), stored, learns=learns)
        except InputError as error:
            with pytest.raises(InputError, match=re.escape(str(error))):
                NumberBytes.of(placement, device, name, learns=learns)
            continue
        found = NumberBytes.of(placement, device, name, learns=learns)
        assert (found.held, found.computed) == (held.itemsize, computes.itemsize)


# Known models on a card ------------------------------------------------------------------------------------------


def test_qwen_3b_with_an_adapter_fits_into_40_gb(large: ModelShape) -> None:
    """With micro-batches of 2048 tokens, 64 conversations at once and a context of 1024."""
    estimate = estimate_memory(_learning(rank=16, tokens=2048, slots=64), large, device="cuda")
    assert 15e9 < estimate.peak < 40e9
    check_memory(estimate, 40 * 10**9)
    assert _phase(estimate, "stage 2, optimizer")["weights"] == 2 * large.parameters
    with pytest.raises(InputError, match="the card has 40: with"):
        check_memory(estimate_memory(_learning(rank=0, tokens=2048, slots=64), large, device="cuda"), 40 * 10**9)


def test_qwen_half_a_billion_with_an_adapter_fits_into_8_gb() -> None:
    """With micro-batches of 2048 tokens, 64 conversations at once and a context of 1024."""
    estimate = estimate_memory(_learning(rank=16, tokens=2048, slots=64), qwen(896, 24, 14, 4864), device="cuda")
    assert 4e9 < estimate.peak < 8e9


@pytest.mark.parametrize(("shape", "most"), [((2048, 36, 16, 11008), 16), ((896, 24, 14, 4864), 7)])
def test_an_adapter_fits_by_default_with_its_warm_start(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int, int], most: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    config = with_overrides(TrainConfig(), {"model": {"path": "random"}, "lora": {"rank": 16}})
    estimate = estimate_memory(config, qwen(*shape), device="cuda")
    assert config.warm_start.enabled and estimate.peak < most * 10**9
    every = with_overrides(config, {"learning": {"gradient_checkpointing": False}})
    assert estimate_memory(every, qwen(*shape), device="cuda").peak > 2 * estimate.peak


@pytest.mark.parametrize(
    ("reply", "context", "needed"),
    [
        (16, 1024, ("6.0", "10.7", "15.4")),
        (64, 1024, ("8.45", "13.1", "17.8")),
        (512, 3072, ("13.4", "22.4", "29.2")),
        (512, 8192, ("28.7", "48.7", "61.1")),
    ],
)
def test_the_documentation_says_what_longer_replies_need(
    reply: int, context: int, needed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    limits = {"path": "random", "max_reply_tokens": reply, "context_length": context}
    config = with_overrides(TrainConfig(), {"model": limits, "lora": {"rank": 16}})
    shapes = ((896, 24, 14, 4864), (1536, 28, 12, 8960), (2048, 36, 16, 11008))
    peaks = [estimate_memory(config, qwen(*shape), device="cuda").peak for shape in shapes]
    assert [f"{peak / 1e9:.3g}" for peak in peaks] == [f"{float(each):g}" for each in needed]
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert f" | {' | '.join(needed)} |" in page


# Advice ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "available", "said"),
    [
        (0, 60, r"^the run needs about 1\d\d GB, and the card has 60: with lora\.rank 16 it needs 4\d(\.\d)?$"),
        (
            16,
            30,
            r"^the run needs about 4\d(\.\d)? GB, and the card has 30: with learning\.tokens_per_microbatch 2048 ",
        ),
        (0, 20, r"with learning\.tokens_per_microbatch \d+ and lora\.rank 16 it needs 1\d(\.\d)?$"),
        (0, 1, r"and with .* still 7\.\d+: take a smaller model, or a device with more memory$"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_would(large: ModelShape, rank: int, available: int, said: str) -> None:
    estimate = estimate_memory(_learning(rank=rank, tokens=4096, slots=128), large, device="cuda")
    with pytest.raises(InputError, match=said):
        check_memory(estimate, available * 10**9)


@pytest.mark.parametrize("available", [6, 8, 10, 15, 20, 30])
@pytest.mark.parametrize("rank", [0, 16])
def test_advice_that_is_followed_fits(rank: int, available: int) -> None:
    shape = qwen(896, 24, 14, 4864)
    config = _learning(rank=rank, tokens=4096, slots=128)
    for _ in range(2):
        try:
            check_memory(estimate_memory(config, shape, device="cuda"), available * 10**9)
        except InputError as error:
            for section, name, value in re.findall(r"([a-z]+)\.([a-z_]+) (\w+)", str(error).partition(": with ")[2]):
                given = True if value == "true" else int(value) if value.isdecimal() else value
                config = with_overrides(config, {section: {name: given}})
    check_memory(estimate_memory(config, shape, device="cuda"), available * 10**9)


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration of a model of the shape of Qwen2.5-7B, and nothing else."""
    folder = tmp_path_factory.mktemp("seven")
    config = Qwen2Config(hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
                         intermediate_size=18_944, vocab_size=152_064, tie_word_embeddings=False, dtype="bfloat16",
                         max_position_embeddings=32_768)  # fmt: skip
    config.save_pretrained(folder)
    return folder


def test_seven_billion_frozen_weights_on_a_processor_are_to_be_held_in_bfloat16(seven: Path) -> None:
    config = with_overrides(TrainConfig(), {"model": {"path": str(seven)}, "lora": {"rank": 16}})
    shape = ModelShape.configured(config)
    estimate = estimate_memory(config, shape, device="cpu")
    assert estimate.parts["weights"] == 4 * shape.parameters and 30e9 < 4 * shape.parameters < 31e9
    with pytest.raises(InputError, match=r"about 5\d(\.\d)? GB, and there are 30: with model\.dtype bfloat16 it needs"):
        check_memory(estimate, 30 * 10**9)
    halved = estimate_memory(with_overrides(config, {"model": {"dtype": "bfloat16"}}), shape, device="cpu")
    assert halved.parts["weights"] == 2 * shape.parameters
    check_memory(halved, 30 * 10**9)
    with pytest.raises(InputError, match="there are 10") as refused:
        check_memory(halved, 10**10)
    assert "model.dtype" not in str(refused.value)


def test_all_of_seven_billion_weights_on_a_processor_are_to_be_frozen_and_held_in_bfloat16(seven: Path) -> None:
    config = with_overrides(TrainConfig(), {"model": {"path": str(seven)}})
    with pytest.raises(
        InputError, match=r"and there are 30: with model\.dtype bfloat16 and lora\.rank 16 it needs 2\d"
    ):
        check_memory(estimate_memory(config, ModelShape.configured(config), device="cpu"), 30 * 10**9)


def test_a_card_that_holds_frozen_weights_in_bfloat16_is_not_told_so(
    seven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    for dtype, told in (("auto", False), ("float32", True)):
        config = with_overrides(TrainConfig(), {"model": {"path": str(seven), "dtype": dtype}, "lora": {"rank": 16}})
        with pytest.raises(InputError) as refused:
            check_memory(estimate_memory(config, ModelShape.configured(config), device="cuda"), 17 * 10**9)
        assert ("model.dtype bfloat16" in str(refused.value)) == told


def test_the_small_model_is_not_told_to_take_an_adapter() -> None:
    config = TrainConfig()
    estimate = estimate_memory(config, ModelShape.configured(config), device="cpu")
    with pytest.raises(InputError, match=r"^the run needs about [\d.]+ GB, and there are 0\.001") as error:
        check_memory(estimate, 10**6)
    assert "lora" not in str(error.value)


# The table -------------------------------------------------------------------------------------------------------


def test_the_table_adds_up(large: ModelShape) -> None:
    estimate = estimate_memory(_learning(rank=16, tokens=2048, slots=64), large, device="cuda")
    rows = dict(estimate.rows())
    peak = f"{estimate.largest.name} (peak)"
    parts = [float(size) for name, size in rows.items() if name in estimate.largest.parts]
    assert sum(parts) == pytest.approx(float(rows[peak]), abs=0.1) and rows[peak] == gigabytes(estimate.peak)
    assert {"weights", "adapter", "gradients", "optimizer", "reference", "cache", "activations"} <= set(rows)
    assert {"stage 1", "stage 2, play", "evaluation"} <= set(rows) and "warm start" not in rows
    lines = str(estimate).splitlines()
    assert len(lines) == len(rows) and all(line.endswith(" GB") for line in lines) and len(set(map(len, lines))) == 1


def test_numbers_of_gigabytes() -> None:
    assert [gigabytes(n * 1e9) for n in (0.00123, 0.056, 1.234, 61.2, 123.4)] == [
        "0.0012", "0.056", "1.23", "61.20", "123",
    ]  # fmt: skip


# What is there ---------------------------------------------------------------------------------------------------


def test_this_machine_has_memory() -> None:
    assert 2**20 < available_memory("cpu") < 2**50


def test_limits_of_control_groups_count(tmp_path: Path) -> None:
    def write(path: str, content: object) -> None:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{content}\n")

    write("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB")
    assert processor_memory(tmp_path) == 8000 * 1024
    write("proc/self/cgroup", "0::/outer/inner")
    write("sys/fs/cgroup/outer/inner/memory.max", "max")
    write("sys/fs/cgroup/outer/inner/memory.current", 5)
    assert processor_memory(tmp_path) == 8000 * 1024
    write("sys/fs/cgroup/outer/memory.max", 5_000_000)
    write("sys/fs/cgroup/outer/memory.current", 3_000_000)
    write("sys/fs/cgroup/outer/memory.stat", "anon 7\ninactive_file 400000")
    assert processor_memory(tmp_path) == 2_400_000
    write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/job\n0::/")
    write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", 3_000_000)
    write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", 2_900_000)
    write("sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 100000")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", 2**63 - 4096)
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", 2_900_000)
    assert processor_memory(tmp_path) == 200_000


def test_a_machine_without_such_a_kernel(tmp_path: Path) -> None:
    assert processor_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# Whole processes -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a phase")
@pytest.mark.parametrize(
    ("style", "shape", "settings"),
    [
        ("qwen2", decoder(1000, 256, 688, 8), {"warm_start": {"enabled": True, "batch_size": 8}}),
        ("llama", decoder(1000, 768, 2304, 2, heads=12, kv=12, tied=False), {}),
        ("qwen2", decoder(50_000, 256, 704, 3), {}),
        ("llama", decoder(20_000, 320, 864, 6, heads=5, kv=5, tied=False), {"lora": {"rank": 8}}),
    ],
    ids=["deep", "wide", "large vocabulary", "adapter"],
)
@pytest.mark.timeout(600)
def test_a_process_takes_as_much_as_is_estimated(
    style: str, shape: dict[str, Any], settings: dict[str, dict[str, Any]]
) -> None:
    _compare(style, shape, settings, processes=1)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a phase")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("style", "shape", "settings"),
    [
        ("qwen2", decoder(1000, 256, 688, 8), {"warm_start": {"enabled": True, "batch_size": 8}}),
        ("llama", decoder(20_000, 320, 864, 6, heads=5, kv=5, tied=False), {"lora": {"rank": 8}}),
    ],
    ids=["deep", "adapter"],
)
def test_each_of_two_processes_takes_as_much_as_is_estimated(
    style: str, shape: dict[str, Any], settings: dict[str, dict[str, Any]]
) -> None:
    _compare(style, shape, settings, processes=2)


def test_several_processes_share_out_what_learns(large: ModelShape) -> None:
    config = _learning(rank=0, tokens=2048, slots=64)
    one, two, four = (estimate_memory(config, large, device="cuda", processes=count) for count in (1, 2, 4))
    assert one.peak > two.peak > four.peak
    weights = 4 * large.parameters
    sizes = {"weights": weights, "reference": weights, "gradients": weights, "optimizer": 2 * weights}
    for part, size in sizes.items():
        assert [estimate.parts[part] for estimate in (one, two, four)] == [size, size // 2, size // 4], part
    assert "gathered weights" not in dict(one.rows())
    alone, shared = (_phase(estimate, "stage 2, play: reading") for estimate in (one, four))
    outside = large.parameters - large.layer_weights  # the table, which is in no layer
    assert shared["gathered weights"] == 2 * large.layer_weights + 4 * outside  # layers are put together in bfloat16
    assert shared["cast weights"] == 2 * large.vocabulary * large.hidden_size < alone["cast weights"] / 3
    assert shared["cache"] == alone["cache"] // 2  # of 64, and of 128 / 4
    cast = 2 * sum(matrix.size for matrix in large.adapted(()))  # which autograd keeps where they have to be cast
    assert four.parts["activations"] == one.parts["activations"] - cast
    with pytest.raises(InputError, match=r"^the run needs about .*: with .* it needs"):
        check_memory(four, four.peak - 10**9)


def test_an_adapter_is_whole_in_every_process(large: ModelShape) -> None:
    one, two = (estimate_memory(_learning(rank=16, tokens=2048, slots=64), large, device="cuda", processes=count)
                for count in (1, 2))  # fmt: skip
    assert two.parts["weights"] == one.parts["weights"] // 2
    assert all(two.parts[part] == one.parts[part] for part in ("adapter", "reference", "gradients", "optimizer"))
    played = "stage 2, play: sampling"  # the network is put together beside the parts
    assert _phase(two, played)["gathered weights"] == one.parts["weights"]
    assert sum(_phase(two, played).values()) > sum(_phase(one, played).values())


# Helpers ---------------------------------------------------------------------------------------------------------


def _compare(style: str, shape: dict[str, Any], settings: dict[str, dict[str, Any]], *, processes: int) -> None:
    """Compare the estimate with what processes take that play and learn together, as many episodes in each."""
    if "lora" in settings:
        pytest.importorskip("peft")
    settings = _measured(settings)
    settings["learning"]["batch_size"] *= processes
    spec = json.dumps({"style": style, "shape": shape, "config": settings})
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else ()), "-m", "tests.trainers.peak_memory", spec], check=True,
        capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, timeout=500,
    )  # fmt: skip
    measured = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    estimate = estimate_memory(train_config(settings), ModelShape.of(network_config(style, shape)),
                               sampled_share=measured["share"], processes=processes)  # fmt: skip
    played = ("stage 2", "warm start: logits", "warm start: layers", "warm start: optimizer")
    expected = max(phase.total for phase in estimate.phases if phase.name.startswith(played))
    assert expected == pytest.approx(measured["peak"], rel=ERROR), measured
    for part in ("learning", "play"):
        phases = [phase.total for phase in estimate.phases if phase.name.startswith(f"stage 2, {part}")]
        if part == "learning" or processes > 1:
            assert max(phases) == pytest.approx(measured[part], rel=ERROR), measured


def _with_context(settings: dict[str, dict[str, Any]], tokens: int, rows: int) -> TrainConfig:
    """Return a configuration whose micro-batches are some rows of so many tokens."""
    config = train_config(settings)
    return with_overrides(config, {
        "model": {"context_length": tokens}, "run": {"rollout_slots": rows},
        "learning": {"batch_size": rows, "tokens_per_microbatch": rows * tokens},
    })  # fmt: skip


def _built(config: TrainConfig, style: str) -> LanguageModel:
    if config.lora.rank:
        pytest.importorskip("peft")
    return build(config, network_config(style, STYLES[style]))


def _kept(model: LanguageModel, rows: int, tokens: int) -> tuple[int, int]:
    """Return the bytes that autograd keeps of a micro-batch beside weights, and how many tokens of it were sampled."""
    draws = torch.Generator().manual_seed(0)
    ids_RT = torch.randint(0, 300, (rows, tokens + 1), generator=draws)
    sampled_RT = torch.rand(rows, tokens + 1, generator=draws) < 0.3
    sampled_RT[:, 0] = False
    nobody = torch.empty(0, dtype=torch.long)
    batch = TokenBatch(members=[], parts=[TokenRows(ids_RT=ids_RT, sampled_RT=sampled_RT)], order_N=None,
                       episode_N=nobody, turn_N=nobody, num_turns=0)  # fmt: skip
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.model.parameters(), *model.model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sampled_logprobs(model, batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), int(sampled_RT.sum())


def _phase(estimate: MemoryEstimate, name: str) -> dict[str, int]:
    return dict(next(phase.parts for phase in estimate.phases if phase.name == name))


def _learning(*, rank: int, tokens: int, slots: int) -> TrainConfig:
    """Return a run of a checkpoint without a warm start, with a context of 1024 and replies of 16 tokens."""
    return with_overrides(TrainConfig(), {
        "model": {"path": "random"}, "lora": {"rank": rank}, "warm_start": {"enabled": False},
        "learning": {"tokens_per_microbatch": tokens, "gradient_checkpointing": False},
        "run": {"rollout_slots": slots},
    })  # fmt: skip


def _measured(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the settings of a run that is measured: eight conversations, two micro-batches."""
    return {
        "model": {"context_length": 256, "max_reply_tokens": 16},
        "learning": {"batch_size": 8, "tokens_per_microbatch": 1024},
        "run": {"rollout_slots": 8},
        "warm_start": {"enabled": False},
        **settings,
    }

"""Checkpoints in the shapes of the families that people load, in bfloat16, from the command to a plain checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.agents.conftest import PLAIN, byte_level
from tests.agents.models.test_chat_template import CONTROLS, DATED, GEMMA, SWITCHED
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

import turngym
from turngym.agents.episode import Episode, read_episodes
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.cli import main

pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen2": (PLAIN, "<|im_end|>", {}),
    "qwen3": (SWITCHED, "<|im_end|>", {"head_dim": 16}),
    "llama": (DATED, "<|eot_id|>", {"tie_word_embeddings": False}),
    "gemma": (GEMMA, "<end_of_turn>", {"num_key_value_heads": 1, "head_dim": 16}),
}
"""The template, the token that ends a reply, and the shape."""
GAME = ["--env.kwargs", '{"max_episode_steps": 2}']
TRAIN: dict[str, dict[str, Any]] = {
    "model": {"dtype": "bfloat16", "max-reply-tokens": 24},
    "lora": {"rank": 4},
    "warm-start": {"course-steps": 2, "batch-size": 2, "success-low": 0, "success-high": 1, "max-corrections": 0,
                   "check-episodes": 2},
    "values": {"instances": 2, "samples": 2, "extra-samples": 0},
    "learning": {"steps": 2, "batch-size": 4, "learning-rate": 1e-2},
    "evaluation": {"episodes": 4, "validation-episodes": 2},
    "run": {"checkpoint-every": 1, "device": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a checkpoint of a family as other programs do."""
    words = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    backend = byte_level([*CONTROLS, *words], ["<think>", "</think>"]).to_str()

    def write(family: str) -> Path:
        template, stop, more = FAMILIES[family]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(backend), bos_token="<s>", eos_token=stop, pad_token="</s>"
        )
        tokenizer.chat_template = template
        torch.manual_seed(0)
        shape = {
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 768,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id, **more,
        }  # fmt: skip
        network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape)).to(torch.bfloat16)
        folder = tmp_path_factory.mktemp(family) / "model"
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return write


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step-000002" / "policy" / "adapter_model.safetensors")


def played(agent: Path, out: Path) -> list[Episode]:
    """Return what an agent does in four games, greedily."""
    words = ["--env", "Countdown", "--env-kwargs", GAME[1], "--episodes", "4", "--greedy", "--out", str(out)]
    assert main(["evaluate", str(agent), *words]) == 0
    return [*read_episodes(out)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_trains_resumes_and_plays_the_same_as_a_plain_checkpoint(
    family: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, run, target = checkpoint(family), tmp_path / family, tmp_path / "plain"
    # Qwen3's template leaves earlier thoughts out, so it is seen as it is served.
    history = ["--model.history", "served"] if family == "qwen3" else []
    place = ["--run.root", str(tmp_path), "--run.name", family]
    short = [word for section, settings in TRAIN.items() for name, value in settings.items()
             for word in (f"--{section}.{name}", str(value))]  # fmt: skip
    assert main(["train", "Countdown", "--model.path", str(folder), *short, *GAME, *history, *place]) == 0
    whole = weights(run)
    assert {tensor.dtype for tensor in whole.values()} == {torch.float32}
    assert any(bool(tensor.any()) for name, tensor in whole.items() if "lora_B" in name), "it has learned"
    shutil.rmtree(run / "checkpoints" / "step-000002")
    (run / "result.json").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    resumed = weights(run)
    assert resumed.keys() == whole.keys() and all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert main(["export", str(run), str(target)]) == 0
    theirs = AutoModelForCausalLM.from_pretrained(target)
    assert type(theirs).__name__.lower() == f"{family}forcausallm"
    assert not any("lora" in name for name, _ in theirs.named_parameters())
    own, plain = (played(agent, tmp_path / f"{agent.name}.jsonl") for agent in (run, target))
    assert [episode.success for episode in own] == [episode.success for episode in plain]
    # Plain weights are in float32, in which another token may be the likeliest where two are nearly alike.
    batch = next(token_batches(own, 10**6, torch.device("cpu")))
    with torch.inference_mode():
        beside, merged = (sampled_logprobs(turngym.load_agent(place).model, batch) for place in (run, target))
    assert float((merged - beside).abs().mean()) < 0.02 < float(beside.abs().mean())

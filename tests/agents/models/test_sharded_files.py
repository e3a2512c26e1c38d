"""Files that several processes write and read together: those of one process, and no process holds all of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.sharded_files import DTYPES
from turngym.agents.models.small import train_tokenizer

PROCESSES = 3


def expected() -> dict[str, Tensor]:
    """Return tensors of all kinds: more and fewer rows than processes, without dimensions, empty, of every type."""
    draws = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws)

    return {
        "rows": drawn(7, 3), "fewer rows": drawn(2, 5), "vector": drawn(10), "cube": drawn(4, 2, 3),
        "columns": drawn(3, 8), "copies": drawn(5, 2), "plain": drawn(6), "number": torch.tensor(3.5),
        "empty": drawn(0, 4),
        **{str(dtype): (10 * drawn(5, 3)).to(dtype) for dtype in DTYPES},
    }  # fmt: skip


def model(style: str) -> LanguageModel:
    """Return a small model; experts are stored under other names than those they have in memory."""
    torch.manual_seed(0)
    more = {"num_local_experts": 4, "num_experts_per_tok": 2} if style == "mixtral" else {}
    config = AutoConfig.for_model(
        style, vocab_size=321, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=256, bos_token_id=None,
        eos_token_id=1, pad_token_id=0, **more,
    )  # fmt: skip
    tokenizer = train_tokenizer(["a game", "a word"], vocabulary_size=320)
    return LanguageModel(AutoModelForCausalLM.from_config(config).eval(), tokenizer)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes write, and in `told.json` what each has seen."""
    folder = tmp_path_factory.mktemp("written")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES), "-m",
         "tests.agents.models.sharded_together", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, timeout=600, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "told.json").write_text(next(line for line in done.stdout.splitlines() if line.startswith("[{")))
    return folder


@cache
def told(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "told.json").read_text())
    return found


@pytest.mark.timeout(700)
def test_the_file_is_that_of_one_process(written: Path) -> None:
    found, wanted = load_file(written / "tensors.safetensors"), expected()
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    with safe_open(written / "tensors.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.timeout(700)
def test_each_reads_its_rows_as_they_are_stored(written: Path) -> None:
    assert all(seen["same"] for seen in told(written))
    parts = [seen["parts"] for seen in told(written)]
    assert [part["rows"] for part in parts] == [[3, 3], [3, 3], [1, 3]]
    assert [part["fewer rows"] for part in parts] == [[1, 5], [1, 5], [0, 5]]
    assert all("number" not in part for part in parts)


@pytest.mark.timeout(700)
def test_the_reader_of_torch_reads_it(written: Path) -> None:
    assert all(seen["by_torch"] for seen in told(written))


@pytest.mark.timeout(700)
def test_what_one_cannot_write_all_hear_of(written: Path) -> None:
    assert {seen["disk"] for seen in told(written)} == {"OSError: [Errno 28] No space left on device"}
    refused = "TypeError: c has the type torch.complex64, which a safetensors file cannot hold"
    assert {seen["complex"] for seen in told(written)} == {refused}


@pytest.mark.timeout(700)
def test_ranks_that_would_wait_for_each_other_are_told(written: Path) -> None:
    assert all("cannot wait for them" in seen["nested"] for seen in told(written))


@pytest.mark.timeout(700)
@pytest.mark.parametrize("style", ["qwen2", "mixtral"])
def test_a_model_is_what_one_process_writes(written: Path, tmp_path: Path, style: str) -> None:
    one = model(style)
    one.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in (written / style).iterdir()}
    alone, together = (load_file(folder / "model.safetensors") for folder in (tmp_path, written / style))
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[name], together[name]) for name in alone)
    for name in ("config.json", "generation_config.json", "turngym.json", "tokenizer.json"):
        assert (tmp_path / name).read_text() == (written / style / name).read_text()
    assert LanguageModel.from_pretrained(written / style).fingerprint() == one.fingerprint()

"""Checkpoints that several processes save: whole or absent, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.trainers.checkpoints.test_checkpoint import names, save

from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
@pytest.mark.timeout(700)
def test_what_happens_to_one_leaves_the_last_good_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "tests.trainers.checkpoints.together", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, timeout=600, capture_output=True, check=False,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["step"] for line in told] == [1, 2], done.stderr
    assert told[0]["told"] == ["", ""]
    assert told[1]["told"] == ["[Errno 28] No space left on device"] * 2, "both hear of the one that cannot write"
    assert told[0]["names"] == told[1]["names"] == ["step-000001"]
    assert done.returncode != 0 and "another process of the training has ended" in done.stderr
    kept = latest_checkpoint(tmp_path, tell=pytest.fail)
    assert kept == tmp_path / "step-000001"
    state = load_checkpoint(kept).optimizer_state()
    assert state["lr"] == 0.1 and torch.equal(state["m"], torch.ones(5, 2))
    assert torch.equal(load_file(kept / "policy" / "weights.safetensors")["w"], torch.ones(5, 2))
    save(tmp_path, 4)
    assert names(tmp_path) == ["step-000001", "step-000004"], "what the kill left is gone"

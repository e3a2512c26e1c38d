"""The same seeds give the same transcript, to the letter: today as when it was recorded, in any process and thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.envs.transcripts import recorded_hashes, transcript_hash

from turngym.envs import env_ids

ROOT = Path(__file__).parents[2]


def test_every_environment_has_a_recorded_transcript() -> None:
    assert list(recorded_hashes()) == env_ids()
    assert len(set(recorded_hashes().values())) == len(env_ids())


@pytest.mark.parametrize("env_id", env_ids())
def test_an_environment_says_what_it_said_when_it_was_recorded(env_id: str) -> None:
    assert transcript_hash(env_id) == recorded_hashes()[env_id], (
        "play differs from the recorded one; if that is meant, write it anew: python -m tests.envs.transcripts"
    )


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_another_process_gives_the_same_transcripts(hash_seed: str) -> None:
    program = "import json; from tests.envs.transcripts import all_hashes; print(json.dumps(all_hashes()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONHASHSEED": hash_seed})  # fmt: skip
    assert done.stdout == f"{json.dumps(recorded_hashes())}\n"


def test_threads_do_not_mix_transcripts() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(env_ids(), pool.map(transcript_hash, env_ids()), strict=True))
    assert found == recorded_hashes()

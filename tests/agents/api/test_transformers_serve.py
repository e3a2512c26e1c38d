"""Play by `transformers serve`, a server of chat completions by other people, with a tiny Qwen2-style model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents.conftest import MakeModel
from transformers.utils.import_utils import is_serve_available

from turngym.agents.api import ApiAgent, ApiSettings
from turngym.agents.episode import Episode
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.serving import ServerConnection, ServerError

pytestmark = pytest.mark.skipif(
    not is_serve_available(), reason="transformers serve needs pip install 'transformers[serving]', openai among it"
)
STARTS_WITHIN = 120.0
"""Seconds that the server may take to answer at first."""


@pytest.fixture
def weights(make_model: MakeModel, tmp_path: Path) -> Path:
    """A folder with a Qwen2-style model of random weights."""
    make_model("qwen2").save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def address(weights: Path, tmp_path: Path) -> Iterator[str]:
    """Serve it on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    words = ["serve", str(weights), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-m", "transformers.cli.transformers", *words], stdout=out,
                                  stderr=out, env=os.environ | {"HF_HUB_OFFLINE": "1"})  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end and server.poll() is None:
        try:
            ServerConnection(url, timeout=5.0, retries=0).ask("/health")
            return
        except ServerError:
            time.sleep(0.3)
    pytest.fail(f"transformers serve did not start: {log.read_text(errors='replace')[-2000:]}")


def play(agent: Any, count: int = 4) -> list[Episode]:
    instances = [Instance(split="train", index=index, seed=index) for index in range(count)]
    return collect_episodes(agent, "turngym/FrozenLake-v0", instances, env_kwargs={"size": 3, "max_episode_steps": 3},
                            slots=count)  # fmt: skip


def test_greedy_play_is_that_of_this_process(weights: Path, address: str) -> None:
    decoding = Decoding(max_reply_tokens=5, history="served")
    here = play(LanguageModelAgent(LanguageModel.from_pretrained(weights, decoding=decoding), greedy=True, slots=4))
    settings = ApiSettings(model=str(weights), base_url=address, temperature=0, max_reply_tokens=5, parallel=2)
    with ApiAgent(settings) as agent:
        there = play(agent)
    # A reply that the reply limit cut may end within a character, which texts cannot hold.
    texts = [[text.replace("\ufffd", "") for text in episode.texts()] for episode in here]
    assert [[text.replace("\ufffd", "") for text in episode.texts()] for episode in there] == texts
    assert agent.ledger.replies == sum(len(episode.turns) for episode in there) > 4 and agent.ledger.retries == 0
    assert agent.ledger.completion_tokens == sum(episode.num_tokens for episode in there) > 0 == agent.ledger.untold


def test_plain_completions_are_served_too(weights: Path, address: str) -> None:
    settings = ApiSettings(model=str(weights), base_url=address, temperature=0, max_reply_tokens=5, api="completions")
    with ApiAgent(settings) as agent:
        episodes = play(agent, 1)
    assert agent.ledger.replies == len(episodes[0].turns) > 0 < agent.ledger.completion_tokens

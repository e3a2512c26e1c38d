"""What must not become slow beside something else, both timed in turns in one run: `make bench`.

A machine may be slow or busy, so every bound is one of a ratio, and about twice what was measured when it was set. A
test that fails names the ratio.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import pytest
import torch

from turngym.agents.evaluation import instance_range
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent
from turngym.benchmarks.threads import Options, Variant, Worker
from turngym.envs import make_env
from turngym.trainers.config import RunConfig

pytestmark = pytest.mark.slow

NUMPY = ("-c", "import numpy")
MODELS = ("-c", "from transformers import SeedOssForCausalLM")
RESETS = 200
"""Instances of a split that are begun each time."""


def least(timed: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return the least of what each of several functions returns, which are called in turns."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats):
        for name, once in timed.items():
            found[name].append(once())
    return {name: min(values) for name, values in found.items()}


def ratio(slow: Callable[[], float], fast: Callable[[], float], repeats: int = 5) -> float:
    """Return the least time of one function by that of another."""
    seconds = least({"slow": slow, "fast": fast}, repeats)
    return seconds["slow"] / seconds["fast"]


def processor_time(work: Callable[[], object]) -> float:
    """Return the processor seconds of this process while it does something."""
    started = time.process_time()
    work()
    return time.process_time() - started


def start(words: Sequence[str]) -> float:
    """Return the processor seconds of an interpreter from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# The start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "beside", "most"),
    [
        (["train", "--help"], NUMPY, 9),
        (["train", "FrozenLake", "--dry-run"], NUMPY, 11),
        (["train", "WebShop", "--algorithm", "grpo", "--dry-run"], NUMPY, 16),
        (["doctor"], MODELS, 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_starts_soon(words: list[str], beside: Sequence[str], most: float) -> None:
    found = ratio(lambda: start(["-m", "turngym", *words]), lambda: start(beside))
    assert found < most, f"turngym {' '.join(words)} takes {found:.1f} times as long as python {' '.join(beside)}"


# Environments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "most"), [("FrozenLake", 4), ("FrozenLake8x8", 5), ("Countdown", 3), ("Multiplication", 3), ("WebShop", 3)]
)
def test_instances_of_the_test_split_cost_little_more_than_those_of_training(env: str, most: float) -> None:
    made = make_env(f"turngym/{env}-v0")
    made.reset(seed=0)
    firsts = count(0, RESETS)

    def resets(split: str) -> float:
        first = next(firsts)
        started = time.process_time()
        for index in range(first, first + RESETS):
            made.reset(options={"split": split, "index": index})
        return time.process_time() - started

    found = ratio(lambda: resets("test"), lambda: resets("train"))
    assert found < most, f"a reset of {env} on the test split takes {found:.1f} times as long as one for training"


# Learning ---------------------------------------------------------------------------------------------------------


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def test_logits_of_sampled_tokens_alone_are_computed() -> None:
    episodes = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 32))
    tokenizer = train_tokenizer((text for episode in episodes for text in episode.texts()), vocabulary_size=400)
    network = build_decoder(tokenizer, hidden_size=64, layers=2, heads=2, feedforward_size=192)
    network.resize_token_embeddings(30_000, mean_resizing=False)
    model = LanguageModel(network, tokenizer, decoding=Decoding(context_length=1024))
    encoded = [model.encode_episode(episode) for episode in episodes]
    batch = max(token_batches(encoded, 10**6, model.device), key=lambda batch: len(batch.members))
    (rows,) = batch.parts

    def backward(loss: torch.Tensor) -> None:
        network.zero_grad()
        loss.backward()

    def everywhere() -> None:
        logits_RTV = network(input_ids=rows.ids_RT[:, :-1], use_cache=False).logits
        logp_RT = logits_RTV.log_softmax(-1).gather(2, rows.ids_RT[:, 1:, None])[..., 0]
        backward(logp_RT[rows.sampled_RT[:, 1:]].sum())

    with one_thread():
        found = ratio(
            lambda: processor_time(lambda: backward(sampled_logprobs(model, batch).sum())),
            lambda: processor_time(everywhere),
            repeats=3,
        )
    share = float(rows.sampled_RT.float().mean())
    assert found < 0.5, f"where {share:.0%} of the tokens are sampled, a step takes {found:.2f} of one with all logits"


def test_a_cloning_step_by_default_is_no_slower_than_by_one_thread() -> None:
    options = Options(cloning_steps=3, batch_size=16, out=None)
    threads = RunConfig().threads
    with Worker(Variant("default", threads), options) as default, Worker(Variant("1", 1), options) as one:
        for worker in (default, one):
            worker.wait()
        found = ratio(lambda: default.seconds("cloning"), lambda: one.seconds("cloning"), repeats=8)
    assert found < 1.3, f"a cloning step with run.threads {threads} takes {found:.2f} times as long as with 1"

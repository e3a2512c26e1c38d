"""How cost grows with the size of the model, the length of a conversation and the number of conversations.

    python -m turngym.benchmarks.scaling

Each row is measured in a process of its own, one thread, on random ids: reading whole conversations, playing on from
there a token at a time, and a forward and backward pass of learning on them. Beside processor time and memory stands
how much more a row costs than the one before, and how much more work it is, in operations of matrix products. Where
the first is far above the second, something grows faster than it has to.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from transformers import Qwen2Config, Qwen2ForCausalLM

from turngym.agents.models.decoder import CachedDecoder
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.row import Row
from turngym.agents.models.scoring import TokenBatch, TokenRows, sampled_logprobs
from turngym.agents.models.small import train_tokenizer
from turngym.benchmarks.page import kept, table

WORKER = "from turngym.benchmarks.scaling import work; work()"
"""What the process of a row executes."""
SAMPLED_SHARE = 0.1
"""Share of the tokens of a conversation that were sampled, in learning."""
PLAYED = 16
"""Tokens that are played on in each conversation."""
HEAD_WIDTH = 32
COLUMNS = ("weights", "tokens", "conversations", "read, us/token", "cost / work", "play, us/token", "cost / work",
           "learn, us/token", "cost / work", "memory, MB")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Measure how cost grows."""

    largest: float = 125
    """Largest model, millions of weights."""
    longest: int = 8000
    """Longest conversation, tokens."""
    repeats: int = 3
    """The least of so many measurements counts."""
    out: Path | None = Path("benchmarks/results/scaling.md")
    """The page to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a row measures."""

    hidden_size: int
    layers: int
    vocabulary: int
    tokens: int
    """Of a conversation."""
    conversations: int

    @property
    def weights(self) -> int:
        """Weights in matrices of layers: four of attention, three of a feed-forward layer three times as wide."""
        return self.layers * 13 * self.hidden_size**2

    @property
    def millions(self) -> float:
        """Millions of weights, embeddings included."""
        return (self.weights + self.vocabulary * self.hidden_size) / 1e6

    def work(self) -> tuple[float, float, float]:
        """Return the operations for a token: of reading, playing and learning."""
        attention = 4 * self.layers * self.hidden_size  # for each token that is looked at
        head = 2 * self.vocabulary * self.hidden_size
        reading = 2 * self.weights + attention * self.tokens / 2
        return reading, 2 * self.weights + attention * self.tokens + head, 3 * (reading + SAMPLED_SHARE * head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a row has cost: processor seconds for a token, and memory beyond that of an idle process, bytes."""

    read: float
    play: float
    learn: float
    memory: float


SMALLEST = Size(hidden_size=64, layers=4, vocabulary=512, tokens=500, conversations=4)
MODELS = (
    SMALLEST,
    Size(hidden_size=192, layers=4, vocabulary=1024, tokens=500, conversations=4),
    Size(hidden_size=512, layers=6, vocabulary=4096, tokens=500, conversations=4),
    Size(hidden_size=768, layers=12, vocabulary=32_000, tokens=500, conversations=4),
)


def sizes(options: Options) -> dict[str, list[Size]]:
    """Return the rows of every table."""
    base = asdict(SMALLEST)
    return {
        "Weights": [size for size in MODELS if size.millions <= options.largest],
        "Tokens": [Size(**base | {"tokens": tokens}) for tokens in (500, 2000, 8000) if tokens <= options.longest],
        "Conversations": [Size(**base | {"conversations": count}) for count in (1, 4, 16, 64)],
    }


# In the process of a row --------------------------------------------------------------------------------------------


def work() -> None:
    """Measure the row that the first line of the standard input names, and print its cost as JSON."""
    arguments, repeats = json.loads(input())
    print(json.dumps(asdict(cost_of(Size(**arguments), repeats))), flush=True)


def cost_of(size: Size, repeats: int) -> Cost:
    """Return what a row costs, the least of some measurements.

    Args:
        size: The row.
        repeats: How many measurements.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    ids = rng.integers(size.vocabulary, size=(size.conversations, size.tokens))
    sampled = rng.random(ids.shape) < SAMPLED_SHARE
    sampled[:, 0] = False
    model, batch = _random_model(size), _batch(ids, sampled)
    idle = _peak_memory()
    times: list[tuple[float, float, float]] = []
    for _ in range(repeats):
        decoder = CachedDecoder(model.model, len(ids), size.tokens + PLAYED)
        rows = {slot: Row(stream=line.tolist()) for slot, line in enumerate(ids)}
        marks = [time.process_time()]
        with torch.inference_mode():
            decoder.read(rows)
            marks.append(time.process_time())
            for _ in range(PLAYED):
                for row in rows.values():
                    row.stream.append(7)
                decoder.read(rows)
        marks.append(time.process_time())
        (-sampled_logprobs(model, batch).mean()).backward()  # type: ignore[no-untyped-call]
        marks.append(time.process_time())
        model.model.zero_grad(set_to_none=True)
        times.append((marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]))
    read, play, learn = (min(column) for column in zip(*times, strict=True))
    return Cost(read=read / ids.size, play=play / (PLAYED * len(ids)), learn=learn / ids.size,
                memory=_peak_memory() - idle)  # fmt: skip


def _random_model(size: Size) -> LanguageModel:
    """Return a model of this size with random weights."""
    tokenizer = train_tokenizer(["left right up down"], vocabulary_size=300)
    config = Qwen2Config(
        vocab_size=size.vocabulary, hidden_size=size.hidden_size, intermediate_size=3 * size.hidden_size,
        num_hidden_layers=size.layers, num_attention_heads=size.hidden_size // HEAD_WIDTH,
        num_key_value_heads=size.hidden_size // HEAD_WIDTH, max_position_embeddings=size.tokens + PLAYED,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    network: Any = Qwen2ForCausalLM(config)
    return LanguageModel(network.eval(), tokenizer)


def _batch(ids: NDArray[np.int64], sampled: NDArray[np.bool_]) -> TokenBatch:
    """Return conversations as a batch of learning."""
    rows_N, _ = sampled.nonzero()
    part = TokenRows(ids_RT=torch.from_numpy(ids), sampled_RT=torch.from_numpy(sampled))
    return TokenBatch(members=[*range(len(ids))], parts=[part], order_N=None, episode_N=torch.from_numpy(rows_N),
                      turn_N=torch.zeros(len(rows_N), dtype=torch.int64), num_turns=1)  # fmt: skip


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# Here ---------------------------------------------------------------------------------------------------------------


def measured(size: Size, repeats: int) -> Cost:
    """Return what a row costs, measured in a process of its own.

    Raises:
        RuntimeError: The process failed; its own error is on stderr.
    """
    answer = subprocess.run(
        [sys.executable, "-c", WORKER], input=json.dumps([asdict(size), repeats]) + "\n",
        stdout=subprocess.PIPE, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if answer.returncode:
        raise RuntimeError(f"the row {size} failed; its error is above")
    return Cost(**json.loads(answer.stdout.splitlines()[-1]))


def rows_of(costs: Sequence[tuple[Size, Cost]]) -> list[list[str]]:
    """Return the rows of a table, each compared with the one before."""
    rows = []
    for place, (size, cost) in enumerate(costs):
        before = costs[place - 1] if place else None
        cells = []
        for number, name in enumerate(("read", "play", "learn")):
            now = getattr(cost, name)
            cells.append(f"{now * 1e6:,.0f}")
            if before is None:
                cells.append("")
                continue
            grown = now / getattr(before[1], name)
            cells.append(f"{grown:.1f} / {size.work()[number] / before[0].work()[number]:.1f}")
        rows.append([f"{size.millions:.1f} M", f"{size.tokens:,}", str(size.conversations), *cells,
                     f"{cost.memory / 1e6:,.0f}"])  # fmt: skip
    return rows


def page(tables: Mapping[str, Sequence[tuple[Size, Cost]]]) -> str:
    """Return the page."""
    parts = ["# How cost grows\n", "    python -m turngym.benchmarks.scaling\n", (__doc__ or "").split("\n\n", 2)[2],
             f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}.\n"]  # fmt: skip
    for name, costs in tables.items():
        parts += [f"## {name}\n", f"{table(COLUMNS, rows_of(costs))}\n"]
    return "\n".join(parts)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the page and write it."""
    options = tyro.cli(Options, args=words, prog="python -m turngym.benchmarks.scaling", description=__doc__)
    tables = {name: [(size, measured(size, options.repeats)) for size in rows] for name, rows in sizes(options).items()}
    print(kept(page(tables), options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

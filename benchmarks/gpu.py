"""What a card does: rollouts against `generate`, learning, memory against its estimate, and a small run.

`python -m turngym.benchmarks.gpu` prints a table row by row as it is measured, and on a card writes it to
`benchmarks/results/gpu.md`. Models have the shapes of Qwen2.5 and random weights, so nothing is fetched; their replies
are nonsense of full length, which costs what sense would. With `--small` the shapes are tiny, for a processor: that
tries the script, and is no figure of anything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

import turngym
from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.models.adapter import new_adapter
from turngym.agents.models.hardware import find_device, fused_on, precisions
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent, Origin
from turngym.agents.models.placement import AdapterSettings, Placement
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.models.small import train_tokenizer
from turngym.agents.rollout import collect_episodes
from turngym.benchmarks.page import kept, table
from turngym.benchmarks.throughput import RereadingAgent
from turngym.trainers.batches import kept_activations
from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.memory import ModelShape, estimate_memory, gigabytes

ENV_ID = "turngym/FrozenLake-v0"
REPLY_TOKENS = 16
CONTEXT = 1024
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bfloat16 operations per second that the maker states, by a part of the card's name."""
RESULTS = Path("benchmarks/results/gpu.md")
HEADER = ("part", "model", "learns", "figure", "value")


@dataclass(frozen=True)
class Options:
    """Measure what a card does."""

    device: str = "auto"
    """A device of torch; auto for the best that there is."""
    small: bool = False
    """Tiny models, to try the script on a processor."""
    conversations: int = 64
    """Episodes played at once."""
    minutes: float = 8.0
    """Parts that would begin later than this are left out, and the page says so."""
    out: Path | None = None
    """The file to write; on a card `benchmarks/results/gpu.md` unless given, elsewhere none."""


@dataclass(frozen=True)
class Shape:
    """A model to measure."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int = 151_936
    num_key_value_heads: int = 2

    def config(self, context_length: int = CONTEXT) -> Qwen2Config:
        """Return its configuration."""
        shape = {name: value for name, value in vars(self).items() if name != "name"}
        return Qwen2Config(**shape, tie_word_embeddings=True, max_position_embeddings=context_length,
                           dtype="bfloat16")  # fmt: skip


SHAPES = (Shape("0.5B", 896, 4864, 24, 14), Shape("1.5B", 1536, 8960, 28, 12))
SMALL = (Shape("tiny", 64, 128, 2, 4, vocab_size=2048),)


class Measuring:
    """Rows of the table, printed as they come, until the time is over.

    Args:
        options: What is measured.
        device: Where.
        tell: Told about every row.
    """

    def __init__(self, options: Options, device: torch.device, tell: Callable[[str], None]) -> None:
        self.options, self.device, self._tell = options, device, tell
        self.rows: list[tuple[str, ...]] = []
        self.left_out: list[str] = []
        self._began = time.perf_counter()

    def has_time(self, part: str) -> bool:
        """Return whether a part may begin; if not, it is noted as left out."""
        if time.perf_counter() - self._began < 60 * self.options.minutes:
            return True
        self.left_out.append(part)
        return False

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)
        self._tell(" | ".join(cells))

    def clock(self) -> float:
        """Return the time, once the device has done what it was told, seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def random_model(shape: Shape, device: torch.device, *, adapter: bool) -> LanguageModel:
    """Return a model with random weights in the precisions of training; see `precisions`."""
    held, computes = precisions(Placement(), device, torch.bfloat16, learns=not adapter)
    with device:
        network: Any = Qwen2ForCausalLM(shape.config())
    network = network.to(held).eval()
    tokenizer = _tokenizer()
    if not adapter:
        return LanguageModel(network, tokenizer, compute_dtype=computes)
    return LanguageModel(network, tokenizer, compute_dtype=computes, origin=Origin(path="random", digest=""),
                         adapter=new_adapter(network, AdapterSettings(rank=16, alpha=32.0), seed=0))  # fmt: skip


def _tokenizer() -> PreTrainedTokenizerFast:
    played = collect_episodes(turngym.agents.OracleAgent(), ENV_ID, instance_range("train", 50), slots=1)
    return train_tokenizer(message["content"] for episode in played for message in episode.messages())


def rollouts(measuring: Measuring, shape: Shape, model: LanguageModel) -> list[Episode]:
    """Measure play with the kept cache, and by `generate` on whole histories; return the episodes of the first."""
    count, rates = measuring.options.conversations, {}
    agents: dict[str, Agent] = {
        "kept cache": LanguageModelAgent(model, greedy=True, slots=count, max_reply_tokens=REPLY_TOKENS),
        "generate": RereadingAgent(model, REPLY_TOKENS),
    }
    episodes: dict[str, list[Episode]] = {}
    for name, agent in agents.items():
        if name == "generate" and not measuring.has_time(f"generate, {shape.name}"):
            continue
        collect_episodes(agent, ENV_ID, instance_range("validation", 2), slots=count)  # first calls cost more
        began = measuring.clock()
        with torch.inference_mode(), model.computing():
            episodes[name] = collect_episodes(agent, ENV_ID, instance_range("validation", count), slots=count)
        seconds = measuring.clock() - began
        sampled = sum(episode.num_sampled for episode in episodes[name])
        rates[name] = sampled / seconds
        measuring.add("rollout", shape.name, "-", f"{name}, sampled tokens/s", f"{rates[name]:,.0f}")
    if "generate" in rates:
        ratio = rates["kept cache"] / rates["generate"]
        measuring.add("rollout", shape.name, "-", "kept cache against generate", f"{ratio:.1f}x")
    return episodes["kept cache"]


def learning(measuring: Measuring, shape: Shape, model: LanguageModel, episodes: Sequence[Episode]) -> None:
    """Measure steps of learning on episodes: tokens per second, the share of the card's peak, and memory.

    Layers are computed again in the backward pass where training does so; that is no part of a model's operations.
    """
    what = "all weights" if model.adapter is None else "adapter"
    if measuring.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(measuring.device)
    optimizer = torch.optim.AdamW(
        model.learned.parameters(), lr=1e-6, weight_decay=0.0, fused=fused_on(measuring.device)
    )
    config = training(model)
    batches = list(token_batches(episodes, config.learning.tokens_per_microbatch, model.device))
    tokens = sum(len(episode.token_ids) for episode in episodes)  # but for padding

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            with kept_activations(model, config.learning):
                loss = -sampled_logprobs(model, batch).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    began, steps = measuring.clock(), 0
    while steps < 3 or (measuring.clock() - began < 10 and steps < 20 and not measuring.options.small):
        step()
        steps += 1
    rate = steps * tokens / (measuring.clock() - began)
    measuring.add("learner", shape.name, what, "tokens/s", f"{rate:,.0f}")
    if (peak := peak_operations(measuring.device)) is not None:
        share = rate * operations_per_token(shape, frozen=model.adapter is not None) / peak
        measuring.add("learner", shape.name, what, "model FLOP utilisation", f"{share:.0%}")
    sampled = sum(episode.num_sampled for episode in episodes)
    estimated = learning_memory(shape, config, measuring.device.type, sampled / tokens)
    measuring.add("learner", shape.name, what, "estimated memory, GB", gigabytes(estimated))
    if measuring.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(measuring.device)
        measuring.add("learner", shape.name, what, "peak memory, GB", gigabytes(memory))
        measuring.add("learner", shape.name, what, "peak against estimate", f"{memory / estimated:.2f}")


def training(model: LanguageModel) -> TrainConfig:
    """Return the configuration of a training that learns as is measured here."""
    return with_overrides(TrainConfig(), {
        "model": {"path": "random", "context_length": CONTEXT, "max_reply_tokens": REPLY_TOKENS},
        "lora": {"rank": 0 if model.adapter is None else model.adapter.config.r}, "warm_start": {"enabled": False},
    })  # fmt: skip


def learning_memory(shape: Shape, config: TrainConfig, device: str, share: float) -> int:
    """Return what `turngym train` estimates for its steps of learning, bytes, less what is not there in `learning`.

    Args:
        shape: The model.
        config: The training.
        device: The type of the device.
        share: The share of sampled tokens.
    """
    estimate = estimate_memory(config, ModelShape.of(shape.config()), device=device, sampled_share=share)
    absent = ("reference", "cache")
    return max(
        sum(size for name, size in phase.parts.items() if name not in absent) for phase in estimate.phases
        if phase.name.startswith(("stage 2, learning", "stage 2, optimizer"))
    )  # fmt: skip


def operations_per_token(shape: Shape, *, frozen: bool) -> float:
    """Return the floating-point operations of matrix products per token of a forward and a backward pass.

    Two a weight forward, two for the gradients of activations, two for those of weights unless these are frozen. The
    head counts for every token, although it reads sampled ones alone, as is usual; attention itself does not count.
    """
    head_width = shape.hidden_size // shape.num_attention_heads
    attention = 2 * shape.hidden_size**2 + 2 * shape.hidden_size * head_width * shape.num_key_value_heads
    layers = shape.num_hidden_layers * (attention + 3 * shape.hidden_size * shape.intermediate_size)
    return (4.0 if frozen else 6.0) * (layers + shape.hidden_size * shape.vocab_size)


def peak_operations(device: torch.device) -> float | None:
    """Return what the maker says of a card, None for one that is not in the table."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def small_run(measuring: Measuring) -> None:
    """Train the model of the demo on the device, for a few steps of each stage."""
    steps = 2 if measuring.options.small else 20
    began = measuring.clock()
    with TemporaryDirectory() as place:
        result = turngym.train(
            "FrozenLake", run={"root": place, "name": "demo", "device": measuring.options.device},
            warm_start={"course_steps": 10 * steps, "success_low": 0.0, "success_high": 1.0, "max_corrections": 0},
            values={"instances": 64}, learning={"steps": steps}, evaluation={"episodes": 64},
        )  # fmt: skip
    seconds = measuring.clock() - began
    measuring.add("FrozenLake", "built-in", "all weights", f"seconds, {steps} steps of A*PO", f"{seconds:.0f}")
    trained = result.scores["trained_sampled"].rate
    measuring.add("FrozenLake", "built-in", "all weights", "sampled success", f"{trained:.2f}")


def measure(measuring: Measuring) -> None:
    """Measure all parts for which there is time."""
    for shape in SMALL if measuring.options.small else SHAPES:
        episodes: list[Episode] = []
        for adapter in (True, False):
            if not measuring.has_time(f"{shape.name}, {'adapter' if adapter else 'all weights'}"):
                continue
            model = random_model(shape, measuring.device, adapter=adapter)
            if adapter:  # play costs the same with both, but for the frozen weights that are in half the memory here
                episodes = rollouts(measuring, shape, model)
            learning(measuring, shape, model, episodes)
            del model
            if measuring.device.type == "cuda":
                torch.cuda.empty_cache()
    if measuring.has_time("FrozenLake"):
        small_run(measuring)


def page(measuring: Measuring) -> Iterator[str]:
    """Yield the lines of the page."""
    device = measuring.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    yield "# A card\n"
    yield f"{name}, torch {torch.__version__}, {measuring.options.conversations} conversations at once."
    yield f"Command: `python -m turngym.benchmarks.gpu{' --small' if measuring.options.small else ''}`\n"
    if device.type != "cuda":
        yield "Without a card: this tries the script, and is no figure of a card.\n"
    yield table(HEADER, measuring.rows)
    if measuring.left_out:
        yield f"\nLeft out, since the time was over: {'; '.join(measuring.left_out)}."


def main(options: Options) -> str:
    """Measure, write the page and return it."""
    measuring = Measuring(options, find_device(options.device), tell=print)
    measure(measuring)
    out = options.out or (RESULTS if measuring.device.type == "cuda" else None)
    return kept("\n".join(page(measuring)) + "\n", out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))

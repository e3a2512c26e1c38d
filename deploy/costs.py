"""What the runs of the presets would take on rented cards: hours and dollars, computed, none of it measured.

    python -m deploy.costs
    python -m deploy.costs --presets webshop --models 3B --lora-rank 0

prints a table in Markdown. The tokens of an episode are counted on demonstrations of the preset, its episodes and steps
in the configuration; whether a run fits is told by `turngym.trainers.memory`. The rest is assumed, see `ASSUMED`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deploy.prices import GPU_PRICES, Machine
from turngym._errors import InputError
from turngym.agents.episode import Episode
from turngym.agents.rollout import Instance, collect_episodes
from turngym.benchmarks.gpu import SHAPES, Shape
from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.presets import preset_names
from turngym.trainers.memory import GB, ModelShape, estimate_memory
from turngym.trainers.warm_start.teacher import demonstration_agent


@dataclass(frozen=True, kw_only=True)
class Card:
    """What its maker says of a card, for dense products in bfloat16, which the cards here have."""

    flops: float
    """Operations a second."""
    bandwidth: float
    """Bytes a second between its memory and its cores."""
    memory: float
    """Bytes."""


CARDS = {
    "L4": Card(flops=121e12, bandwidth=300e9, memory=24e9),
    "A10": Card(flops=125e12, bandwidth=600e9, memory=24e9),
    "L40S": Card(flops=362e12, bandwidth=864e9, memory=48e9),
    "A100-40GB": Card(flops=312e12, bandwidth=1555e9, memory=40e9),
    "A100-80GB": Card(flops=312e12, bandwidth=2039e9, memory=80e9),
    "H100": Card(flops=989e12, bandwidth=3350e9, memory=80e9),
    "H200": Card(flops=989e12, bandwidth=4800e9, memory=141e9),
}
SHOWN = ("L4", "A100-40GB", "H100")
"""The cards of the table unless others are named."""
MODELS = {shape.name: shape for shape in (*SHAPES, Shape("3B", 2048, 11_008, 36, 16))}
"""The sizes of Qwen2.5."""
LONGEST = 32_768
"""Tokens that they see at once."""
UTILISATION = 0.3
"""Share of a card's operations that passes over many tokens reach."""
BANDWIDTH_SHARE = 0.5
"""Share of a card's bandwidth that passes over one token of each episode reach."""
PASS_SECONDS = 0.03
"""Least time of a pass, in which Python and the starts of kernels are what takes long."""
CHARACTERS_PER_TOKEN = 4
FRAME_TOKENS = 5
"""What a chat template writes around a message."""
CARD_SHARE = 0.9
"""Share of a card's memory that is left to tensors."""
ASSUMED = (
    f"{CHARACTERS_PER_TOKEN} characters to a token and {FRAME_TOKENS} tokens around a message; {UTILISATION:.0%} of a "
    f"card's bfloat16 operations where many tokens are read or learned; a pass for one token of each episode at "
    f"{BANDWIDTH_SHARE:.0%} of its bandwidth and in {1000 * PASS_SECONDS:g} ms at least; every turn of a batch as long "
    "as the longest reply allowed; replies no longer than those of the demonstrations in what is read and learned; "
    f"{CARD_SHARE:.0%} of the card's memory for tensors; 2 cores and 16 GiB beside the card"
)
DEMONSTRATIONS = 64


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the episodes of a preset are in the words of a model that knows language."""

    tokens: float
    """Mean tokens of an episode."""
    longest: int
    """Tokens of the longest one."""
    reply: int
    """Tokens of the longest reply."""
    turns: int
    """Turns of the episode that has most."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A run on a card."""

    peak: int
    """Memory that it needs, bytes."""
    fits: bool
    """Whether the card has it."""
    seconds: float
    """How long it takes."""
    dollars: float
    """What it costs."""


def lengths_of(config: TrainConfig) -> Lengths:
    """Return the lengths of demonstrations, half of them with mistakes."""
    instances = [Instance(split="train", index=index, seed=index) for index in range(DEMONSTRATIONS)]
    played: list[Episode] = []
    for rate in (0.0, config.warm_start.mistake_rate):
        agent = demonstration_agent(config.warm_start, rate)
        played += collect_episodes(agent, config.env.id, instances, env_kwargs=config.env.kwargs, slots=1)
    tokens = [sum(map(_tokens, episode.texts())) for episode in played]
    return Lengths(
        tokens=float(np.mean(tokens)), longest=max(tokens), turns=max(len(episode.turns) for episode in played),
        reply=max(_tokens(turn.action) for episode in played for turn in episode.turns),
    )  # fmt: skip


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN) + FRAME_TOKENS


def shape_of(model: str) -> ModelShape:
    """Return the shape of a model by its name in `MODELS`."""
    config = MODELS[model].config(LONGEST)
    config.dtype = torch.bfloat16  # as they are stored
    return ModelShape.of(config)


def run_of(preset: str, model: str, lora_rank: int, lengths: Lengths) -> TrainConfig:
    """Return the run of a preset with a model that is named, with room for episodes and replies in its words."""
    config = configure(preset=preset)
    reply = max(config.model.max_reply_tokens, lengths.reply)
    context = max(config.model.context_length, 2 ** math.ceil(math.log2(lengths.longest + reply)))
    settings = {"path": f"Qwen/Qwen2.5-{model}-Instruct", "context_length": context, "max_reply_tokens": reply}
    return with_overrides(config, {"model": settings, "lora": {"rank": lora_rank}})


def cost_of(config: TrainConfig, shape: ModelShape, lengths: Lengths, gpu: str) -> Cost:
    """Return what a run takes on a card.

    A product with P weights takes 2P operations a token; its backward pass as many again for what it hands down, and as
    many for its own gradients, which the frozen weights under an adapter have not. Where layers are computed again that
    is another 2P, and the reference reads with 2P what stage 2 learns from.

    Args:
        config: The run.
        shape: The shape of its model.
        lengths: Those of its episodes.
        gpu: A name of `CARDS`.
    """
    card, warm, values, learning = CARDS[gpu], config.warm_start, config.values, config.learning
    again = 2 if learning.recomputes(shape.parameters) else 0
    learned = (4 if config.lora.rank else 6) + again
    cloned = warm.course_steps * warm.batch_size if warm.enabled else 0
    batches = learning.steps * [learning.batch_size]
    apart = [2 * [config.evaluation.episodes] * 2, [warm.check_episodes] if warm.enabled else [],
             [values.instances * values.samples + values.extra_samples] if config.needs_stage_one else []]  # fmt: skip
    played = [*batches, *(count for counts in apart for count in counts)]
    passes = lengths.turns * config.model.max_reply_tokens * sum(
        math.ceil(count / config.run.rollout_slots) for count in played
    )  # fmt: skip
    weighted = cloned * learned + sum(batches) * (learned + 2) + 2 * sum(played)
    computing = weighted * lengths.tokens * shape.parameters / (UTILISATION * card.flops)
    reading = passes * max(PASS_SECONDS, 2 * shape.parameters / (BANDWIDTH_SHARE * card.bandwidth))
    seconds = computing + reading
    peak = estimate_memory(config, shape, device="cuda").peak
    price = Machine(gpu=gpu, cpu=2.0, memory=16).price
    return Cost(peak=peak, fits=peak <= CARD_SHARE * card.memory, seconds=seconds, dollars=price * seconds)


def table(presets: Sequence[str], models: Sequence[str], cards: Sequence[str], lora_rank: int) -> str:
    """Return the table, in Markdown."""
    lines = [f"| preset | model | tokens of an episode | memory, GB | {' | '.join(cards)} |",
             f"|---|---|---|---|{'---|' * len(cards)}"]  # fmt: skip
    for preset in presets:
        lengths = lengths_of(configure(preset=preset))
        for model in models:
            config, shape = run_of(preset, model, lora_rank, lengths), shape_of(model)
            costs = [cost_of(config, shape, lengths, card) for card in cards]
            cells = [f"{cost.seconds / 3600:.1f} h, ${cost.dollars:.2f}" if cost.fits else "does not fit"
                     for cost in costs]  # fmt: skip
            lines.append(f"| `{preset}` | {model} | {lengths.tokens:.0f} | {costs[0].peak / GB:.1f} | "
                         f"{' | '.join(cells)} |")  # fmt: skip
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.costs", description="Costs of presets, computed.")
    parser.add_argument("--presets", nargs="+", choices=preset_names(), default=preset_names(), metavar="PRESET")
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS], help=", ".join(MODELS))
    parser.add_argument("--cards", nargs="+", choices=[*CARDS], default=[*SHOWN], help=", ".join(CARDS))
    parser.add_argument("--lora-rank", type=int, default=16, help="rank of the adapter (16); 0 for all weights")
    options = parser.parse_args(words)
    try:
        print(table(options.presets, options.models, options.cards, options.lora_rank))
    except InputError as error:
        print(f"turngym: {error}", file=sys.stderr)
        return 2
    print(f"\nComputed, not measured. Assumed: {ASSUMED}.")
    return 0


assert set(CARDS) <= set(GPU_PRICES)

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

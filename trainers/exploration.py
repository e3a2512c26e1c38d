"""Explorers in stage 1: the reference at other temperatures plays the pool too, into the same value store.

Their episodes tell what comes of replies that the reference seldom gives, which the values of states need
(`importance` says how they are weighed). Values estimated from whole returns never read them. Any other model with the
reference's tokenizer and chat format may explore as well: `ValueStore.add` takes its episodes under a name of its own,
with what `reference_logprobs` says of them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.trainers.batching import sampled_logprobs, token_batches
from turngym.trainers.config import TrainConfig
from turngym.trainers.play import model_player, play
from turngym.trainers.progress import Progress, SuccessSoFar
from turngym.trainers.reference import BLOCK
from turngym.trainers.value_store import ValueStore

EXPLORER_STREAM = 6
"""Keeps the seeds of explorers apart from others."""


def explore(
    reference: LanguageModel, store: ValueStore, config: TrainConfig, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Play the pool at each of `values.explorer_temperatures`, until the store holds what the configuration asks for.

    As the reference's own episodes these are stored in blocks, whole or absent, and what is held is not played again.

    Args:
        reference: The frozen policy.
        store: Filled further.
        config: The run.
        progress: Told about every episode.

    Yields:
        The numbers of each block that was stored: who explored, its episodes, success, seconds, errors and tokens.
    """
    stage = config.values
    temperatures = stage.explorer_temperatures
    if not temperatures:
        return
    progress.phase("stage 1: explorers", len(temperatures) * stage.instances * stage.explorer_samples)
    count = SuccessSoFar(progress)
    for temperature in temperatures:
        behaviour = f"temperature {temperature!r}"
        held = store.counts(behaviour=behaviour)
        progress.advance(sum(held.values()))
        agent = model_player(reference, config, temperature=temperature)
        missing = [(i, k) for i in range(stage.instances) for k in range(held.get(i, 0), stage.explorer_samples)]
        for start in range(0, len(missing), BLOCK):
            started = time.perf_counter()
            instances = [
                Instance(split="train", index=i, seed=explorer_seed(config.run.seed, behaviour, i, k))
                for i, k in missing[start : start + BLOCK]
            ]
            episodes = play(agent, instances, config, shaped=True, on_episode=count)
            usable = [episode for episode in episodes if not episode.status.is_error()]
            store.add(usable, behaviour, reference_logprobs(reference, usable, config))
            yield {"explorer": behaviour, "seconds": time.perf_counter() - started,
                   "errors": len(episodes) - len(usable), "explorer_episodes": len(usable),
                   "explorer_success": sum(episode.success for episode in usable) / max(1, len(usable)),
                   "sampled_tokens": sum(episode.num_sampled for episode in usable)}  # fmt: skip


@torch.no_grad()
def reference_logprobs(reference: LanguageModel, episodes: Sequence[Episode], config: TrainConfig) -> list[list[float]]:
    """Return the reference's log-probability of every reply of every episode, nats, at its own temperature.

    One forward pass over finished episodes, far cheaper than sampling them was.
    """
    logprobs = [np.zeros(len(episode.turns)) for episode in episodes]
    for batch in token_batches(episodes, config.astarpo.tokens_per_microbatch, reference.device):
        logp_N = sampled_logprobs(reference, batch, config.astarpo.temperature).double().cpu().numpy()
        row_N, turn_N = batch.row_N.cpu().numpy(), batch.turn_N.cpu().numpy()
        for row, member in enumerate(batch.members):
            np.add.at(logprobs[member], turn_N[row_N == row], logp_N[row_N == row])
    return [logprobs_K.tolist() for logprobs_K in logprobs]


def explorer_seed(run_seed: int, behaviour: str, index: int, sample: int) -> int:
    """Return the seed of one episode of an explorer."""
    words = [run_seed, EXPLORER_STREAM, zlib.crc32(behaviour.encode()), index, sample]
    return int(np.random.default_rng(words).integers(2**31))

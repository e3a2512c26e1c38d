"""Explorers in stage 1: the reference at other temperatures, and other models, play the pool into the same value store.

Their episodes show the outcomes of replies that the reference seldom gives, which the values of states need;
`importance` tells how they are weighted. Values of instances, which are estimated from whole returns, never use them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.evaluation import cut_shares
from turngym.agents.models.language_model import CheckpointError, LanguageModel, LanguageModelAgent
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance
from turngym.seeds import Stream, episode_seed
from turngym.trainers.config import ModelConfig
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.stage_one.sampling import BLOCK, StageOneSetup
from turngym.trainers.stage_one.store import ValueStore


def explore(
    reference: LanguageModel, store: ValueStore, setup: StageOneSetup, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Let every explorer play the pool, until the store holds what the configuration asks for.

    As with the reference, episodes are stored in blocks, whole or not at all, and episodes held are not played again.

    Args:
        reference: The frozen policy.
        store: The value store; episodes are added to it.
        setup: The settings of stage 1.
        progress: Told about every episode.

    Yields:
        The numbers of each block that was stored: who explored, its episodes, success, seconds, errors and tokens.

    Raises:
        CheckpointError: A model cannot be loaded, or has another tokenizer than the reference.
    """
    values = setup.values
    number = len(values.explorer_temperatures) + len(values.explorer_models)
    if not number:
        return
    progress.phase("stage 1: explorers", number * values.instances * values.explorer_samples)
    count = SuccessSoFar(progress)
    for behaviour, agent in explorers(reference, setup):
        held = store.counts(behaviour=behaviour)
        progress.advance(sum(held.values()))
        missing = [(i, k) for i in range(values.instances) for k in range(held.get(i, 0), values.explorer_samples)]
        for start in range(0, len(missing), BLOCK):
            started = time.perf_counter()
            instances = [
                Instance(split="train", index=i, seed=explorer_seed(setup.seed, behaviour, i, k))
                for i, k in missing[start : start + BLOCK]
            ]
            episodes = setup.rollouts.play(agent, instances, shaped=True, on_episode=count)
            usable = [episode for episode in episodes if not episode.status.is_error()]
            store.add(usable, behaviour, reference_logprobs(reference, usable, setup))
            yield {"explorer": behaviour, "seconds": time.perf_counter() - started,
                   "errors": len(episodes) - len(usable), "explorer_episodes": len(usable),
                   "explorer_success": sum(episode.success for episode in usable) / max(1, len(usable)),
                   "sampled_tokens": sum(episode.num_sampled for episode in usable), **cut_shares(usable)}  # fmt: skip


def explorers(reference: LanguageModel, setup: StageOneSetup) -> Iterator[tuple[str, LanguageModelAgent]]:
    """Yield the agents of the explorers, one at a time, each with the name under which its episodes are stored."""
    for temperature in setup.values.explorer_temperatures:
        yield f"temperature {temperature!r}", setup.rollouts.agent(reference, temperature=temperature)
    for path in setup.values.explorer_models:
        model = load_explorer(path, reference, setup.model)
        yield f"model {model.fingerprint()[:16]}", setup.rollouts.agent(model)


def load_explorer(path: str, reference: LanguageModel, config: ModelConfig) -> LanguageModel:
    """Load a model that explores for a reference, and is played as that is.

    Raises:
        CheckpointError: It cannot be loaded, or has another tokenizer than the reference.
    """
    model = reference.load_beside(path, allow_pickle=config.allow_pickle, day=config.day)
    if vocabulary(model) != vocabulary(reference):
        raise CheckpointError(f"values.explorer_models: {path} has another tokenizer than the reference, which could "
                              "not read its replies; take one trained from the same model")  # fmt: skip
    return model


def vocabulary(model: LanguageModel) -> tuple[dict[str, int], Any]:
    """Return the vocabulary and the chat template of a model; two models with both the same read the same text."""
    return model.tokenizer.get_vocab(), model.tokenizer.chat_template


@torch.no_grad()
def reference_logprobs(
    reference: LanguageModel, episodes: Sequence[Episode], setup: StageOneSetup
) -> list[list[float]]:
    """Return the reference's log-probability of every reply of every episode, nats, at its own temperature.

    It takes one forward pass over finished episodes, far less than sampling them.
    """
    logprobs = [np.zeros(len(episode.turns)) for episode in episodes]
    for batch in token_batches(episodes, setup.tokens_per_microbatch, reference.device):
        logp_N = sampled_logprobs(reference, batch, setup.rollouts.temperature).double().cpu().numpy()
        episode_N, turn_N = batch.episode_N.cpu().numpy(), batch.turn_N.cpu().numpy()
        for row, member in enumerate(batch.members):
            np.add.at(logprobs[member], turn_N[episode_N == row], logp_N[episode_N == row])
    return [logprobs_K.tolist() for logprobs_K in logprobs]


def explorer_seed(run_seed: int, behaviour: str, index: int, sample: int) -> int:
    """Return the seed of one episode of an explorer."""
    return episode_seed(run_seed, Stream.EXPLORERS, zlib.crc32(behaviour.encode()), index, sample)

"""Explorers: the reference at other temperatures, other models, and scripted agents, and how a block of them is played.

An explorer that samples from a model gives the log-probability of every reply, and the reference scores the same
replies; `importance` tells how the two are weighed. A scripted agent has no probabilities: its turns tell what replies
lead to, and nothing of how likely the reference gives them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance
from turngym.seeds import Stream, episode_seed
from turngym.trainers.config import ModelConfig
from turngym.trainers.play import SCRIPTED_SLOTS
from turngym.trainers.stage_one.exploring.scripts import scripted_explorer
from turngym.trainers.stage_one.sampling import StageOneSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """Who explores: the reference at a temperature, the model in a folder, or a scripted agent."""

    name: str
    """The behaviour under which its episodes are stored."""
    temperature: float | None = None
    """That of the reference; None for another agent."""
    path: str = ""
    """The folder of a model."""
    agent: str = ""
    """The name of a scripted agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Episodes that are played together and stored as a whole or not at all."""

    explorer: Explorer
    """Who plays."""
    pairs: Sequence[tuple[int, int]]
    """The instance of each episode, and which of its episodes by this explorer it is, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A block after play."""

    episodes: list[Episode]
    """Those without an error."""
    ref_logprobs: list[list[float]] | None
    """The reference's log-probability of each of their replies, nats; None where a script gave them."""
    errors: int
    """How many ended in an error."""
    seconds: float
    """How long it took to play and to score them."""


class Cast:
    """The agents of explorers, of whose models the last one is kept.

    Args:
        reference: Returns the frozen policy; called where an explorer needs it.
        setup: The settings of stage 1.
    """

    def __init__(self, reference: Callable[[], LanguageModel], setup: StageOneSetup) -> None:
        self._reference, self._setup = reference, setup
        self._loaded: tuple[str, LanguageModel] | None = None

    def explorers(self) -> list[Explorer]:
        """Return the explorers of the configuration, each once.

        Raises:
            CheckpointError: A model cannot be loaded, or has another tokenizer than the reference.
        """
        values = self._setup.values
        found = [Explorer(name=f"temperature {heat!r}", temperature=heat) for heat in values.explorer_temperatures]
        found += [Explorer(name=f"model {self._model(path).fingerprint()[:16]}", path=path)
                  for path in values.explorer_models]  # fmt: skip
        found += [Explorer(name=f"agent {name}", agent=name) for name in values.explorer_agents]
        return list({explorer.name: explorer for explorer in found}.values())

    def play(self, block: Block, on_episode: Callable[[Episode], None] | None = None) -> Played:
        """Play a block; which other blocks were played before, and where, makes no difference.

        Args:
            block: The block.
            on_episode: Called with every episode as it ends.

        Raises:
            CheckpointError: A model cannot be loaded, or has another tokenizer than the reference.
        """
        started, explorer, rollouts = time.perf_counter(), block.explorer, self._setup.rollouts
        instances = [
            Instance(split="train", index=i, seed=explorer_seed(self._setup.seed, explorer.name, i, k))
            for i, k in block.pairs
        ]
        if explorer.agent:
            script = scripted_explorer(explorer.agent)
            episodes = rollouts.play(script, instances, shaped=True, slots=SCRIPTED_SLOTS, on_episode=on_episode)
        else:
            model = self._model(explorer.path) if explorer.path else self._reference()
            agent = rollouts.agent(model, temperature=explorer.temperature)
            episodes = rollouts.play(agent, instances, shaped=True, on_episode=on_episode)
        usable = [episode for episode in episodes if not episode.status.is_error()]
        scores = None if explorer.agent else reference_logprobs(self._reference(), usable, self._setup)
        return Played(episodes=usable, ref_logprobs=scores, errors=len(episodes) - len(usable),
                      seconds=time.perf_counter() - started)  # fmt: skip

    def _model(self, path: str) -> LanguageModel:
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None  # not both at once
            self._loaded = path, load_explorer(path, self._reference(), self._setup.model)
        return self._loaded[1]


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

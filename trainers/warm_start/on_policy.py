"""Demonstrations that begin as the student plays: the demonstrator goes on from the states that the student visits.

A clone of flawless play does not know what to do where its own mistakes lead. Reference: Ross et al., "A Reduction of
Imitation Learning and Structured Prediction to No-Regret Online Learning", arXiv:1011.0686 (DAgger).
"""

from __future__ import annotations

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.agents.scripted import HandoverAgent, ScriptedAgent
from turngym.trainers.play import SCRIPTED_SLOTS, without_errors
from turngym.trainers.rollouts import Rollouts

HANDOVERS = 4
"""Demonstrations from each episode of the student, whose play costs more than theirs."""


def handed_over(
    model: LanguageModel, rollouts: Rollouts, teacher: ScriptedAgent, rng: np.random.Generator, count: int
) -> list[Episode]:
    """Return demonstrations on fresh training instances that begin as the student plays them.

    Each episode of the student is gone on with from up to `HANDOVERS` of its turns, drawn without repetition. What the
    student did is read and not cloned: these turns have no span. Episodes that ended in an error are left out.

    Args:
        model: The student.
        rollouts: How both play.
        teacher: The demonstrator.
        rng: Draws instances and turns.
        count: How many demonstrations, at most.

    Raises:
        PlayError: Every episode ended in an error.
    """
    indices = rng.integers(2**30, size=-(-count // HANDOVERS)).tolist()
    instances = [Instance(split="train", index=index, seed=index) for index in indices]
    student = rollouts.agent(model, slots=len(instances))
    begun = without_errors(rollouts.play(student, instances), "episode of the student")
    demonstrations: list[Episode] = []
    turns = [rng.permutation(len(episode.turns))[:HANDOVERS] for episode in begun]
    for handover in range(HANDOVERS):
        chosen = {episode.index: int(of_episode[handover])
                  for episode, of_episode in zip(begun, turns, strict=True) if handover < len(of_episode)}  # fmt: skip
        demonstrations += _gone_on(model, rollouts, teacher, begun, chosen)
    return demonstrations[:count]


def _gone_on(
    model: LanguageModel, rollouts: Rollouts, teacher: ScriptedAgent, begun: list[Episode], chosen: dict[int, int]
) -> list[Episode]:
    """Let the teacher go on with episodes from the chosen turns, by the numbers of their instances."""
    openings = {episode.seed: [turn.action for turn in episode.turns[: chosen[episode.index]]]
                for episode in begun if episode.index in chosen}  # fmt: skip
    instances = [Instance(split="train", index=seed, seed=seed) for seed in openings]
    played = rollouts.play(HandoverAgent(openings, teacher), instances, slots=SCRIPTED_SLOTS)
    encoded = [model.encode_episode(episode) for episode in played if not episode.status.is_error()]
    return [episode.masked(range(len(openings[episode.seed]))) for episode in encoded]

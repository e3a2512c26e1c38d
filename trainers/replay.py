"""Replay: episodes of stage 1 that a step learns from beside those that are played for it.

`astarpo_turn` squares residuals that are 0 on average at the optimum whoever has played, as long as the values are V*:
with delta_t = beta * log(pi / ref) - r_t - V*(s_{t+1}) + V*(s_t) the mean of every G_t is 0 at pi*, given state and
reply. So the optimum of a mixture of episodes is the same, and no likelihood ratio belongs into the loss: who has
played decides only where residuals are made small. Policy gradients are expectations over the policy, and whole
trajectories credit a reply with luck that came before it; both are refused.
"""

from __future__ import annotations

from turngym._errors import InputError
from turngym.agents.episode import Episode
from turngym.seeds import Stream, generator
from turngym.trainers.config import ShapingConfig
from turngym.trainers.shaping import shaping_terms
from turngym.trainers.stage_one.store import ValueStore


class Replay:
    """Draws whole episodes of a value store: of the reference and of explorers, all equally likely.

    Args:
        store: The store of the round.
        count: Episodes of a step; fewer where the store has fewer.
        paid: The shaping by which stage 1 was paid.
        seed: The seed of the run.

    Raises:
        InputError: The store has none.
    """

    def __init__(self, store: ValueStore, *, count: int, paid: ShapingConfig, seed: int) -> None:
        self._store, self._count, self._paid, self._seed = store, count, paid, seed
        self._numbers = store.whole_episodes()
        if not self._numbers:
            raise InputError(f"{store.path} keeps no whole episodes that learning.replay_share could draw: begin "
                             "another run, which samples them anew")  # fmt: skip

    def draw(self, step: int, rollbacks: int, shaping: ShapingConfig) -> list[Episode]:
        """Return the episodes of a step, those with a sampled token.

        Args:
            step: Steps taken before this one.
            rollbacks: The number of rollbacks so far.
            shaping: By which they are paid now.
        """
        rng, count = generator(self._seed, Stream.REPLAY, step, rollbacks), min(self._count, len(self._numbers))
        numbers = rng.choice(self._numbers, size=count, replace=False).tolist()
        episodes = [self._store.whole_episode(number) for number in numbers]
        for episode in episodes if shaping != self._paid else ():
            terms = zip(*shaping_terms(episode, shaping), *shaping_terms(episode, self._paid), strict=True)
            for turn, (potential, plain, old_potential, old_plain) in zip(episode.turns, terms, strict=True):
                turn.reward += potential + plain - old_potential - old_plain
        return [episode for episode in episodes if episode.num_sampled]

    def close(self) -> None:
        """Close the store."""
        self._store.close()

"""Rollouts of a run: play by models too, and by several processes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from turngym.agents.base import Agent
from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.sharding import gathered
from turngym.agents.rollout import Instance
from turngym.trainers import ranks
from turngym.trainers.play import Play


class Rollouts(Play):
    """The settings by which the episodes of a run are played, and the agents that its models are."""

    def agent(
        self, model: LanguageModel, *, temperature: float | None = None, greedy: bool = False, slots: int | None = None
    ) -> LanguageModelAgent:
        """Return an agent that samples from `model`, or takes the likeliest tokens.

        Args:
            model: The model.
            temperature: Sampling temperature; None for that of the run.
            greedy: Take the likeliest token instead of sampling.
            slots: Episodes played at once, at most; None for those of the run.
        """
        return LanguageModelAgent(
            model,
            temperature=self.temperature if temperature is None else temperature,
            greedy=greedy,
            slots=self.slots if slots is None else slots,
            max_reply_tokens=self.max_reply_tokens,
        )

    def _play_all(
        self,
        agent: Agent,
        instances: Sequence[Instance],
        slots: int | None,
        on_episode: Callable[[Episode], None] | None,
    ) -> list[Episode]:
        """Play the instances in all ranks, each its share; what a script plays is cheap, and each rank plays it all."""
        alone = super()._play_all
        if not ranks.several():
            return alone(agent, instances, slots, on_episode)
        if not isinstance(agent, LanguageModelAgent):
            episodes = alone(agent, instances, slots, on_episode)
        else:
            with gathered(agent.model.model) if agent.reads_weights else nullcontext():
                shares = ranks.exchange(lambda: alone(agent, ranks.share(instances), slots, on_episode))
            episodes = ranks.put_together(shares)
            if on_episode is not None:
                for number, played in enumerate(shares):
                    for episode in played if number != ranks.rank() else ():
                        on_episode(episode)
        ranks.check_agreement("the episodes", [(episode.index, episode.seed, episode.status, episode.total_reward)
                                               for episode in episodes])  # fmt: skip
        return episodes

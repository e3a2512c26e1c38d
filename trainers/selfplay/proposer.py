"""The proposer: it lets instances be written, accepts those worth playing, and pays for them by what they teach.

A step of self-play:

1. The policy, in the role of `ProposalEnv`, or the environment's own generator writes `selfplay.proposals` instances.
2. The `Verifier` reads them. Accepted are those that are well-formed, solvable, of the training split, not trivial, and
   new: never accepted before.
3. The player plays each accepted one `selfplay.plays` times, among the other prompts of the step.
4. A proposal of the policy is paid

       2 sqrt(p (1 - p) (1 - e)),

   in [0, 1] and in units of the reward range: p is the running success of the player on it, those plays included, and e
   the share of chance in the variance of returns. A success that is a coin of the environment teaches nothing, however
   near to one half it is. What was not accepted is paid nothing.
5. The policy learns from both roles in one update; the proposer is a level of its own, whose values are kept apart.

Source: sqrt(p (1 - p)), the standard deviation of a success, as the worth of an instance is called its learnability
(Rutherford et al., arXiv:2408.15099; Foster and Foerster, arXiv:2502.12272). A policy that sets itself tasks which a
verifier checks, rewarded so: Absolute Zero, arXiv:2505.03335.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance
from turngym.agents.scripted import OracleAgent
from turngym.envs.parsing import extract_action
from turngym.envs.proposing import SOLVABLE, Verifier
from turngym.seeds import Stream, episode_seed, generator
from turngym.trainers.config import SelfplayConfig, TrainConfig
from turngym.trainers.instances import PROPOSING
from turngym.trainers.play import SCRIPTED_SLOTS
from turngym.trainers.prompts.successes import SuccessTracker, predictive_stds
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one.estimators import log_mean_exp, shrink
from turngym.trainers.stage_one.instance_values import ValueEstimates
from turngym.trainers.stage_one.sampling import StageOneSetup, sample_seed

MAX_REMEMBERED = 65_536
"""Accepted proposals that are remembered, the newest: one that comes again later counts as new."""


@dataclass(slots=True, kw_only=True)
class Proposals:
    """What was proposed in a step."""

    episodes: list[Episode] = field(default_factory=list)
    """How: one episode of one turn each."""
    accepted: list[int | None] = field(default_factory=list)
    """For each the index of the instance, None where it was not accepted."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The shares of those that are well-formed, solvable and so on, see `Proposer.propose`."""

    @property
    def new(self) -> list[int]:
        """The accepted instances."""
        return [index for index in self.accepted if index is not None]

    @property
    def num_sampled(self) -> int:
        """How many tokens the policy has sampled for them."""
        return sum(episode.num_sampled for episode in self.episodes)


class Proposer:
    """Proposes, verifies and keeps instances.

    Args:
        config: The configuration of the run.

    Raises:
        MissingCapability: The environment's instances are not written.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config: SelfplayConfig = config.selfplay
        self.environment_share = 0.0
        """The share of chance in the variance of returns, in [0, 1]."""
        self._seed, self._rollouts = config.run.seed, Rollouts.of_proposals(config)
        self._reasoning = self._rollouts.reasoning
        self._verifier = Verifier(config.env.id, config.env.kwargs, trivial=config.selfplay.trivial)
        self._remembered: dict[int, None] = {}
        """All that was accepted, the newest last."""
        self.kept: list[int] = []
        """What is kept for later steps, the newest last."""

    def propose(self, agent: LanguageModelAgent, step: int, rollbacks: int) -> Proposals:
        """Let instances be proposed, and say which are accepted.

        Args:
            agent: The policy.
            step: Steps taken before this one.
            rollbacks: The number of rollbacks so far.

        Returns:
            The proposals, with the shares of them that are `proposals_valid` (an instance of the environment),
            `proposals_solvable` (and solvable), `proposals_fit` (and of the training split, and not trivial) and
            `proposals_accepted` (and new); and `proposals_repeated`, the share of the last but one that is not new,
            absent where none is fit.
        """
        moment = (step, rollbacks)
        count = self.config.proposals
        if self.config.by_model:
            instances = [Instance(split="train", index=PROPOSING,
                                  seed=episode_seed(self._seed, Stream.PROPOSALS, *moment, number))
                         for number in range(count)]  # fmt: skip
            episodes = self._rollouts.play(agent, instances)
        else:
            drawn = generator(self._seed, Stream.PROPOSALS, *moment).integers(2**30, size=count).tolist()
            instances = [Instance(split="train", index=index, seed=index) for index in drawn]
            episodes = self._rollouts.play(OracleAgent(), instances, slots=SCRIPTED_SLOTS)
        episodes = [episode for episode in episodes if not episode.status.is_error() and episode.turns]
        return self._judged(episodes)

    def _judged(self, episodes: Sequence[Episode]) -> Proposals:
        """Return the proposals of episodes, with those that are accepted."""
        proposals, kinds = Proposals(episodes=list(episodes)), Counter[str]()
        for episode in episodes:
            index, kind = self._judge(episode)
            if index is not None and (index in self._remembered or index in proposals.accepted):
                index, kind = None, "repeated"
            kinds[kind] += 1
            proposals.accepted.append(index)
        total, numbers = max(1, len(episodes)), proposals.numbers
        fit = kinds["accepted"] + kinds["repeated"]
        for name, without in (("valid", ("malformed",)), ("solvable", ("malformed", "unsolvable"))):
            numbers[f"proposals_{name}"] = 1.0 - sum(kinds[kind] for kind in without) / total
        numbers |= {"proposals_fit": fit / total, "proposals_accepted": kinds["accepted"] / total}
        if fit:
            numbers["proposals_repeated"] = kinds["repeated"] / fit
        return proposals

    def _judge(self, episode: Episode) -> tuple[int | None, str]:
        """Return the index of a proposal that is fit to be played, None otherwise, and what it is.

        It was judged where it was written; only its index is read again.
        """
        turn = episode.turns[-1]
        if not turn.valid:
            return None, "malformed"
        if not episode.success:
            return None, "unfit" if episode.measures[SOLVABLE] else "unsolvable"
        _, index = self._verifier.game.read_instance(extract_action(turn.action, reasoning=self._reasoning))
        return index, "accepted"

    # What comes of them -----------------------------------------------------------------------------------------

    def pay(self, proposals: Proposals, played: Sequence[Episode], successes: SuccessTracker, span: float) -> None:
        """Pay for the proposals of a step by what they teach, and add that to their numbers.

        Args:
            proposals: Their episodes get their rewards.
            played: The episodes of the player in the same step.
            successes: As it was before them.
            span: The width of the reward range of the environment.
        """
        ends: dict[int, list[bool]] = {}
        for episode in played:
            ends.setdefault(episode.index, []).append(episode.success)
        worth = [0.0 if index is None else self.learnability(successes.success_after(index, ends.get(index, [])))
                 for index in proposals.accepted]  # fmt: skip
        for episode, one in zip(proposals.episodes, worth, strict=True):
            turn = episode.turns[-1]
            turn.reward = turn.task_reward = one * span
        if accepted := [one for one, index in zip(worth, proposals.accepted, strict=True) if index is not None]:
            proposals.numbers["learnability"] = float(np.mean(accepted))

    def learnability(self, success: float) -> float:
        """Return `2 sqrt(p (1 - p) (1 - e))` of a success p, in [0, 1]."""
        return 2.0 * float(predictive_stds(success)) * math.sqrt(1.0 - self.environment_share)

    def keep(self, new: Sequence[int]) -> list[int]:
        """Remember instances, keep them for later steps, and return those that are kept no more.

        Args:
            new: What was accepted in a step.
        """
        self._remembered |= dict.fromkeys(new)
        for index in list(self._remembered)[: max(0, len(self._remembered) - MAX_REMEMBERED)]:
            del self._remembered[index]
        self.kept += new
        dropped = self.kept[: max(0, len(self.kept) - self.config.kept)]
        self.kept = self.kept[len(dropped) :]
        return dropped

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers and lists."""
        return {"kept": list(self.kept), "remembered": list(self._remembered)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`."""
        self.kept = [int(index) for index in state["kept"]]
        self._remembered = dict.fromkeys(map(int, state["remembered"]))


def value_proposals(
    reference: LanguageModel, indices: Sequence[int], samples: int, setup: StageOneSetup, estimates: ValueEstimates
) -> tuple[dict[int, tuple[float, int]], int]:
    """Estimate V* of proposed instances as stage 1 does, by its temperature and with its prior.

    Args:
        reference: The frozen policy.
        indices: The instances.
        samples: Episodes of each.
        setup: The settings of stage 1.
        estimates: What it has estimated of the pool.

    Returns:
        For each instance with an episode that did not end in an error its V* and how many such episodes there were;
        and how many tokens were sampled.
    """
    instances = [Instance(split="train", index=index, seed=sample_seed(setup.seed, index, sample))
                 for index in indices for sample in range(samples)]  # fmt: skip
    played = setup.rollouts.play(setup.rollouts.agent(reference), instances, shaped=True)
    returns: dict[int, list[float]] = {}
    for episode in played:
        if not episode.status.is_error():
            returns.setdefault(episode.index, []).append(episode.total_reward)
    beta = setup.beta_value
    values = {}
    for index, paid in returns.items():
        plain, count = np.array([log_mean_exp(paid, beta)]), np.array([len(paid)])
        values[index] = float(shrink(plain, count, estimates.prior, beta, estimates.strength)[0]), len(paid)
    return values, sum(episode.num_sampled for episode in played)

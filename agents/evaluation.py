"""What a set of episodes is worth: success with its interval, turns, tokens, time, and what was cut."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from turngym.agents.episode import Episode, Status
from turngym.agents.hosting import Failed, Game, HostSettings, open_host, run_calls
from turngym.agents.intervals import clustered_interval
from turngym.agents.rollout import LATE_SHARE_SCRIPTED, STEP_TIMEOUT, Instance
from turngym.arguments import Index, Processes, Timeout, checked_arguments
from turngym.envs.capabilities import Optimum
from turngym.envs.finding import short_name
from turngym.envs.making import env_class

OPTIMUM_SLOTS = 8
"""Environments that are asked for their optimum at once."""

_NUMBER = re.compile(r"^(?:(?:train|validation|test)/\d+|seed=-?\d+)\|")
"""How the state begins of a game that numbers its instances, and of an adapted one, which only knows its seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The summary of a set of episodes; those that ended in an error are counted apart and in nothing else."""

    episodes: int
    """Episodes without error, the base of every mean."""
    successes: int
    """How many of them solved the task."""
    rate: float
    """Share of successes, in [0, 1]; 0 without episodes."""
    interval: tuple[float, float]
    """95% interval of the rate over instances: Wilson's, in which the episodes of one instance count as they differ."""
    mean_return: float
    """Mean undiscounted task return, without shaping."""
    mean_turns: float
    """Mean number of turns."""
    mean_tokens: float
    """Mean number of sampled tokens; 0 for agents without tokens."""
    seconds: float
    """Wall-clock time of the whole set."""
    errors: int
    """Episodes that ended in an error."""
    instances: int | None = None
    """Different instances among the episodes; None in results from before they were counted."""
    cut_episodes: float | None = None
    """Share of the episodes that ended since the context was full; None in results from before they were counted."""
    cut_replies: float | None = None
    """Share of the replies that ended at the limit of tokens, not by the agent; None as above."""
    forced_replies: float | None = None
    """Share of the replies whose thoughts ended at their own limit, so that the agent answers; None where none did."""
    lenient_replies: float | None = None
    """Share of the replies that only the lenient reading made usable; None where there was none."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Score:
        """Read what `to_dict` wrote, also after a trip through JSON.

        Raises:
            ValueError: A field is missing or unknown.
        """
        try:
            low, high = record["interval"]
            return cls(**{**record, "interval": (float(low), float(high))})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a score: {error}") from error


def score_episodes(episodes: Sequence[Episode], seconds: float) -> Score:
    """Summarize episodes.

    Episodes are of one instance where the game began alike: with the same rules, the same first observation, and the
    same state, in which a game names its instance by its content (`TextEnv.instance_key`). Where a game names its
    instances by their numbers and all begin alike, each number is an instance.

    Args:
        episodes: Finished episodes of one agent; those with an error status are counted apart.
        seconds: How long it took to play them.
    """
    usable = [episode for episode in episodes if not episode.status.is_error()]
    n, successes = len(usable), sum(episode.success for episode in usable)
    instances = instances_of(usable)
    base = max(n, 1)
    return Score(
        episodes=n,
        successes=successes,
        rate=successes / base,
        interval=clustered_interval([episode.success for episode in usable], instances),
        mean_return=sum(episode.task_return for episode in usable) / base,
        mean_turns=sum(len(episode.turns) for episode in usable) / base,
        mean_tokens=sum(episode.num_tokens for episode in usable) / base,
        seconds=seconds,
        errors=len(episodes) - n,
        instances=len(set(instances)),
        **cut_shares(usable),
        lenient_replies=lenient_share(usable),
    )


def cut_shares(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return what limits cut short: the share of the episodes by the context, that of the replies by their length.

    Beside them is the share of the replies whose thoughts were, so that they answer, where there are any.
    """
    turns = [turn for episode in episodes for turn in episode.turns]
    full = sum(episode.status is Status.TRUNCATED_LENGTH for episode in episodes)
    cut, forced = sum(turn.cut for turn in turns), sum(any(turn.forced) for turn in turns)
    shares = {"cut_episodes": full / max(len(episodes), 1), "cut_replies": cut / max(len(turns), 1)}
    return shares | ({"forced_replies": forced / len(turns)} if forced else {})


def lenient_share(episodes: Sequence[Episode]) -> float | None:
    """Return the share of the replies that only the lenient reading made usable; None where there was none."""
    turns = [turn for episode in episodes for turn in episode.turns]
    lenient = sum(turn.lenient for turn in turns)
    return lenient / len(turns) if lenient else None


def instances_of(episodes: Sequence[Episode]) -> list[Hashable]:
    """Return what tells the instance of each episode, as `score_episodes` says."""
    beginnings = [_beginning(episode) for episode in episodes]
    by_number = len(set(beginnings)) == 1 and all(_is_numbered(episode) for episode in episodes)
    return [(episode.split, episode.index) for episode in episodes] if by_number else list(beginnings)


def _beginning(episode: Episode) -> tuple[str, str, str]:
    """Return rules, first observation and first state of an episode, without the number of its instance."""
    if not episode.turns:
        return episode.instructions, episode.final_observation, ""
    first = episode.turns[0]
    return episode.instructions, first.observation, _NUMBER.sub("", first.state_key)


def _is_numbered(episode: Episode) -> bool:
    """Whether the state names the instance by its number, as games do that do not say what their instances hold."""
    return not episode.turns or _NUMBER.match(episode.turns[0].state_key) is not None


def no_random_floor(env_id: str) -> str:
    """Return what to say where a table has no row of the random agent, which the environment cannot serve."""
    return f"No random floor: {short_name(env_id)} does not define sample_action."


@checked_arguments
def instance_range(split: str, count: Index, first: Index = 0, *, seed: Index = 0) -> list[Instance]:
    """Return `count` instances of a split from number `first` on, the same for every agent measured on them.

    Args:
        split: "train", "validation" or "test".
        count: How many.
        first: Number of the first one.
        seed: Shifts the chance of every episode (slips of the environment, sampling of the agent), not the instances.
    """
    return [Instance(split=split, index=index, seed=seed * count + index) for index in range(first, first + count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimalRate:
    """What the best possible agent achieves on a set of instances."""

    rate: float | None = None
    """The mean probability that it solves one, over those whose optimum is known; None where there is none."""
    at_least: float | None = None
    """What it cannot be below: the same mean, in which 0 stands for those of which it is unknown; None where it is
    known of none."""
    instances: int = 0
    """How many were asked for."""
    failures: int = 0
    """Of how many the optimum is unknown since the environment failed."""
    reason: str = ""
    """How the first of them failed."""

    def note(self) -> str:
        """Return what to say beside the rate; empty where no environment failed."""
        if not self.failures:
            return ""
        return (f"The optimum of {self.failures} of {self.instances} instances is unknown, since the environment "
                f"failed, the first time with {self.reason}")  # fmt: skip


@checked_arguments
def optimal_rate(
    env_id: str,
    instances: Iterable[Instance],
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    step_timeout: Timeout = STEP_TIMEOUT,
    isolate: Processes = 0,
) -> OptimalRate:
    """Return the mean probability that the best possible agent solves these instances.

    It is unknown where the environment cannot tell for one of them. An instance on which the environment fails is left
    out and counted.

    Args:
        env_id: As of `make_env`.
        instances: The instances.
        env_kwargs: As of `make_env`.
        step_timeout: As of `collect_episodes`.
        isolate: As of `collect_episodes`.
    """
    asked = list(instances)
    kind = env_class(env_id)
    if kind is not None and not issubclass(kind, Optimum):
        return OptimalRate(instances=len(asked))
    settings = HostSettings(
        step_timeout=step_timeout, isolate=min(isolate, OPTIMUM_SLOTS), late_share=LATE_SHARE_SCRIPTED
    )
    host = open_host(Game(env_id=env_id, env_kwargs=dict(env_kwargs or {})), settings)
    try:
        optima = run_calls(host, "optimum", asked, slots=min(len(asked), OPTIMUM_SLOTS))
    finally:
        host.close()
    failed = [optimum for optimum in optima if isinstance(optimum, Failed)]
    known = [optimum for optimum in optima if isinstance(optimum, float)]
    told = bool(known) and len(known) + len(failed) == len(optima)
    return OptimalRate(rate=sum(known) / len(known) if told else None,
                       at_least=sum(known) / (len(optima) - len(failed)) if known else None, instances=len(asked),
                       failures=len(failed), reason=failed[0].reason if failed else "")  # fmt: skip


def error_note(name: str, episodes: Sequence[Episode]) -> str:
    """Return what to say of episodes that ended in an error; empty where none did.

    Args:
        name: The agent's name in the table.
        episodes: What it played.
    """
    failed = [episode for episode in episodes if episode.status.is_error()]
    if not failed:
        return ""
    first = failed[0]
    return (f"{name}: {len(failed)} of {len(episodes)} episodes ended in an error and count in no mean, the first "
            f"({first.split} instance {first.index}) with {first.error}")  # fmt: skip

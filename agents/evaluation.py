"""What a set of episodes is worth: success with its interval, turns, tokens, time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from turngym.agents.episode import Episode
from turngym.agents.rollout import Instance
from turngym.envs.capabilities import Optimum
from turngym.envs.finding import short_name
from turngym.envs.making import make_env, text_env


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the score interval of a proportion, which stays sensible at 0, at 1 and for few trials.

    Args:
        successes: How often it succeeded, in [0, n].
        n: Number of trials; without any the interval is (0, 1).
        z: Standard normal quantile; 1.96 gives 95%.

    Raises:
        ValueError: `successes` lies outside [0, n], or `z` is negative.

    Reference: E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in [0, n], got {successes} of {n}")
    if z < 0:
        raise ValueError(f"z must be at least 0, got {z}")
    if n == 0:
        return 0.0, 1.0
    rate, widening = successes / n, z * z / n
    center = (rate + widening / 2) / (1 + widening)
    margin = z * sqrt(rate * (1 - rate) / n + widening / (4 * n)) / (1 + widening)
    # Rounding may leave the exact ends 0 and 1 by one unit in the last place, and the rate outside its own interval.
    return min(rate, max(0.0, center - margin)), max(rate, min(1.0, center + margin))


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
    """95% Wilson interval of the rate."""
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

    Args:
        episodes: Finished episodes of one agent; those with an error status are counted apart.
        seconds: How long it took to play them.
    """
    usable = [episode for episode in episodes if not episode.status.is_error()]
    n, successes = len(usable), sum(episode.success for episode in usable)
    base = max(n, 1)
    return Score(
        episodes=n,
        successes=successes,
        rate=successes / base,
        interval=wilson_interval(successes, n),
        mean_return=sum(episode.task_return for episode in usable) / base,
        mean_turns=sum(len(episode.turns) for episode in usable) / base,
        mean_tokens=sum(episode.num_sampled for episode in usable) / base,
        seconds=seconds,
        errors=len(episodes) - n,
    )


def no_random_floor(env_id: str) -> str:
    """Return what to say where a table has no row of the random agent, which the environment cannot serve."""
    return f"No random floor: {short_name(env_id)} does not define sample_action."


def instance_range(split: str, count: int, first: int = 0, *, seed: int = 0) -> list[Instance]:
    """Return `count` instances of a split from number `first` on, the same for every agent measured on them.

    Args:
        split: "train", "validation" or "test".
        count: How many.
        first: Number of the first one.
        seed: Shifts the chance of every episode (slips of the environment, sampling of the agent), not the instances.
    """
    return [Instance(split=split, index=index, seed=seed * count + index) for index in range(first, first + count)]


def optimal_rate(
    env_id: str, instances: Iterable[Instance], env_kwargs: Mapping[str, Any] | None = None
) -> float | None:
    """Return the mean probability that the best possible agent solves these instances; None where it is unknown."""
    env = make_env(env_id, env_kwargs)
    inside = text_env(env)
    optima: list[float | None] = []
    if isinstance(inside, Optimum):
        for instance in instances:
            env.reset(seed=instance.seed, options={"split": instance.split, "index": instance.index})
            optima.append(inside.optimal_success())
    env.close()
    known = [optimum for optimum in optima if optimum is not None]
    return sum(known) / len(known) if known and len(known) == len(optima) else None

"""What players that do nothing of the task earn in every environment, beside what chance earns.

An honest task pays nothing for the form of a reply, for an example that is copied from the prompt, and for many actions
at once; whoever tries actions without a look at the state has the success of chance, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent, ScriptedAgent
from turngym.benchmarks.exploiters import EXPLOITERS, Exploiter, Kind
from turngym.benchmarks.page import table
from turngym.envs.capabilities import MissingCapability
from turngym.envs.finding import short_name
from turngym.envs.making import played_class, reward_range
from turngym.trainers.reporting.progress import Progress

EPISODES = 50
FLOOR = "random"
HEAD = """Success / score on the first {episodes} test instances, beside those of the random agent. A score is the mean
return between the lowest possible (0) and the highest (1). Those who exploit the form of a reply play with and without
thoughts before the answer, and the higher success counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a player that does nothing of the task may have at most."""

    success: float
    """Share of solved instances."""
    score: float
    """Mean return, 0 for the lowest possible and 1 for the highest."""
    above_random: bool = False
    """Whether both are meant above those of the random agent on the same instances; then the lower end of the 95%
    interval of the success counts, since chance is compared with chance."""


LIMITS: Mapping[Kind, Limit] = {
    "form": Limit(success=0.01, score=0.1),
    "blind": Limit(success=0.1, score=0.25, above_random=True),
    "rule": Limit(success=0.1, score=0.65),
}
"""By what is exploited. Chance solves some instances of small games, and those who never try twice the same have a
little more of it; a graded reward pays for parts of a wish, but is no success."""
KNOWN: Mapping[tuple[str, str], tuple[Limit, str]] = {
    ("turngym/WebShopOriginal-v0", "first result"): (
        Limit(success=0.5, score=0.8),
        "more than half of the wishes of people in the generated catalogue name no option.",
    )
}
"""Environments that pay more, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a player earned in an environment."""

    env_id: str
    exploiter: str
    """Its name in `EXPLOITERS`, or "random"."""
    reasoning: bool
    """Whether replies were read for an answer among thoughts."""
    success: float
    """Share of the instances that it solved."""
    low: float
    """The lower end of its 95% interval."""
    score: float
    """Mean return, 0 for the lowest possible and 1 for the highest."""
    episodes: int
    """Instances played, without those that ended in an error."""
    errors: int
    """Episodes that ended in an error."""


def audit(env_ids: Sequence[str], episodes: int, progress: Progress) -> list[Finding]:
    """Let every exploiter and the random agent play the same test instances of environments.

    What is paid for the form of a reply depends on the form that is read, so it is played with and without thoughts.

    Args:
        env_ids: Registered environments, as `turngym.envs.make_env` takes them.
        episodes: How many instances each plays.
        progress: Told about environments and players.
    """
    findings = []
    for env_id in env_ids:
        players = able(env_id)
        progress.phase(short_name(env_id), len(players))
        for name, player in players.items():
            both = (False, True) if isinstance(player, Exploiter) and player.kind == "form" else (False,)
            findings += [play(env_id, name, player, episodes, reasoning=reasoning) for reasoning in both]
            progress.advance()
    return findings


def able(env_id: str) -> dict[str, ScriptedAgent]:
    """Return the players that an environment offers enough for, by name."""
    kind = played_class(env_id)
    able_ones: dict[str, ScriptedAgent] = {}
    players: dict[str, ScriptedAgent] = {FLOOR: RandomAgent(), **{name: make() for name, make in EXPLOITERS.items()}}
    for name, player in players.items():
        with suppress(MissingCapability):
            player.check(kind)
            able_ones[name] = player
    return able_ones


def play(env_id: str, name: str, player: ScriptedAgent, episodes: int, *, reasoning: bool) -> Finding:
    """Let one player play, and return what it earned."""
    kwargs = {"reasoning": True} if reasoning else {}
    score = score_episodes(collect_episodes(player, env_id, instance_range("test", episodes), env_kwargs=kwargs), 0.0)
    low, high = reward_range(env_id, kwargs)
    return Finding(env_id=env_id, exploiter=name, reasoning=reasoning, success=score.rate,
                   low=score.interval[0], score=(score.mean_return - low) / (high - low), episodes=score.episodes,
                   errors=score.errors)  # fmt: skip


# What is too much --------------------------------------------------------------------------------------------------


def limit_of(finding: Finding, findings: Sequence[Finding]) -> Limit:
    """Return what the player of a finding may have at most, in absolute numbers; the random agent may have all."""
    if finding.exploiter == FLOOR:
        return Limit(success=1.0, score=1.0)
    if (finding.env_id, finding.exploiter) in KNOWN:
        return KNOWN[finding.env_id, finding.exploiter][0]
    limit = LIMITS[EXPLOITERS[finding.exploiter].kind]
    floor = worst(findings, finding.env_id, FLOOR)
    if not limit.above_random or floor is None:
        return limit
    return replace(limit, success=limit.success + floor.success, score=limit.score + floor.score)


def too_much(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence for everything that an environment pays beyond its limit."""
    sentences = []
    for finding in findings:
        limit = limit_of(finding, findings)
        success = finding.low if limit.above_random else finding.success
        if success > limit.success or finding.score > limit.score:
            sentences.append(
                f"{short_name(finding.env_id)} pays {finding.exploiter!r} {finding.success:.3f} in success and "
                f"{finding.score:.3f} in score, where {limit.success:.3f} and {limit.score:.3f} are allowed."
            )
    return sentences


def worst(findings: Sequence[Finding], env_id: str, exploiter: str) -> Finding | None:
    """Return what a player earned at best in an environment, with or without thoughts; None where it did not play."""
    own = [one for one in findings if (one.env_id, one.exploiter) == (env_id, exploiter)]
    return max(own, key=lambda one: (one.success, one.score), default=None)


# What it looks like -------------------------------------------------------------------------------------------------


def cells(findings: Sequence[Finding]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of the table: success / score, in each environment, of every player."""
    names = [FLOOR, *EXPLOITERS]
    rows = []
    for env_id in dict.fromkeys(finding.env_id for finding in findings):
        best = [worst(findings, env_id, name) for name in names]
        rows.append([short_name(env_id), *(f"{one.success:.3f} / {one.score:.3f}" if one else "" for one in best)])
    return ["environment", *names], rows


def page(findings: Sequence[Finding], command: str) -> str:
    """Return the audit as Markdown."""
    episodes = max((finding.episodes for finding in findings), default=0)
    what = "\n".join(f"* **{name}**: {exploiter.summary}." for name, exploiter in EXPLOITERS.items())
    beyond = too_much(findings) or ["Nothing is paid beyond the limits."]
    known = [f"{short_name(env_id)}, {name}: {reason}" for (env_id, name), (_, reason) in KNOWN.items()
             if worst(findings, env_id, name)]  # fmt: skip
    return "\n".join([
        "# What is paid to those who do nothing of the task\n",
        f"    {command}\n",
        f"{HEAD.format(episodes=episodes)}\n",
        table(*cells(findings)) + "\n",
        what + "\n",
        f"{limits_in_words()}\n",
        *(f"{sentence}\n" for sentence in (*beyond, *known)),
    ])  # fmt: skip


def limits_in_words() -> str:
    """Return the limits as a sentence."""
    form, blind, rule = (LIMITS[kind] for kind in ("form", "blind", "rule"))
    return (
        f"Allowed are, in success / score, {form.success:g} / {form.score:g} for the form of a reply, "
        f"{blind.success:g} / {blind.score:g} above the random agent for play without a look at the state (the lower "
        "end of the 95% interval of its success), and "
        f"{rule.success:g} / {rule.score:g} for the first result of a shop."
    )


def record(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the audit for JSON."""
    return {"limits": {kind: asdict(limit) for kind, limit in LIMITS.items()},
            "findings": [asdict(finding) for finding in findings], "too_much": too_much(findings)}  # fmt: skip

"""Playing many episodes at once: every slot holds one episode, and a finished one makes room for the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from turngym._errors import WorkError
from turngym._exits import exits_raise
from turngym.agents.base import Agent, Instance, Reply
from turngym.agents.episode import Episode, Status, Turn
from turngym.agents.hosting import Failed, Game, Host, HostSettings, Interrupted, Opening, Outcome, Result, open_host
from turngym.agents.hosting.host import STEP_TIMEOUT
from turngym.agents.scripted import ScriptedAgent
from turngym.arguments import Count, Index, Processes, Timeout, checked_arguments
from turngym.envs.making import make_env, text_env

__all__ = ["STEP_TIMEOUT", "Instance", "PlayError", "collect_episodes", "make_env", "text_env"]

LATE_SHARE_SCRIPTED, LATE_SHARE = 0.01, 0.1
"""The share of the limit after which the others go on without an environment. Scripted agents reply alike in any
company, a language model to the last bit only in the same one: so its slots wait longer for each other."""
MOST_TURNS = 10_000
"""Turns after which a game without a turn limit is given up."""
MOST_ENDLESS = 3
"""How many games may be given up so before any has ended."""
MAX_RESTARTS = 100
"""How often an episode begins anew whose environment was lost with those of others."""


class PlayError(WorkError):
    """Nothing can be done with the environment as it plays; the message says why."""


@checked_arguments
def collect_episodes(
    agent: Agent,
    env_id: str,
    instances: Iterable[Instance],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    slots: Count = 128,
    on_episode: Callable[[Episode], None] | None = None,
    step_timeout: Timeout = STEP_TIMEOUT,
    isolate: Processes = 0,
    give_up_after: Index = 3,
    wrap: Callable[[gym.Env[str, str]], gym.Env[str, str]] | None = None,
) -> list[Episode]:
    """Play one episode of every instance and return them in the order given.

    An environment that raises, or answers what is no text or no finite number, costs its own episode, which is returned
    with status `error_environment`, or with `error_timeout` if it took too long or raised a `TimeoutError`; its slot
    goes on with a new environment. All environments are closed in the end.

    A scripted agent plays in the same place as the environment, so what it calls there is isolated and limited too.

    Args:
        agent: The agent.
        env_id: A registered text environment, as `turngym.envs.make_env` takes it.
        instances: What to play; drawn lazily.
        env_kwargs: Arguments for `turngym.envs.make_env`.
        slots: Episodes in progress at once.
        on_episode: Called with every finished episode, in order of finishing.
        step_timeout: How long an environment may take to be made and reset, or to step, seconds. One that takes longer
            is left behind in a thread while the others go on. Infinity waits for ever, in the thread of the caller,
            which is also what environments need that catch signals.
        isolate: Number of worker processes to put environments into; 0 for none. There an environment may also end its
            process, fill its memory or block the interpreter. What belongs to the environment must be importable.
        give_up_after: Raise once so many different instances have failed at their start and none has begun, or so many,
            and half of those begun, have shown that the environment does not keep its contract; 0: never.
        wrap: Puts wrappers around each environment that is made.

    Raises:
        gymnasium.error.UnregisteredEnv: There is no such environment.
        UnfitEnv: It does not play in text, or its arguments do not fit it.
        PlayError: It cannot be played, as of `give_up_after`.
        InputError: The environment cannot be taken to another process.
    """
    scripted = isinstance(agent, ScriptedAgent)
    game = Game(env_id=env_id, env_kwargs=dict(env_kwargs or {}), wrap=wrap, agent=agent if scripted else None)
    settings = HostSettings(step_timeout=step_timeout, isolate=min(isolate, slots),
                            late_share=LATE_SHARE_SCRIPTED if scripted else LATE_SHARE)  # fmt: skip
    host = open_host(game, settings)
    rollout = _Rollout(agent=agent, game=game, host=host, waiting=enumerate(instances), on_episode=on_episode,
                       give_up_after=give_up_after)  # fmt: skip
    try:
        with exits_raise(), chdir("."):  # an environment may end the process, or leave its folder
            return rollout.run(slots)
    finally:
        host.close()


@dataclass(slots=True)
class _Play:
    """An episode in progress: its record, and where it stands."""

    number: int
    instance: Instance
    episode: Episode
    state: Opening | Outcome | None = None
    """What was observed last; None before its start."""
    reply: Reply | None = None
    """The reply to it, while the environment plays it."""
    total: float = 0.0
    """The rewards so far."""
    restarts: int = 0
    """How often it began anew."""


@dataclass(slots=True, kw_only=True)
class _Rollout:
    """The episodes of a rollout, in progress and finished."""

    agent: Agent
    game: Game
    host: Host
    waiting: Iterator[tuple[int, Instance]]
    on_episode: Callable[[Episode], None] | None
    give_up_after: int
    plays: dict[int, _Play] = field(default_factory=dict)
    """By slot."""
    finished: dict[int, Episode] = field(default_factory=dict)
    """By number."""
    misfits: set[tuple[str, int]] = field(default_factory=set)
    """Instances that failed at their start before any has begun, or in which the environment proved unfit."""
    endless: int = 0
    """Games that did not end."""
    begun: int = 0
    """How many episodes have begun."""

    def run(self, slots: int) -> list[Episode]:
        """Play all instances and return their episodes in that order."""
        for slot in range(slots):
            if not self._fill(slot):
                break
        while self.plays:
            for slot, result in self.host.gather():
                if slot in self.plays:  # one that is over cannot be interrupted
                    self._receive(slot, result)
            if not self.host.expecting:
                self._reply(sorted(slot for slot, play in self.plays.items() if play.state and not play.reply))
        return [self.finished[number] for number in sorted(self.finished)]

    def _fill(self, slot: int) -> bool:
        """Begin the next episode in a slot; return whether there is one."""
        number, instance = next(self.waiting, (-1, None))
        if instance is not None:
            self._begin(slot, number, instance)
        return instance is not None

    def _begin(self, slot: int, number: int, instance: Instance, restarts: int = 0) -> None:
        episode = Episode(env_id=self.game.env_id, env_kwargs=dict(self.game.env_kwargs), split=instance.split,
                          index=instance.index, seed=instance.seed)  # fmt: skip
        self.plays[slot] = _Play(number, instance, episode, restarts=restarts)
        self.host.submit(slot, "begin", instance)

    def _reply(self, slots: list[int]) -> None:
        """Let the agent reply in slots that wait for it."""
        if not slots:
            return
        for slot, reply in zip(slots, self.agent.act(slots), strict=True):
            play = self.plays[slot]
            if reply.out_of_room and play.state:
                play.episode.status = Status.TRUNCATED_LENGTH
                play.episode.final_observation = play.state.observation
                self._end(slot)
            else:
                self._ask(slot, reply)

    def _ask(self, slot: int, reply: Reply) -> None:
        """Ask the environment for a turn; a scripted agent fills in the text where it plays."""
        play = self.plays[slot]
        play.reply = reply
        self.host.submit(slot, "turn", None if self.game.agent else reply.text)

    # What comes back ------------------------------------------------------------------------------------------------

    def _receive(self, slot: int, result: Result) -> None:
        play = self.plays[slot]
        if isinstance(result, Interrupted) and play.restarts < MAX_RESTARTS:
            self._leave(slot)
            self._begin(slot, play.number, play.instance, play.restarts + 1)
        elif isinstance(result, Failed | Interrupted):
            self._fail(slot, result)
        elif isinstance(result, Opening):
            self._open(slot, result)
        elif isinstance(result, Outcome):
            self._advance(slot, result)

    def _open(self, slot: int, opening: Opening) -> None:
        play = self.plays[slot]
        self.begun += 1
        play.state, play.episode.instructions = opening, opening.instructions
        if self.game.agent:
            self._ask(slot, Reply(text=""))
        else:
            self.agent.start(slot, self.host.env(slot, opening), opening.observation, play.instance.seed)

    def _advance(self, slot: int, outcome: Outcome) -> None:
        """Record a turn, and go on to the next or to the next episode."""
        play = self.plays[slot]
        assert play.state
        assert play.reply
        turn = Turn(
            observation=play.state.observation, action=outcome.action, reward=outcome.reward,
            task_reward=outcome.task_reward, state_key=play.state.state_key, potential=play.state.potential,
            valid=outcome.valid, well_formed=outcome.well_formed, lenient=outcome.lenient, cut=play.reply.cut,
            span=play.reply.span, forced=play.reply.forced, row_start=play.reply.row_start,
            logprobs=play.reply.logprobs, policy_version=self.agent.policy_version, tokens=play.reply.tokens,
        )  # fmt: skip
        play.episode.turns.append(turn)
        play.total += outcome.reward
        if not math.isfinite(play.total):
            self._fail(slot, Failed(reason="ValueError: the rewards of the environment add up to no finite number"))
        elif outcome.terminated or outcome.truncated:
            play.episode.status = Status.COMPLETED if outcome.terminated else Status.TRUNCATED_TURNS
            play.episode.success = outcome.success
            play.episode.measures = dict(outcome.measures)
            play.episode.final_observation = outcome.observation
            self._end(slot)
        elif len(play.episode.turns) == MOST_TURNS:
            self._give_up(slot)
        elif self.game.agent:
            play.state = outcome
            self._ask(slot, Reply(text=""))
        else:
            play.state, play.reply = outcome, None
            self.agent.observe(slot, outcome.observation)

    def _give_up(self, slot: int) -> None:
        """End a game that does not end by itself.

        Raises:
            PlayError: It is one of many, and no game has ended yet.
        """
        reason = f"the game did not end within {MOST_TURNS} turns; give it a turn limit (max_episode_steps)"
        self.endless += 1
        if self.endless == MOST_ENDLESS and not any(
            not episode.status.is_error() for episode in self.finished.values()
        ):
            raise PlayError(reason)
        self._fail(slot, Failed(reason=reason))

    def _fail(self, slot: int, failed: Failed | Interrupted) -> None:
        """Record the failure of an environment."""
        play = self.plays[slot]
        timeout = isinstance(failed, Failed) and failed.timeout
        play.episode.status = Status.ERROR_TIMEOUT if timeout else Status.ERROR_ENVIRONMENT
        play.episode.error = failed.reason
        if not self.begun or (isinstance(failed, Failed) and failed.unfit):
            self.misfits.add((play.instance.split, play.instance.index))
            self._check_fit(failed.reason)
        self._end(slot)

    def _check_fit(self, reason: str) -> None:
        """Give up where the environment rather than some of its instances is at fault.

        Raises:
            PlayError: None of several instances could begin, or at least half of those that began proved it unfit.
        """
        count = len(self.misfits)
        if not self.give_up_after or count < max(self.give_up_after, self.begun / 2):
            return
        what = "no episode can be played" if self.begun else "no episode can begin"
        where = f"of {self.begun} failed" if self.begun else f"of {count} failed at their start"
        raise PlayError(f"{what}: {count} {where}, the last one with {reason}")

    def _end(self, slot: int) -> None:
        """Keep the finished episode of a slot, and begin the next one there."""
        play = self.plays[slot]
        play.episode.token_ids = self._leave(slot)
        self.finished[play.number] = play.episode
        if self.on_episode:
            self.on_episode(play.episode)
        self._fill(slot)

    def _leave(self, slot: int) -> list[int]:
        """Take the agent out of a slot and return its token stream."""
        play = self.plays.pop(slot)
        return self.agent.finish(slot) if play.state and not self.game.agent else []

"""The games of turngym in verifiers: `vf-eval turngym-verifiers --env.taskset.game FrozenLake -n 20`.

A task is an instance of a game, named by split and index. The rules are the system prompt, observations are messages
of the user, and a reply of the model is played as it stands, without its thoughts. Rewards of turns add up to the
reward `episode_return`; success is a metric.

Written for verifiers 0.4, by its interface `verifiers.v1`. Nothing of an episode needs a program or a machine of its
own, so the harness here speaks to the model from the process of the environment, and the runtime is the local one
unless another is asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
import verifiers.v1 as vf
from openai import APIStatusError, AsyncOpenAI
from pydantic import Field, model_validator
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.utils.compaction import is_context_overflow

from turngym.agents import Instance
from turngym.envs.finding import short_name
from turngym.envs.parsing import without_thoughts
from turngym.integrations.session import GameSession, checked_env

__all__ = ["ChatHarness", "GameEnv", "GameTaskset"]

EMPTY = " "
"""What stands for an observation without text, which verifiers takes for no message."""


class GameConfig(vf.TasksetConfig):
    """Which instances of which game, under `--env.taskset`."""

    game: str = ""  # verifiers makes a configuration without arguments before it reads those of the command line
    """The game, such as "FrozenLake", or `module:Id` of one of your own; it must be set."""
    game_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Its arguments, as a JSON object."""
    split: Literal["train", "validation", "test"] = "train"
    """Which instances; no two splits share one."""
    first: int = Field(0, ge=0)
    """The index of the first instance; the others follow it."""
    num_examples: int | None = Field(None, ge=1)
    """How many instances; without end if unset, and then an evaluation is bounded by `-n`."""
    seed: int | None = Field(None, ge=0)
    """Seeds the chance of the game: in every episode of an instance the same if set, and another in each if not."""

    @model_validator(mode="after")
    def _check_game(self) -> GameConfig:
        if self.game:
            _checked(self.game, json.dumps(self.game_kwargs, sort_keys=True))
        return self


class InstanceData(vf.TaskData):
    """What names an instance."""

    env: str
    """The registered id."""
    env_kwargs: dict[str, Any]
    """Arguments of the game."""
    split: str
    index: int
    seed: int | None
    """As of `GameConfig`."""


class InstanceTask(vf.Task[InstanceData, vf.State, vf.TaskConfig]):
    """One instance of a game."""

    @property
    def key(self) -> str:
        """What the instance is, wherever it stands in a data set and whoever plays it with which chance."""
        kwargs = json.dumps(self.data.env_kwargs, sort_keys=True)
        return f"{self.data.env} {kwargs} {self.data.split} {self.data.index}"


class GameTaskset(vf.Taskset[InstanceTask, GameConfig]):
    """The instances of a game, one a row."""

    def __init__(self, config: GameConfig) -> None:
        super().__init__(config)
        if not config.game:
            raise ValueError("name a game: --env.taskset.game FrozenLake")
        self.INFINITE = config.num_examples is None

    def load(self) -> Iterator[InstanceTask]:
        """Yield the instances in order; none is made before it is played."""
        asked, count = self.config, self.config.num_examples
        env_id = _checked(asked.game, json.dumps(asked.game_kwargs, sort_keys=True))
        for index in itertools.count(asked.first) if count is None else range(asked.first, asked.first + count):
            data = InstanceData(
                id=f"{asked.split}-{index}", name=f"{short_name(env_id)} {asked.split} {index}", env=env_id,
                env_kwargs=asked.game_kwargs, split=asked.split, index=index, seed=asked.seed,
            )  # fmt: skip
            yield InstanceTask(data, asked.task)


class GameEnvConfig(vf.EnvConfig):
    """Who plays: `--env.player.max-turns`, `--env.player.runtime.type` and the like."""

    player: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())


class GameEnv(vf.Env[GameEnvConfig]):
    """Plays one instance: the game speaks as the user, turn by turn."""

    async def run(self, task: InstanceTask, agents: vf.Agents) -> None:
        """Play an episode and record what it earned; a game that fails makes it an error, not a reward of 0."""
        data = task.data
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if data.seed is None else data.seed
        instance = Instance(split=data.split, index=data.index, seed=seed)
        session = await asyncio.to_thread(GameSession, data.env, data.env_kwargs)
        valid: list[bool] = []
        finished = False
        try:
            opening = await asyncio.to_thread(session.begin, instance)
            system = data.system_prompt if data.system_prompt is not None else opening.instructions or None
            async with agents.player.interaction(task.with_data(system_prompt=system)) as interaction:
                segment = await interaction.turn(opening.observation or EMPTY)
                while not segment.terminated:
                    outcome = await asyncio.to_thread(session.play, without_thoughts(segment.last_reply))
                    valid.append(outcome.valid)
                    if finished := session.over:
                        break
                    segment = await interaction.turn(outcome.observation or EMPTY)
        finally:
            await asyncio.to_thread(session.close)
        trace = interaction.trace
        if trace.errors:
            return
        trace.record_reward("episode_return", sum(session.turn_rewards))
        trace.record_metrics({"success": session.success, "turns": len(valid), "finished": finished,
                              "valid_replies": sum(valid) / max(1, len(valid))})  # fmt: skip
        trace.info |= {"split": data.split, "index": data.index, "seed": seed, "turn_rewards": session.turn_rewards}


class ChatHarness(vf.Harness[vf.HarnessConfig]):
    """Asks the model for one reply a turn, from this process: no program is installed or started."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(  # noqa: PLR0917 - as verifiers calls it
        self, ctx: vf.ModelContext, trace: vf.Trace, runtime: vf.Runtime, endpoint: str, secret: str,
        mcp_urls: dict[str, str], data: vf.TaskData,
    ) -> vf.ProgramResult:  # fmt: skip
        """Send the conversation so far; verifiers keeps the answer in the trace.

        A conversation that has become longer than what the model sees ends the episode and is no error.
        """
        system, prompt = self.resolve_prompt(data)
        messages: list[Any] = [{"role": "system", "content": system}] if system else []
        spoken = [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else prompt or []
        messages += map(message_to_wire, spoken)
        async with AsyncOpenAI(base_url=endpoint, api_key=secret, timeout=None) as client:
            try:
                await client.chat.completions.create(model=ctx.model, messages=messages)
            except APIStatusError as error:
                if not is_context_overflow(error):
                    raise
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


@cache
def _checked(game: str, game_kwargs: str) -> str:
    """Return the registered id of a game that takes some arguments, given as JSON.

    Raises:
        InputError: There is none, or they do not fit it.
    """
    return checked_env(game, json.loads(game_kwargs))

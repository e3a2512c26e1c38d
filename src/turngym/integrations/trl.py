"""The games in TRL's `GRPOTrainer`, by its `rollout_func`, or as tools by its `environment_factory`.

    from trl import GRPOConfig, GRPOTrainer
    from turngym.integrations import trl as games

    trainer = GRPOTrainer(
        model=model, processing_class=tokenizer, args=GRPOConfig(num_generations=8),
        train_dataset=games.dataset("FrozenLake", 1000), rollout_func=games.rollout("FrozenLake", max_reply_tokens=16),
        reward_funcs=games.episode_return,
    )

A row of the data set is an instance of the game, so that all members of a group play the same one. What is trained on
is what was sampled, id by id; what the environment says is masked (`env_mask`). TRL knows one reward an episode: turn
rewards and their shaping reach the gradient in turngym's own trainer alone.

Written for TRL 1.16, whose `rollout_func` and `environment_factory` are experimental. Whatever its docstring says, the
prompts come as often as each is to be played, and `max_completion_length` bounds nothing here: the turn limit of the
game, `max_reply_tokens` and `context_length` do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from turngym._errors import InputError
from turngym.agents import Instance
from turngym.agents.episode import Episode, Status
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import collect_episodes
from turngym.envs import make_env
from turngym.envs.finding import resolve_env, short_name
from turngym.integrations.session import checked_env

_PROMPT = re.compile(r"(?P<name>\S+) (?P<split>train|validation|test) (?P<index>\d+)")
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Kinds of training in which no process has the whole model."""


def dataset(env: str, count: int, *, split: str = "train", first: int = 0) -> Any:
    """Return a data set of instances of a game, for `train_dataset` or `eval_dataset`.

    Args:
        env: The game, such as "FrozenLake".
        count: How many instances.
        split: "train", "validation" or "test", of which no two share an instance.
        first: The number of the first one.

    Returns:
        A `datasets.Dataset` with the columns `prompt`, which names the instance, `split` and `index`.

    Raises:
        InputError: There is no such game or split, or a number is negative.
    """
    from datasets import Dataset

    name = short_name(checked_env(env, {}))
    instances = [Instance(split=split, index=index, seed=0) for index in range(first, first + count)]
    return Dataset.from_list([{"prompt": f"{name} {one.split} {one.index}", "split": one.split, "index": one.index}
                              for one in instances])  # fmt: skip


def episode_return(episode_return: Sequence[float | None], **_: Any) -> list[float | None]:
    """Return the reward of every episode, for `reward_funcs`; None, which TRL leaves out, where the game failed.

    Args:
        episode_return: What `rollout` has added to the rows.
    """
    return list(episode_return)


def rollout(
    env: str,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    max_reply_tokens: int = 16,
    max_thought_tokens: int | None = None,
    context_length: int | None = None,
    keep_thoughts: bool = False,
    slots: int = 128,
) -> Rollout:
    """Return a `rollout_func` that plays a game.

    Args:
        env: The game, such as "FrozenLake", that of the data set.
        env_kwargs: Its arguments, such as {"size": 3, "reasoning": True}.
        max_reply_tokens: Longest reply, in tokens, the end-of-turn token included.
        max_thought_tokens: Most tokens of a reply before its answer is opened for it, with `reasoning`; those are
            masked too.
        context_length: Most tokens of an episode; None for what the model holds.
        keep_thoughts: Accept a chat template that removes earlier thoughts; the stream keeps them as sampled.
        slots: Episodes played at once.

    Raises:
        InputError: There is no such game, or its arguments do not fit it.
    """
    kwargs = dict(env_kwargs or {})
    decoding = Decoding(max_reply_tokens=max_reply_tokens, max_thought_tokens=max_thought_tokens,
                        context_length=context_length, keep_thoughts=keep_thoughts)  # fmt: skip
    return Rollout(checked_env(env, kwargs), kwargs, decoding, slots)


class _Player(LanguageModel):
    """A model that its trainer has prepared: adapters on, and in the precision of its forward passes."""

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute as the trainer does."""
        yield


class Rollout:
    """Plays the instances that prompts name with the model of a trainer; see `rollout`.

    Attributes:
        episodes: Those of the last call, in the order of its prompts.
    """

    def __init__(self, env_id: str, env_kwargs: dict[str, Any], decoding: Decoding, slots: int) -> None:
        self.env_id, self.env_kwargs, self.slots = env_id, env_kwargs, slots
        self.episodes: list[Episode] = []
        self._decoding = decoding
        self._calls = 0
        self._player: _Player | None = None

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        """Play one episode for each prompt.

        Returns:
            For every episode `prompt_ids` up to the first sampled id, `completion_ids` up to the last one, `logprobs`
            and `env_mask` of these (0 for what was not sampled), and for reward functions `episode_return` and
            `success`.

        Raises:
            InputError: A prompt names no instance of the game, or no process has the whole model.
        """
        instances = [self._instance(prompt, place, trainer) for place, prompt in enumerate(prompts)]
        self._calls += 1
        agent = LanguageModelAgent(self._model(trainer), temperature=float(trainer.args.temperature),
                                   slots=min(self.slots, len(instances)))  # fmt: skip
        self.episodes = collect_episodes(
            agent, self.env_id, instances, env_kwargs=self.env_kwargs, slots=min(self.slots, len(instances))
        )
        rows = [self._row(episode, agent.model) for episode in self.episodes]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _instance(self, prompt: Any, place: int, trainer: Any) -> Instance:
        """Return what a prompt names, with a seed that no other episode of the training has."""
        text = prompt[-1]["content"] if isinstance(prompt, list) else prompt
        found = _PROMPT.fullmatch(text) if isinstance(text, str) else None
        if found is None or resolve_env(found["name"]) != self.env_id:
            raise InputError(f"the prompt {text!r} is no instance of {short_name(self.env_id)}: use the data set of "
                             "turngym.integrations.trl.dataset with the same game")  # fmt: skip
        moment = (trainer.state.global_step, self._calls, trainer.accelerator.process_index, place)
        seed = np.random.SeedSequence(trainer.args.seed, spawn_key=moment).generate_state(1)[0]
        return Instance(split=found["split"], index=int(found["index"]), seed=int(seed))

    def _model(self, trainer: Any) -> LanguageModel:
        """Return the trainer's model as a player, which is checked the first time."""
        kind = trainer.accelerator.distributed_type.name
        if kind in SHARDED:
            raise InputError(f"the weights are shared out by {kind}, and rollouts need a whole model: train with one "
                             "process, or with copies of the model in several")  # fmt: skip
        network = trainer.accelerator.unwrap_model(trainer.model)
        if self._player is None or self._player.model is not network:
            self._player = _Player(network, trainer.processing_class, decoding=self._decoding)
        return self._player

    def _row(self, episode: Episode, model: LanguageModel) -> dict[str, Any]:
        ids, stop = episode.token_ids, model.chat.stop_ids[0]
        spoken = [turn for turn in episode.turns if turn.num_sampled]
        failed = episode.status.is_error() or not spoken
        rewards = {"episode_return": None if failed else episode.total_reward, "success": episode.success}
        if not spoken:  # TRL takes no empty completion; nothing is learned from this one
            return {"prompt_ids": ids or [stop], "completion_ids": [stop], "logprobs": [0.0], "env_mask": [0],
                    **rewards}  # fmt: skip
        start, end = spoken[0].span[0], spoken[-1].span[1]
        mask, logprobs = [0] * (end - start), [0.0] * (end - start)
        for turn in spoken:
            places = [place - start for part in turn.sampled() for place in range(*part)]
            for place, logprob in zip(places, turn.logprobs, strict=True):
                mask[place], logprobs[place] = 1, logprob
        completion = ids[start:end]
        if completion[-1] not in model.chat.stop_ids and episode.status is not Status.TRUNCATED_LENGTH:
            # The game is over, only its last reply was cut: for TRL the whole episode would count as clipped.
            completion, mask, logprobs = [*completion, stop], [*mask, 0], [*logprobs, 0.0]
        return {"prompt_ids": ids[:start], "completion_ids": completion, "logprobs": logprobs, "env_mask": mask,
                **rewards}  # fmt: skip


def environment(env: str, *, env_kwargs: Mapping[str, Any] | None = None, seed: int = 0) -> type:
    """Return a class for `environment_factory`: the game as one tool, `act`, which the model calls turn by turn.

    It is for models whose chat template calls tools. Members of a group play the same instance where the data set is
    that of `dataset`; without a data set TRL lets them play different ones.

    Args:
        env: The game, such as "FrozenLake".
        env_kwargs: Its arguments.
        seed: Seeds the chance of the environments.

    Raises:
        InputError: There is no such game, or its arguments do not fit it.
    """
    kwargs = dict(env_kwargs or {})
    env_id = checked_env(env, kwargs)
    made = 0

    class ToolEnvironment:
        """One game at a time."""

        def __init__(self) -> None:
            nonlocal made
            self._env = make_env(env_id, kwargs)
            self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(made,)))
            self._return, self._over = 0.0, True
            made += 1

        def reset(self, split: str = "train", index: int | None = None, **_: Any) -> str:
            """Begin an instance and return the rules and the first observation."""
            chance = int(self._rng.integers(2**31))
            number = int(self._rng.integers(2**30)) if index is None else int(index)
            observation, _ = self._env.reset(seed=chance, options={"split": split, "index": number})
            self._return, self._over = 0.0, False
            inside: Any = self._env.unwrapped
            return f"\n\n{inside.instructions}\n\n{observation}"

        def act(self, action: str) -> str:
            """Play one action of the game.

            Args:
                action: The action, as the rules describe it.

            Returns:
                What the game answers.
            """
            if self._over:
                return "The game is over."
            observation, reward, terminated, truncated, _ = self._env.step(action)
            self._return += float(reward)
            self._over = terminated or truncated
            return f"{observation}\nThe game is over." if self._over else observation

        def get_reward(self) -> float:
            """Return the reward of the game so far."""
            return self._return

    return ToolEnvironment

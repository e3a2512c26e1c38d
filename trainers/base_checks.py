"""Whether a base can be made: somebody to clone, and limits that play fits into; without torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from turngym._errors import InputWarning
from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.hosting import Game, HostSettings, Opening, open_host, run_calls
from turngym.agents.models.history import SmallWriter, Writer
from turngym.agents.models.small_tokenizer import SmallTokenizer, train_backend
from turngym.agents.scripted import DemonstrationAgent, OracleAgent, RandomAgent
from turngym.envs import MissingCapability, Sampling
from turngym.envs.making import played_class
from turngym.trainers.config import TrainConfig
from turngym.trainers.play import SCRIPTED_SLOTS, Play, without_errors
from turngym.trainers.stage_one.exploring.scripts import scripted_explorer
from turngym.trainers.warm_start.demonstrations import read_demonstrations
from turngym.trainers.warm_start.fitting import Fitting, check_fit, given_demonstrations
from turngym.trainers.warm_start.teacher import demonstration_agent, teacher_of

TOKENIZER_EPISODES = 500
"""Episodes whose texts the built-in tokenizer is trained on."""
CHECKED_DEMONSTRATIONS = 64
"""Demonstrations that are played to check that they fit, flawless ones and as many with mistakes."""
MOST_LEFT_OUT = 0.5
"""Most of the demonstrations with mistakes that may be left out since they do not fit."""
WRITTEN_EPISODES = 64
"""Proposals of instances whose text the tokenizer is trained on, and that are checked to fit."""
CHECKED_OPENINGS = 16
"""First observations that are read to check that a reply fits behind one."""


def small_writer(config: TrainConfig) -> SmallWriter:
    """Return the built-in model without its weights, with a tokenizer trained on the environment's text.

    Raises:
        ValueError: As of `example_episodes`.
    """
    shape = config.model
    backend = train_backend(
        example_texts(config), vocabulary_size=shape.vocabulary_size, digits_per_token=shape.digits_per_token
    )
    return SmallWriter(SmallTokenizer(backend, shape.show_instructions), config.decoding)


def check_scripts(config: TrainConfig) -> None:
    """Check that the scripted explorers can play the environment.

    Raises:
        ValueError: There is no such agent, or it needs what the environment does not offer; the message says what.
    """
    for name in config.values.explorer_agents if config.needs_stage_one else ():
        try:
            scripted_explorer(name).check(played_class(config.env.id, config.env.kwargs))
        except MissingCapability as error:
            raise ValueError(f"values.explorer_agents: {error}") from error


def example_texts(config: TrainConfig) -> list[str]:
    """Return the texts that the built-in tokenizer is trained on.

    Raises:
        ValueError: As of `example_episodes`.
    """
    return [text for episode in example_episodes(config) for text in episode.texts()]


def example_episodes(config: TrainConfig) -> list[Episode]:
    """Return episodes with typical observations and replies of the environment, and the demonstrations of a file.

    Raises:
        ValueError: Nobody can play the environment without a model, and there is no file.
    """
    given = read_demonstrations(Path(config.warm_start.demonstrations)) if config.warm_start.demonstrations else []
    agent = _example_agent(config)
    if agent is None and given:
        return given
    if agent is None:
        raise ValueError(f"{config.env.id} has no sample_action, so there is no text to train a tokenizer on: give the "
                         "environment one, set warm_start.demonstrations, or set model.path")  # fmt: skip
    instances = instance_range("train", TOKENIZER_EPISODES)
    played = Play.of(config).play(agent, instances, slots=SCRIPTED_SLOTS)
    return given + without_errors(played, "example episode") + list(_written(config))


def played_examples(config: TrainConfig) -> list[Episode]:
    """Return some scripted episodes of the environment, with mistakes; none where no script can play it."""
    agent = _example_agent(config)
    if agent is None:
        return []
    instances = instance_range("train", CHECKED_DEMONSTRATIONS)
    played = Play.of(config).play(agent, instances, slots=SCRIPTED_SLOTS)
    return [episode for episode in played if not episode.status.is_error()]


def _example_agent(config: TrainConfig) -> DemonstrationAgent | RandomAgent | None:
    """Return who plays examples: the demonstrator with mistakes, or random actions; None where neither can."""
    if not issubclass(played_class(config.env.id, config.env.kwargs), Sampling):
        return None
    return RandomAgent() if _lacking(config) else demonstration_agent(config.warm_start, 0.5)


def check_teacher(config: TrainConfig) -> None:
    """Check that a warm start has demonstrations to clone.

    Raises:
        ValueError: The environment lacks what the demonstrator needs, and there is no file of demonstrations.
    """
    if not config.warm_start.enabled or config.warm_start.demonstrations:
        return
    if lacking := _lacking(config):
        raise ValueError(f"{config.env.id} has no {lacking}, so there is no scripted play of "
                         f"{config.warm_start.demonstrator!r} to clone: set warm_start.demonstrations to a file, or "
                         "warm_start.enabled to false")  # fmt: skip


def _lacking(config: TrainConfig) -> str:
    """Return the method that the demonstrator needs and the environment lacks; nothing where it can play."""
    try:
        teacher_of(config.warm_start).check(played_class(config.env.id, config.env.kwargs))
    except MissingCapability as error:
        return error.method
    return ""


def check_context(model: Writer, config: TrainConfig) -> list[Episode]:
    """Check that a reply, and flawless play or the demonstrations of a file, fit into the limits.

    Returns:
        The flawless demonstrations, with their tokens; none where nobody is asked for them.

    Raises:
        ValueError: No first observation leaves room for a reply, a flawless demonstration does not fit, or fewer than
            half of those with mistakes do; the message says which limits would do. Or the file cannot be read.
    """
    shown: list[Episode] = []
    if config.warm_start.enabled and config.warm_start.demonstrations:
        given_demonstrations(model, config.warm_start.demonstrations)
    elif config.warm_start.enabled:
        shown = [model.encode_episode(episode) for episode in _scripted(config, 0.0)]
        check_fit([*shown, *map(model.encode_episode, _written(config))], model)
        _check_mistakes(model, config)
    check_room(model, config)
    return shown


def _check_mistakes(model: Writer, config: TrainConfig) -> None:
    """Check that most demonstrations with mistakes fit; a course leaves out those that do not."""
    rate = config.warm_start.mistake_rate
    if not rate:
        return
    fitting = Fitting(model)
    fitting.keep(model.encode_episode(episode) for episode in _scripted(config, rate))
    if fitting.share > MOST_LEFT_OUT:
        raise ValueError(f"with warm_start.mistake_rate {rate:g} {fitting}, or lower the rate")
    if fitting.left_out:
        warnings.warn(InputWarning(f"with warm_start.mistake_rate {rate:g} {fitting}, or they are left out"),
                      stacklevel=2)  # fmt: skip


def check_room(model: Writer, config: TrainConfig) -> None:
    """Check that some first observation leaves room for a reply.

    Raises:
        ValueError: None does, so that nothing could be learned.
    """
    shortest = min((len(ids) for ids in _openings(model, config)), default=0)
    longest = config.model.max_reply_tokens
    if shortest + longest > model.context_length:
        raise ValueError(f"no episode has room for a reply: the shortest first observation has {shortest} tokens, "
                         f"which with model.max_reply_tokens {longest} is more than the context of "
                         f"{model.context_length}; raise model.context_length, take a model that holds more, or lower "
                         "model.max_reply_tokens")  # fmt: skip


def _openings(model: Writer, config: TrainConfig) -> Iterator[list[int]]:
    """Yield the first ids of some training episodes; instances that cannot be begun are left out."""
    env, instances = config.env, instance_range("train", CHECKED_OPENINGS)
    settings = HostSettings(step_timeout=env.step_timeout, isolate=min(env.isolate, 1))
    host = open_host(Game(env_id=env.id, env_kwargs=env.kwargs), settings)
    try:
        openings = run_calls(host, "begin", instances, slots=SCRIPTED_SLOTS)
    finally:
        host.close()
    for opening in openings:
        if isinstance(opening, Opening):  # failures are counted where they are played
            yield model.chat.opening(opening.instructions, opening.observation)


def _written(config: TrainConfig) -> Iterator[Episode]:
    """Yield proposals of the rule-based generator, where the policy is to write such; none otherwise."""
    if config.selfplay.by_model:
        instances = instance_range("train", WRITTEN_EPISODES)
        played = Play.of_proposals(config).play(OracleAgent(), instances, slots=SCRIPTED_SLOTS)
        yield from without_errors(played, "proposal")


def _scripted(config: TrainConfig, mistake_rate: float) -> Iterator[Episode]:
    """Yield scripted demonstrations, without those that ended in an error."""
    if _lacking(config):
        return
    agent = demonstration_agent(config.warm_start, mistake_rate)
    instances = instance_range("train", CHECKED_DEMONSTRATIONS)
    for episode in Play.of(config).play(agent, instances, slots=SCRIPTED_SLOTS):
        if not episode.status.is_error():
            yield episode

"""The model before reinforcement learning: a checkpoint, or a small decoder with a tokenizer of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from turngym._errors import InputWarning
from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.hosting import Game, HostSettings, Opening, open_host, run_calls
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.hardware import find_device, precisions
from turngym.agents.models.hub import fetch_model
from turngym.agents.models.language_model import LARGE, CheckpointError, LanguageModel
from turngym.agents.models.sharding import shard
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.scripted import DemonstrationAgent, OracleAgent, RandomAgent
from turngym.envs import MissingCapability, Sampling
from turngym.envs.making import played_class
from turngym.trainers import ranks
from turngym.trainers.config import TrainConfig
from turngym.trainers.references import load_reference, save_reference
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.rollouts import SCRIPTED_SLOTS, Rollouts, without_errors
from turngym.trainers.run_files import WARM_START, reference_folder
from turngym.trainers.stage_one.exploring.explorers import load_explorer, scripted_explorer
from turngym.trainers.warm_start.checkpoints import CourseCheckpoints
from turngym.trainers.warm_start.cloning import clone, given_demonstrations
from turngym.trainers.warm_start.copyable import copyable_share
from turngym.trainers.warm_start.demonstrations import read_demonstrations
from turngym.trainers.warm_start.fitting import Fitting, check_fit
from turngym.trainers.warm_start.teacher import demonstration_agent, teacher_of

TOKENIZER_EPISODES = 500
"""Episodes whose texts the built-in tokenizer is trained on."""
FEEDFORWARD_FACTOR = 3
"""Width of the feed-forward layers of the small model, in units of `hidden_size`."""
CHECKED_DEMONSTRATIONS = 64
"""Demonstrations that are played to check that they fit, flawless ones and as many with mistakes."""
MOST_LEFT_OUT = 0.5
"""Most of the demonstrations with mistakes that may be left out since they do not fit."""
WRITTEN_EPISODES = 64
"""Proposals of instances whose text the tokenizer is trained on, and that are checked to fit."""
CHECKED_OPENINGS = 16
"""First observations that are read to check that a reply fits behind one."""


def prepare_base(config: TrainConfig, folder: Path, metrics: Metrics, progress: Progress) -> LanguageModel:
    """Return the first reference policy: loaded if the run has it, else loaded or built, and cloned into its band.

    Raises:
        WarmStartError: The base never reached its success band.
        ValueError: The demonstrations do not fit into the limits, or the environment has none.
    """
    base = reference_folder(folder, 1)
    kept = CourseCheckpoints(folder / WARM_START, progress.note)
    if base.is_dir():
        model = load_reference(folder, 1, partial(load_placed, config))
    else:
        model = _clone_base(config, kept, metrics, progress)
        save_reference(model, base)
    kept.remove()
    return model


def _clone_base(config: TrainConfig, kept: CourseCheckpoints, metrics: Metrics, progress: Progress) -> LanguageModel:
    """Return the model after its warm start, which goes on where one was stopped."""
    if kept.found is None:
        check_teacher(config)
        metrics.begin_warm_start()
        model = load_or_build(config)
        shown = check_context(model, config)
        note_limits(config, progress)
        note_history(model, progress)
        note_rates(model, config, progress)
        note_copyable(model, shown, progress)
    else:
        metrics.begin_warm_start(kept.found.extra["correction"])
        model = load_placed(config, kept.found.policy)
    if config.warm_start.enabled:
        rollouts = Rollouts.of(config)
        selfplay = config.selfplay
        proposals = (Rollouts.of_proposals(config), selfplay.demonstration_share) if selfplay.by_model else None
        checks = clone(
            model,
            rollouts,
            config.warm_start,
            progress,
            learning=config.learning,
            seed=config.run.seed,
            kept=kept,
            proposals=proposals,
        )
        for check in checks:
            metrics.add("warm_start", check)
    return model


def check_base(config: TrainConfig) -> None:
    """Check that a base can be made, and that the explorers suit it, before a run folder exists.

    Raises:
        ValueError: There is nobody to clone, or the demonstrations do not fit into the limits; or a scripted explorer
            cannot play.
        CheckpointError: A checkpoint cannot be loaded, or an explorer has another tokenizer than the base.
    """
    check_teacher(config)
    check_scripts(config)
    _trained_by(config)
    base = load_or_build(config)
    check_context(base, config)
    for path in config.values.explorer_models if config.needs_stage_one else ():
        load_explorer(path, base, config.model)


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


def load_or_build(config: TrainConfig) -> LanguageModel:
    """Load the configured checkpoint, or build the small model with a tokenizer trained on the environment's text.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        InputError: There is no such device, or the precisions do not go together.
    """
    shape = config.model
    if shape.path:
        return _loaded(config)
    texts = [text for episode in example_episodes(config) for text in episode.texts()]
    tokenizer = train_tokenizer(
        texts, vocabulary_size=shape.vocabulary_size, digits_per_token=shape.digits_per_token,
        show_instructions=shape.show_instructions,
    )  # fmt: skip
    decoder = build_decoder(
        tokenizer, hidden_size=shape.hidden_size, layers=shape.layers, heads=shape.heads,
        feedforward_size=FEEDFORWARD_FACTOR * shape.hidden_size, context_length=shape.context_length,
        rope_base=shape.rope_base, copying=shape.copying, seed=config.run.seed,
    )  # fmt: skip
    device = find_device(config.run.device)
    _, compute_dtype = precisions(config.placement, device, decoder.dtype, learns=True)
    placed: Any = decoder
    placed.to(device)
    if ranks.several():
        shard(placed, compute_dtype)
    return LanguageModel(placed, tokenizer, decoding=config.decoding, compute_dtype=compute_dtype)


def _loaded(config: TrainConfig) -> LanguageModel:
    """Load the configured checkpoint, with an adapter if one is to learn.

    Raises:
        CheckpointError: It cannot be loaded, or has an adapter of another shape than the one that is to learn.
    """
    shape, lora = config.model, config.lora
    folder = Path(shape.path)
    if shape.on_hub:
        folder = fetch_model(shape.path, shape.revision, allow_pickle=shape.allow_pickle).folder
    model = load_placed(config, folder, merged=not lora.rank, template_kwargs=shape.chat_template_kwargs)
    if not lora.rank:
        return model
    if model.adapter is None:
        name = shape.path if shape.on_hub else ""
        return model.with_adapter(
            lora.settings, seed=config.run.seed, folder=folder, name=name, revision=shape.revision
        )
    own = model.adapter.config
    if (own.r, own.lora_alpha) != (lora.rank, lora.settings.alpha) or lora.targets:
        raise CheckpointError(f"{folder} holds an adapter that goes on learning as it is: set lora.rank to {own.r} and "
                              f"lora.alpha to {own.lora_alpha:g}, and leave lora.targets out; or set lora.rank to 0, "
                              "and all weights learn")  # fmt: skip
    return model


def load_placed(
    config: TrainConfig, folder: Path, *, merged: bool = False, template_kwargs: Mapping[str, Any] | None = None
) -> LanguageModel:
    """Load a folder of weights where a configuration says, to be played as it says.

    Args:
        config: The configuration.
        folder: The weights: those that it begins from, a reference or a policy of its run.
        merged: Add an adapter to the weights that it belongs to.
        template_kwargs: Values of variables of the chat template, which the templates of the run's own models have.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    return LanguageModel.from_pretrained(
        folder, decoding=config.decoding, allow_pickle=config.model.allow_pickle, day=config.model.day,
        placement=config.placement, learns=not config.lora.rank, merged=merged, sharded=ranks.several(),
        template_kwargs=template_kwargs,
    )  # fmt: skip


def note_limits(config: TrainConfig, progress: Progress) -> None:
    """Say where a checkpoint is trained on by other limits, or at another temperature, than it was trained by."""
    kept = _trained_by(config)
    if kept is not None and (unlike := kept.unlike(config.decoding)):
        progress.note(f"the model was trained with {', '.join(unlike)}")


def note_history(model: LanguageModel, progress: Progress) -> None:
    """Say what a model sees of its earlier replies, where its chat template would not show them as they were."""
    served, rewrites = model.decoding.history == "served", model.chat.rewrites_history
    if served:
        without = ", which leaves earlier thoughts out" if rewrites else ""
        progress.note(f"every turn has a row of its own, with the history as the chat template serves it{without}")
    elif rewrites and model.decoding.history != "turn":
        progress.note("earlier thoughts stay in the history as they were sampled, which the chat template would leave "
                      "out; model.history served shows what the template does")  # fmt: skip


def note_rates(model: LanguageModel, config: TrainConfig, progress: Progress) -> None:
    """Say where a large model would learn at rates that are meant for the small one, which would wreck it."""
    weights = model.num_weights
    if weights < LARGE:
        return
    what, most = ("all weights", 1e-5) if model.adapter is None else ("an adapter", 1e-3)
    rates = {"learning.learning_rate": config.learning.learning_rate}
    if config.warm_start.enabled:
        rates["warm_start.learning_rate"] = config.warm_start.learning_rate
    high = [f"{name} {rate:g}" for name, rate in rates.items() if rate > most]
    if high:
        progress.note(f"{' and '.join(high)} {'are' if high[1:] else 'is'} meant for the built-in model; for {what} of "
                      f"a model of {weights / 1e6:,.0f} million usual rates are at most {most:g}")  # fmt: skip


def note_copyable(model: LanguageModel, shown: Iterable[Episode], progress: Progress) -> None:
    """Say how much of what encoded demonstrations say can be copied, where their actions have arguments."""
    share = copyable_share(model, shown)
    if share is not None:
        progress.note(f"{share:.1%} of the arguments of demonstrations can be copied from what was read before them")


def _trained_by(config: TrainConfig) -> Decoding | None:
    """Return the limits and the temperature that a checkpoint was trained by, None where they are not known.

    Raises:
        ValueError: The file that keeps them is damaged.
    """
    return Decoding.read(Path(config.model.path)) if config.model.path else None


def example_episodes(config: TrainConfig) -> list[Episode]:
    """Return episodes with typical observations and replies of the environment, and the demonstrations of a file.

    Raises:
        ValueError: Nobody can play the environment without a model, and there is no file.
    """
    given = read_demonstrations(Path(config.warm_start.demonstrations)) if config.warm_start.demonstrations else []
    kind = played_class(config.env.id, config.env.kwargs)
    if not _lacking(config) and issubclass(kind, Sampling):
        agent: DemonstrationAgent | RandomAgent = demonstration_agent(config.warm_start, 0.5)
    elif issubclass(kind, Sampling):
        agent = RandomAgent()
    elif given:
        return given
    else:
        raise ValueError(f"{config.env.id} has no sample_action, so there is no text to train a tokenizer on: give the "
                         "environment one, set warm_start.demonstrations, or set model.path")  # fmt: skip
    instances = instance_range("train", TOKENIZER_EPISODES)
    played = Rollouts.of(config).play(agent, instances, slots=SCRIPTED_SLOTS)
    return given + without_errors(played, "example episode") + list(_written(config))


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


def check_context(model: LanguageModel, config: TrainConfig) -> list[Episode]:
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


def _check_mistakes(model: LanguageModel, config: TrainConfig) -> None:
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


def check_room(model: LanguageModel, config: TrainConfig) -> None:
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


def _openings(model: LanguageModel, config: TrainConfig) -> Iterator[list[int]]:
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
        played = Rollouts.of_proposals(config).play(OracleAgent(), instances, slots=SCRIPTED_SLOTS)
        yield from without_errors(played, "proposal")


def _scripted(config: TrainConfig, mistake_rate: float) -> Iterator[Episode]:
    """Yield scripted demonstrations, without those that ended in an error."""
    if _lacking(config):
        return
    agent = demonstration_agent(config.warm_start, mistake_rate)
    instances = instance_range("train", CHECKED_DEMONSTRATIONS)
    for episode in Rollouts.of(config).play(agent, instances, slots=SCRIPTED_SLOTS):
        if not episode.status.is_error():
            yield episode

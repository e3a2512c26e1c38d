"""The model before reinforcement learning: a checkpoint, or a small decoder with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from turngym.agents.episode import Episode
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.hardware import find_device, precisions
from turngym.agents.models.hub import fetch_model
from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.agents.models.limits import LARGE
from turngym.agents.models.sharding import shard
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.trainers import ranks
from turngym.trainers.base_checks import check_context, check_teacher, example_texts
from turngym.trainers.config import TrainConfig
from turngym.trainers.references import load_reference, save_reference
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import WARM_START, reference_folder
from turngym.trainers.stage_one.exploring.explorers import load_explorer
from turngym.trainers.warm_start.checkpoints import CourseCheckpoints
from turngym.trainers.warm_start.cloning import clone
from turngym.trainers.warm_start.copyable import copyable_share


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
        if config.model.path:
            note_history(model, progress)
            if told := config.model.limits_told:
                progress.note(told)
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


def check_checkpoints(config: TrainConfig) -> None:
    """Check that the checkpoints of a configuration can be loaded, and that play fits into the limits of the base.

    Raises:
        ValueError: The demonstrations do not fit into the limits.
        CheckpointError: A checkpoint cannot be loaded, or an explorer has another tokenizer than the base.
    """
    _trained_by(config)
    base = load_or_build(config)
    check_context(base, config)
    for path in config.values.explorer_models if config.needs_stage_one else ():
        load_explorer(path, base, config.model)


def load_or_build(config: TrainConfig) -> LanguageModel:
    """Load the configured checkpoint, or build the small model with a tokenizer trained on the environment's text.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        InputError: There is no such device, or the precisions do not go together.
    """
    shape = config.model
    if shape.path:
        return _loaded(config)
    tokenizer = train_tokenizer(
        example_texts(config), vocabulary_size=shape.vocabulary_size, digits_per_token=shape.digits_per_token,
        show_instructions=shape.show_instructions,
    )  # fmt: skip
    decoder = build_decoder(
        tokenizer, hidden_size=shape.hidden_size, layers=shape.layers, heads=shape.heads,
        feedforward_size=shape.feedforward_size, context_length=shape.context_length,
        rope_base=shape.rope_base, copying=shape.copying, seed=config.run.seed,
    )  # fmt: skip
    ranks.check_agreement("the tokenizer", sorted(tokenizer.get_vocab().items()))
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
    """Say in which rows of tokens a conversation is seen, and whether with thoughts that the template leaves out."""
    history, told = model.decoding.history, model.decoding.history_form
    if model.chat.rewrites_history and history == "served":
        told += ", which leaves earlier thoughts out"
    elif model.chat.rewrites_history and history != "turn":
        told += "; earlier thoughts stay, which the chat template would leave out, as model.history served shows"
    progress.note(told)


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

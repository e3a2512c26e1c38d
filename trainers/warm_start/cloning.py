"""Warm start: behaviour cloning on scripted play of mixed quality, until a measured success band is reached.

Reinforcement learning makes no progress with an agent that never succeeds, nor with one that always does. So a course
of cloning first shows flawless play, from which the game is learned fastest, and then play with mistakes and
recoveries, from which the clone learns to explore. The success after a course depends on the seed; it is measured on
validation instances, and where it is outside the band the second part is repeated with more or fewer mistakes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.agents.scripted import OracleAgent, ScriptedAgent
from turngym.seeds import Stream, generator
from turngym.trainers import ranks
from turngym.trainers.config import LearningConfig, WarmStartConfig
from turngym.trainers.interrupt import DeferredInterrupt
from turngym.trainers.play import SCRIPTED_SLOTS, without_errors
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.checkpoints import CourseCheckpoints
from turngym.trainers.warm_start.course import Course, WarmStartError
from turngym.trainers.warm_start.fitting import given_demonstrations
from turngym.trainers.warm_start.on_policy import handed_over
from turngym.trainers.warm_start.permuting import with_permuted
from turngym.trainers.warm_start.teacher import demonstration_agent, teacher_of

NOTABLE, NOTABLE_OF = 0.1, 100
"""The share of demonstrations left out, and of how many at least, from which on that is told while a course lasts."""


def clone(
    model: LanguageModel,
    rollouts: Rollouts,
    config: WarmStartConfig,
    progress: Progress,
    *,
    learning: LearningConfig | None = None,
    seed: int,
    kept: CourseCheckpoints | None = None,
    proposals: tuple[Rollouts, float] | None = None,
) -> Iterator[dict[str, float]]:
    """Clone scripted play for a course, and repeat its part with mistakes until the success lies in the band.

    Args:
        model: Trained in place.
        rollouts: How demonstrations and validation are played.
        config: How long, how fast, and into which band.
        progress: Told about every step, the course and its corrections.
        learning: What it says of micro-batches; None for its defaults.
        seed: The seed of the run, which determines the demonstrations.
        kept: Holds the course while it lasts, and where one was stopped: the model is then that of its checkpoint.
        proposals: How instances are proposed in self-play, and which share of the demonstrations proposes one as the
            rule-based generator does.

    Yields:
        The numbers of the course and of each correction: the steps so far, its seconds, the mean loss of the last tenth
        of the course (nats per token), its mistake rate, the share of the demonstrations so far that were left out
        since they do not fit, and the sampled validation success after it.

    Raises:
        WarmStartError: The success is below the band after `warm_start.max_corrections`, or no demonstration fits.
        NonFiniteError: The loss or a gradient is not finite.
        KeyboardInterrupt: A signal asked to stop; the course is kept.
    """
    rng = generator(seed, Stream.WARM_START)
    demonstrate = demonstrator(model, rollouts, config, rng)
    shown = with_permuted(demonstrate, config.permuted_share, model.tokenizer, rng)
    if proposals is not None:
        shown = with_proposals(shown, config.batch_size, model, proposals, rng)
    course = Course(model, config, shown, rng, learning or LearningConfig())
    if kept is not None:
        kept.restore(course)
    corrections = 0 if config.demonstrations else config.max_corrections  # a file knows no mistake rate
    while True:
        _finish(course, progress, kept)
        began = time.perf_counter()
        success = validate(model, rollouts, config.check_episodes)
        progress.advance(0, success=success)
        yield course.numbers(success, seconds=time.perf_counter() - began)
        if config.success_low <= success <= config.success_high:
            return
        if course.correction == corrections:
            break
        course.begin_correction(success)
    if success < config.success_low:
        raise WarmStartError(
            f"after a course of {config.course_steps} cloning steps and {corrections} corrections the sampled "
            f"success is {success:.3f}, below {config.success_low:g}; start another run with more "
            "warm_start.course_steps or a wider model"
        )
    progress.note(f"the warm start overshot its band: success {success:.2f} > {config.success_high:.2f}")


def _finish(course: Course, progress: Progress, kept: CourseCheckpoints | None) -> None:
    """Take the steps that are left of a course or of its correction, and keep it now and then and at the end.

    Demonstrations that do not fit are told at the end, and at once where they are many.

    Raises:
        KeyboardInterrupt: A signal asked to stop; the course is kept as it is after the step.
    """
    done, total = course.progress
    progress.phase(f"warm start, correction {course.correction}" if course.correction else "warm start", total)
    progress.advance(done)
    told = 0
    with DeferredInterrupt() as interrupt:
        for step in range(done + 1, total + 1):
            progress.advance(loss=course.take_step())
            fitting = course.fitting
            many = not told and fitting.seen >= NOTABLE_OF and fitting.share > NOTABLE
            if many or (step == total and fitting.left_out > told):
                progress.note(f"left out of the warm start: {fitting}")
                told = fitting.left_out
            ranks.agree_on(interrupt)
            if kept is not None and (step == total or interrupt.requested or ranks.once(lambda: kept.due)):
                kept.save(course)
            if interrupt.requested:
                raise interrupt.requested


def demonstrator(
    model: LanguageModel, rollouts: Rollouts, config: WarmStartConfig, rng: np.random.Generator
) -> Callable[[float], list[Episode]]:
    """Return a function from a mistake rate to a batch of demonstrations: those of a file, or scripted play.

    Demonstrations of a file are drawn with replacement, whatever the mistake rate.

    Raises:
        ValueError: The file cannot be read, or too many of its demonstrations do not fit.
    """
    if not config.demonstrations:
        return lambda mistake_rate: _shown(model, rollouts, config, rng, mistake_rate)
    encoded = given_demonstrations(model, config.demonstrations)
    return lambda _: [encoded[place] for place in rng.integers(len(encoded), size=config.batch_size)]


def with_proposals(
    demonstrate: Callable[[float], list[Episode]],
    batch_size: int,
    model: LanguageModel,
    proposals: tuple[Rollouts, float],
    rng: np.random.Generator,
) -> Callable[[float], list[Episode]]:
    """Return a function that shows proposals of the rule-based generator beside other demonstrations.

    Args:
        demonstrate: Returns a batch of the others.
        batch_size: How many others a batch has.
        model: Encodes them.
        proposals: How instances are proposed, and the share of proposals in what is shown, below 1.
        rng: Draws the instances.
    """
    rollouts, share = proposals
    count = round(batch_size * share / (1.0 - share))
    if not count:
        return demonstrate
    return lambda rate: demonstrate(rate) + scripted_play(model, rollouts, rng, count, OracleAgent())


def _shown(
    model: LanguageModel, rollouts: Rollouts, config: WarmStartConfig, rng: np.random.Generator, mistake_rate: float
) -> list[Episode]:
    """Return a batch of scripted play, of which in the later part of a course a share begins as the student plays."""
    on_policy = round(config.on_policy_share * config.batch_size) if mistake_rate else 0
    scripted = config.batch_size - on_policy
    episodes = []
    if scripted:
        agent = demonstration_agent(config, mistake_rate)
        played = scripted_play(model, rollouts, rng, scripted, agent)
        masked = {} if config.clone_mistakes else agent.slips
        episodes += [episode.masked(masked.get(episode.seed, ())) for episode in played]
    if on_policy:
        episodes += handed_over(model, rollouts, teacher_of(config), rng, on_policy)
    return episodes


def scripted_play(
    model: LanguageModel, rollouts: Rollouts, rng: np.random.Generator, count: int, agent: ScriptedAgent
) -> list[Episode]:
    """Return a batch of demonstrations on fresh training instances, without the episodes that ended in an error.

    Raises:
        PlayError: Every episode did.
    """
    indices = rng.integers(2**30, size=count).tolist()
    instances = [Instance(split="train", index=index, seed=index) for index in indices]
    played = rollouts.play(agent, instances, slots=SCRIPTED_SLOTS)
    return [model.encode_episode(episode) for episode in without_errors(played, "demonstration")]


def validate(model: LanguageModel, rollouts: Rollouts, episodes: int, *, temperature: float | None = None) -> float:
    """Return the success rate on the first `episodes` validation instances, sampled as by `Rollouts.agent`."""
    agent = rollouts.agent(model, temperature=temperature)
    return score_episodes(rollouts.play(agent, instance_range("validation", episodes)), 0.0).rate

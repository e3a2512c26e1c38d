"""Cloning: it stops where success has been measured to be enough, or says what to change."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from turngym.agents.episode import Episode, Turn, write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import TrainConfig, WarmStartConfig
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start import checkpoints as course_checkpoints
from turngym.trainers.warm_start import cloning, course, permuting
from turngym.trainers.warm_start.checkpoints import CourseCheckpoints
from turngym.trainers.warm_start.cloning import (
    clone,
    demonstrator,
    scripted_play,
    validate,
)
from turngym.trainers.warm_start.course import MATRIX_FACTOR, Course, WarmStartError, cloning_step
from turngym.trainers.warm_start.demonstrations import read_demonstrations

Optimizers = list[torch.optim.Optimizer]


class Notes(SilentProgress):
    """Keeps what is worth reading after the run."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[tuple[str, int | None]] = []
        self.steps = 0

    def phase(self, name: str, total: int | None) -> None:
        self.phases.append((name, total))

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.steps += n

    def note(self, text: str) -> None:
        self.notes.append(text)


def changed(config: TrainConfig, seed: int = 0, **settings: Any) -> TrainConfig:
    return replace(config, warm_start=replace(config.warm_start, **settings), run=replace(config.run, seed=seed))


def cloned(model: LanguageModel, config: TrainConfig, progress: SilentProgress) -> Iterator[dict[str, float]]:
    """Clone as a run is configured."""
    return clone(model, Rollouts.of(config), config.warm_start, progress, seed=config.run.seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_stops_inside_the_band(tiny: TrainConfig, seed: int) -> None:
    config, progress = changed(tiny, seed), Notes()
    model = load_or_build(config)
    rounds = list(cloned(model, config, progress))
    assert [number["step"] for number in rounds] == [60 + 18 * number for number in range(len(rounds))]
    assert progress.steps == rounds[-1]["step"]
    assert not any(0.1 <= number["success"] <= 0.7 for number in rounds[:-1])
    assert 0.1 <= rounds[-1]["success"] <= 0.7
    assert progress.notes == []
    assert validate(model, Rollouts.of(config), 50) == rounds[-1]["success"]


def with_success(monkeypatch: pytest.MonkeyPatch, *measured: float) -> None:
    """Let the validations find these successes, one after the other."""
    found = iter(measured)
    monkeypatch.setattr(cloning, "validate", lambda model, rollouts, episodes: next(found))


def test_corrects_the_mistakes_until_the_success_is_in_the_band(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(tiny, success_low=0.3, success_high=0.6, mistake_rate=0.4, course_steps=10, flawless_share=0.75)
    shown, peaks = [], []

    def record(model: LanguageModel, optimizers: Optimizers, episodes: list[Episode], *learning: Any) -> float:
        peaks.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return 0.0

    def agent(_: WarmStartConfig, mistake_rate: float) -> DemonstrationAgent:
        shown.append(mistake_rate)
        return DemonstrationAgent(mistake_rate)

    monkeypatch.setattr(course, "cloning_step", record)
    monkeypatch.setattr(cloning, "demonstration_agent", agent)
    with_success(monkeypatch, 0.8, 0.05, 0.45)
    progress = Notes()
    rounds = list(cloned(load_or_build(config), config, progress))
    more = 0.4 * (0.8 / 0.45) ** 0.5
    assert [number["mistake_rate"] for number in rounds] == pytest.approx([0.4, more, more / 2])
    assert [number["step"] for number in rounds] == [10, 12, 14]
    assert shown == pytest.approx([0.0] * 8 + [0.4] * 2 + [more] * 2 + [more / 2] * 2)
    shares = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3] + [0.2, 0.1] * 3
    of_matrices, of_others = np.transpose(peaks)
    assert of_matrices == pytest.approx(np.multiply(shares, MATRIX_FACTOR * config.warm_start.learning_rate))
    assert of_others == pytest.approx(np.multiply(shares, config.warm_start.learning_rate))
    assert progress.phases == [("warm start", 10), ("warm start, correction 1", 2), ("warm start, correction 2", 2)]
    assert progress.notes == []


def test_a_correction_begins_where_the_mistakes_began(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, course_steps=4, flawless_share=0.75, max_corrections=2)
    model = load_or_build(config)
    taught = []

    def record(model: LanguageModel, optimizers: Optimizers, episodes: list[Episode], *learning: Any) -> float:
        states = [model.model.state_dict(), *(state for optimizer in optimizers for state in optimizer.state.values())]
        taught.append(tuple(fingerprint_of({k: torch.as_tensor(v) for k, v in state.items()}) for state in states))
        return cloning_step(model, optimizers, episodes, *learning)

    monkeypatch.setattr(course, "cloning_step", record)
    with_success(monkeypatch, 0.9, 0.9, 0.9)
    list(cloned(model, config, SilentProgress()))
    assert len(taught) == 6 and len(set(taught)) == 4
    assert taught[3] == taught[4] == taught[5]


def test_gives_up_with_advice(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, max_corrections=1, course_steps=3)
    with_success(monkeypatch, 0.0, 0.05)
    rounds = cloned(load_or_build(config), config, SilentProgress())
    assert [next(rounds)["step"], next(rounds)["step"]] == [3, 4]
    with pytest.raises(WarmStartError, match=r"course of 3 .* 1 corrections .* 0.050, below 0.1; start another run"):
        next(rounds)


def test_says_so_when_it_overshoots(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, max_corrections=0, course_steps=1)
    with_success(monkeypatch, 0.9)
    progress = Notes()
    assert len(list(cloned(load_or_build(config), config, progress))) == 1
    assert progress.notes == ["the warm start overshot its band: success 0.90 > 0.70"]


# What does not fit --------------------------------------------------------------------------------------------------


def with_lengths(monkeypatch: pytest.MonkeyPatch, config: TrainConfig, reply: int, share: float) -> None:
    """Let this share of the demonstrations of every batch have a reply of so many tokens, the first of it."""

    def played(*_: object) -> list[Episode]:
        size = config.warm_start.batch_size
        return [shown(reply if place < share * size else 2) for place in range(size)]

    monkeypatch.setattr(cloning, "scripted_play", played)


def shown(reply: int) -> Episode:
    """A demonstration of one reply of so many tokens."""
    turn = Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=True,
                span=(3, 3 + reply))  # fmt: skip
    return Episode(env_id="x", split="train", index=0, seed=0, turns=[turn], token_ids=[5] * (3 + reply))


@pytest.mark.parametrize(("share", "told"), [(0.25, True), (1 / 16, False), (0.0, False)])
def test_what_does_not_fit_is_left_out_and_told(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, share: float, told: bool
) -> None:
    """At once where it is much; the mean is over what fits."""
    config = changed(tiny, course_steps=10, max_corrections=0)
    with_lengths(monkeypatch, config, 9, share)
    with_success(monkeypatch, 0.5)
    taught: list[int] = []

    def record(model: LanguageModel, optimizers: Optimizers, episodes: list[Episode], *learning: Any) -> float:
        taught.extend(episode.num_sampled for episode in episodes)
        return 0.0

    monkeypatch.setattr(course, "cloning_step", record)
    progress = Notes()
    (numbers,) = cloned(load_or_build(config), config, progress)
    left_out = round(160 * share)
    assert numbers["left_out"] == share and taught == [2] * (160 - left_out)
    said = "left out of the warm start: {} of {} demonstrations do not fit: raise model.max_reply_tokens to at least 9 "
    early = [said.format(28, 112)] * told
    assert [note.replace("(here 4)", "") for note in progress.notes] == early + [said.format(left_out, 160)] * (
        left_out > 0
    )


def test_a_course_to_which_nothing_fits_ends(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with_lengths(monkeypatch, tiny, 9, 1.0)
    said = "with a mistake rate of 0 there is nothing to clone: 160 of 160 demonstrations do not fit: raise model.max_r"
    with pytest.raises(WarmStartError, match=said):
        next(cloned(load_or_build(tiny), tiny, Notes()))


# What a stop leaves ------------------------------------------------------------------------------------------------


class Quitter(SilentProgress):
    """Sends Ctrl-C to its own process after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.left -= "loss" in numbers
        if not self.left and "loss" in numbers:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("permuted_share", [0.0, 0.5])
def test_a_course_goes_on_where_it_was_stopped_with_the_same_bits(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, permuted_share: float
) -> None:
    """Stopped among flawless play, among mistakes, and in the correction."""
    config = changed(tiny, course_steps=8, flawless_share=0.5, max_corrections=1, permuted_share=permuted_share)
    monkeypatch.setattr(permuting, "exchangeable", lambda episodes, tokenizer: [list(range(5, len(tokenizer)))])
    monkeypatch.setattr(cloning, "validate", lambda model, rollouts, episodes: 0.9)

    def numbers(checks: Iterator[dict[str, float]]) -> list[dict[str, float]]:
        return [{name: number for name, number in check.items() if name != "seconds"} for check in checks]

    alone = load_or_build(config)
    whole = numbers(cloned(alone, config, SilentProgress()))
    found, model = [], alone
    for steps, taken in ((2, 2), (4, 6), (4, 10), (0, 12)):
        kept = CourseCheckpoints(tmp_path, pytest.fail)
        model = LanguageModel.from_pretrained(kept.found.policy) if kept.found else load_or_build(config)
        checks = clone(model, Rollouts.of(config), config.warm_start, Quitter(steps), seed=0, kept=kept)
        if steps:
            with pytest.raises(KeyboardInterrupt):
                numbers(checks)
        else:
            found = numbers(checks)
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{taken:06d}"]
    assert len(whole) == 2 and found == whole[1:]
    assert fingerprint_of(model.model.state_dict()) == fingerprint_of(alone.model.state_dict())


def test_a_course_is_kept_now_and_then_and_before_it_is_measured(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = changed(tiny, course_steps=6, max_corrections=0)
    saved: list[int | str] = []
    kept = CourseCheckpoints(tmp_path, pytest.fail)
    monkeypatch.setattr(course_checkpoints, "PAUSE", 0.0)
    monkeypatch.setattr(course_checkpoints, "PAUSE_FACTOR", 0.0)
    save = kept.save

    def measure(*_: object) -> float:
        saved.append("measured")
        return 0.5

    def record(course: Course) -> None:
        saved.append(course.steps_taken)
        save(course)

    monkeypatch.setattr(cloning, "validate", measure)
    monkeypatch.setattr(kept, "save", record)
    kept._next = 0.0
    list(clone(load_or_build(config), Rollouts.of(config), config.warm_start, SilentProgress(), seed=0, kept=kept))
    assert saved == [1, 2, 3, 4, 5, 6, "measured"]


# Scripted play -----------------------------------------------------------------------------------------------------


def drawn(model: LanguageModel, config: TrainConfig, batches: int, rate: float = 0.0) -> list[Episode]:
    rng, rollouts = np.random.default_rng([config.run.seed]), Rollouts.of(config)
    played = [
        scripted_play(model, rollouts, rng, config.warm_start.batch_size, DemonstrationAgent(rate))
        for _ in range(batches)
    ]
    return [episode for batch in played for episode in batch]


def test_demonstrations_are_drawn_from_the_generator(model: LanguageModel, tiny: TrainConfig) -> None:
    def first(seed: int) -> list[list[int]]:
        return [episode.token_ids for episode in drawn(model, changed(tiny, seed), 3)]

    assert first(0) == first(0)
    assert len(first(0)) == 3 * tiny.warm_start.batch_size
    assert first(0) != first(1)


def test_demonstrations_are_play_on_training_instances(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = drawn(model, tiny, 3)
    assert all(episode.success and episode.split == "train" for episode in episodes)
    assert len({episode.index for episode in episodes}) == len(episodes)
    for turn in (turn for episode in episodes for turn in episode.turns):
        assert turn.span[1] > turn.span[0]


def test_demonstrations_with_mistakes_sometimes_fail(model: LanguageModel, tiny: TrainConfig) -> None:
    assert 0.1 < np.mean([episode.success for episode in drawn(model, tiny, 5, rate=1.0)]) < 0.95


def test_validation_samples_at_the_temperature_of_the_run(model: LanguageModel, tiny: TrainConfig) -> None:
    rollouts = Rollouts.of(tiny)
    noise = replace(rollouts, temperature=50.0)
    assert validate(model, noise, 40) == 0.0 < validate(model, rollouts, 40)
    assert validate(model, rollouts, 40, temperature=50.0) == 0.0


# Demonstrations from a file ---------------------------------------------------------------------------------------


@pytest.fixture
def file(tiny: TrainConfig, tmp_path: Path) -> Path:
    """Flawless play on eight lakes."""
    played = Rollouts.of(tiny).play(DemonstrationAgent(0.0), instance_range("train", 8))
    write_episodes(tmp_path / "shown.jsonl", played)
    return tmp_path / "shown.jsonl"


def test_a_file_is_cloned_in_place_of_scripted_play(
    tiny: TrainConfig, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without corrections, since a file knows no mistake rate; the model comes to play as it shows."""
    config = changed(tiny, demonstrations=str(file), success_low=0.0, success_high=0.01, max_corrections=4)
    monkeypatch.setattr(cloning, "demonstration_agent", None)  # to ask it to play would raise
    model, progress = load_or_build(changed(tiny)), Notes()
    (check,) = cloned(model, config, progress)
    assert check["step"] == progress.steps == 60
    assert check["success"] > 0.01 and check["loss"] < 1.0
    assert progress.phases == [("warm start", 60)]
    assert progress.notes == [f"the warm start overshot its band: success {check['success']:.2f} > 0.01"]


def test_a_file_that_teaches_nothing_is_said_to(tiny: TrainConfig, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, demonstrations=str(file), course_steps=2)
    with_success(monkeypatch, 0.0)
    with pytest.raises(WarmStartError, match="course of 2 cloning steps and 0 corrections"):
        list(cloned(load_or_build(tiny), config, SilentProgress()))


def test_a_batch_is_drawn_from_the_file_by_the_seed(model: LanguageModel, tiny: TrainConfig, file: Path) -> None:
    config = changed(tiny, demonstrations=str(file), batch_size=20).warm_start

    def batches(seed: int) -> list[list[int]]:
        show = demonstrator(model, Rollouts.of(tiny), config, np.random.default_rng(seed))
        return [[episode.index for episode in show(rate)] for rate in (0.0, 1.0)]

    assert batches(0) == batches(0) != batches(1)
    assert {index for batch in batches(0) for index in batch} == set(range(8))
    assert [len(batch) for batch in batches(0)] == [20, 20]


def test_a_file_that_does_not_fit_is_refused_before_a_step(
    model: LanguageModel, tiny: TrainConfig, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = [model.encode_episode(episode) for episode in read_demonstrations(file)]
    longest = max(len(episode.token_ids) for episode in episodes)
    model.context_length = longest - 1
    monkeypatch.setattr(course, "cloning_step", None)
    with pytest.raises(
        ValueError, match=rf" of 8 demonstrations do not fit: .* at least {longest + 2} \(here {longest - 1}\), or let"
    ):
        next(cloned(model, changed(tiny, demonstrations=str(file)), SilentProgress()))


def test_permuted_demonstrations_are_what_is_cloned(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A course of permuted demonstrations has the losses of other streams, and the same seed the same ones."""
    monkeypatch.setattr(permuting, "exchangeable", lambda episodes, tokenizer: [list(range(5, len(tokenizer)))])
    monkeypatch.setattr(cloning, "validate", lambda model, rollouts, episodes: 0.5)
    losses = []
    for share in (0.0, 1.0, 1.0):
        config = changed(tiny, course_steps=4, permuted_share=share)
        (numbers,) = cloned(load_or_build(config), config, SilentProgress())
        losses.append(numbers["loss"])
    assert losses[0] != losses[1] == losses[2]


def test_mistakes_are_read_and_not_cloned_where_that_is_asked(tiny: TrainConfig) -> None:
    """What leads the demonstrator astray has no span, and what it does there has one."""
    config = changed(tiny, mistake_rate=0.5, clone_mistakes=False, batch_size=16)
    model, rollouts = load_or_build(config), Rollouts.of(config)
    with_slips = demonstrator(model, rollouts, config.warm_start, np.random.default_rng(0))(0.5)
    flawless = demonstrator(model, rollouts, config.warm_start, np.random.default_rng(0))(0.0)
    cloned_too = changed(config, clone_mistakes=True).warm_start
    all_spans = demonstrator(model, rollouts, cloned_too, np.random.default_rng(0))(0.5)
    assert [episode.token_ids for episode in with_slips] == [episode.token_ids for episode in all_spans]
    assert all(turn.span != (0, 0) for episode in flawless + all_spans for turn in episode.turns)
    left_out = [turn.span == (0, 0) for episode in with_slips for turn in episode.turns]
    assert 0.3 < np.mean(left_out) < 0.7

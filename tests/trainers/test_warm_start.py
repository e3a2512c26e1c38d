"""Cloning: it stops where success has been measured to be enough, or says what to change."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers import warm_start
from turngym.trainers.base_model import load_or_build
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.demonstrations import read_demonstrations
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start import (
    MATRIX_FACTOR,
    WarmStartError,
    check_lengths,
    clone,
    cloning_optimizers,
    cloning_step,
    corrected,
    demonstrator,
    scripted_play,
    validate,
)


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
    monkeypatch.setattr(warm_start, "validate", lambda model, rollouts, episodes: next(found))


def test_corrects_the_mistakes_until_the_success_is_in_the_band(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(tiny, success_low=0.3, success_high=0.6, mistake_rate=0.4, course_steps=10, flawless_share=0.75)
    shown, peaks = [], []

    def record(model: LanguageModel, optimizers: list[torch.optim.Optimizer], episodes: list[Episode]) -> float:
        peaks.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return 0.0

    def agent(mistake_rate: float) -> DemonstrationAgent:
        shown.append(mistake_rate)
        return DemonstrationAgent(mistake_rate)

    monkeypatch.setattr(warm_start, "cloning_step", record)
    monkeypatch.setattr(warm_start, "DemonstrationAgent", agent)
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

    def record(model: LanguageModel, optimizers: list[torch.optim.Optimizer], episodes: list[Episode]) -> float:
        states = [model.model.state_dict(), *(state for optimizer in optimizers for state in optimizer.state.values())]
        taught.append(tuple(fingerprint_of({k: torch.as_tensor(v) for k, v in state.items()}) for state in states))
        return cloning_step(model, optimizers, episodes)

    monkeypatch.setattr(warm_start, "cloning_step", record)
    with_success(monkeypatch, 0.9, 0.9, 0.9)
    list(cloned(model, config, SilentProgress()))
    assert len(taught) == 6 and len(set(taught)) == 4
    assert taught[3] == taught[4] == taught[5]


def test_gives_up_with_advice(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, max_corrections=1, course_steps=3)
    with_success(monkeypatch, 0.0, 0.05)
    rounds = cloned(load_or_build(config), config, SilentProgress())
    assert [next(rounds)["step"], next(rounds)["step"]] == [3, 4]
    with pytest.raises(WarmStartError, match=r"course of 3 .* 1 corrections .* 0.050, below 0.1; raise warm_start.cou"):
        next(rounds)


def test_says_so_when_it_overshoots(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny, max_corrections=0, course_steps=1)
    with_success(monkeypatch, 0.9)
    progress = Notes()
    assert len(list(cloned(load_or_build(config), config, progress))) == 1
    assert progress.notes == ["the warm start overshot its band: success 0.90 > 0.70"]


@pytest.mark.parametrize(("success", "rate"), [(0.45, 0.2), (0.9, 0.2 * 2**0.5), (0.0, 0.1), (0.25, 0.2 * 5**0.5 / 3)])
def test_a_correction_raises_the_mistakes_with_the_success(tiny: TrainConfig, success: float, rate: float) -> None:
    stage = replace(tiny.warm_start, success_low=0.3, success_high=0.6)
    assert corrected(0.2, success, stage) == pytest.approx(rate)


def test_a_correction_is_bounded(tiny: TrainConfig) -> None:
    stage = replace(tiny.warm_start, success_low=0.1, success_high=0.2)
    assert corrected(0.2, 1.0, stage) == pytest.approx(0.3)
    assert corrected(0.8, 1.0, stage) == 1.0


def drawn(model: LanguageModel, config: TrainConfig, batches: int, rate: float = 0.0) -> list[Episode]:
    rng, rollouts = np.random.default_rng([config.run.seed]), Rollouts.of(config)
    played = [scripted_play(model, rollouts, rng, config.warm_start.batch_size, rate) for _ in range(batches)]
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


def names_by_optimizer(network: torch.nn.Module, config: TrainConfig) -> list[set[str]]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    optimizers = cloning_optimizers(network, config.warm_start)
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Muon", "AdamW"]
    held = [{names[p] for group in optimizer.param_groups for p in group["params"]} for optimizer in optimizers]
    assert held[0] | held[1] == set(names.values()) and not held[0] & held[1]
    return held


@pytest.mark.parametrize("tied", [True, False])
def test_muon_gets_exactly_the_hidden_matrices(model: LanguageModel, tiny: TrainConfig, tied: bool) -> None:
    config = copy.deepcopy(model.model.config)
    config.tie_word_embeddings = tied
    matrices, others = names_by_optimizer(type(model.model)(config), tiny)
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]  # fmt: skip
    assert matrices == {f"model.layers.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert ("lm_head.weight" in others) == (not tied)


def test_weight_decay_shrinks_all_weights(model: LanguageModel, tiny: TrainConfig) -> None:
    """By their learning rate: that of the hidden matrices is four times as high."""
    config = replace(tiny.warm_start, weight_decay=0.5, learning_rate=0.1)
    network = copy.deepcopy(model.model)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    matrices, _ = names_by_optimizer(network, tiny)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in cloning_optimizers(network, config):
        optimizer.step()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight, (0.8 if name in matrices else 0.95) * before[name])


def test_tables_of_other_architectures_are_no_hidden_matrices(tiny: TrainConfig) -> None:
    network = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    matrices, others = names_by_optimizer(network, tiny)
    assert {"transformer.wte.weight", "transformer.wpe.weight"} < others
    assert len(matrices) == 4


def test_a_step_lowers_the_likelihood_loss_it_reports(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = drawn(model, tiny, 1)
    streams = [torch.tensor([episode.token_ids]) for episode in episodes]
    with torch.no_grad():
        total, count = 0.0, 0
        for episode, stream in zip(episodes, streams, strict=True):
            logp_TV = model.model(input_ids=stream).logits[0].log_softmax(-1)
            places = [place for turn in episode.turns for place in range(*turn.span)]
            total -= sum(float(logp_TV[place - 1, episode.token_ids[place]]) for place in places)
            count += len(places)
    small = changed(tiny, learning_rate=1e-4).warm_start
    optimizers = cloning_optimizers(model.model, small)
    assert cloning_step(model, optimizers, episodes) == pytest.approx(total / count, rel=1e-5)
    assert cloning_step(model, optimizers, episodes) < total / count


def test_micro_batches_do_not_change_the_step(
    model: LanguageModel, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = drawn(model, tiny, 1)
    gradients = []
    for tokens in (1, 10**6):
        monkeypatch.setattr(warm_start, "MICROBATCH_TOKENS", tokens)
        copied = LanguageModel(copy.deepcopy(model.model), model.tokenizer)
        cloning_step(copied, [], episodes)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in copied.model.parameters()]))
    residual = (gradients[0] - gradients[1]).abs() / gradients[0].abs().max()
    assert float(residual.max()) < 1e-4
    assert float(residual.mean()) < 1e-6


def test_a_loss_that_is_not_finite_changes_nothing(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = drawn(model, tiny, 1)
    optimizers = cloning_optimizers(model.model, tiny.warm_start)
    model.model.model.norm.weight.data[0] = torch.nan
    before = fingerprint_of(model.model.state_dict())
    with pytest.raises(NonFiniteError, match=r"loss nan.*lower warm_start.learning_rate"):
        cloning_step(model, optimizers, episodes)
    assert fingerprint_of(model.model.state_dict()) == before
    assert all(not optimizer.state for optimizer in optimizers)


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
    monkeypatch.setattr(warm_start, "DemonstrationAgent", None)  # to ask it to play would raise
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
    episodes = [model.chat.encode_episode(episode) for episode in read_demonstrations(file)]
    longest = max(len(episode.token_ids) for episode in episodes)
    model.context_length = longest - 1
    monkeypatch.setattr(warm_start, "cloning_step", None)
    with pytest.raises(ValueError, match=rf"context_length {longest - 1} is shorter .*raise it to at least {longest}$"):
        next(cloned(model, changed(tiny, demonstrations=str(file)), SilentProgress()))


def test_the_longest_demonstration_decides(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = drawn(model, tiny, 1)
    longest = max(len(episode.token_ids) for episode in episodes)
    check_lengths(episodes, longest)
    with pytest.raises(ValueError, match=f"the longest has {longest} tokens: raise it to at least {longest}"):
        check_lengths(episodes, longest - 1)

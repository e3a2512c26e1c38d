"""Resets of the reference: what a new round begins with, and that a run killed around one ends the same."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import instance_baseline, with_learning
from tests.trainers.harness import metric_lines as lines

from turngym.agents.evaluation import instance_range
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers import run_checkpoints
from turngym.trainers.automatic_shaping import AutomaticShaping
from turngym.trainers.base_model import prepare_base
from turngym.trainers.batches import make_batch
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.config import CurriculumConfig, MonitorsConfig, ShapingConfig, TrainConfig
from turngym.trainers.instances import LEVEL_INSTANCES
from turngym.trainers.monitoring.alarms import Alarm, Alarms, Thresholds
from turngym.trainers.references import load_reference, round_betas, round_estimates
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import TrainingRun, train
from turngym.trainers.run_files import store_name
from turngym.trainers.schedules import Schedule, scheduled_beta
from turngym.trainers.stage_one import sampling
from turngym.trainers.stage_one.instance_values import ValueEstimates, composed_beta, composed_values
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.stage_one.store import ValueStore


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Deadly(SilentProgress):
    """Kills once stage 1 or 2 has been announced so often and has come so far since."""

    def __init__(self, phase: str = "never", times: int = 0, work: int = 0) -> None:
        self.moment, self.left = phase, times
        self.work = work

    def phase(self, name: str, total: int | None) -> None:
        self.now, self.done = name.partition(":")[0], 0
        self.left -= self.now == self.moment

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.done += n
        if self.now == self.moment and self.left == 0 and self.done >= self.work:
            raise Killed


def config_of(tiny: TrainConfig, algorithm: str = "astarpo", **changes: Any) -> TrainConfig:
    """Two rounds: steps 1 to 3 and 4 to 6; a checkpoint at every second step and at the reset."""
    return with_learning(tiny, algorithm, reset_every=3, warmup_steps=0, **changes)


@pytest.fixture
def folder(model: LanguageModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "run" / "base")
    return tmp_path / "run"


def learn(config: TrainConfig, folder: Path, progress: SilentProgress | None = None) -> TrainingRun:
    """Run or resume stages 1 and 2."""
    metrics, progress = Metrics(folder / "metrics.jsonl"), progress or SilentProgress()
    base = prepare_base(config, folder, metrics, progress)
    training = TrainingRun(base, config, folder, metrics, progress)
    training.learn()
    return training


def weights(model: LanguageModel) -> str:
    return fingerprint_of(model.model.state_dict())


def contents(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on interruptions."""
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    names = ("policy/model.safetensors", "optimizer.safetensors", "optimizer.json", "state.json")
    rows = []
    for number in (1, 2):
        with ValueStore(folder / store_name(number), None) as store:
            rows.append((store.returns(), list(store.turns())))
    return {
        "last": last.name,
        "files": [(last / name).read_bytes() for name in names],
        "reference": (folder / "references" / "round-2" / "model.safetensors").read_bytes(),
        "rows": rows,
        "metrics": [lines(folder, phase) for phase in ("values", "learning", "reset")],
    }


# A new round ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_belongs_to_the_round_of_its_last_step(tiny: TrainConfig) -> None:
    def rounds(config: TrainConfig, *steps: int) -> list[int]:
        return [Schedule(config.learning, config.objective, 1.0).round_of(step) for step in steps]

    assert rounds(config_of(tiny), 0, 1, 3, 4, 6, 7) == [1, 1, 1, 2, 2, 3]
    assert rounds(tiny, 0, 99) == [1, 1]


def test_a_reset_makes_the_policy_the_reference_and_runs_stage_one_for_it(tiny: TrainConfig, folder: Path) -> None:
    config = config_of(tiny)
    loop = learn(config, folder).loop
    steps = lines(folder, "learning")
    # The ratio to the reference is 1 after a reset, whichever way the policy had gone.
    assert [abs(step["kl"]) < 1e-5 for step in steps] == [True, False, False, True, False, False]
    first, second = (load_reference(folder, number) for number in (1, 2))
    reference = loop.references.current
    assert weights(reference) == weights(second) != weights(first)
    assert not any(parameter.requires_grad for parameter in reference.model.parameters())
    assert weights(loop.learner.policy) != weights(second)
    stores = {}
    for number, expected in ((1, first), (2, second)):
        with ValueStore(folder / store_name(number), None) as store:
            assert store.fingerprint["reference weights"] == weights(expected)
            assert len(store.counts()) == 24
            stores[number] = {index: np.mean(returns) for index, returns in store.returns().items()}
    assert stores[1].keys() == stores[2].keys() == set(loop.prompts.pool) and stores[1] != stores[2]
    setup = StageOneSetup.of(config)
    learned = round_estimates(folder, [0.5, 0.5], setup)[1]
    assert [instance_baseline(loop).first_value(index) for index in loop.prompts.pool] == list(learned.values)
    # The first round ends with its third step; the second has no step yet.
    betas = [scheduled_beta(config.objective, 2 / 5)] * 2
    values = [estimates.values for estimates in round_estimates(folder, betas, setup)]
    (line,) = lines(folder, "reset")
    assert line["step"] == 3 and line["round"] == 2
    assert line["beta"] == pytest.approx(betas[1]) and line["composed_beta"] == pytest.approx(betas[1] / 2)
    assert line["value"] == pytest.approx(values[1].mean())
    assert line["composed_value"] == pytest.approx((values[0].mean() + values[1].mean()) / 2)


def test_a_reset_keeps_the_levels(tiny: TrainConfig, folder: Path) -> None:
    """Stage 1 plays the target alone: of the easier levels a new one knows nothing, of the target everything."""
    config = config_of(tiny, fresh_share=1.0, steps=3)
    config = replace(config, curriculum=CurriculumConfig(levels=[{"size": 2, "frozen_probability": 1.0}]))
    training = learn(config, folder)
    successes, baseline = training.loop.successes, instance_baseline(training.loop)
    for _ in range(100):
        for means in (successes.means, baseline.means):
            means.update(LEVEL_INSTANCES, 1.0)
    easy, value = successes.level_successes()[0], baseline.value(LEVEL_INSTANCES)
    assert easy > 0.9 and value > 0.9
    for index in training.loop.prompts.pool:
        for _ in range(50):
            successes.means.update(index, 0.0)
    training.reset_reference()
    assert training.loop.successes is not successes and training.loop.baseline is not baseline
    assert training.loop.successes.level_successes()[0] == easy
    assert instance_baseline(training.loop).value(LEVEL_INSTANCES) == value
    assert training.loop.successes.level_successes()[1] > successes.level_successes()[1]


def test_the_tokens_of_every_stage_one_are_counted(tiny: TrainConfig, folder: Path) -> None:
    schedule = learn(config_of(tiny), folder).loop.schedule
    blocks, steps = lines(folder, "values"), lines(folder, "learning")
    tokens = [sum(block["sampled_tokens"] for block in blocks if block.get("round", 1) == number) for number in (1, 2)]
    assert min(tokens) > 100 and schedule.stage_one_tokens == sum(tokens)
    assert schedule.generated_tokens == sum(tokens) + sum(step["sampled_tokens"] for step in steps)
    jump = steps[3]["generated_tokens"] - steps[2]["generated_tokens"]
    assert jump == tokens[1] + steps[3]["sampled_tokens"]


def test_a_second_stage_one_may_spend_the_last_tokens(tiny: TrainConfig, folder: Path) -> None:
    schedule = learn(config_of(tiny, steps=3), folder).loop.schedule
    budget = schedule.generated_tokens + schedule.stage_one_tokens // 2
    shutil.rmtree(folder / "checkpoints")
    loop = learn(config_of(tiny, max_tokens=budget), folder).loop
    assert loop.schedule.step == 3 and loop.references.number == 2 and loop.schedule.generated_tokens > budget


def test_objectives_without_stage_one_reset_their_reference_too(tiny: TrainConfig, folder: Path) -> None:
    config = config_of(tiny, "grpo", kl_coef=0.1)
    loop = learn(config, folder).loop
    assert [abs(step["kl"]) < 1e-5 for step in lines(folder, "learning")] == [True, False, False, True, False, False]
    assert not list(folder.glob("*.sqlite")) and loop.schedule.stage_one_tokens == 0
    assert weights(loop.references.current) == weights(load_reference(folder, 2))
    assert lines(folder, "reset") == [{"phase": "reset", "step": 3, "round": 2, "rollbacks": 0}]
    before = weights(loop.learner.policy)
    shutil.rmtree(folder / "checkpoints" / "step-000006")
    assert weights(learn(config, folder).loop.learner.policy) == before


def test_the_base_that_is_measured_is_the_first_reference(tiny: TrainConfig, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "plain")
    rows = [train(config, path, SilentProgress())["base_greedy"]
            for config, path in ((config_of(tiny), folder), (tiny, tmp_path / "plain"))]  # fmt: skip
    assert {**rows[0], "seconds": 0} == {**rows[1], "seconds": 0}


def test_a_round_was_solved_at_the_temperature_of_its_last_step(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert round_betas(metrics, 2, 3) is None
    metrics.add("reset", {"step": 1, "beta": 9.0})
    for step, beta in ((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (3, 0.5)):  # learning was rolled back to step 2
        metrics.add("learning", {"step": step, "beta": beta})
    assert round_betas(metrics, 1, 3) == [0.5]
    assert round_betas(metrics, 3, 3) == [0.5, 0.5, 0.5], "steps that were rolled back do not count"
    for step, beta in ((4, 0.4), (5, 0.3)):
        metrics.add("learning", {"step": step, "beta": beta})
    assert round_betas(metrics, 2, 3) == [0.5, 0.3]
    cut_off = Metrics(tmp_path / "later.jsonl")
    cut_off.add("learning", {"step": 4, "beta": 0.1})
    assert round_betas(cut_off, 2, 3) is None, "nothing is known of the first round"
    without = Metrics(tmp_path / "without.jsonl")
    without.add("learning", {"step": 3})
    assert round_betas(without, 1, 3) is None, "the objective has no such temperature"


def test_the_composed_value_is_the_mean_over_rounds_weighted_by_their_inverse_temperatures() -> None:
    def known(**values: float) -> ValueEstimates:
        instances = np.array([int(name[1:]) for name in values])
        numbers = np.array(list(values.values()))
        return ValueEstimates(instances=instances, values=numbers, stds=numbers, counts=instances, prior=0.0)

    rounds = [known(i1=0.0, i2=0.5, i3=0.25), known(i2=0.75, i3=1.0), known(i2=1.0, i3=0.25, i4=1.0)]
    assert composed_values(rounds, [0.5] * 3) == pytest.approx({2: 0.75, 3: 0.5}, abs=1e-15)
    assert composed_values(rounds, [0.5, 0.5, 0.125]) == pytest.approx({2: 5.25 / 6, 3: 2.25 / 6}, abs=1e-15)
    assert composed_values(rounds[:1], [0.1]) == pytest.approx({1: 0.0, 2: 0.5, 3: 0.25}, abs=1e-15)
    assert composed_beta([0.5, 0.5, 0.125]) == pytest.approx(1 / 12, abs=1e-15)
    for betas in ([], [0.5, 0.0, 0.5], [0.5, math.inf, 0.5], [0.5, math.nan, 0.5]):
        with pytest.raises(ValueError, match="temperature of each"):
            composed_values(rounds, betas)


# Killed, resumed, rolled back -----------------------------------------------------------------------------------


@pytest.fixture
def whole(tiny: TrainConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run without interruption ends with; `folder` still holds the base alone."""
    monkeypatch.setattr(sampling, "BLOCK", 20)
    alone = shutil.copytree(folder, tmp_path / "alone")
    learn(config_of(tiny, max_tokens=10**5), alone)
    return contents(alone)


def test_a_run_killed_around_a_reset_ends_with_the_same_bits(
    tiny: TrainConfig, folder: Path, whole: dict[str, Any]
) -> None:
    config = config_of(tiny, max_tokens=10**5)
    moments = [
        ("stage 2", 1, 3, "step-000002"),  # the last step of the round is taken, not saved
        ("stage 1", 2, 0, "step-000003"),  # the reference is saved, nothing is played
        ("stage 1", 2, 30, "step-000003"),  # one block of the second stage 1 is stored
        ("stage 1", 2, 62, "step-000003"),  # within a round of its extra samples
        ("stage 2", 2, 3, "step-000003"),  # before the first step with the new reference
        ("stage 2", 2, 4, "step-000003"),  # after it
        ("stage 2", 2, 6, "step-000004"),
    ]
    for phase, times, work, left in moments:
        with pytest.raises(Killed):
            learn(config, folder, Deadly(phase, times, work))
        last = latest_checkpoint(folder / "checkpoints")
        assert last is not None and last.name == left
    learn(config, folder)
    assert contents(folder) == whole


def test_a_kill_between_a_block_and_its_line_loses_no_token(
    tiny: TrainConfig, folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was generated is counted in the store; of the block the metrics know nothing, and learning is the same."""
    config = config_of(tiny, max_tokens=10**5)
    add: Callable[..., None] = Metrics.add
    written = 0

    def cut_off(self: Metrics, phase: str, numbers: dict[str, Any]) -> None:
        nonlocal written
        written += phase == "values"
        if phase == "values" and written in (2, 8):
            raise Killed
        add(self, phase, numbers)

    monkeypatch.setattr(Metrics, "add", cut_off)
    for last_round in (1, 2):
        with pytest.raises(Killed):
            learn(config, folder)
        assert (folder / store_name(last_round)).exists()
    learn(config, folder)
    found = contents(folder)
    blocks, expected = found["metrics"].pop(0), whole["metrics"].pop(0)
    assert len(blocks) == len(expected) - 2
    assert found == whole


def test_a_store_that_a_kill_left_empty_is_filled(tiny: TrainConfig, folder: Path, whole: dict[str, Any]) -> None:
    """The file is created before anything is in it."""
    config = config_of(tiny, max_tokens=10**5)
    with pytest.raises(Killed):
        learn(config, folder, Deadly("stage 1", 2, 0))
    store = folder / store_name(2)
    store.unlink(missing_ok=True)
    store.touch()
    learn(config, folder)
    assert contents(folder) == whole


def test_a_lost_second_store_comes_back_from_the_checkpoint(
    tiny: TrainConfig, folder: Path, whole: dict[str, Any]
) -> None:
    config = config_of(tiny, max_tokens=10**5)
    learn(config, folder)
    (folder / store_name(2)).unlink()
    shutil.rmtree(folder / "checkpoints" / "step-000006")
    learn(config, folder)
    assert contents(folder) == whole


def test_a_reference_appears_whole_or_not_at_all(
    tiny: TrainConfig, folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[[LanguageModel, Path], None] = LanguageModel.save_pretrained

    def cut_off(self: LanguageModel, path: Path) -> None:
        write(self, path)
        if "round-2" in path.name:
            (path / "model.safetensors").unlink()
            raise Killed

    config = config_of(tiny, max_tokens=10**5)
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "save_pretrained", cut_off)
        with pytest.raises(Killed):
            learn(config, folder)
    assert not (folder / "references" / "round-2").exists()
    learn(config, folder)
    assert contents(folder) == whole


@pytest.mark.parametrize(("good", "again"), [(2, 2), (3, 2)])
def test_a_rollback_past_a_reset_comes_back_to_the_earlier_reference(
    tiny: TrainConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int, again: int
) -> None:
    """An alarm rings at step 5; what it puts in doubt begins after step `good`."""

    def judge(self: Alarms, numbers: dict[str, Any], thresholds: Thresholds) -> list[Alarm]:
        self.last_good_steps["kl_tax"] = min(good, numbers["step"])
        if (numbers["step"], numbers["rollbacks"]) != (5, 0):
            return []
        return [Alarm(alarm="kl_tax", step=5, figure=1.0, threshold=0.2, readings=1, last_good_step=good)]

    monkeypatch.setattr(Alarms, "judge", judge)
    config = replace(config_of(tiny, max_tokens=10**5), monitors=MonitorsConfig(on_alarm="rollback"))
    other = shutil.copytree(folder, tmp_path / "killed")
    loop = learn(config, folder).loop
    steps = lines(folder, "learning")
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, *range(good + 1, 7)]
    assert [abs(step["kl"]) < 1e-5 for step in steps if step["step"] == 4] == [True, True]
    if good == 2:
        assert steps[5]["kl"] != 0 and abs(steps[5]["kl"]) > 1e-5  # against the first reference
    resets = lines(folder, "reset")
    assert [(line["step"], line["round"], line["rollbacks"]) for line in resets] == [(3, 2, 0), (3, 2, 1)]
    # Where the policy at the reset is another, so is stage 1; else its episodes are there already.
    blocks = [line["rollbacks"] for line in lines(folder, "values") if "round" in line]
    assert set(blocks) == ({0, 1} if good == 2 else {0})
    assert loop.schedule.stage_one_tokens == sum(line["sampled_tokens"] for line in lines(folder, "values"))
    assert weights(loop.references.current) == weights(load_reference(folder, 2))

    for phase, times, work in (("stage 2", 2, 5), ("stage 1", 3, 30), ("stage 2", again, 6)):
        try:
            learn(config, other, Deadly(phase, times, work))
        except Killed:
            continue
    learn(config, other)
    assert json.dumps(contents(other)["metrics"]) == json.dumps(contents(folder)["metrics"])
    assert contents(other) == contents(folder)


def test_back_in_an_earlier_round_rewards_are_shaped_by_its_own_values(
    tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with an objective that reads stage 1 for nothing else."""
    monkeypatch.setattr(run_checkpoints, "CHECKPOINTS_KEPT", 10)
    config = config_of(replace(tiny, shaping=ShapingConfig(automatic_weight=0.5)), "rloo")
    first: list[AutomaticShaping | None] = []
    reset_reference = TrainingRun.reset_reference

    def reset(training: TrainingRun) -> None:
        first.append(training.loop.shaping)
        reset_reference(training)

    monkeypatch.setattr(TrainingRun, "reset_reference", reset)
    training = learn(config, folder)
    loop = training.loop
    episodes = loop.rollouts.play(loop.rollouts.agent(loop.learner.policy), instance_range("train", 12))
    batch = make_batch(episodes, loop.learner.policy)

    def shaped(shaping: AutomaticShaping | None) -> list[list[float]]:
        assert shaping is not None
        return shaping.shape(batch, episodes, shift_values=False).reward_BK.tolist()

    (expected,) = map(shaped, first)
    assert loop.references.number == 2 and shaped(loop.shaping) != expected
    training.roll_back(folder / "checkpoints" / "step-000002")
    assert loop.references.number == 1 and shaped(loop.shaping) == expected

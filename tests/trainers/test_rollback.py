"""Alarms that act: a run that stops, a run that goes back, and what a crash in between does not change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.trainers.harness import metric_lines as lines

from turngym.agents.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.trainers import loop, run
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.config import MonitorsConfig, TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, TARGET, level_of
from turngym.trainers.learner import Learner
from turngym.trainers.monitoring.alarms import Alarm, AlarmError, Alarms
from turngym.trainers.prompts.sampler import choose_instances
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollback import roll_back
from turngym.trainers.run import prepare_learner, run_stage_two, train
from turngym.trainers.schedules import scheduled_learning_rate

ABSURD = 0.3
"""A learning rate at which the tiny player runs away from its reference within a few steps."""


class Notes(SilentProgress):
    """Keeps the notes and the place in stage 2."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, name: str, total: int | None) -> None:
        self.place = 0
        self.places: list[int] = []

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.place += n
        self.places.append(self.place)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def prepared(_cloned: LanguageModel, tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose warm start and stage 1 are done."""
    folder = tmp_path_factory.mktemp("prepared")
    _cloned.save_pretrained(folder / "base")
    prepare(tiny, folder, SilentProgress())
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """Such a run of one's own."""
    return shutil.copytree(prepared, tmp_path / "run")


def collapsing(config: TrainConfig, on_alarm: str, **monitors: Any) -> TrainConfig:
    """Return a run of six steps in which the policy runs away from the reference."""
    return replace(
        config,
        astarpo=replace(
            config.astarpo, steps=6, batch_size=4, learning_rate=ABSURD, warmup_steps=0, objective="astarpo"
        ),
        monitors=MonitorsConfig(on_alarm=on_alarm, grad_norm_ratio=1e9, **monitors),
    )


def prepare(config: TrainConfig, folder: Path, progress: SilentProgress) -> Learner:
    metrics = Metrics(folder / "metrics.jsonl")
    base = run.prepare_base(config, folder, metrics, progress)
    return prepare_learner(base, config, folder, metrics, progress)


def learn(config: TrainConfig, folder: Path, progress: SilentProgress | None = None) -> Learner:
    """Run or resume stage 2 from what the folder holds, and return the learner."""
    progress = progress or SilentProgress()
    learner = prepare(config, folder, progress)
    run_stage_two(learner, config, folder, Metrics(folder / "metrics.jsonl"), progress)
    return learner


def contents(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on interruptions."""
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    names = ("policy/model.safetensors", "optimizer.safetensors", "optimizer.json", "state.json")
    return {
        "files": [(last / name).read_bytes() for name in names],
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
        "steps": lines(folder, "astarpo"),
        "alarms": lines(folder, "alarm"),
    }


# Warning and stopping -------------------------------------------------------------------------------------------


def test_a_warning_changes_nothing_but_the_metrics(
    tiny: TrainConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(folder, tmp_path / "unwatched")
    config, progress = collapsing(tiny, "warn"), Notes()
    learner = learn(config, folder, progress)
    rung = lines(folder, "alarm")
    assert rung and {alarm["alarm"] for alarm in rung} == {"kl_tax"}
    assert [note.split(":")[0] for note in progress.notes] == [f"alarm kl_tax at step {a['step']}" for a in rung]
    assert all(alarm["figure"] > alarm["threshold"] == 0.2 for alarm in rung)
    assert learner.step == 6 and learner.rollbacks == 0

    # Neither measuring nor judging touches what is learned or what chance brings.
    monkeypatch.setattr(loop, "measure_rollouts", lambda *_: {"predictive_std": 1.0})
    monkeypatch.setattr(loop, "measure_update", lambda *_, **__: {})
    unwatched = learn(config, other)
    assert lines(other, "alarm") == []
    states = [fingerprint_of(each.policy.model.state_dict()) for each in (learner, unwatched)]
    assert states[0] == states[1]
    assert learner.tracker.state_dict() == unwatched.tracker.state_dict()
    assert json.dumps([line["loss"] for line in lines(folder, "astarpo")]) == json.dumps(
        [line["loss"] for line in lines(other, "astarpo")]
    )


def test_retrieval_is_measured_when_it_is_due_and_changes_nothing(
    tiny: TrainConfig, folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = replace(tiny, monitors=MonitorsConfig(retrieval_every=3, retrieval_prompts=4))
    learner, plain = learn(config, folder), learn(tiny, other)
    due = [line["step"] for line in lines(folder, "astarpo") if "retrieval_accuracy" in line]
    assert due == [3, 6]
    assert all(0 <= line["retrieval_accuracy"] <= 1 for line in lines(folder, "astarpo") if line["step"] in due)
    states = [fingerprint_of(each.policy.model.state_dict()) for each in (learner, plain)]
    assert states[0] == states[1]


def test_a_run_that_stops_is_saved_and_goes_on_past_the_alarm(tiny: TrainConfig, folder: Path) -> None:
    config = collapsing(tiny, "stop")
    with pytest.raises(AlarmError, match=r"alarm kl_tax at step \d: beta \* KL / reward range is .*, above 0.2. .*"
                       r"try a lower astarpo.learning_rate.*--resume goes on past the alarm"):  # fmt: skip
        learn(config, folder)
    (alarm,) = lines(folder, "alarm")
    stopped = latest_checkpoint(folder / "checkpoints")
    assert stopped is not None and load_checkpoint(stopped).step == alarm["step"] < 6
    assert (folder / "episodes" / f"train_{alarm['step']:06d}.jsonl").is_file()
    good = latest_checkpoint(folder / "checkpoints", alarm["last_good_step"])
    assert (good is not None) == (alarm["last_good_step"] >= 2)
    for _ in range(6):
        try:
            learner = learn(config, folder)
            break
        except AlarmError:  # it cleared, and rang again
            continue
    assert learner.step == 6
    assert [line["step"] for line in lines(folder, "astarpo")] == list(range(1, 7))
    assert len({alarm["step"] for alarm in lines(folder, "alarm")}) == len(lines(folder, "alarm"))


def test_an_unknown_action_is_refused_before_anything_is_done(tiny: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"monitors\.on_alarm"):
        train(collapsing(tiny, "panic"), tmp_path, SilentProgress())
    assert list(tmp_path.iterdir()) == []


# Rolling back ---------------------------------------------------------------------------------------------------


def test_a_rollback_goes_back_before_the_trouble(tiny: TrainConfig, folder: Path) -> None:
    config, progress = collapsing(tiny, "rollback", rollback_learning_rate=1e-3, max_rollbacks=1), Notes()
    learner = learn(config, folder, progress)
    (alarm,) = lines(folder, "alarm")
    target = alarm["last_good_step"] - alarm["last_good_step"] % 2  # a checkpoint every two steps
    steps = [(line["rollbacks"], line["step"]) for line in lines(folder, "astarpo")]
    before = [(0, step) for step in range(1, alarm["step"] + 1)]
    assert steps == before + [(1, step) for step in range(target + 1, 7)]
    assert learner.step == 6 and learner.rollbacks == 1
    assert progress.notes[1] == f"rollback 1 of at most 1: back to step {target}"
    assert progress.place == 6 and max(progress.places) == 6
    again = [line for line in lines(folder, "astarpo") if line["rollbacks"]]
    for line in again:
        step = line["step"] - 1
        expected = scheduled_learning_rate(config, step, step / (config.astarpo.steps - 1))
        assert line["learning_rate"] == pytest.approx(1e-3 * expected)
    tokens = [line["generated_tokens"] for line in lines(folder, "astarpo")]
    assert tokens == sorted(tokens)  # what was played in vain was played
    assert abs(again[0]["kl"]) < 1.0  # the weights are those from before


@pytest.mark.parametrize(
    ("objective", "baseline", "last_good_step", "back"),
    [
        ("astarpo", "tracker", 3, 2),
        ("ppo", "tracker", 3, 2),
        ("astarpo_turn", "state_tracker", 3, 2),
        ("astarpo_turn", "state_tracker", 1, 0),  # before any value of a state was asked for
    ],
)
def test_everything_is_as_the_checkpoint_holds_it(
    tiny: TrainConfig,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    baseline: str,
    last_good_step: int,
    back: int,
) -> None:
    config = collapsing(tiny, "rollback", kl_tax=1e9)
    config = replace(
        config,
        astarpo=replace(config.astarpo, objective=objective, learning_rate=1e-3),
        objectives=replace(config.objectives, baseline=baseline),
    )
    seen: list[tuple[str, dict[str, Any]]] = []

    def state(learner: Learner) -> tuple[str, dict[str, Any]]:
        tensors = dict(learner.policy.model.state_dict())
        for number, entry in learner.optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{name}": value for name, value in entry.items()}
        if learner.critic:
            tensors |= {f"critic.{name}": value for name, value in learner.critic.state_dict().items()}
        return fingerprint_of(tensors), {
            "tracker": learner.tracker.state_dict(), "alarms": learner.alarms.state_dict(), "step": learner.step,
            "states": learner.states and learner.states.state_dict(),
        }  # fmt: skip

    class Stop(Exception):
        pass

    judge = Alarms.judge

    def watch(alarms: Any, numbers: dict[str, Any], monitors: MonitorsConfig) -> Any:
        rung = judge(alarms, numbers, monitors)
        if numbers["step"] != 5:
            return rung
        return [Alarm(alarm="kl_tax", step=5, figure=1.0, threshold=0.2, readings=1, last_good_step=last_good_step)]

    def spy(learner: Learner, checkpoint: Path) -> None:
        roll_back(learner, checkpoint)
        seen.append(state(learner))
        raise Stop

    saved: list[tuple[str, dict[str, Any]]] = []
    checkpoint_learner = run.checkpoint_learner

    def save(learner: Learner, config: TrainConfig, folder: Path) -> None:
        checkpoint_learner(learner, config, folder)
        saved.append(state(learner))

    monkeypatch.setattr(run, "CHECKPOINTS_KEPT", 10)
    monkeypatch.setattr(Alarms, "judge", watch)
    monkeypatch.setattr(run, "roll_back", spy)
    monkeypatch.setattr(run, "checkpoint_learner", save)
    with pytest.raises(Stop):
        learn(config, folder)
    assert [state["step"] for _, state in saved] == [0, 2, 4]
    assert seen == [saved[back // 2]]
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == [f"step-{step:06}" for step in range(0, back + 1, 2)]


def test_after_the_last_rollback_an_alarm_stops_the_run(tiny: TrainConfig, folder: Path) -> None:
    config = collapsing(tiny, "rollback", rollback_learning_rate=1.0, max_rollbacks=2)
    with pytest.raises(AlarmError, match=r"Learning was rolled back 2 times\. This step is saved"):
        learn(config, folder)
    assert [alarm["rollbacks"] for alarm in lines(folder, "alarm")] == [0, 1, 2]
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None and load_checkpoint(last).extra["rollbacks"] == 2


def test_the_good_checkpoint_outlives_newer_ones(tiny: TrainConfig, folder: Path) -> None:
    # Validation on one hopeless instance: bad from step 2 on, and an alarm after three checks.
    config = collapsing(tiny, "rollback", kl_tax=1e9, validation_success=1.1, validations=3, max_rollbacks=1)
    config = replace(
        config,
        astarpo=replace(config.astarpo, learning_rate=1e-4),
        evaluation=replace(config.evaluation, validate_every=2, validation_episodes=1),
    )
    with pytest.raises(AlarmError):
        learn(config, folder)
    rung = lines(folder, "alarm")
    assert [(alarm["alarm"], alarm["step"], alarm["last_good_step"]) for alarm in rung] == [("validation", 6, 0)] * 2
    steps = [(line["rollbacks"], line["step"]) for line in lines(folder, "astarpo")]
    assert steps == [(back, step) for back in (0, 1) for step in range(1, 7)]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-000000", "step-000004", "step-000006",
    ]  # fmt: skip


def test_a_first_reading_that_is_bad_finds_the_first_checkpoint(tiny: TrainConfig, folder: Path) -> None:
    """Long before the first validation, more checkpoints were saved than are kept."""
    config = collapsing(tiny, "rollback", kl_tax=1e9, validation_success=1.1, validations=2, max_rollbacks=1)
    config = replace(
        config,
        astarpo=replace(config.astarpo, learning_rate=1e-4, steps=8),
        evaluation=replace(config.evaluation, validate_every=4, validation_episodes=1),
        run=replace(config.run, checkpoint_every=1),
    )
    with pytest.raises(AlarmError, match=r"rolled back 1 times.*from before the trouble is .*step-000000"):
        learn(config, folder)
    rung = [(alarm["step"], alarm["last_good_step"], alarm["rollbacks"]) for alarm in lines(folder, "alarm")]
    assert rung == [(8, 0, 0), (8, 0, 1)]


def test_a_repeated_step_meets_other_draws(tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps the run might take: with a budget of tokens the limit is often out of reach."""
    draws: list[tuple[int, list[Instance]]] = []

    def watched(learner: Learner, config: TrainConfig) -> list[Instance]:
        draws.append((learner.rollbacks, choose_instances(learner, config)))
        return draws[-1][1]

    monkeypatch.setattr(loop, "choose_instances", watched)
    config = collapsing(tiny, "rollback", rollback_learning_rate=1.0, max_rollbacks=2)
    with pytest.raises(AlarmError):
        learn(replace(config, astarpo=replace(config.astarpo, steps=10**9)), folder)
    assert {rollbacks for rollbacks, _ in draws} == {0, 1, 2}
    played = [instance for _, instances in draws for instance in instances]
    fresh = [instance.index for instance in played if instance.index >= FRESH_INSTANCES]
    assert len(set(fresh)) == len(fresh) and set(map(level_of, fresh)) == {TARGET}
    assert len({instance.seed for instance in played}) == len(played)


# Killed around a rollback ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone; what is on the disk is all there is."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def at_the_alarm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run, "roll_back", killed)


def before_the_save(patch: pytest.MonkeyPatch) -> None:
    save = run.checkpoint_learner
    patch.setattr(
        run, "checkpoint_learner", lambda learner, *rest: (killed if learner.rollbacks else save)(learner, *rest)
    )


def after_the_save(patch: pytest.MonkeyPatch) -> None:
    save = run.checkpoint_learner

    def save_and_die(learner: Learner, *rest: Any) -> None:
        save(learner, *rest)
        if learner.rollbacks:
            raise Killed

    patch.setattr(run, "checkpoint_learner", save_and_die)


def in_the_repetition(patch: pytest.MonkeyPatch) -> None:
    add = Metrics.add

    def add_and_die(metrics: Metrics, phase: str, numbers: dict[str, Any]) -> None:
        add(metrics, phase, numbers)
        if phase == "astarpo" and numbers["rollbacks"] and numbers["step"] >= 5:
            raise Killed

    patch.setattr(Metrics, "add", add_and_die)


@pytest.mark.parametrize("moment", [at_the_alarm, before_the_save, after_the_save, in_the_repetition])
def test_a_run_killed_around_a_rollback_ends_with_the_same_bits(
    tiny: TrainConfig, folder: Path, tmp_path: Path, moment: Callable[[pytest.MonkeyPatch], None]
) -> None:
    alone = shutil.copytree(folder, tmp_path / "alone")
    config = collapsing(tiny, "rollback", rollback_learning_rate=1e-3)
    learn(config, alone)
    with pytest.MonkeyPatch.context() as patch:
        moment(patch)
        with pytest.raises(Killed):
            learn(config, folder)
    learn(config, folder)
    one, other = contents(folder), contents(alone)
    assert [line["rollbacks"] for line in other["alarms"]] == [0]
    for part, expected in other.items():
        assert one[part] == expected, part

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
from tests.trainers.harness import with_learning

from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.trainers import loop as loop_module
from turngym.trainers import run_checkpoints
from turngym.trainers.base_model import prepare_base
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from turngym.trainers.config import MonitorsConfig, TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, TARGET, level_of
from turngym.trainers.loop import Loop
from turngym.trainers.monitoring import monitors as monitors_module
from turngym.trainers.monitoring import retrieval
from turngym.trainers.monitoring.alarms import Alarm, AlarmError, Alarms, Thresholds
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import TrainingRun
from turngym.trainers.run_checkpoints import RunCheckpoints
from turngym.trainers.schedules import scheduled_learning_rate

ABSURD = 0.3
"""A learning rate at which the tiny model runs away from its reference within a few steps."""


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
    config = with_learning(config, batch_size=4, learning_rate=ABSURD, warmup_steps=0)
    return replace(config, monitors=MonitorsConfig(on_alarm=on_alarm, **monitors))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_grad_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the alarms to the distance from the reference."""
    judge_by(monkeypatch)


def judge_by(monkeypatch: pytest.MonkeyPatch, **thresholds: Any) -> None:
    """Let alarms ring beyond these thresholds, and none for a large gradient or for replies that are cut."""
    limits = Thresholds(grad_norm_ratio=1e9, cut_share=1.0, **thresholds)
    monkeypatch.setattr(Thresholds, "at", lambda sensitivity: limits)


def prepare(config: TrainConfig, folder: Path, progress: SilentProgress) -> TrainingRun:
    metrics = Metrics(folder / "metrics.jsonl")
    base = prepare_base(config, folder, metrics, progress)
    return TrainingRun(base, config, folder, metrics, progress)


def learn(config: TrainConfig, folder: Path, progress: SilentProgress | None = None) -> Loop:
    """Run or resume stage 2 from what the folder holds, and return its loop."""
    training = prepare(config, folder, progress or SilentProgress())
    training.learn()
    return training.loop


def policy(loop: Loop) -> str:
    """Name the weights of the policy."""
    return fingerprint_of(loop.learner.policy.model.state_dict())


def contents(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on interruptions."""
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    names = ("policy/model.safetensors", "optimizer.safetensors", "optimizer.json", "state.json")
    return {
        "files": [(last / name).read_bytes() for name in names],
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
        "steps": lines(folder, "learning"),
        "alarms": lines(folder, "alarm"),
    }


# Warning and stopping -------------------------------------------------------------------------------------------


def test_a_warning_changes_nothing_but_the_metrics(
    tiny: TrainConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(folder, tmp_path / "unwatched")
    config, progress = collapsing(tiny, "warn"), Notes()
    watched = learn(config, folder, progress)
    rung = lines(folder, "alarm")
    assert rung and {alarm["alarm"] for alarm in rung} == {"kl_tax"}
    assert [note.split(":")[0] for note in progress.notes] == [f"alarm kl_tax at step {a['step']}" for a in rung]
    assert all(alarm["figure"] > alarm["threshold"] == 0.2 for alarm in rung)
    assert watched.schedule.step == 6 and watched.schedule.rollbacks == 0

    # Neither measuring nor judging touches what is learned or what chance brings.
    monkeypatch.setattr(monitors_module, "measure_rollouts", lambda *_: {"predictive_std": 1.0})
    monkeypatch.setattr(loop_module, "measure_update", lambda *_, **__: {})
    unwatched = learn(config, other)
    assert lines(other, "alarm") == []
    assert policy(watched) == policy(unwatched)
    for one, another in ((watched.baseline, unwatched.baseline), (watched.successes, unwatched.successes)):
        assert one is not None and another is not None and one.state_dict() == another.state_dict()
    assert json.dumps([line["loss"] for line in lines(folder, "learning")]) == json.dumps(
        [line["loss"] for line in lines(other, "learning")]
    )


def test_retrieval_is_measured_when_it_is_due_and_changes_nothing(
    tiny: TrainConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "PROMPTS", 4)
    other = shutil.copytree(folder, tmp_path / "other")
    measured, plain = learn(replace(tiny, monitors=MonitorsConfig(retrieval_every=3)), folder), learn(tiny, other)
    due = [line["step"] for line in lines(folder, "learning") if "retrieval_accuracy" in line]
    assert due == [3, 6]
    assert all(0 <= line["retrieval_accuracy"] <= 1 for line in lines(folder, "learning") if line["step"] in due)
    assert policy(measured) == policy(plain)


def test_a_run_that_stops_is_saved_and_goes_on_past_the_alarm(tiny: TrainConfig, folder: Path) -> None:
    config = collapsing(tiny, "stop")
    with pytest.raises(AlarmError, match=r"alarm kl_tax at step \d: beta \* KL / reward range is .*, above 0.2. .*"
                       r"try a lower learning.learning_rate.*--resume goes on past the alarm"):  # fmt: skip
        learn(config, folder)
    (alarm,) = lines(folder, "alarm")
    stopped = latest_checkpoint(folder / "checkpoints")
    assert stopped is not None and load_checkpoint(stopped).step == alarm["step"] < 6
    assert (folder / "episodes" / f"train_{alarm['step']:06d}.jsonl").is_file()
    good = latest_checkpoint(folder / "checkpoints", alarm["last_good_step"])
    assert (good is not None) == (alarm["last_good_step"] >= 2)
    for _ in range(6):
        try:
            loop = learn(config, folder)
            break
        except AlarmError:  # it cleared, and rang again
            continue
    assert loop.schedule.step == 6
    assert [line["step"] for line in lines(folder, "learning")] == list(range(1, 7))
    assert len({alarm["step"] for alarm in lines(folder, "alarm")}) == len(lines(folder, "alarm"))


# Rolling back ---------------------------------------------------------------------------------------------------


def test_a_rollback_goes_back_before_the_trouble(tiny: TrainConfig, folder: Path) -> None:
    config, progress = collapsing(tiny, "rollback", rollback_learning_rate=1e-3, max_rollbacks=1), Notes()
    schedule = learn(config, folder, progress).schedule
    (alarm,) = lines(folder, "alarm")
    target = alarm["last_good_step"] - alarm["last_good_step"] % 2  # a checkpoint every two steps
    steps = [(line["rollbacks"], line["step"]) for line in lines(folder, "learning")]
    before = [(0, step) for step in range(1, alarm["step"] + 1)]
    assert steps == before + [(1, step) for step in range(target + 1, 7)]
    assert schedule.step == 6 and schedule.rollbacks == 1
    assert progress.notes[1] == f"rollback 1 of at most 1: back to step {target}"
    assert progress.place == 6 and max(progress.places) == 6
    again = [line for line in lines(folder, "learning") if line["rollbacks"]]
    for line in again:
        step = line["step"] - 1
        expected = scheduled_learning_rate(config.learning, step, step / (config.learning.steps - 1))
        assert line["learning_rate"] == pytest.approx(1e-3 * expected)
    tokens = [line["generated_tokens"] for line in lines(folder, "learning")]
    assert tokens == sorted(tokens)  # what was played in vain was played
    assert abs(again[0]["kl"]) < 1.0  # the weights are those from before


@pytest.mark.parametrize(
    ("objective", "settings", "last_good_step", "back"),
    [
        ("astarpo", {}, 3, 2),
        ("ppo", {}, 3, 2),
        ("astarpo_turn", {"baseline": "state_tracker"}, 3, 2),
        ("astarpo_turn", {"baseline": "state_tracker"}, 1, 0),  # before any value of a state was asked for
    ],
)
def test_everything_is_as_the_checkpoint_holds_it(
    tiny: TrainConfig,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    settings: dict[str, str],
    last_good_step: int,
    back: int,
) -> None:
    judge_by(monkeypatch, kl_tax=1e9)
    config = with_learning(collapsing(tiny, "rollback"), objective, learning_rate=1e-3, **settings)

    def state(loop: Loop) -> tuple[str, str]:
        tensors = dict(loop.learner.policy.model.state_dict())
        for number, entry in loop.learner.optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{name}": value for name, value in entry.items()}
        if loop.learner.critic:
            tensors |= {f"critic.{name}": value for name, value in loop.learner.critic.state_dict().items()}
        rest = [part and part.state_dict() for part in (loop.successes, loop.baseline, loop.monitors)]
        return fingerprint_of(tensors), json.dumps([loop.schedule.step, *rest])

    class Stop(Exception):
        pass

    judge = Alarms.judge

    def watch(alarms: Any, numbers: dict[str, Any], thresholds: Thresholds) -> Any:
        rung = judge(alarms, numbers, thresholds)
        if numbers["step"] != 5:
            return rung
        return [Alarm(alarm="kl_tax", step=5, figure=1.0, threshold=0.2, readings=1, last_good_step=last_good_step)]

    back_again: list[tuple[str, str]] = []
    roll_back = TrainingRun.roll_back

    def spy(training: TrainingRun, checkpoint: Path) -> None:
        roll_back(training, checkpoint)
        back_again.append(state(training.loop))
        raise Stop

    saved: list[tuple[int, tuple[str, str]]] = []
    save = RunCheckpoints.save

    def watched_save(checkpoints: RunCheckpoints) -> None:
        save(checkpoints)
        saved.append((checkpoints.loop.schedule.step, state(checkpoints.loop)))

    monkeypatch.setattr(run_checkpoints, "CHECKPOINTS_KEPT", 10)
    monkeypatch.setattr(Alarms, "judge", watch)
    monkeypatch.setattr(TrainingRun, "roll_back", spy)
    monkeypatch.setattr(RunCheckpoints, "save", watched_save)
    with pytest.raises(Stop):
        learn(config, folder)
    assert [step for step, _ in saved] == [0, 2, 4, back]
    assert back_again == [saved[back // 2][1]]
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == [f"step-{step:06}" for step in range(0, back + 1, 2)]


def test_after_the_last_rollback_an_alarm_stops_the_run(tiny: TrainConfig, folder: Path) -> None:
    config = collapsing(tiny, "rollback", rollback_learning_rate=1.0, max_rollbacks=2)
    with pytest.raises(AlarmError, match=r"Learning was rolled back 2 times\. This step is saved"):
        learn(config, folder)
    assert [alarm["rollbacks"] for alarm in lines(folder, "alarm")] == [0, 1, 2]
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None and load_checkpoint(last).extra["schedule"]["rollbacks"] == 2


def test_the_good_checkpoint_outlives_newer_ones(
    tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Validation on one hopeless instance: bad from step 2 on, and an alarm after three checks.
    judge_by(monkeypatch, kl_tax=1e9, validation_success=1.1, validations=3)
    config = with_learning(collapsing(tiny, "rollback", max_rollbacks=1), learning_rate=1e-4)
    config = replace(config, evaluation=replace(config.evaluation, validate_every=2, validation_episodes=1))
    with pytest.raises(AlarmError):
        learn(config, folder)
    rung = lines(folder, "alarm")
    assert [(alarm["alarm"], alarm["step"], alarm["last_good_step"]) for alarm in rung] == [("validation", 6, 0)] * 2
    steps = [(line["rollbacks"], line["step"]) for line in lines(folder, "learning")]
    assert steps == [(back, step) for back in (0, 1) for step in range(1, 7)]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-000000", "step-000004", "step-000006",
    ]  # fmt: skip


def test_a_first_reading_that_is_bad_finds_the_first_checkpoint(
    tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the first validation, more checkpoints were saved than are kept."""
    judge_by(monkeypatch, kl_tax=1e9, validation_success=1.1, validations=2)
    config = replace(
        with_learning(collapsing(tiny, "rollback", max_rollbacks=1), learning_rate=1e-4, steps=8),
        evaluation=replace(tiny.evaluation, validate_every=4, validation_episodes=1),
        run=replace(tiny.run, checkpoint_every=1),
    )
    with pytest.raises(AlarmError, match=r"rolled back 1 times.*from before the trouble is .*step-000000"):
        learn(config, folder)
    rung = [(alarm["step"], alarm["last_good_step"], alarm["rollbacks"]) for alarm in lines(folder, "alarm")]
    assert rung == [(8, 0, 0), (8, 0, 1)]


def test_a_repeated_step_meets_other_draws(tiny: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps the run might take: with a budget of tokens the limit is often out of reach."""
    draws: list[tuple[int, list[Instance]]] = []
    draw = PromptSampler.draw

    def watched(
        prompts: PromptSampler, step: int, rollbacks: int, successes: SuccessTracker, **proposed: Any
    ) -> list[Instance]:
        draws.append((rollbacks, draw(prompts, step, rollbacks, successes, **proposed)))
        return draws[-1][1]

    monkeypatch.setattr(PromptSampler, "draw", watched)
    config = collapsing(tiny, "rollback", rollback_learning_rate=1.0, max_rollbacks=2)
    with pytest.raises(AlarmError):
        learn(with_learning(config, steps=10**9), folder)
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
    patch.setattr(TrainingRun, "roll_back", killed)


def before_the_save(patch: pytest.MonkeyPatch) -> None:
    save = RunCheckpoints.save

    def die_or_save(checkpoints: RunCheckpoints) -> None:
        (killed if checkpoints.loop.schedule.rollbacks else save)(checkpoints)

    patch.setattr(RunCheckpoints, "save", die_or_save)


def after_the_save(patch: pytest.MonkeyPatch) -> None:
    save = RunCheckpoints.save

    def save_and_die(checkpoints: RunCheckpoints) -> None:
        save(checkpoints)
        if checkpoints.loop.schedule.rollbacks:
            raise Killed

    patch.setattr(RunCheckpoints, "save", save_and_die)


def in_the_repetition(patch: pytest.MonkeyPatch) -> None:
    add = Metrics.add

    def add_and_die(metrics: Metrics, phase: str, numbers: dict[str, Any]) -> None:
        add(metrics, phase, numbers)
        if phase == "learning" and numbers["rollbacks"] and numbers["step"] >= 5:
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

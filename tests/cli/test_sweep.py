"""`sweep`: its plan, what it refuses, and a real one that is stopped, killed and gone on with."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.tiny_run import TINY

from turngym.cli import main
from turngym.cli.options import Given, flags_of, grouped
from turngym.cli.sweep import SweepOptions, read, reason
from turngym.cli.sweep_plan import SweepPlan, parsed_axis, plan_sweep
from turngym.cli.sweep_view import SweepView, last_line
from turngym.cli.terminal import Screen
from turngym.trainers.launch.run_folder import save_config
from turngym.trainers.sweeps import Done, Work

LONG = (
    TINY.replace("{size = 2}", "{size = 2, max_episode_steps = 3}")
    .replace("steps = 2", "steps = 20")
    .replace("enabled = false", "course_steps = 30\nbatch_size = 4")
)
"""Long enough to be stopped half way: a warm start and twenty steps, in a few seconds."""


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset in the present folder."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    return "tiny.toml"


def planned(*words: str) -> SweepPlan:
    options, named, others = read(words)
    return plan_sweep(named, others, algorithms=options.algorithms, seeds=options.seeds, grid=options.grid)


# The plan -----------------------------------------------------------------------------------------------------------


def test_all_algorithms_of_a_seed_begin_from_one_base(preset: str) -> None:
    plan = planned("--preset", preset, "--algorithms", "astarpo", "grpo", "--seeds", "3", "4", "--learning.steps", "5")
    assert plan.folder == Path("runs/tiny-sweep")
    assert [run.name for run in plan.ordered] == [
        "base-seed3", "astarpo-seed3", "grpo-seed3", "base-seed4", "astarpo-seed4", "grpo-seed4",
    ]  # fmt: skip
    run = plan.runs[1]
    assert run.folder == Path("runs/tiny-sweep/grpo-seed3") and run.base == Path("runs/tiny-sweep/base-seed3")
    assert (run.config.objective.name, run.config.run.seed, run.config.learning.steps) == ("grpo", 3, 5)
    assert all(each.config.model == run.config.model for each in (*plan.bases, *plan.runs))


def test_a_grid_varies_settings_and_makes_bases_where_these_need_them(preset: str) -> None:
    plan = planned("--preset", preset, "--algorithms", "rloo", "--grid", "learning.learning-rate=1e-3,2e-3",
                   "--grid", "model.hidden_size=16,32", "--run.name", "mine", "--run.root", "elsewhere")  # fmt: skip
    assert [run.name for run in plan.bases] == ["base-hidden_size=16-seed0", "base-hidden_size=32-seed0"]
    assert [(run.name, run.base and run.base.name) for run in plan.runs] == [
        (f"rloo-learning_rate={rate}-hidden_size={size}-seed0", f"base-hidden_size={size}-seed0")
        for rate in ("0.001", "0.002") for size in (16, 32)
    ]  # fmt: skip
    assert plan.folder == Path("elsewhere/mine") and plan.runs[2].config.learning.learning_rate == 2e-3


def test_what_one_algorithm_reads_and_another_does_not_goes_to_the_first(preset: str) -> None:
    plan = planned("--preset", preset, "--algorithms", "astarpo", "grpo", "--values.samples", "3",
                   "--grid", "objective.beta=0.01,0.02")  # fmt: skip
    assert [run.name for run in plan.runs] == ["astarpo-beta=0.01-seed0", "astarpo-beta=0.02-seed0", "grpo-seed0"]
    assert [run.config.values.samples for run in plan.runs[:2]] == [3, 3]
    assert plan.notes == ["grpo does not read objective.beta, values.samples, which the others get."]


@pytest.mark.parametrize(
    ("text", "setting", "values"),
    [
        ("learning.learning_rate=1e-4,5e-4", "learning.learning_rate", ["1e-4", "5e-4"]),
        ("--learning.max-tokens=500", "learning.max_tokens", ["500"]),
        ('env.kwargs={"size": 2, "a": [1, 2]},{"size": 3}', "env.kwargs", ['{"size": 2, "a": [1, 2]}', '{"size": 3}']),
        ('env.kwargs={"a": "}, {"},{}', "env.kwargs", ['{"a": "}, {"}', "{}"]),
    ],
)
def test_values_of_a_grid_are_parted_by_commas(text: str, setting: str, values: list[str]) -> None:
    assert parsed_axis(text) == (setting, values)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "sweep needs ENV"),
        ("FrozenLake --algorithms grpoo", "there is no algorithm 'grpoo'; did you mean 'grpo'?"),
        ("FrozenLake --algorithm grpo", "name algorithms with --algorithms"),
        ("FrozenLake --run.seed 3", "name seeds with --seeds"),
        ("FrozenLake --resume x", "the same command goes on"),
        ("FrozenLake --algorithms grpo grpo", "named twice"),
        ("FrozenLake --seeds -1", "--seeds must be at least 0, got -1"),
        ("FrozenLake --jobs 0", "--jobs must be above 0"),
        ("FrozenLake --grid learning.steps", "--grid takes a setting with its values"),
        ("FrozenLake --grid run.seed=1,2", "--grid cannot vary run.seed"),
        ("FrozenLake --grid learning.steps=3 learning.steps=4", "--grid names a setting twice"),
        ("FrozenLake --grid learning.steps=3,3", "is what was named before"),
        ("FrozenLake --grid learning.stepz=3,4", "has no option --learning.stepz; did you mean '--learning.steps'?"),
        ("FrozenLake --grid learning.steps=few", "--learning.steps takes a whole number, not 'few'"),
        ("FrozenLake --algorithms rloo --objective.kl-coef 1", "rloo does not read --objective.kl-coef"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    words: str, said: str, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert said in captured.err
    assert not Path("runs").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "--preset", preset, "--algorithms", "astarpo", "grpo", "--jobs", "3", "--dry-run"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "grpo-seed0" in out and "Would train in runs/tiny-sweep, 3 at once." in out and not Path("runs").exists()


def test_words_are_parted_into_flags_and_values() -> None:
    words = ["FrozenLake", "--seeds", "1", "2", "--dry-run", "--algorithms=grpo", "rloo", "--run_name", "x", "--help"]
    assert list(grouped(words, flags_of(SweepOptions))) == [
        Given("", ["FrozenLake"], ["FrozenLake"]),
        Given("--seeds", ["1", "2"], ["--seeds", "1", "2"]),
        Given("--dry-run", [], ["--dry-run"]),
        Given("--algorithms", ["grpo", "rloo"], ["--algorithms=grpo", "rloo"]),
        Given("--run-name", ["x"], ["--run_name", "x"]),
        Given("--help", [], ["--help"]),
    ]


# What is seen -------------------------------------------------------------------------------------------------------


def test_the_reason_of_a_failure_is_the_last_line_of_its_log(preset: str) -> None:
    plan = planned("--preset", preset, "--algorithms", "grpo")
    work = Work(name="grpo-seed0", call=print, needs="base-seed0")
    log = plan.folder / "logs" / "grpo-seed0.txt"
    assert reason(Done(work=work, exit_code=1), plan) == f"exit code 1 ({log})"
    log.parent.mkdir(parents=True)
    log.write_text("stage 2\nturngym: the loss is nan\n\n")
    assert reason(Done(work=work, exit_code=1), plan) == f"the loss is nan ({log})"
    assert "signal 9" in reason(Done(work=work, exit_code=-9), plan)
    assert reason(Done(work=work, exit_code=None), plan) == "not begun, since base-seed0 failed"


def test_a_terminal_shows_how_far_the_runs_are(preset: str) -> None:
    plan = planned("--preset", preset, "--algorithms", "grpo")
    works = {Work(name=run.name, call=print): run for run in plan.ordered}
    screen = io.StringIO()
    times = iter([0.0, 0.5, 5.0, 5.5])
    with SweepView(plan, Screen(file=screen, force_terminal=True, width=90), works, lambda: next(times)) as view:
        folder = plan.runs[0].folder
        folder.mkdir(parents=True)
        (folder / "config.toml").touch()
        line = {"phase": "learning", "step": 7, "success": 0.25}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + '\n{"phase": "lear')
        view.refresh()
        view.finished(plan.bases[0], 3.0)
    assert last_line(folder) == line
    shown = screen.getvalue()
    assert "learning step 7, success 0.250" in shown and "[1/2] base-seed0: base, 3 s" in shown


# A real one ---------------------------------------------------------------------------------------------------------


def wait_for(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is seen while a process runs."""
    for _ in range(2400):
        if seen():
            return
        assert process.poll() is None, "the sweep ended before it was stopped"
        time.sleep(0.05)
    raise AssertionError("it was never seen")


def steps_taken(run: Path) -> int:
    """Return how many steps a run has taken so far."""
    step = last_line(run).get("step", 0)
    return step if isinstance(step, int) else 0


def in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a run."""
    lock = folder / "run.lock"
    return lock.is_file() and bool(lock.read_text())


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_a_sweep_is_stopped_and_killed_and_trains_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(LONG)
    command = ["sweep", "--preset", "tiny.toml", "--algorithms", "reinforce", "rloo", "--seeds", "0", "1"]
    command += ["--jobs", "2", "--run.name", "s", "--run.device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    sweep = Path("runs/s")
    first = sweep / "reinforce-seed0"

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", "turngym", *command], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip

    # Ctrl-C: everything is saved, and the first process ends last.
    process = start()
    wait_for(lambda: steps_taken(first) >= 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and f"The same command goes on: turngym {' '.join(command)}" in err
    assert not in_use(first)
    stopped = steps_taken(first)
    assert (first / "checkpoints" / f"step-{stopped:06d}").is_dir() and not (first / "result.json").exists()
    base = (sweep / "base-seed0" / "base" / "model.safetensors").stat()

    # A kill: no process outlives it.
    process = start()
    wait_for(lambda: steps_taken(first) >= stopped + 2 or (first / "result.json").exists(), process)
    process.kill()
    process.communicate(timeout=120)
    folders = list(sweep.iterdir())
    for _ in range(600):
        if not any(map(in_use, folders)):
            break
        time.sleep(0.05)
    assert not any(map(in_use, folders))

    # The same command goes on, and nothing was begun anew.
    process = start()
    out, err = process.communicate(timeout=400)
    assert (process.returncode, err) == (0, ""), out + err
    assert "4 of 4 runs are done" in out and "reinforce-seed1: success" in out
    for seed in (0, 1):
        for algorithm in ("reinforce", "rloo"):
            run = sweep / f"{algorithm}-seed{seed}"
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            assert [line["step"] for line in lines if line["phase"] == "learning"] == list(range(1, 21))
            assert not [line for line in lines if line["phase"] == "warm_start"]
            own, shared = (each / "base" / "model.safetensors" for each in (run, sweep / f"base-seed{seed}"))
            assert own.samefile(shared)
    assert (sweep / "base-seed0" / "base" / "model.safetensors").stat().st_mtime_ns == base.st_mtime_ns
    compare_the_sweep(sweep, capsys)


def compare_the_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the sweep left is compared, shown as complete runs, and gone on with alone."""
    times = {path: path.stat().st_mtime_ns for path in sweep.rglob("*.safetensors")}
    assert main(["compare", str(sweep), "--out", "out", "--reference", "rloo"]) == 0
    shown = capsys.readouterr().out
    assert "reinforce minus rloo" in shown and "paired, 2 seeds" in shown and "Not complete" not in shown
    kept: dict[str, Any] = json.loads(Path("out/compare.json").read_text())
    assert [len(group["runs"]) for group in kept["groups"]] == [2, 2]
    assert main(["train", "--resume", str(sweep / "rloo-seed1")]) == 0
    assert "is complete" in capsys.readouterr().out
    assert main(["evaluate", str(sweep / "base-seed1"), "--episodes", "4"]) == 0
    assert "its base plays" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*.safetensors")} == times


def test_another_sweep_in_the_same_place_is_refused(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", preset, "--algorithms", "grpo", "--jobs", "1", "--dry-run"]
    plan = planned(*words[:-3])
    plan.runs[0].folder.mkdir(parents=True)
    save_config(plan.runs[0].folder, plan.runs[0].config)
    assert main(["sweep", *words]) == 0
    assert main(["sweep", *words, "--run.checkpoint-every", "7"]) == 0  # touches nothing that is learned
    capsys.readouterr()
    assert main(["sweep", *words, "--learning.batch-size", "16"]) == 2
    said = capsys.readouterr().err
    assert "was begun with learning.batch_size 8, not 16: give this sweep a name of its own with --run.name" in said

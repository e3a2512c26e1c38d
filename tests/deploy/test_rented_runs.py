"""A real training under the cap: killed with its machine, stopped by the clock, and in the end as if left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from deploy.attempt import AT_THE_CAP, FINISHED, Pace, attempt
from deploy.job import Job
from tests.deploy.conftest import outcome

from turngym.trainers.checkpoints.checkpoint import latest_checkpoint

ROOT = Path(__file__).parents[2]
PACE = Pace(beat=0.5, save=0.1, look=0.02, grace=60.0)
PROGRAM = f"""
import json, sys
from pathlib import Path
from deploy.attempt import Pace, attempt
from deploy.job import Job
attempt(Job(**json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), pace={PACE!r})
"""


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.timeout(1200)  # four processes load torch
def test_a_run_that_is_killed_and_stopped_by_the_clock_ends_as_one_that_was_left_alone(
    job: Job, alone: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume, machine = tmp_path / "volume", tmp_path / "machine-1"
    place, run = volume / "rented", machine / "rented"

    # The machine disappears in the middle of step 3 or after it, with all that is on it.
    above = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(asdict(job)), str(volume), str(machine)], cwd=ROOT
    )
    wait_for(run / "checkpoints" / "step-000002" / "manifest.json", above)
    below = json.loads((run / "run.lock").read_text())["pid"]
    os.kill(below, signal.SIGSTOP)
    wait_for(place / "run" / "checkpoints" / "step-000002" / "manifest.json", above)
    above.kill()
    os.kill(below, signal.SIGKILL)
    above.wait()
    shutil.rmtree(machine)
    assert not (place / "run" / "result.json").exists()
    kept = latest_checkpoint(place / "run" / "checkpoints", tell=pytest.fail)
    assert kept is not None and kept.name == "step-000002"
    (line,) = json.loads((place / "spent.json").read_text())
    assert line["end"] == "" and line["seconds"] > job.start

    # The next one is stopped by the clock, wherever it is by then.
    short = replace(job, max_dollars=line["seconds"] + job.start + 3 * job.reserve)
    stopped = attempt(short, volume, tmp_path / "machine-2", pace=PACE)
    assert stopped.dollars is not None and stopped.dollars <= short.max_dollars
    assert stopped.end == AT_THE_CAP or (place / "run" / "result.json").exists()

    capfd.readouterr()
    assert attempt(job, volume, tmp_path / "machine-3", pace=PACE).end == FINISHED
    assert "damaged" not in capfd.readouterr().out
    assert outcome(place / "run") == alone
    assert (place / "run" / "report.html").is_file()

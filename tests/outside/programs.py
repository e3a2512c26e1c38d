"""Programs and command lines of turngym in processes of their own, which find a package of somebody else or do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent / "package"
RUN_ALL = """
import contextlib, io, json, sys
from turngym.cli import main
answers = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""

SECONDS = (
    "--warm-start.success-low", "0", "--warm-start.success-high", "1", "--warm-start.check-episodes", "20",
    "--learning.steps", "2", "--learning.batch-size", "16", "--evaluation.episodes", "4",
)  # fmt: skip
"""A run of seconds."""
HASTY = ("--warm-start.course-steps", "5")
PLAYERS = ("random", "base, sampled", "base, greedy", "trained, sampled", "trained, greedy", "optimum")


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str


def run_python(program: str, *, cwd: Path, site: Path | None = None, text: str = "") -> str:
    """Run a program that finds what is installed in `site`, with every warning an error; return what it prints."""
    search = os.pathsep.join([*([str(site)] if site else []), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-P", "-c", program], input=text, cwd=cwd,
        env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_commands(commands: Sequence[Sequence[str]], *, cwd: Path, site: Path | None = None) -> list[Answer]:
    """Run command lines of turngym one after the other in one process, which loads torch once."""
    printed = run_python(RUN_ALL, cwd=cwd, site=site, text=json.dumps(commands))
    return [Answer(*answer) for answer in json.loads(printed)]


def rows(answer: Answer) -> dict[str, str]:
    """Return the second column of a table by the first."""
    return dict(re.findall(r"^(\S.*?) +(unknown|\d\.\d{3})\b", answer.out, re.MULTILINE))

"""The page about code of one's own shows the package that is tested, and its commands and its program run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.outside.programs import HASTY, PACKAGE, PLAYERS, SECONDS, rows, run_commands, run_python

PAGE = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text(encoding="utf-8")
SHORT = """
    learning={"steps": 2, "batch_size": 8},
    evaluation={"episodes": 4},
    warm_start={"success_low": 0, "course_steps": 5, "check_episodes": 4, """


def blocks(language: str) -> list[str]:
    """Return what stands in the code blocks of a language on the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_shows_every_file_of_the_package() -> None:
    paths = [path for kind in ("py", "toml") for path in PACKAGE.rglob(f"*.{kind}")]
    files = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert len(files) == len(paths) == 8
    *shown, program = blocks("python")
    assert sorted([*shown, *blocks("toml")]) == sorted(files.values())
    assert all(f"`{name}`" in PAGE for name in files) and "turngym.train(" in program


def test_its_commands_and_then_its_program_run(installed: Path, tmp_path: Path) -> None:
    words = [
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()
    ]
    assert words[0] == ["pip", "install", "."]
    lines = [line[1:] + [*SECONDS, *HASTY] * (line[1] == "train") for line in words[1:]]
    answers = run_commands(lines, cwd=tmp_path, site=installed)
    assert [(answer.code, answer.err) for answer in answers] == [(0, "")] * 6
    assert rows(answers[0])["bisect"] == "1.000" and rows(answers[2]).keys() >= {*PLAYERS}
    assert "word-games of word-games 1.0, word-losses of word-games 1.0" in answers[5].out
    assert " guess," in answers[5].out and "All is well." in answers[5].out
    short = blocks("python")[-1].replace("warm_start={", SHORT.strip())
    *table, rate = run_python(short, cwd=tmp_path, site=installed).splitlines()
    assert {line.split("  ")[0] for line in table} >= {*PLAYERS}
    assert 0 <= float(rate) <= 1

"""`bench check`: a planted figure is reported, runs are checked where they are given, and the pages of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.tiny_run import TINY
from tests.docs.blocks import ROOT

from turngym.benchmarks.checking import marked_tables
from turngym.cli import main

LAKE = """Before.

<!-- turngym bench games --envs FrozenLake Countdown --episodes 8 --scripted random oracle
trained: trained, greedy -->

| environment | turns | random | oracle | optimum | trained |
|---|---|---|---|---|---|
| `FrozenLake-v0` | 10 | .250 | 1.000 | 1.000 | .500 |
| `Countdown-v0` | 5 | .125 | 1.000 | 1.000 | not run |
"""
UPWARDS = """
from turngym.agents.scripted import ScriptedAgent

class Upwards(ScriptedAgent):
    def choose(self, seat):
        return "up"
"""
RANDOM = {"FrozenLake-v0": ".250", "Countdown-v0": ".125"}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A page whose figures come out, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "README.md"
    path.write_text(LAKE)
    main(["bench", "check", "--write"])
    capsys.readouterr()
    return path


def test_a_wrong_figure_is_reported_and_put_right(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "check"]) == 0
    out = capsys.readouterr().out
    assert "README.md:3, turngym bench games --envs FrozenLake Countdown" in out
    assert "of 9 figures 8 come out, 0 do not, 1 were not checked." in out
    assert "not checked: trained needs the runs (1)" in out
    right = page.read_text()
    row = next(line for line in right.splitlines() if line.startswith("| `Countdown-v0`"))
    random = row.split(" | ")[2]
    page.write_text(right.replace(f"| 5 | {random} |", "| 5 | .777 |"))
    assert main(["bench", "check", "README.md"]) == 1
    assert f"README.md:9: Countdown-v0, random: .777 is written, {random} comes out" in capsys.readouterr().out
    assert main(["bench", "check", "README.md", "--write"]) == 0
    assert "README.md was written." in capsys.readouterr().out and page.read_text() == right


def test_a_run_is_checked_where_it_is_given(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.toml").write_text(TINY)
    assert main(["train", "FrozenLake", "--preset", "tiny.toml", "--run.name", "lake-seed0"]) == 0
    assert main(["bench", "check", "--agent", "runs/lake-seed0"]) == 1
    out = capsys.readouterr().out
    assert "README.md:8: FrozenLake-v0, trained: .500 is written, .000 comes out" in out and "not checked:" not in out
    assert main(["bench", "check", "--agent", "runs/lake-seed0", "--within", "0.5"]) == 0
    with_agent = page.read_text().replace("--episodes 8", "--episodes 8 --agent mine=runs/lake-seed0")
    page.write_text(with_agent)
    assert main(["bench", "check"]) == 1
    page.write_text(with_agent.replace("runs/lake-seed0", "runs/gone"))
    assert main(["bench", "check"]) == 0, "a run that is not here is no fault"


def test_an_agent_of_a_module_is_checked(page: Path, own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_code / "upwards.py").write_text(UPWARDS)
    text = page.read_text().replace("--episodes 8", "--episodes 8 --agent upwards:Upwards")
    page.write_text(text.replace("trained |\n", "upwards:Upwards |\n").replace(".500 |", ".999 |"))
    assert main(["bench", "check"]) == 1
    out = capsys.readouterr().out
    assert "README.md:8: FrozenLake-v0, upwards:Upwards: .999 is written, .125 comes out" in out
    page.write_text(text.replace("upwards:Upwards", "gone:Upwards"))
    assert main(["bench", "check"]) == 2
    assert "README.md:3: there is no module 'gone': it is neither installed" in capsys.readouterr().err


def test_a_table_of_the_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("""<!-- turngym bench webshop --num-products 60 --protocols fixed --scripted oracle -->

| agent | success | 95% over goals | turns | seconds |
|---|---|---|---|---|
| oracle | .900 | [.500, 1.000] | 4.0 | 1.0 |
""")
    assert main(["bench", "check", "page.md"]) == 1
    out = capsys.readouterr().out
    assert "page.md:5: oracle, success: .900 is written, 1.000 comes out" in out
    assert "not checked: seconds is of the machine (1)" in out
    assert main(["bench", "check", "page.md", "--write"]) == 0 and main(["bench", "check", "page.md"]) == 0


def test_what_bench_games_writes_is_checked_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "games", "--envs", "WebShop", "FrozenLakeWindy", "--episodes", "5", "--seeds", "0", "1"]) == 0
    assert main(["bench", "check", "runs/bench_games/games.md"]) == 0
    assert capsys.readouterr().out.count(" 0 do not, ") == 2


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        (None, [], "there is none of README.md, docs/results.md, docs/webshop.md here: name the pages"),
        (None, ["gone.md"], "gone.md cannot be read"),
        ("# Page\n", [], "no table is marked in README.md; a mark is a comment above it"),
        (LAKE.replace("games", "audit", 1), [], "README.md:3: tables of bench games and of bench webshop can be"),
        (LAKE.replace("--envs", "--evns", 1), [], "README.md:3: bench games has no option --evns"),
        (LAKE.replace("|---|---|---|---|---|---|\n", ""), [], "README.md:3: no table follows the mark"),
        (LAKE, ["--within", "-1"], "--within must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_checked(
    text: str | None, words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("README.md").write_text(text)
    assert main(["bench", "check", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err and not Path("runs").exists()


def test_the_tables_of_the_project_are_marked() -> None:
    tables = {name: list(marked_tables(ROOT / name)) for name in ("README.md", "docs/results.md", "docs/webshop.md")}
    assert {name: [table.words[0] for table in found] for name, found in tables.items()} == {
        "README.md": ["games"], "docs/results.md": ["games"], "docs/webshop.md": ["webshop"]}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_figures_of_the_project_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["bench", "check", "--out", str(tmp_path)]) == 0

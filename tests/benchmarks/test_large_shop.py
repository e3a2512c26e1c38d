"""The benchmark of a large catalogue, on a small one: every part is measured and leaves its files."""

from __future__ import annotations

from pathlib import Path

from turngym.benchmarks.large_shop import Options, main
from turngym.webshop_server.catalogue import open_catalogue
from turngym.webshop_server.search import BM25Index


def test_the_page_holds_every_part(tmp_path: Path) -> None:
    path = tmp_path / "large.md"
    options = Options(tmp_path / "large", num_products=50, searches=5, episodes=5, out=path)
    page = main(options)
    assert page == path.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == ["", "---", "catalogue", "index bm25", "engine", "---", "bm25"]
    assert all(row[-1] not in {"", "0"} for row in rows)
    catalogue = open_catalogue(str(options.catalogue))
    assert len(BM25Index.load(tmp_path / "large" / "bm25", fingerprint=catalogue.fingerprint)) == 50

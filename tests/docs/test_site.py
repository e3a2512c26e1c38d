"""The documentation site: it builds without a warning, no link in it is dead, and nothing is loaded from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from tests.docs.blocks import ROOT

import site_pages
from turngym.envs import env_ids

LOADED = {"script": "src", "img": "src", "link": "href"}
"""What a page loads, by the attribute that names it."""


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") != "canonical":
            self.loaded.append(given[LOADED[tag]])


def dead_links(folder: Path) -> Iterator[str]:
    """Yield every link and everything loaded within a site that leads nowhere, files and anchors alike."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            place, anchor = urldefrag(unquote(link))
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if path.name == "404.html":
                continue
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                yield f"{path.relative_to(folder.resolve())}: {link}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason="the site is built with the extra docs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(900)
def test_no_link_is_dead(site: Path) -> None:
    assert list(dead_links(site)) == []


@pytest.mark.timeout(900)
def test_every_page_is_there(site: Path) -> None:
    by_hand = (path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    pages = [*site_pages.page_names(), *by_hand]
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {page.removesuffix(".md") + ".html" for page in pages} <= built
    assert not list(site.rglob("*.py"))


@pytest.mark.timeout(900)
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = Page(path.read_text(encoding="utf-8")).loaded
        assert [address for address in loaded if urlsplit(address).netloc] == [], path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_fit_a_narrow_screen(site: Path, scheme: str, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    for env_id in env_ids():
        view.goto((site / site_pages.page_of(env_id)).with_suffix(".html").as_uri())
        pictures = view.locator("figure > img, figure > iframe")
        assert pictures.count() == 1 and view.evaluate("document.documentElement.scrollWidth") <= 390
        box, paper = pictures.bounding_box(), view.locator("body").evaluate("one => getComputedStyle(one).colorScheme")
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] > 60 and scheme in paper
    inside = view.frame_locator("figure > iframe").locator("body")
    dark = inside.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark") and inside.evaluate("() => origin") == "null"
    assert [address for address in asked if urlsplit(address).scheme not in ("file", "data", "about")] == []
    view.close()


@pytest.mark.timeout(900)
def test_formulas_fit_a_narrow_screen(site: Path, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 390, "height": 800})
    for path in sorted((site / "algorithms").glob("*.html")):
        view.goto(path.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert view.locator("math").count() > 0
    view.close()


@pytest.mark.timeout(900)
def test_formulas_and_docstrings_are_written(site: Path) -> None:
    formulas = (site / "algorithms" / "astarpo_theory.html").read_text(encoding="utf-8")
    assert "<math" in formulas and "arithmatex" not in formulas
    reference = (site / "reference" / "turngym.envs.html").read_text(encoding="utf-8")
    assert "It is unknown" not in reference and "A game played in text, one reply per turn." in reference


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="b.html#gone">b</a><a href="c.html">c</a>')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="https://example.org/gone">out</a><img src="x.png">')
    assert sorted(dead_links(tmp_path)) == ["a.html: b.html#gone", "a.html: c.html", "b.html: x.png"]

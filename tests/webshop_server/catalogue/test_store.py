from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.files import CatalogueFiles, read_records
from turngym.webshop_server.catalogue.generated import generate_catalogue, generate_records
from turngym.webshop_server.catalogue.records import ProductRecords, RecordError
from turngym.webshop_server.catalogue.store import CatalogueStoreError, StoredCatalogue, seal, write_catalogue

NUM_PRODUCTS = 300
TEXTS = st.text(max_size=20)
ITEMS = st.fixed_dictionaries({
    "asin": st.text(min_size=1, max_size=10).filter(lambda asin: asin != "nan"),
    **dict.fromkeys(("name", "full_description", "small_description", "category", "query", "product_category"), TEXTS),
})  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "a shop?#%41.sqlite"
    assert write_catalogue(path, generate_records(NUM_PRODUCTS)) == NUM_PRODUCTS
    return path


@pytest.fixture
def stored(path: Path) -> Iterator[StoredCatalogue]:
    with StoredCatalogue(path) as catalogue:
        yield catalogue


@pytest.fixture
def changed(path: Path, tmp_path: Path) -> Any:
    """Write a copy of the file that a statement has changed, with a checksum that is right."""

    def change(statement: str) -> Path:
        copied = Path(shutil.copy(path, tmp_path / "changed.sqlite"))
        os.truncate(copied, copied.stat().st_size // 8192 * 8192)
        with closing(sqlite3.connect(copied, isolation_level=None)) as database:
            database.execute(statement)
        seal(copied)
        return copied

    return change


def test_a_stored_catalogue_equals_the_one_in_memory(stored: StoredCatalogue) -> None:
    memory = generate_catalogue(NUM_PRODUCTS)
    assert list(stored) == list(memory)
    assert len(stored) == len(memory)
    assert dict(stored) == dict(memory)
    assert stored.fingerprint == memory.fingerprint


def test_the_original_catalogue_is_stored_as_it_is(
    recordings: Path, original_catalogue: Catalogue, tmp_path: Path
) -> None:
    files = CatalogueFiles.recognize(recordings.glob("*.json.gz"))
    assert write_catalogue(tmp_path / "shop.sqlite", read_records(files)) == 1000
    with StoredCatalogue(tmp_path / "shop.sqlite") as stored:
        assert list(stored.items()) == list(original_catalogue.items())
        assert stored.fingerprint == original_catalogue.fingerprint


@settings(max_examples=20)
@given(items=st.lists(ITEMS, max_size=4), again=st.booleans())
def test_any_products_are_stored_as_in_memory(
    tmp_path_factory: pytest.TempPathFactory, items: Any, again: bool
) -> None:
    records = [ProductRecords(item) for item in (items * 2 if again else items)]
    path = tmp_path_factory.mktemp("store") / "shop.sqlite"
    memory = Catalogue(record.build() for record in records)
    assert write_catalogue(path, records) == len(memory)
    with StoredCatalogue(path) as stored:
        assert list(stored.items()) == list(memory.items())
        assert stored.fingerprint == memory.fingerprint


def test_halves_of_surrogate_pairs_are_kept(tmp_path: Path) -> None:
    item = dict(next(iter(generate_records(10))).item) | {"asin": "A\ud83d", "name": "\ude00"}
    write_catalogue(tmp_path / "shop.sqlite", [ProductRecords(item)])
    with StoredCatalogue(tmp_path / "shop.sqlite") as stored:
        assert [(asin, product.title) for asin, product in stored.items()] == [("A\ud83d", "\ude00")]


@pytest.mark.parametrize("absent", ["", "B000000000", "\ud800", 5, None])
def test_what_is_absent_is_absent(stored: StoredCatalogue, absent: Any) -> None:
    assert absent not in stored
    assert stored.get(absent) is None
    with pytest.raises(KeyError):
        stored[absent]


def test_products_asked_for_again_are_not_built_again(path: Path) -> None:
    with StoredCatalogue(path, cached_products=1) as stored:
        first, second = list(stored)[:2]
        product = stored[first]
        assert stored[first] is product
        assert stored[second].asin == second
        assert stored[first] is not product
        assert stored[first] == product


def test_threads_share_a_catalogue(stored: StoredCatalogue) -> None:
    asins = list(stored)
    with ThreadPoolExecutor(8) as pool:
        titles = list(pool.map(lambda asin: stored[asin].title, asins * 4))
    assert titles == [stored[asin].title for asin in asins] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_it(stored: StoredCatalogue) -> None:
    def child(connection: Any) -> None:
        connection.send(dict(stored) == dict(generate_catalogue(NUM_PRODUCTS)))

    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(sender,))
    process.start()
    assert receiver.poll(60) and receiver.recv()
    process.join()
    assert len(dict(stored)) == NUM_PRODUCTS


def test_it_is_sent_to_other_processes_by_its_path(stored: StoredCatalogue) -> None:
    with copy.copy(stored) as other:
        assert other is not stored
        assert other.path == stored.path
        assert dict(other) == dict(stored)


def test_a_closed_catalogue_is_of_no_use(path: Path) -> None:
    with StoredCatalogue(path) as stored:
        asin = next(iter(stored))
    with pytest.raises(sqlite3.ProgrammingError):
        stored[asin]


def test_a_file_in_a_folder_that_cannot_be_written_to_is_read(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    copied = Path(shutil.copy(path, folder / "shop.sqlite"))
    copied.chmod(0o400)
    folder.chmod(0o500)
    try:
        with StoredCatalogue(copied) as stored:
            assert len(dict(stored)) == NUM_PRODUCTS
        assert [one.name for one in folder.iterdir()] == ["shop.sqlite"]
    finally:
        folder.chmod(0o700)


def test_opening_costs_no_more_than_reading_the_file(path: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.sqlite"
    write_catalogue(large, generate_records(20 * NUM_PRODUCTS))

    def cost(path: Path) -> tuple[float, int]:
        times = []
        tracemalloc.start()
        for _ in range(10):
            begin = time.perf_counter()
            StoredCatalogue(path).close()
            times.append(time.perf_counter() - begin)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return min(times), peak

    cost(path)
    (small_time, small_peak), (large_time, large_peak) = cost(path), cost(large)
    assert large_time < 5 * small_time + 0.01 + large.stat().st_size / 2e8
    assert large_peak < 2 * small_peak + 100_000


# Writing


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    def broken() -> Iterator[ProductRecords]:
        yield from generate_records(10)
        yield ProductRecords({"asin": "X"})

    path = tmp_path / "shop.sqlite"
    with pytest.raises(RecordError):
        write_catalogue(path, broken())
    assert not list(tmp_path.iterdir())
    write_catalogue(path, generate_records(20))
    before = path.read_bytes()
    with pytest.raises(RecordError):
        write_catalogue(path, broken())
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_writing_replaces_the_file_and_readers_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    write_catalogue(path, generate_records(20))
    with StoredCatalogue(path) as old:
        write_catalogue(path, generate_records(30, seed=1))
        assert dict(old) == dict(generate_catalogue(20))
        with StoredCatalogue(path) as new:
            assert dict(new) == dict(generate_catalogue(30, seed=1))


def test_the_same_products_make_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    for path in paths:
        write_catalogue(path, generate_records(50))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_has_the_permissions_of_any_new_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"absent/shop\.sqlite cannot be written"):
        write_catalogue(tmp_path / "absent" / "shop.sqlite", generate_records(10))


def test_rows_hold_the_records_in_the_form_of_the_original(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        texts = [text for (text,) in database.execute("SELECT records FROM records ORDER BY position LIMIT 20")]
    assert [json.loads(text) for text in texts] == json.loads(json.dumps(list(generate_records(20))))


# Files that are no catalogue


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueStoreError, match=r"absent\.sqlite cannot be opened"):
        StoredCatalogue(tmp_path / "absent.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 3\x00", os.urandom(8192)])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shop.sqlite"
    path.write_bytes(content)
    with pytest.raises(CatalogueStoreError, match=r"is no catalogue, or is damaged|not a catalogue of turngym"):
        StoredCatalogue(path)


def test_a_database_of_another_program_is_refused(changed: Any) -> None:
    with pytest.raises(CatalogueStoreError, match="not a catalogue of turngym"):
        StoredCatalogue(changed("PRAGMA application_id = 5"))


def test_another_schema_is_refused(changed: Any) -> None:
    with pytest.raises(CatalogueStoreError, match="has schema 99, this version reads 3"):
        StoredCatalogue(changed("PRAGMA user_version = 99"))


def test_a_file_that_is_cut_off_is_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    (tmp_path / "short.sqlite").write_bytes(content[: len(content) // 2])
    with pytest.raises(CatalogueStoreError, match=r"is damaged"):
        StoredCatalogue(tmp_path / "short.sqlite")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET records = 'nothing'",
        "UPDATE records SET records = '[{}, null, []]'",
        "UPDATE records SET records = '[1]'",
        "DROP TABLE records",
    ],
)
def test_damage_is_found_when_it_is_met(changed: Any, statement: str) -> None:
    with (
        StoredCatalogue(changed(statement)) as stored,
        pytest.raises(CatalogueStoreError, match=r"changed\.sqlite is (no catalogue, or is )?damaged"),
    ):
        stored[next(iter(stored))]


def test_one_flipped_bit_is_found_wherever_it_is(path: Path, tmp_path: Path) -> None:
    content, rng = bytearray(path.read_bytes()), random.Random(0)
    places = [rng.randrange(8 * len(content)) for _ in range(150)]
    places += [*range(8 * 16, 8 * 28), *range(8 * 68, 8 * 72), *range(8 * (len(content) - 23), 8 * len(content))]
    for place in places:
        content[place // 8] ^= 1 << place % 8
        (tmp_path / "flipped.sqlite").write_bytes(content)
        with pytest.raises(CatalogueStoreError, match=r"damaged|catalogue of turngym|write it anew"):
            StoredCatalogue(tmp_path / "flipped.sqlite")
        content[place // 8] ^= 1 << place % 8
    for damaged in (content[8192:], content[:-1], content + b"x", content[:8192] + bytes(8192) + content[16384:]):
        (tmp_path / "flipped.sqlite").write_bytes(damaged)
        with pytest.raises(CatalogueStoreError, match="damaged"):
            StoredCatalogue(tmp_path / "flipped.sqlite")
    (tmp_path / "flipped.sqlite").write_bytes(content)
    with StoredCatalogue(tmp_path / "flipped.sqlite") as stored:
        assert len(stored) == NUM_PRODUCTS

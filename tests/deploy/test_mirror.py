"""The copy of a run folder: whole parts, in an order that can be resumed from, while the run goes on writing."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Lock

import pytest
from deploy import mirror as mirroring
from deploy.mirror import Mirror, parts


def write(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


UNCOPIED = {"run.lock", "checkpoints/.step-000075.1f.tmp/state.json", "served/step-000051/model.safetensors"}
"""What is unfinished, or of this process alone."""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write(
        folder, "config.toml", "run.lock", "metrics.jsonl", "base/model.safetensors",
        "checkpoints/step-000025/state.json", "checkpoints/step-000050/policy/model.safetensors",
        "checkpoints/.step-000075.1f.tmp/state.json",
        "episodes/train_000025.jsonl", "references/round-2/model.safetensors", "served/step-000051/model.safetensors",
    )  # fmt: skip
    return folder


def test_the_copy_is_the_run_without_what_is_unfinished(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    Mirror(run, copy).save()
    assert files(copy) == files(run) - UNCOPIED


def test_it_follows_the_run(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    mirror = Mirror(run, copy)
    mirror.save()
    before = (copy / "base" / "model.safetensors").stat()
    shutil.rmtree(run / "checkpoints" / "step-000025")
    write(run, "checkpoints/step-000075/state.json", "metrics.jsonl", text="newer")
    mirror.save()
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"step-000050", "step-000075"}
    assert (copy / "metrics.jsonl").read_text() == "newer"
    assert (copy / "base" / "model.safetensors").stat().st_ino == before.st_ino, "what is the same is left alone"


def test_checkpoints_come_after_what_they_count_on_and_the_result_comes_last(run: Path) -> None:
    write(run, "result.json", "values.sqlite", "warm_start/step-000300/state.json")
    order = [str(part) for part in sorted(parts(run), key=mirroring._order)]
    assert order == [
        "config.toml", "episodes/train_000025.jsonl", "metrics.jsonl", "values.sqlite", "base", "references/round-2",
        "warm_start/step-000300", "checkpoints/step-000025", "checkpoints/step-000050", "result.json",
    ]  # fmt: skip


@pytest.mark.parametrize("stop", range(1, 24))
def test_wherever_a_copy_ends_no_checkpoint_is_newer_than_what_it_counts_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """The run makes a step before every file that is copied: lines, values and a model, and then the checkpoint."""
    folder, copy, made = tmp_path / "run", tmp_path / "copy", 0
    counted_on = ("metrics.jsonl", "values.txt", "references/round-2/model.safetensors")

    def step() -> None:
        nonlocal made
        made += 1
        write(folder, *counted_on, f"checkpoints/step-{made:06d}/state.json", text=f"{made}")

    copyfile, copies = shutil.copyfile, 0

    def meanwhile(source: Path, target: Path) -> object:
        nonlocal copies
        copies += 1
        if copies == stop:
            raise OSError(28, "No space left on device", str(target))
        step()
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    step()
    mirror = Mirror(folder, copy)
    with contextlib.suppress(OSError):
        while True:
            mirror.save()
    assert copies == stop
    kept = [int(path.read_text()) for path in copy.glob("checkpoints/*/state.json")]
    assert (max(kept, default=0) > 0) == (stop > 4)
    assert all(int((copy / name).read_text()) >= max(kept) for name in counted_on if kept)


def test_a_checkpoint_that_the_run_deletes_meanwhile_stays_in_the_copy(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    mirror = Mirror(run, copy)
    mirror.save()
    write(run, "checkpoints/step-000050/policy/model.safetensors", text="changed")
    signature = mirroring.signature

    def slow(path: Path) -> mirroring.Signature:
        if path.name == "step-000025" and path.is_dir():  # the run saves step 75 and deletes both
            shutil.rmtree(run / "checkpoints")
            write(run, "checkpoints/step-000075/state.json")
        return signature(path)

    monkeypatch.setattr(mirroring, "signature", slow)
    mirror.save()
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"step-000025", "step-000050"}
    mirror.save()
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"step-000075"}


def test_a_copy_that_is_broken_off_leaves_whole_parts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copyfile = shutil.copyfile
    made: list[str] = []

    def failing(source: Path, target: Path) -> object:
        made.append(str(source))
        if len(made) == 2:
            raise OSError(28, "No space left on device", str(target))
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", failing)
    with pytest.raises(OSError, match="No space left"):
        Mirror(run, copy).save()
    assert files(copy) == {"config.toml"}


def test_a_database_is_copied_with_what_is_in_its_log_alone(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    mirror = Mirror(run, copy)
    with closing(sqlite3.connect(run / "values.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE episodes (number)")
        for count in (1, 2):
            database.execute("INSERT INTO episodes VALUES (?)", (count,))
            mirror.save()
            with closing(sqlite3.connect(copy / "values.sqlite")) as found:
                assert found.execute("SELECT COUNT(*) FROM episodes").fetchone() == (count,)
        database.execute("BEGIN")
        database.execute("INSERT INTO episodes VALUES (3)")
        mirror.save()
        with closing(sqlite3.connect(copy / "values.sqlite")) as found:
            assert found.execute("SELECT COUNT(*) FROM episodes").fetchone() == (2,), "between two transactions"
        database.execute("COMMIT")
    assert {path.name for path in copy.glob("values*")} == {"values.sqlite"}


def test_a_database_in_a_checkpoint_is_copied_byte_by_byte(run: Path, tmp_path: Path) -> None:
    """It has a checksum, and opening it would leave files beside it."""
    store = run / "checkpoints" / "step-000050" / "values.sqlite"
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE episodes (number)")
    before = files(run)
    Mirror(run, tmp_path / "copy").save()
    assert (tmp_path / "copy" / store.relative_to(run)).read_bytes() == store.read_bytes()
    assert files(run) == before


def test_it_is_put_back_into_the_place_of_whatever_is_there(run: Path, tmp_path: Path) -> None:
    copy, elsewhere = tmp_path / "copy", tmp_path / "machine" / "run"
    Mirror(run, copy).save()
    write(copy, ".metrics.jsonl.1f.tmp", "checkpoints/.step-000075.1f.tmp/state.json")
    write(elsewhere, "of an earlier attempt")
    mirror = Mirror(elsewhere, copy)
    mirror.restore()
    assert files(elsewhere) == files(copy) == files(run) - UNCOPIED
    before = (copy / "metrics.jsonl").stat().st_ino
    mirror.save()
    assert (copy / "metrics.jsonl").stat().st_ino == before, "what was put back need not be copied again"


def test_without_a_copy_there_is_no_run(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "machine" / "run", tmp_path / "copy")
    mirror.restore()
    mirror.save()
    assert files(tmp_path) == set()


def test_no_file_of_the_copy_is_open_while_others_hold_the_lock(run: Path, tmp_path: Path) -> None:
    lock = Lock()

    class Watched:
        entered = 0

        def __enter__(self) -> None:
            assert lock.acquire(blocking=False)
            Watched.entered += 1

        def __exit__(self, *_: object) -> None:
            lock.release()

    Mirror(run, tmp_path / "copy", Watched()).save()  # type: ignore[arg-type]
    assert Watched.entered == len(files(tmp_path / "copy"))

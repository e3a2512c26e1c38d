"""Files and folders that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from turngym._durable import remove, remove_unfinished, replacement, sync, sync_tree


def write_folder(folder: Path, text: str) -> None:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the names of what is synced, and of what is renamed."""
    events: list[str] = []
    opened: dict[int, str] = {}
    open_path, fsync, rename, replace = os.open, os.fsync, Path.rename, Path.replace

    def noted_open(path: Any, *arguments: Any, **named: Any) -> int:
        descriptor = open_path(path, *arguments, **named)
        opened[descriptor] = Path(path).name
        return descriptor

    def noted_fsync(descriptor: int) -> None:
        events.append(f"sync {opened[descriptor]}")
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        events.append(f"rename {target.name}")
        return rename(self, target)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append(f"rename {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return events


def test_a_file_appears_when_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "shop.sqlite"
    with replacement(target) as unfinished:
        assert unfinished.parent == tmp_path and unfinished.name.startswith(".shop.sqlite.")
        unfinished.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new" and names(tmp_path) == ["shop.sqlite"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "shop.sqlite"
    target.write_text("old")
    with replacement(target) as unfinished:
        unfinished.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and names(tmp_path) == ["shop.sqlite"]


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write_folder(target, "old")
    (target / "of the old one alone").touch()
    with replacement(target) as unfinished:
        write_folder(unfinished, "new")
        assert (target / "inner" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["index"] and names(target) == ["inner"]
    assert (target / "inner" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("folder", [False, True])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: BaseException, folder: bool) -> None:
    target = tmp_path / "target"
    write_folder(target, "old") if folder else target.write_text("old")
    with pytest.raises(type(error)), replacement(target) as unfinished:  # noqa: PT012
        write_folder(unfinished, "new") if folder else unfinished.write_text("new")
        raise error
    assert names(tmp_path) == ["target"]
    assert (target / "inner" / "a.txt" if folder else target).read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacement(tmp_path / "target"):
        pass
    assert names(tmp_path) == []


def test_all_is_synced_before_the_rename_and_the_parent_after(tmp_path: Path, synced: list[str]) -> None:
    with replacement(tmp_path / "index") as unfinished:
        write_folder(unfinished, "new")
    assert sorted(synced[:2]) == ["sync a.txt", "sync inner"] and synced[2] == f"sync {unfinished.name}"
    assert synced[3:] == ["rename index", f"sync {tmp_path.name}"]


def test_a_file_is_synced_before_the_rename(tmp_path: Path, synced: list[str]) -> None:
    with replacement(tmp_path / "file") as unfinished:
        unfinished.touch()
    assert synced == [f"sync {unfinished.name}", "rename file", f"sync {tmp_path.name}"]


def test_an_older_folder_stands_aside_meanwhile(tmp_path: Path, synced: list[str]) -> None:
    target, aside = tmp_path / "step-1", tmp_path / "step-1.old"
    for text in ("old", "new"):
        with replacement(target, aside=aside) as unfinished:
            write_folder(unfinished, text)
    renamed = [event.removeprefix("rename ") for event in synced if event.startswith("rename ")]
    assert renamed[:3] == ["step-1", "step-1.old", "step-1"] and renamed[3].startswith(".step-1.old.")
    assert names(tmp_path) == ["step-1"]


@pytest.mark.parametrize("with_target", [False, True])
def test_what_a_crash_left_aside_is_deleted(tmp_path: Path, with_target: bool) -> None:
    target, aside = tmp_path / "step-1", tmp_path / "step-1.old"
    write_folder(aside, "older")
    if with_target:
        write_folder(target, "old")
    with replacement(target, aside=aside) as unfinished:
        write_folder(unfinished, "new")
        assert aside.exists()
    assert names(tmp_path) == ["step-1"] and (target / "inner" / "a.txt").read_text() == "new"


def test_a_rename_that_fails_puts_the_older_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "index"
    write_folder(target, "old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if to == target and (self / "inner" / "a.txt").read_text() == "new":
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), replacement(target) as unfinished:
        write_folder(unfinished, "new")
    assert names(tmp_path) == ["index"] and (target / "inner" / "a.txt").read_text() == "old"


def test_a_kill_leaves_the_older_file_and_a_leftover_that_can_be_removed(tmp_path: Path) -> None:
    target = tmp_path / "shop.sqlite"
    target.write_text("old")
    program = (
        "import os, sys, pathlib; from turngym._durable import replacement\n"
        "with replacement(pathlib.Path(sys.argv[1])) as unfinished:\n"
        "    unfinished.write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old" and len(names(tmp_path)) == 2
    remove_unfinished(tmp_path, "other*")
    assert len(names(tmp_path)) == 2
    remove_unfinished(tmp_path, "shop.*")
    assert names(tmp_path) == ["shop.sqlite"]


def test_leftover_folders_are_removed_too(tmp_path: Path) -> None:
    write_folder(tmp_path / ".step-1.12345678.tmp", "half")
    write_folder(tmp_path / "step-0", "whole")
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["step-0"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_removed_loses_its_name_first(tmp_path: Path, synced: list[str], folder: bool) -> None:
    path = tmp_path / "step-1"
    write_folder(path, "old") if folder else path.write_text("old")
    remove(path)
    assert len(synced) == 1 and synced[0].startswith("rename .step-1.")
    assert names(tmp_path) == []


def test_windows_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[str]) -> None:
    write_folder(tmp_path / "folder", "text")
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        sync(tmp_path)
    assert synced == []
    sync_tree(tmp_path / "folder")
    assert sorted(synced) == ["sync a.txt", "sync folder", "sync inner"]

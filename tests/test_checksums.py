"""Checksums: what has changed since it was written is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym._checksums import SEAL, DamagedError, seal, verify, verify_sealed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with two files, and a folder in it."""
    (tmp_path / "model.safetensors").write_bytes(bytes(range(200)))
    (tmp_path / "merges.txt").write_bytes(b"")
    (tmp_path / "README.md").write_text("About it.")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "free").write_text("x")
    seal(tmp_path)
    return tmp_path


def test_what_is_as_it_was_passes(folder: Path) -> None:
    verify_sealed(folder)
    (folder / "inner" / "free").write_text("y")
    (folder / "added.json").write_text("z")
    (folder / "README.md").write_text("More about it.")
    verify_sealed(folder)
    seal(folder)
    verify_sealed(folder)
    (folder / SEAL).unlink()
    verify_sealed(folder)


def test_every_flipped_byte_is_told(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    for place in range(len(content)):
        (folder / "model.safetensors").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(
            DamagedError, match=r"damaged: model\.safetensors has changed since it was written; restore it from a"
        ):
            verify_sealed(folder)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.safetensors", None, r"model\.safetensors is missing; restore it"),
        ("model.safetensors", b"short", r"model\.safetensors has 5 bytes instead of 200"),
        ("merges.txt", b"x", r"merges\.txt has 1 bytes instead of 0"),
        (SEAL, b"\xff{", r"checksums\.json is not readable"),
        (SEAL, b"[]", r"has a checksums\.json that this version \(schema 1\) cannot read"),
        (SEAL, b'{"schema": 1, "files": {"model.safetensors": 3}}', r"checksums\.json does not list all files"),
    ],
)
def test_damage_names_the_file(folder: Path, name: str, content: bytes | None, sentence: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DamagedError, match=sentence):
        verify_sealed(folder)


def test_a_part_may_be_checked_and_names_may_be_required(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"?" * 200)
    verify(folder / SEAL, "it", under="me")
    verify(folder / SEAL, "it", contents=False)
    with pytest.raises(DamagedError, match=r"it is damaged: model\.safetensors has changed"):
        verify(folder / SEAL, "it")
    with pytest.raises(DamagedError, match="does not list all files"):
        verify(folder / SEAL, "it", required=["state"])

"""Checksums beside JSON files: written and read as `sha256sum` does, and verified whenever a file is used."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from turngym.webshop_server.catalogue import CatalogueFileError, check, open_catalogue, write_sidecar
from turngym.webshop_server.catalogue.files import CatalogueFiles


def test_any_flipped_bit_is_found(files: CatalogueFiles) -> None:
    path, folder = files.items, str(files.items.parent)
    assert write_sidecar(path).name == "items.json.sha256"
    before = dict(open_catalogue(folder))
    content = bytearray(path.read_bytes())
    for place in range(5, 8 * len(content), len(content) // 3):
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        for source in (folder, str(path)):
            with pytest.raises(CatalogueFileError, match=r"items\.json is damaged or was changed"):
                open_catalogue(source)
        assert not check([path]).usable
        content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    assert dict(open_catalogue(folder)) == before and check([path]).usable


@pytest.mark.parametrize("text", ["", "0" * 64, f"{'0' * 64}  other.json\n", "\x00", "x  items.json\n"])
def test_what_is_no_checksum_of_the_file_is_refused(files: CatalogueFiles, text: str) -> None:
    write_sidecar(files.items).write_text(text)
    with pytest.raises(CatalogueFileError, match=r"items\.json\.sha256 is no checksum of items\.json"):
        open_catalogue(str(files.items))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_the_form_is_that_of_sha256sum(files: CatalogueFiles) -> None:
    place, folder = write_sidecar(files.items), files.items.parent
    subprocess.run(["sha256sum", "--check", "--quiet", place.name], cwd=folder, check=True)
    made = subprocess.run(["sha256sum", files.items.name], cwd=folder, check=True, capture_output=True, text=True)
    assert Path(place).read_text("utf-8") == made.stdout


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
@pytest.mark.parametrize("name", [b"b\xe4der.json", b"back\\slash.json", b"two\nlines.json", "größe.json".encode()])
def test_any_name_of_a_file_can_stand_there(files: CatalogueFiles, name: bytes) -> None:
    path = files.items.rename(files.items.with_name(os.fsdecode(name)))
    place = write_sidecar(path)
    subprocess.run(["sha256sum", "--check", "--quiet", place.name], cwd=path.parent, check=True)
    assert len(open_catalogue(str(path)))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CatalogueFileError, match="is damaged or was changed"):
        open_catalogue(str(path))

"""What is in the repository: no secret, and no path of one machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.test_docs import MACHINE_PATH

ROOT = Path(__file__).parents[2]
SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bpypi-[A-Za-z0-9_-]{50,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."
)
"""Keys and tokens in the forms that services give them."""


def tracked_texts() -> dict[str, str]:
    """Return every tracked file that is text, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of a repository")
    texts = {}
    for name in filter(None, listed.stdout.decode().split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data:
            texts[name] = data.decode("utf-8", "replace")
    return texts


def test_no_tracked_file_holds_a_secret_or_a_path_of_one_machine() -> None:
    texts = tracked_texts()
    assert len(texts) > 300 and "setup.cfg" in texts
    found = {name: SECRETS.findall(text) + MACHINE_PATH.findall(text) for name, text in texts.items()}
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "ghp_" + "a" * 36,
        "hf_" + "a" * 34,
        "sk-" + "proj-" + "a" * 40,
    ],
)
def test_what_is_looked_for_is_found(text: str) -> None:
    assert SECRETS.search(f"key = {text!r}")

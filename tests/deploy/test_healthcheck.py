"""A container is healthy while its shop answers; one without a shop is while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deploy.healthcheck import healthy, shop_address
from tests.cli.test_webshop_serve import opening, serve

PROGRAM = Path(__file__).parents[2] / "deploy" / "healthcheck.py"


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("turngym webshop serve", "http://127.0.0.1:3000/health"),
        ("python turngym webshop serve --host 0.0.0.0 --port 8080", "http://127.0.0.1:8080/health"),
        ("turngym webshop serve --port=81 --host=::", "http://[::1]:81/health"),
        ("init -- turngym webshop serve --host fd00::1", "http://[fd00::1]:3000/health"),
        ("turngym webshop generate serve.sqlite", ""),
        ("turngym train FrozenLake", ""),
        ("", ""),
    ],
)
def test_the_address_is_that_which_the_shop_was_told(words: str, address: str) -> None:
    assert shop_address(words.split()) == address


def test_a_container_without_a_shop_is_healthy() -> None:
    assert healthy(["turngym", "train", "FrozenLake"])


def check(cmdline: Path) -> int:
    """Run the program as a container engine does."""
    return subprocess.run([sys.executable, str(PROGRAM), str(cmdline)], check=False, capture_output=True).returncode


def test_a_shop_is_healthy_while_it_answers(tmp_path: Path) -> None:
    server = serve()
    try:
        port, _ = opening(server)
        words = Path(f"/proc/{server.pid}/cmdline")
        asked = tmp_path / "cmdline"  # its own words say port 0, which is any
        asked.write_bytes(words.read_bytes().replace(b"--port\0000\0", f"--port\0{port}\0".encode()))
        assert check(asked) == 0
    finally:
        server.terminate()
        server.communicate()
    assert check(asked) == 1

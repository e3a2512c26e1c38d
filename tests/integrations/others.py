"""Packages that bring others in versions of their own, and so are tried in environments of their own beside turngym."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import turngym

ROOT = Path(__file__).parents[2]


def interpreter(name: str) -> Path:
    """Return the interpreter of the environment that `make NAME` makes, or the one that a variable names."""
    given = os.environ.get(f"TURNGYM_{name.upper()}_PYTHON")
    return Path(given) if given else ROOT / f".venv-{name}" / "bin" / "python"


def needs(name: str) -> pytest.MarkDecorator:
    """Skip tests, and say why, where that environment is not there."""
    python = interpreter(name)
    reason = f"{name} is tried in an environment of its own: make {name} ({python} is not there)"
    return pytest.mark.skipif(not python.is_file(), reason=reason)


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """Return environment variables with which the programs there find this turngym, and modules in further folders."""
    path = os.pathsep.join(map(str, (Path(turngym.__file__).parents[1], *folders)))
    return os.environ | {"PYTHONPATH": path, **variables}

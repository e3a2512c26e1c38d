"""The floors of the house: imports point only downwards, and the front door opens without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "webshop_server": ROOT / "webshop_server",
    "envs": ROOT / "envs",
    "agents": ROOT / "agents",
    "trainers": ROOT / "trainers",
    "benchmarks": ROOT / "benchmarks",
    "cli": ROOT / "src" / "turngym" / "cli",
}
"""From the ground up."""
ORDER = list(FLOORS)
HEAVY = {"torch", "transformers", "tokenizers", "flask"}
"""What `import turngym` must not load."""
SOURCES = [(floor, path) for floor, folder in FLOORS.items() for path in sorted(folder.rglob("*.py"))]


def imported_names(source: str) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, `from a import b` as "a.b"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            yield from (value for value in constants if isinstance(value, str))


def broken_rules(floor: str, source: str) -> list[str]:
    """Return what is wrong with the imports of a file on `floor`."""
    rules = []
    for name in imported_names(source):
        first, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if name.startswith("."):
            rules.append(f"{name} is relative")
        elif first in FLOORS and first != "cli":
            rules.append(f"{name} lacks its package, turngym.{name}")
        elif first == "turngym" and target in FLOORS and ORDER.index(target) > ORDER.index(floor):
            rules.append(f"{name} is above {floor}")
        elif first in HEAVY - {"flask"} and floor in ("envs", "webshop_server"):
            rules.append(f"{name} is for the floors above {floor}")
    return rules


@pytest.mark.parametrize(("floor", "path"), SOURCES, ids=[str(path.relative_to(ROOT)) for _, path in SOURCES])
def test_imports_point_only_downwards(floor: str, path: Path) -> None:
    assert broken_rules(floor, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("floor", "source", "wrong"),
    [
        ("envs", "from turngym.agents.base import Agent", "above"),
        ("envs", "def f():\n    import turngym.cli", "above"),
        ("agents", "from turngym import trainers", "above"),
        ("trainers", "import_module('turngym.benchmarks.tables')", "above"),
        ("trainers", "from envs.core import TextEnv", "lacks"),
        ("trainers", "import agents", "lacks"),
        ("envs", "from .core import TextEnv", "relative"),
        ("envs", "if TYPE_CHECKING:\n    from torch import Tensor", "for the floors above"),
    ],
)
def test_a_broken_rule_is_found(floor: str, source: str, wrong: str) -> None:
    (rule,) = broken_rules(floor, source)
    assert wrong in rule


@pytest.mark.parametrize(
    ("floor", "source"),
    [
        ("cli", "from turngym.benchmarks.tables import table"),
        ("agents", "import torch\nfrom turngym.envs import TextEnv\nfrom turngym._version import __version__"),
        ("webshop_server", "import flask"),
        ("trainers", "from tokenizers import trainers"),
    ],
)
def test_what_is_allowed_is_not_reported(floor: str, source: str) -> None:
    assert broken_rules(floor, source) == []


def test_the_front_door_opens_without_torch() -> None:
    program = """
import sys
import gymnasium, turngym, turngym.cli, turngym.envs, turngym.envs.testing

for env_id in turngym.envs.env_ids():
    gymnasium.make(env_id).reset(seed=0)
turngym.cli.main(["--help"])
print("loaded:", *{name.partition(".")[0] for name in sys.modules})
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    assert {"gymnasium", "numpy", "turngym"} <= loaded
    assert not loaded & HEAVY

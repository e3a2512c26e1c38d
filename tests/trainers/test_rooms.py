"""The rooms of the trainers: imports between them form no circle, so that each can be read after those it stands on."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TRAINERS = Path(__file__).parents[2] / "trainers"
PACKAGE = "turngym.trainers"
ROOMS = {path.stem for path in TRAINERS.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def imported_rooms(source: str) -> set[str]:
    """Return the rooms that a file imports: `from turngym.trainers.stage_one.sampling import x` is `stage_one`."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            modules |= {f"{PACKAGE}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return ROOMS & {module.split(".")[2] for module in modules if module.startswith(f"{PACKAGE}.")}


def order(sources: Mapping[str, list[str]]) -> list[str]:
    """Return the rooms from the ground up.

    Raises:
        CycleError: Rooms import each other in a circle.
    """
    arrows = {room: set().union(*map(imported_rooms, files)) - {room} for room, files in sources.items()}
    return list(TopologicalSorter(arrows).static_order())


def test_rooms_of_the_trainers_form_no_circle() -> None:
    sources: dict[str, list[str]] = {room: [] for room in ROOMS - {"__init__"}}
    for path in TRAINERS.rglob("*.py"):
        room = path.relative_to(TRAINERS).parts[0].removesuffix(".py")
        if room in sources:
            sources[room].append(path.read_text(encoding="utf-8"))

    rooms = order(sources)

    assert rooms.index("config") < rooms.index("stage_one") < rooms.index("loop") < rooms.index("run")


def test_a_circle_is_found() -> None:
    up = "from turngym.trainers.shaping import shape_rewards"
    down = "from turngym.trainers import stage_one"

    with pytest.raises(CycleError, match="shaping"):
        order({"stage_one": [up], "shaping": [down]})

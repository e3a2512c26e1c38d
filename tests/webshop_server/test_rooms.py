"""The rooms of the shop: every room imports from those below it, and from a room only what its door exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "webshop_server"
PACKAGE = "turngym.webshop_server"
ORDER = ("settings", "product", "checksum", "goals", "reward", "catalogue", "search", "pages", "shop", "site")
"""From the ground up."""
OUTSIDE = ("src/turngym/cli", "envs", "agents", "trainers", "benchmarks")
USERS = [*SHOP.rglob("*.py"), *(path for folder in OUTSIDE for path in (ROOT / folder).rglob("*.py"))]


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Yield what a file imports from the shop: the module below the package, such as `pages.html`, and the name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PACKAGE}."):
            yield from ((node.module.removeprefix(f"{PACKAGE}."), alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names if alias.name.startswith(f"{PACKAGE}."))
            yield from ((name.removeprefix(f"{PACKAGE}."), "") for name in names)


def exports(room: str) -> list[str]:
    """Return what the door of a room exports; modules of the ground floor are open."""
    return list(getattr(import_module(f"{PACKAGE}.{room}"), "__all__", ()))


def broken_rules(room: str, source: str) -> list[str]:
    """Return what is wrong with the imports of a file in a room; `room` is empty for files outside the shop."""
    wrong = []
    for module, name in imports(source):
        target, _, inner = module.partition(".")
        if target == room:
            continue
        if room and ORDER.index(target) > ORDER.index(room):
            wrong.append(f"{module} is above {room}")
        if inner:
            wrong.append(f"{module}.{name} goes past the door of {target}")
        elif (SHOP / target).is_dir() and name not in exports(target):
            wrong.append(f"{name} is not exported by {target}")
    return wrong


def room_of(path: Path) -> str:
    return path.relative_to(SHOP).parts[0].removesuffix(".py") if path.is_relative_to(SHOP) else ""


@pytest.mark.parametrize("path", USERS, ids=[str(path.relative_to(ROOT)) for path in USERS])
def test_imports_point_down_and_through_the_doors(path: Path) -> None:
    assert broken_rules(room_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("goals", "from turngym.webshop_server.catalogue import Catalogue", "above"),
        ("pages", "def f():\n    from turngym.webshop_server.shop import Shop", "above"),
        ("shop", "from turngym.webshop_server import site", "above"),
        ("shop", "from turngym.webshop_server.pages.html import page_html", "past the door"),
        ("", "from turngym.webshop_server.shop.local import open_shop", "past the door"),
        ("", "import turngym.webshop_server.pages.html", "past the door"),
        ("site", "from turngym.webshop_server.shop import no_such_name", "not exported"),
    ],
)
def test_a_broken_rule_is_found(room: str, source: str, wrong: str) -> None:
    assert any(wrong in rule for rule in broken_rules(room, source))


def test_every_room_has_its_place_in_the_order() -> None:
    found = {path.name.removesuffix(".py") for path in SHOP.iterdir() if path.name[0] != "_"}
    assert found == set(ORDER)


@pytest.mark.parametrize("room", [name for name in ORDER if (SHOP / name).is_dir()])
def test_a_door_exports_what_exists(room: str) -> None:
    door = import_module(f"{PACKAGE}.{room}")
    assert exports(room) and all(hasattr(door, name) for name in exports(room))


@pytest.mark.parametrize(
    ("rooms", "absent"),
    [
        (("settings", "product", "goals", "catalogue"), ("regex", "rapidfuzz", "jinja2", "flask")),
        (("search", "shop"), ("flask", "waitress")),
    ],
)
def test_rooms_open_without_packages_that_they_do_not_need(rooms: tuple[str, ...], absent: tuple[str, ...]) -> None:
    program = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
    program += "".join(f"import {PACKAGE}.{room}\n" for room in rooms)
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)

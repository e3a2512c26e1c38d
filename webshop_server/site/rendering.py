"""Pages of the site alone: errors, the list of sessions and their replay, beside those of the shop."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from turngym.webshop_server.pages import environment


def template(name: str) -> Any:
    """Return a template of the site, which may include those of `turngym.webshop_server.pages`."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    shared = environment()
    assert shared.loader is not None
    return shared.overlay(loader=ChoiceLoader([PackageLoader("turngym.webshop_server.site"), shared.loader]))

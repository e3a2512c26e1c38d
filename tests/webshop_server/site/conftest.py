"""What the tests of the site share: a small shop of each mode, and its site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from turngym.webshop_server.catalogue import Catalogue
from turngym.webshop_server.goals import Goal, SeededDraws
from turngym.webshop_server.shop import FaithfulShop, FixedShop, LocalBackend
from turngym.webshop_server.site.app import create_app
from turngym.webshop_server.site.state import SiteSettings

KEY = "the operator's key"
SHOPS = {"fixed": FixedShop, "faithful": FaithfulShop}


@pytest.fixture(scope="session")
def open_shirts(shirts: Catalogue, find: Callable[[str, int], list[str]], wish: Goal) -> Callable[[str], LocalBackend]:
    """Open the shop of shirts in a mode; of its ten goals the first wants the linen shirt, the second the lamp."""
    lamp = replace(wish, asin="LAMP000001", title="Brass Lamp", category="garden", query="lamps", options=(),
                   product_category="Home › Lamps", instruction="find a lamp")  # fmt: skip
    goals = [wish, lamp, *(replace(wish, instruction=f"find a shirt, wish {number}") for number in range(2, 10))]
    return lambda mode: LocalBackend(SHOPS[mode](shirts, find, SeededDraws()), goals)


@pytest.fixture(scope="session", params=SHOPS)
def backend(request: pytest.FixtureRequest, open_shirts: Callable[[str], LocalBackend]) -> LocalBackend:
    """The shop of shirts, in both modes."""
    return open_shirts(request.param)


@pytest.fixture(scope="session")
def fixed(open_shirts: Callable[[str], LocalBackend]) -> LocalBackend:
    """The shop of shirts without the original's defects."""
    return open_shirts("fixed")


@pytest.fixture
def app(backend: LocalBackend) -> Flask:
    """The site of the shop of shirts, in both modes."""
    return create_app(backend, SiteSettings(operator_key=KEY))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A visitor of that site."""
    return app.test_client()

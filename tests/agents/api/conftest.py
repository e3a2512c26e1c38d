"""A server of a tiny model, which ends with the test, and the environment variables of a user who has set none."""

from __future__ import annotations

from typing import Any

import pytest
from tests.agents.serving.conftest import Serve, _short_pauses, folder, serve  # noqa: F401 - they are used here too
from tests.agents.serving.model_server import ModelServer

from turngym.agents.api import BASE_VARIABLE, KEY_VARIABLE, ApiAgent, ApiSettings, Ledger

KEY = "key-of-the-tests-0123456789abcdef"
"""A key as long as those that are secrets."""


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without key and address."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(BASE_VARIABLE, raising=False)


@pytest.fixture
def api(serve: Serve) -> ModelServer:  # noqa: F811 - the fixture of that name
    """A server of the tiny model."""
    return serve()


def agent_of(server: ModelServer, ledger: Ledger | None = None, **settings: Any) -> ApiAgent:
    """Return an agent whose replies are greedy and short unless something else is said."""
    given = {"model": "tiny", "base_url": server.url, "temperature": 0.0, "max_reply_tokens": 4, "retries": 3,
             "request_timeout": 30.0, **settings}  # fmt: skip
    return ApiAgent(ApiSettings(**given), ledger)

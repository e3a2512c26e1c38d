"""A model in a folder, and servers of it that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.agents.serving.model_server import ModelServer, serving

from turngym.addresses import KEY_VARIABLE
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.serving import connection

Serve = Callable[..., ModelServer]


@pytest.fixture
def folder(player: LanguageModel, tmp_path: Path) -> Path:
    """The folder of a model that plays on lakes."""
    player.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Start a server of that model."""
    with ExitStack() as stack:

        def start(**options: Any) -> ModelServer:
            return stack.enter_context(serving(folder, **options))

        yield start


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat requests at once, and ask for no key."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

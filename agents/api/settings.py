"""Which model behind which server, and how it is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints
from urllib.parse import urlsplit

from turngym._errors import InputError
from turngym.addresses import check_address
from turngym.agents.models.decoding import History
from turngym.arguments import Count, Index, NonNegative, Positive, checked

PREFIX = "openai:"
"""What stands before the name of a model to say that a server plays it."""
BASE_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"
"""The environment variables with the address, unless one is given, and with the key."""
DEFAULT_BASE = "https://api.openai.com/v1"

Api = Literal["chat", "completions"]
"""Chat Completions, in messages, or the older Completions, in one text, for models without a chat format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """A model behind a server, and how it is asked.

    Raises:
        InputError: A setting is out of range, or the address none of a server.
    """

    model: str
    """Its name in requests."""
    base_url: str = ""
    """What stands before `/chat/completions`, with or without `/v1`; empty for that of the environment variable
    `OPENAI_BASE_URL`, or else OpenAI's own. An address without a path gets `/v1`."""
    api: Api = "chat"
    """Which of the two protocols."""
    parallel: Count = 16
    """Requests at once."""
    request_timeout: Positive = 600.0
    """Seconds that an answer may take."""
    retries: Index = 5
    """How often a request is repeated that met no server, a busy one (429), a failing one (5xx) or no answer in
    time."""
    max_reply_tokens: Count = 1_024
    """Longest reply, in tokens, thoughts included."""
    temperature: NonNegative | None = None
    """Sampling temperature, 0 for greedy; None to leave it to the server."""
    history: History = "all"
    """What the model sees of earlier turns: all, a window of the last ones, or none (turn). Thoughts are never seen
    again, so that "served" is the same as "all"."""
    history_turns: Count = 2
    """How many earlier turns the window holds."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Values of variables that the chat template on the server reads, for those that know `chat_template_kwargs`."""

    def __post_init__(self) -> None:
        """Check the settings, and find the address."""
        for part in fields(self):
            hint = get_type_hints(type(self), include_extras=True)[part.name]
            object.__setattr__(self, part.name, checked(getattr(self, part.name), hint, part.name))
        if not self.model.strip():
            raise InputError(f"name the model behind the server, such as {PREFIX}gpt-4o-mini")
        given = self.base_url or os.environ.get(BASE_VARIABLE, "").strip() or DEFAULT_BASE
        check_address(given, KEY_VARIABLE)
        parts = urlsplit(given)
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
        object.__setattr__(self, "base_url", base)

    @property
    def origin(self) -> str:
        """The server without a path, such as `https://api.openai.com`."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """What stands before `/chat/completions` behind the server, such as `/v1`."""
        return urlsplit(self.base_url).path

    @property
    def window(self) -> int | None:
        """How many earlier turns the model sees; None for all."""
        return {"window": self.history_turns, "turn": 0}.get(self.history)

    def identity(self) -> dict[str, Any]:
        """Return what tells it from other agents, for JSON; how fast it is asked makes no other agent of it."""
        identity = {
            "agent": f"{PREFIX}{self.model}", "base_url": self.base_url, "api": self.api,
            "max_reply_tokens": self.max_reply_tokens, "temperature": self.temperature,
            "history": "all" if self.window is None else self.window,
        }  # fmt: skip
        if self.chat_template_kwargs:
            identity["chat_template_kwargs"] = dict(self.chat_template_kwargs)
        return identity

    def describe(self) -> str:
        """Say it in some words, for titles."""
        chosen = "temperature of the server" if self.temperature is None else f"temperature {self.temperature:g}"
        window = "all" if self.window is None else f"window {self.window}" if self.window else "turn"
        parts = ["greedy" if self.temperature == 0 else chosen, f"replies of at most {self.max_reply_tokens}"]
        parts += ["plain completions"] * (self.api == "completions")
        return ", ".join([*parts, f"history {window}"])

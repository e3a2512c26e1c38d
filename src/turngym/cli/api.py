"""The options of a command that say how a model behind a server is asked, and from `openai:MODEL` to the agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.console import Console

from turngym._errors import InputError
from turngym.agents.api import PREFIX, Api, ApiAgent, ApiSettings, Ledger
from turngym.agents.base import Agent
from turngym.cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """The options for agents `openai:MODEL`; the key is read from the environment variable OPENAI_API_KEY alone."""

    base_url: str = ""
    """Address of the server of openai:MODEL, up to /v1; that of the environment variable OPENAI_BASE_URL unless given,
    or else OpenAI's own."""
    api: Api = "chat"
    """Whether openai:MODEL is asked for chat completions, or for plain completions of one text."""
    parallel: int = 16
    """Requests to the server at once."""
    request_timeout: float = 600.0
    """Seconds that an answer of the server may take."""
    retries: int = 5
    """How often a request is repeated that failed in a way that may pass, or was not answered in time."""
    price_in: float | None = None
    """Dollars for a million tokens of prompts, to tell what was spent."""
    price_out: float | None = None
    """Dollars for a million tokens of replies and thoughts."""
    max_dollars: float | None = None
    """Stop once so many dollars are spent by this command; needs the prices."""
    max_tokens: int | None = None
    """Stop once so many tokens are spent by this command, prompts and replies together."""

    @cached_property
    def ledger(self) -> Ledger:
        """What the command has spent, all agents together.

        Raises:
            UsageError: A bound or a price cannot be used.
        """
        try:
            return Ledger(price_in=self.price_in, price_out=self.price_out, max_dollars=self.max_dollars,
                          max_tokens=self.max_tokens)  # fmt: skip
        except InputError as error:
            raise _as_flags(error) from error

    def check_use(self, names: Iterable[str]) -> None:
        """Check that somebody reads the options that change what is played or spent.

        Args:
            names: The agents of the command.

        Raises:
            UsageError: No agent is behind a server.
        """
        if any(is_api_agent(name) for name in names):
            return
        for flag in ("base_url", "price_in", "price_out", "max_dollars", "max_tokens"):
            if getattr(self, flag) not in ("", None):
                raise UsageError(f"--{flag.replace('_', '-')} is for agents {PREFIX}MODEL, and none is named")

    def tell_spent(self, console: Console) -> None:
        """Print what was spent, if anything was asked of a server."""
        if self.ledger.replies or self.ledger.retries:
            console.print(self.ledger.describe(), soft_wrap=True)


def is_api_agent(name: str) -> bool:
    """Whether the name of an agent means a model behind a server."""
    return name.startswith(PREFIX)


def api_settings(name: str, options: ApiOptions, **decoding: Any) -> ApiSettings:
    """Return the settings of an agent `openai:MODEL`.

    Args:
        name: The name of the agent.
        options: The options of the command.
        **decoding: Further settings; those that are None are left to their defaults.

    Raises:
        UsageError: A setting is out of range, or the address none of a server.
    """
    given = {setting: value for setting, value in decoding.items() if value is not None}
    try:
        return ApiSettings(model=name.removeprefix(PREFIX), base_url=options.base_url, api=options.api,
                           parallel=options.parallel, request_timeout=options.request_timeout,
                           retries=options.retries, **given)  # fmt: skip
    except InputError as error:
        raise _as_flags(error) from error


def api_agent(settings: ApiSettings, options: ApiOptions) -> Agent:
    """Return the agent, whose spending the command counts."""
    return ApiAgent(settings, options.ledger)


def _as_flags(error: InputError) -> UsageError:
    """Return an error about settings that names them as they are written on the command line."""
    message = str(error)
    for name in ("price_in", "price_out", "max_dollars", "max_tokens", "base_url", "request_timeout", "retries",
                 "parallel", "max_reply_tokens", "history_turns"):  # fmt: skip
        message = message.replace(name, f"--{name.replace('_', '-')}")
    return UsageError(message)

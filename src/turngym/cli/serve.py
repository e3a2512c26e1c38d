"""`turngym serve`: a game behind an OpenEnv server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated

from tyro.conf import Positional, arg

from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, parse
from turngym.cli.terminal import make_console
from turngym.envs.finding import short_name


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Serve a game to clients of OpenEnv; needs the package openenv."""

    env: Annotated[Positional[str], arg(metavar="ENV")]
    """The environment, such as FrozenLake or my_games:me/Guess-v0."""
    env_kwargs: JsonObject = field(default_factory=dict)
    """Arguments of the environment, as a JSON object."""
    host: str = "127.0.0.1"
    """The address to listen on; the default is reached from this machine alone."""
    port: int = 8000
    """The port."""
    sessions: int = 64
    """Sessions at a time."""
    web: bool = False
    """Also serve OpenEnv's page to play on, at /web."""


def run(words: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = parse(ServeOptions, words, command="serve")
    if not 0 < options.port < 2**16:
        raise UsageError(f"--port takes 1 to 65535, not {options.port}")
    if options.sessions < 1:
        raise UsageError(f"--sessions takes at least 1, not {options.sessions}")
    try:
        games, uvicorn = import_module("turngym.integrations.openenv"), import_module("uvicorn")
    except ImportError as error:
        raise UsageError(
            f"serve needs the package openenv, version 0.10, and {error.name} is not installed: in an environment of "
            "its own, beside turngym, pip install 'openenv>=0.10,<0.11'"
        ) from error
    app = games.application(options.env, env_kwargs=options.env_kwargs, sessions=options.sessions, web=options.web)
    make_console().print(f"{short_name(options.env)} at http://{options.host}:{options.port} (Ctrl-C ends it)",
                         soft_wrap=True, highlight=False)  # fmt: skip
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0

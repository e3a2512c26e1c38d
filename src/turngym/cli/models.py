"""Modules that need torch, which are loaded when a command asks for them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from turngym._collection import paused_collection
from turngym.cli.errors import UsageError
from turngym.extras import install_command


def import_trained(module: str) -> ModuleType:
    """Import a module that needs the `train` extra.

    Raises:
        UsageError: The extra is not installed.
    """
    try:
        with paused_collection():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("turngym"):
            raise
        raise UsageError(f"language models need the package {error.name}; install it with: "
                         f"{install_command('train')}") from error  # fmt: skip

"""Modules that need the `train` extra, which are loaded when a command asks for them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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
        raise _missing(str(error.name)) from error


def require_trained() -> None:
    """Check that the packages are there that models need, without importing them.

    Raises:
        UsageError: The `train` extra is not installed.
    """
    for name in ("torch", "transformers"):
        if find_spec(name) is None:
            raise _missing(name)


def _missing(package: str) -> UsageError:
    return UsageError(f"language models need the package {package}; install it with: {install_command('train')}")

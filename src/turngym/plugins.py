"""Other people's code: modules that a user names, and packages that announce themselves.

Importing such a module is all that turngym asks of it: it registers environments with `gymnasium.register`, and agents,
potentials, objectives and presets with the functions of their registries. A package announces its module so that nobody
has to name it:

    [project.entry-points."turngym.plugins"]
    my-games = "my_games.plugin"

Beyond `import turngym`, nothing here loads more than the standard library.
"""

from __future__ import annotations

import importlib
import sys
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from turngym._errors import InputError
from turngym.credentials import redacted

GROUP = "turngym.plugins"
"""The group of entry points under which packages announce their modules."""


class PluginError(InputError):
    """A module that was asked for cannot be used; the message is one sentence that says why."""


@dataclass(slots=True)
class _Loaded:
    """What this process has loaded."""

    requested: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    announced: dict[str, str] | None = None


_loaded = _Loaded()


def load_plugins(modules: Iterable[str] = ()) -> list[str]:
    """Import the modules that a user asks for and, once per process, those that installed packages announce.

    An announced module that is broken is left out: nobody asked for it, and the work may not need it.

    Args:
        modules: Names as Python imports them. What is not installed is looked for in the current folder too.

    Returns:
        A sentence on every announced module that is broken, the first time that this function is called.

    Raises:
        PluginError: A module that was asked for is not found, or raises when it is imported.
    """
    for name in modules:
        import_requested(name)
    if _loaded.announced is not None:
        return []
    _loaded.announced = {_label(entry_point): _load(entry_point) for entry_point in entry_points(group=GROUP)}
    return [problem for problem in _loaded.announced.values() if problem]


def require_plugins(modules: Iterable[str] = (), folder: str = "") -> None:
    """Do what `load_plugins` does, for code that is called from Python: a broken announced module is a warning.

    Args:
        modules: Names as Python imports them.
        folder: Where they are looked for as well, beside the current folder; empty for nowhere.

    Raises:
        PluginError: As of `load_plugins`.
    """
    if folder and folder not in _loaded.folders:
        _loaded.folders.append(folder)
    for problem in load_plugins(modules):
        warnings.warn(problem, stacklevel=3)


def import_requested(name: str) -> ModuleType:
    """Import a module by the name that a user wrote, from the current folder if it is nowhere else, and remember it.

    Raises:
        PluginError: It is not found, holds no code, or raises when it is imported.
    """
    if not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
        raise PluginError(f"{name!r} is no name of a module; write it as Python imports it, such as my_games for the "
                          "file my_games.py")  # fmt: skip
    here = str(Path.cwd())
    module = _imported(name)
    for folder in (here, *_loaded.folders):
        if module is None and folder not in sys.path:
            sys.path.append(folder)  # last, so that a file there never hides a module that is installed
            module = _imported(name)
            if module is None:
                sys.path.remove(folder)
    if module is None:
        places = " or ".join([here, *_loaded.folders])
        raise PluginError(f"there is no module {name!r}: it is neither installed nor in {places}")
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise PluginError(f"{name} is a folder without __init__.py, so that importing it loads nothing; name a module "
                          f"in it, such as {name}.games")  # fmt: skip
    if name not in _loaded.requested:
        _loaded.requested.append(name)
    return module


def requested() -> list[str]:
    """Return the modules that were asked for so far, in that order: what a run has to import to be continued."""
    return list(_loaded.requested)


def announced() -> dict[str, str]:
    """Return what is wrong with each announced module ("" for nothing), by its name, package and version."""
    return dict(_loaded.announced or {})


def _imported(name: str) -> ModuleType | None:
    """Import a module; None if it is the module itself that is not found, and not another one that it imports."""
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise PluginError(f"the module {name} cannot be imported: {describe(error)}") from error


def _load(entry_point: EntryPoint) -> str:
    """Import what an entry point names, call it if it is a function, and return what is wrong with it."""
    try:
        target = entry_point.load()
        if entry_point.attr:
            target()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises, the work goes on without it
        package = entry_point.dist.name if entry_point.dist else "its package"
        return (f"the plugin {_label(entry_point)} is broken and was left out; update it or get rid of it with "
                f"pip uninstall {package} ({describe(error)})")  # fmt: skip
    return ""


def _label(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    return f"{entry_point.name} of {dist.name} {dist.version}" if dist else entry_point.name


def describe(error: BaseException) -> str:
    """Return an exception on one line, with the place in other people's code that raised it."""
    ours = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen")
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    where = f", {Path(places[-1].filename).name} line {places[-1].lineno}" if places else ""
    return redacted(" ".join(f"{type(error).__name__}: {error}".split())) + where

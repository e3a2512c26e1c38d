"""Extras of turngym, sets of packages that not everybody needs: the command that installs one where it is missing.

No index is taken for granted. The command names what this turngym was installed from, which installers record beside it
(PEP 610): a folder of source, a wheel, or a repository.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from turngym._errors import InputError


def install_command(extra: str) -> str:
    """Return the command that installs an extra, such as `pip install -e '.[webshop]'`, beside this turngym."""
    options, place, after = _origin()
    return f"pip install {options}{shlex.quote(place.format(f'[{extra}]'))}{after}"


def requirements(extras: Collection[str]) -> Iterator[str]:
    """Yield what extras need, such as `flask>=3.1`, as the metadata of the installed turngym names it.

    Raises:
        InputError: It is not installed, so that there is no such record.
    """
    try:
        lines = distribution("turngym").requires or []
    except PackageNotFoundError as error:
        raise InputError(f"turngym itself is not installed, only on the path: {reinstall_command()}") from error
    for line in lines:
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra == [\"'](\w+)", marker)
        if named is not None and named[1] in extras:
            yield requirement.strip()


def reinstall_command() -> str:
    """Return the command that installs this turngym again, with all that it always needs."""
    options, place, after = _origin()
    return f"pip install --force-reinstall {options}{shlex.quote(place.format(''))}{after}"


def _origin() -> tuple[str, str, str]:
    """Return options of pip, where turngym comes from with a place for an extra, and what has to be said after."""
    try:
        written = distribution("turngym").read_text("direct_url.json")
        record: dict[str, Any] = json.loads(written) if written else {}
    except (PackageNotFoundError, ValueError):
        return "-e ", ".{}", " in the folder of turngym's source"
    url = str(record.get("url", ""))
    if (repository := record.get("vcs_info")) is not None:
        revision = repository.get("commit_id", "")
        return "", f"turngym{{}} @ {_plain(repository.get('vcs', 'git'))}+{_plain(url)}@{_plain(revision)}", ""
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = url2pathname(parts.path)
        if not Path(path).exists():
            return "-e ", ".{}", " in the folder of turngym's source"
        return "-e " if record.get("dir_info", {}).get("editable") else "", _plain(path) + "{}", ""
    return "", f"turngym{{}} @ {_plain(url)}" if url else "turngym{}", ""


def _plain(text: str) -> str:
    """Return a text in which braces have no meaning."""
    return text.replace("{", "{{").replace("}", "}}")

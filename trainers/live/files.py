"""`live.toml` as it is watched, and the echo that answers it.

Only the user and the page of `turngym view` write `live.toml`, and only the run writes `live.echo.toml`, whole or not
at all: an editor in which the file is open never finds it changed beneath it.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym._errors import InputError
from turngym.trainers.config import TrainConfig
from turngym.trainers.config.toml import toml_value
from turngym.trainers.live.settings import AUTO, ECHO, LIVE, Values, read_settings, reads, shown, value_of
from turngym.trainers.run_files import LIVE_ECHO_FILE, LIVE_FILE

SETTLED = 0.5
"""Seconds for which a file must have stayed as it is before it is read, so that none is read while it is written."""
MOST_BYTES = 2**16
"""More than any file of settings has."""


class WatchedFile:
    """A file that is read once for every time that it is written.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, ...] | None = None

    def read(self) -> str | None:
        """Return the text if it is another file than the one that was read last, None if not, or if there is none.

        A file that was written within the last `SETTLED` seconds is left for the next time.

        Raises:
            InputError: It cannot be read, or is no text of settings.
        """
        try:
            stat = self._path.stat()
        except OSError:
            return None
        found = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if found == self._read or 0 <= time.time() - stat.st_mtime < SETTLED:
            return None
        self._read = found
        if stat.st_size > MOST_BYTES:
            raise InputError(f"{self._path.name} is no file of settings: it has {stat.st_size} bytes")
        try:
            return self._path.read_bytes().decode()
        except OSError as error:
            raise InputError(f"{self._path.name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{self._path.name} is not UTF-8: {error}") from error


def write_echo(
    folder: Path, config: TrainConfig, held: Values, *, step: int, answer: str, said: Sequence[str] = ()
) -> None:
    """Write the answer of a run, and the settings that may change as they are now, in the form of `live.toml`.

    Args:
        folder: The run's.
        config: Its configuration, with the values that are held.
        held: These values.
        step: Steps taken so far.
        answer: "watching", "taken", "refused" or "nothing to change".
        said: What was taken, or why it was refused.
    """
    lines = [
        f"# The run's answer to {LIVE_FILE}, which it watches; the run writes this file and does not read it.",
        f"[{ECHO}]",
        f"step = {step}",
        f'answer = "{answer}"',
        f"said = {toml_value(list(said), ECHO)}",
        "",
        f"# What {LIVE_FILE} may change, as it is now: {AUTO!r} is as in config.toml.",
    ]
    section = ""
    for setting in sorted(name for name in LIVE if reads(config, name)):
        name, _, key = setting.partition(".")
        if name != section:
            section = name
            lines += ["", f"[{section}]"]
        if setting in held and value_of(config, setting) is None:
            lines.append(f"# {key}: none")
        elif setting in held:
            lines.append(f"{key} = {toml_value(value_of(config, setting), setting)}")
        else:
            lines.append(f'{key} = "{AUTO}"  # {shown(config, setting)}')
    with replacement(folder / LIVE_ECHO_FILE) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_echo(folder: Path) -> dict[str, Any] | None:
    """Return the last answer of a run: `step`, `answer`, `said`, and `settings` by name with their values as text.

    None where the run has not begun to learn, or the file is damaged.
    """
    try:
        tables = tomllib.loads((folder / LIVE_ECHO_FILE).read_text(encoding="utf-8"))
        settings = {f"{name}.{key}": value if isinstance(value, str) else toml_value(value, key)
                    for name, table in tables.items() if name != ECHO for key, value in table.items()}  # fmt: skip
        return {**{key: tables[ECHO][key] for key in ("step", "answer", "said")}, "settings": settings}
    except (OSError, ValueError, LookupError, AttributeError):
        return None


def ask_for(folder: Path, setting: str, value: str) -> None:
    """Write a setting into the `live.toml` of a run; the others that it names stay, comments do not.

    Args:
        folder: The run's.
        setting: Its name, such as "objective.beta".
        value: As TOML, such as `0.1`; a word needs no quotes.

    Raises:
        InputError: It cannot change live, the value is none, the run does not watch, or its `live.toml` is damaged.
    """
    if setting not in LIVE:
        raise InputError(f"{setting!r} cannot change while a run learns")
    if not (folder / LIVE_ECHO_FILE).is_file():
        raise InputError(f"{folder.name} does not watch {LIVE_FILE} yet: it has not begun to learn")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except ValueError:
        parsed = {"value": value.strip()}
    if parsed.keys() != {"value"} or not isinstance(parsed["value"], bool | int | float | str) or value.strip() == "":
        raise InputError(f"{setting} takes a number or a word, not {value[:99]!r}")
    path = folder / LIVE_FILE
    asked = read_settings(path.read_text(encoding="utf-8")) if path.is_file() else {}
    asked[setting] = parsed["value"]
    lines: list[str] = []
    for name in sorted({one.partition(".")[0] for one in asked}):
        own = {one.partition(".")[2]: told for one, told in asked.items() if one.startswith(f"{name}.")}
        lines += [f"[{name}]", *(f"{key} = {toml_value(told, key)}" for key, told in own.items()), ""]
    with replacement(path) as unfinished:
        unfinished.write_text("\n".join(lines), encoding="utf-8")

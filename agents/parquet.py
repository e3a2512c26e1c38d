"""Episodes as a Parquet file, the columnar form of data sets: the columns are the keys of their JSON lines.

    datasets.load_dataset("parquet", data_files="shown.parquet")

The column `messages` is a conversation as fine-tuning tools read it. What has other keys in every game has no type that
a column could have: `env_kwargs` and `measures` are JSON texts. `total_reward`, the return, stands beside the keys of
the lines, since it is what rows are most often chosen by. Needs pyarrow, the extra `parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from turngym._durable import replacement
from turngym._errors import InputError
from turngym.agents.episode import Episode, Turn
from turngym.extras import install_command

SUFFIX = ".parquet"
"""What the name of such a file ends in."""
LARGEST = 2**63 - 1
"""The largest number that a column of whole numbers holds."""
TEXTS = ("env_kwargs", "measures")
"""The columns that are JSON texts."""
ROWS = 512
"""How many episodes are written at once."""


def pyarrow() -> ModuleType:
    """Return the package that reads and writes Parquet.

    Raises:
        InputError: It is not installed.
    """
    try:
        import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise InputError(f"Parquet files need the package pyarrow: {install_command('parquet')}") from error
    return import_module("pyarrow")


def write_parquet(path: Path, episodes: Iterable[Episode]) -> int:
    """Write a file, whole or not at all, in the place of one that may be there; return how many episodes it holds.

    Args:
        path: The file; its folder is made where there is none.
        episodes: What it shall hold, read once.

    Raises:
        InputError: pyarrow is not installed.
        OSError: It cannot be written; then what was there is there still.
    """
    arrow = pyarrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = _schema(arrow)
    count = 0
    with replacement(path) as unfinished, arrow.parquet.ParquetWriter(unfinished, schema) as writer:
        left = iter(episodes)
        while some := list(islice(left, ROWS)):
            writer.write_table(arrow.Table.from_pylist([_row(episode) for episode in some], schema=schema))
            count += len(some)
    return count


def read_parquet(path: Path) -> Iterator[Episode]:
    """Read the episodes of a file that `write_parquet` wrote, a few at a time.

    Raises:
        InputError: pyarrow is not installed.
        ValueError: It is no such file; the message names it.
    """
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            for some in file.iter_batches(batch_size=ROWS):
                yield from map(_episode, some.to_pylist())
    except (ValueError, KeyError, TypeError) as error:  # those of pyarrow are ValueErrors too
        raise ValueError(f"{path}: no Parquet file of episodes: {error}") from error


def _row(episode: Episode) -> dict[str, Any]:
    record = json.loads(episode.to_json())
    return {**record, **{name: json.dumps(record[name]) for name in TEXTS}, "total_reward": episode.total_reward}


def _episode(row: dict[str, Any]) -> Episode:
    record = {name: value for name, value in row.items() if name != "total_reward"}
    return Episode.from_json(json.dumps({**record, **{name: json.loads(record[name]) for name in TEXTS}}))


def _schema(arrow: ModuleType) -> Any:
    """Return the columns: the fields of an episode, with those of its turns inside."""
    text, number = arrow.string(), arrow.int64()
    kinds = {"str": text, "Status": text, "int": number, "float": arrow.float64(), "bool": arrow.bool_(),
             "list[int]": arrow.list_(number), "tuple[int, int]": arrow.list_(number),
             "list[float]": arrow.list_(arrow.float64()), "dict[str, Any]": text, "dict[str, float]": text}  # fmt: skip
    kinds["list[Turn]"] = arrow.list_(arrow.struct([(one.name, kinds[str(one.type)]) for one in fields(Turn)]))
    messages = arrow.list_(arrow.struct([("role", text), ("content", text)]))
    return arrow.schema([("schema", number), *((one.name, kinds[str(one.type)]) for one in fields(Episode)),
                         ("messages", messages), ("total_reward", arrow.float64())])  # fmt: skip

"""The rows of instances that `turngym.integrations.verl` plays, as JSON lines, which verl's data sets read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym.agents import instance_range
from turngym.envs.finding import short_name
from turngym.integrations.session import checked_env
from turngym.strict_json import dumps


def write_rows(
    path: Path | str, env: str, count: int, *, split: str = "train", first: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write a file for `data.train_files` or `data.val_files`, one instance a line.

    The prompt only names the instance: the loop asks the game for the rules and the first observation.

    Args:
        path: The file, whose name must end in `.jsonl` for verl; one that is there is replaced.
        env: The game, such as "FrozenLake".
        count: How many instances.
        split: "train", "validation" or "test", of which no two share an instance.
        first: The index of the first one.
        env_kwargs: Arguments of the game, such as {"size": 3}.

    Raises:
        InputError: There is no such game or split, its arguments do not fit it, or a number is negative.
    """
    kwargs = dict(env_kwargs or {})
    env_id = checked_env(env, kwargs)
    rows = [
        {
            "data_source": env_id,
            "agent_name": "turngym",
            "prompt": [{"role": "user", "content": f"{short_name(env_id)} {one.split} {one.index}"}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"env": env_id, "env_kwargs": dumps(kwargs), "split": one.split, "index": one.index},
        }
        for one in instance_range(split, count, first)
    ]
    with replacement(Path(path)) as unfinished:
        unfinished.write_text("".join(f"{dumps(row)}\n" for row in rows), encoding="utf-8")

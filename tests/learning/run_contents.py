"""What a run leaves that must not depend on how often it was stopped or killed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from turngym.trainers.checkpoints.checkpoint import latest_checkpoint
from turngym.trainers.reporting.metrics import Metrics


def contents(folder: Path) -> dict[str, Any]:
    """Return weights, states, episodes, value stores, metrics and result of a complete run, without its seconds."""
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    files = [folder / "base" / "model.safetensors", last / "optimizer.json", last / "state.json"]
    for pattern in ("checkpoints/*/**/*.safetensors", "references/*/*.safetensors", "episodes/test_*"):
        files += folder.glob(pattern)
    rows = {}
    for store in folder.glob("values*.sqlite"):
        with closing(sqlite3.connect(store)) as database:
            rows[store.name] = [
                repr(database.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608
                for table in ("episodes", "turns")
            ]
    lines = Metrics(folder / "metrics.jsonl").lines()
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    return {
        "unfinished": [str(path.relative_to(folder)) for path in folder.rglob(".*")],
        "files": {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "rows": rows,
        "metrics": [{key: value for key, value in line.items() if "seconds" not in key} for line in lines],
        "result": {key: {**value, "seconds": 0} if isinstance(value, dict) else value for key, value in result.items()},
    }

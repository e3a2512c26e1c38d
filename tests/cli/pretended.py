"""A trainer that only pretends to learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turngym.agents.evaluation import Score
from turngym.agents.intervals import wilson_interval
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.progress import Progress

Trainer = Callable[[TrainConfig, Path, Progress], dict[str, Any]]
InstallTrainer = Callable[[Trainer], list[bool]]


def pretended_result(config: TrainConfig) -> dict[str, Any]:
    """Return a result as a run writes it."""
    score = Score(episodes=50, successes=40, rate=0.8, interval=wilson_interval(40, 50), mean_return=0.8,
                  mean_turns=4.0, mean_tokens=9.0, seconds=1.0, errors=0).to_dict()  # fmt: skip
    names = ("random", "base_sampled", "base_greedy", "trained_sampled", "trained_greedy")
    return {"env_id": config.env.id, "optimum": 1.0, "seconds": {"learning": 2.0}, **dict.fromkeys(names, score)}


def pretend(config: TrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
    """Learn nothing, quickly."""
    progress.phase("learning", 2)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step in (1, 2):
            progress.advance(success=step / 2)
            file.write(json.dumps({"phase": "learning", "step": step, "success": step / 2}) + "\n")
    (folder / "result.json").write_text(json.dumps(pretended_result(config)), encoding="utf-8")
    return pretended_result(config)

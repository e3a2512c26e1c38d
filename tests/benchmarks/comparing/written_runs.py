"""Run folders as runs leave them, written without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turngym.agents.evaluation import Score
from turngym.agents.intervals import wilson_interval
from turngym.trainers.config import TrainConfig, with_algorithm, with_overrides, write_toml

AGENTS = ("random", "base_sampled", "base_greedy", "trained_sampled", "trained_greedy")


def score(successes: int, mean_return: float | None = None) -> dict[str, Any]:
    """Return the score of a hundred episodes."""
    rate = successes / 100
    return Score(
        episodes=100, successes=successes, rate=rate, interval=wilson_interval(successes, 100),
        mean_return=rate if mean_return is None else mean_return, mean_turns=4.0, mean_tokens=8.0, seconds=1.0,
        errors=0, instances=96, cut_episodes=0.0, cut_replies=0.02,
    ).to_dict()  # fmt: skip


def write_run(
    folder: Path, successes: list[int], *, algorithm: str = "astarpo", seed: int = 0, base: str | None = "base",
    version: str | None = None, done: bool = True, validation: bool = False, **overrides: dict[str, Any],
) -> Path:  # fmt: skip
    """Write a run folder.

    Args:
        folder: Where.
        successes: Of random, base sampled and greedy, trained sampled and greedy, of a hundred episodes.
        algorithm: What it learned by.
        seed: Its seed.
        base: What the weights of its base hold; None for none.
        version: What wrote it; this version if None.
        done: Whether it is complete.
        validation: Whether it was validated on the way.
        **overrides: Further settings by section.
    """
    config = with_algorithm(with_overrides(TrainConfig(), {"evaluation": {"episodes": 100}, **overrides}), algorithm)
    config = with_overrides(config, {"run": {"seed": seed, "name": folder.name}})
    folder.mkdir(parents=True)
    text = write_toml(config)
    (folder / "config.toml").write_text(
        text if version is None else f'version = "{version}"\n{text.partition(chr(10))[2]}'
    )
    lines = [{"phase": "values", "seconds": 2.0}]
    for step in range(1, 6):
        line: dict[str, Any] = {"phase": "learning", "step": step, "generated_tokens": 100 + 50 * step, "seconds": 4.0,
                                "success": (seed + step) / 20}  # fmt: skip
        lines.append(line | ({"validation": step / 10} if validation else {}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if base is not None:
        (folder / "base").mkdir()
        (folder / "base" / "model.safetensors").write_text(base)
    if done:
        scores = {agent: score(count) for agent, count in zip(AGENTS, successes, strict=True)}
        result = {"optimum": 0.8, **scores, "generated_tokens": {"values": 100, "learning": 250},
                  "seconds": {"warm_start": 10.0, "values": 2.0, "learning": 20.0, "test": 1.0}}  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))
    return folder

"""What the page shows of a run: its settings, its table, its numbers over steps, and some of its episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.agents.episode import Episode, Turn, read_episodes
from turngym.envs.finding import short_name
from turngym.trainers.config import algorithm_of
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.live.files import read_echo
from turngym.trainers.reporting.curves import kept_steps
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.tables import result_rows, table_cells
from turngym.trainers.run_files import BASE, CONFIG_FILE, EPISODES, METRICS_FILE, RESULT_FILE

EPISODES_PER_FILE = 64
"""Episodes of each file that are shown unless told otherwise."""
Spell = Callable[[int], str]
"""Returns the text of a token."""
Ratios = Mapping[tuple[str, int], list[float]]
"""Log-ratios of the sampled tokens of an episode to the reference, nats, by file and place in it."""


def run_record(folder: Path, *, episodes: int = EPISODES_PER_FILE, ratios: Ratios | None = None) -> dict[str, Any]:
    """Return what the page shows of a run, ready for JSON.

    Args:
        folder: The run's.
        episodes: Most episodes of each file.
        ratios: Log-ratios to the reference, as `scoring.log_ratios` returns them.

    Raises:
        InputError: It is no run, or its configuration cannot be read.
    """
    config = known_config(folder)
    lines = Metrics(folder / METRICS_FILE).lines()
    steps = kept_steps(lines)
    return {
        "name": folder.name,
        "env": " ".join([short_name(config.env.id), *([json.dumps(config.env.kwargs)] if config.env.kwargs else [])]),
        "algorithm": algorithm_of(config.objective),
        "seed": config.run.seed,
        "steps": config.learning.steps,
        "config": (folder / CONFIG_FILE).read_text(encoding="utf-8"),
        "table": _table(folder),
        "curves": curves_of(steps),
        "marks": [{"step": line.get("step", 0), "kind": line["phase"], "text": _mark(line)} for line in lines
                  if line["phase"] in ("alarm", "reset", "branch", "live")],
        "live": None if (folder / RESULT_FILE).is_file() else read_echo(folder),
        "warm_start": [_numbers(line) for line in lines if line["phase"] == "warm_start"],
        "episodes": _episodes(folder, episodes, ratios or {}),
    }  # fmt: skip


def curves_of(steps: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Return every number of the steps as a list over them; None where a step has none, or none that is finite."""
    steps = list(steps)
    names = {name: None for step in steps for name, value in step.items() if _is_number(value)}
    return {name: [_finite(step.get(name)) for step in steps] for name in names}


def _table(folder: Path) -> list[list[str]]:
    """Return the rows of the result as text; none while there is no result."""
    with suppress(OSError, ValueError, InputError):
        return table_cells(result_rows(json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))))
    return []


def _mark(line: Mapping[str, Any]) -> str:
    if line["phase"] == "live":
        return f"live: {', '.join(map(str, line['changed']))}"
    told = {name: value for name, value in line.items() if name not in ("phase", "step")}
    words = ", ".join(f"{name} {value:.3g}" if _is_number(value) else f"{name} {value}" for name, value in told.items())
    return f"{line['phase']}: {words}"


def _numbers(line: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in line.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# Episodes -----------------------------------------------------------------------------------------------------------


def episode_files(folder: Path) -> list[Path]:
    """Return the files of episodes, those of the test first, then the latest of training."""
    files = sorted((folder / EPISODES).glob("*.jsonl"), reverse=True)
    return sorted(files, key=lambda path: not path.stem.startswith("test"))


def _episodes(folder: Path, most: int, ratios: Ratios) -> dict[str, list[dict[str, Any]]]:
    spell = spelling(folder)
    shown: dict[str, list[dict[str, Any]]] = {}
    for path in episode_files(folder):
        with suppress(OSError, ValueError):  # a file that is being written, or damaged
            some = list(islice(read_episodes(path), most))
            shown[path.stem] = [episode_record(episode, spell, ratios.get((path.stem, place)))
                                for place, episode in enumerate(some)]  # fmt: skip
    return shown


def episode_record(episode: Episode, spell: Spell, ratios: list[float] | None = None) -> dict[str, Any]:
    """Return an episode with what the model saw and said.

    Args:
        episode: The episode.
        spell: Returns the text of a token.
        ratios: The log-ratio of every sampled token to the reference, nats, in order.
    """
    left = iter(ratios or [])
    turns = [_turn(episode, turn, spell, left if ratios else None) for turn in episode.turns]
    sampled = [logprob for turn in episode.turns for logprob in turn.logprobs]
    return {
        "split": episode.split, "index": episode.index, "seed": episode.seed, "status": episode.status.value,
        "success": episode.success, "error": episode.error, "reward": _finite(episode.total_reward),
        "task_return": _finite(episode.task_return), "logprob": _finite(sum(sampled)) if sampled else None,
        "rules": episode.instructions, "end": episode.final_observation, "turns": turns,
    }  # fmt: skip


def _turn(episode: Episode, turn: Turn, spell: Spell, ratios: Any) -> dict[str, Any]:
    tokens: list[list[Any]] = []
    logprobs = iter(turn.logprobs)
    places = {place for part in turn.sampled() for place in range(*part)}
    for place in range(*turn.span):
        text = spell(episode.token_ids[place])
        if place in places:
            ratio = None if ratios is None else _finite(next(ratios, None))
            tokens.append([text, _finite(next(logprobs, None)), ratio])
        else:
            tokens.append([text, None, None])
    seen = "".join(map(spell, episode.token_ids[turn.row_start : turn.span[0]]))
    return {
        "observation": turn.observation, "action": turn.action, "reward": _finite(turn.reward),
        "task_reward": _finite(turn.task_reward), "potential": _finite(turn.potential), "valid": turn.valid,
        "cut": turn.cut, "tokens": tokens, "seen": seen,
    }  # fmt: skip


def spelling(folder: Path) -> Spell:
    """Return what spells the tokens of a run; without its tokenizer they are spelled by their numbers."""
    places = (folder / BASE, *sorted((folder / "checkpoints").glob("*/policy")))
    found = next((file for place in places if (file := place / "tokenizer.json").is_file()), None)
    if found is None:
        return lambda token: f"[{token}]"
    from tokenizers import Tokenizer  # comes with the models, and is not needed by the core

    tokenizer = Tokenizer.from_file(str(found))
    # The same tokens stand in every prompt.
    return cache(lambda token: str(tokenizer.decode([token], skip_special_tokens=False)))

"""What the page shows of a file of episodes: each turn by turn, as the model saw it, and drawn where its game can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from turngym._errors import InputError
from turngym.agents.episode import Episode, Turn, read_episodes
from turngym.envs import Drawing
from turngym.extras import install_command
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.reporting.credit import Credit, read_credit
from turngym.trainers.run_files import EPISODES
from turngym.trainers.viewing.pictures import Replayed, replayed
from turngym.trainers.viewing.spelling import Spelling, spelling_of

EPISODES_PER_FILE = 64
"""Episodes of each file that are shown unless told otherwise."""
SAME = 1e-9
"""Difference up to which two potentials are the same."""

Ratios = Mapping[tuple[str, int], list[float]]
"""Log-ratios of the sampled tokens of an episode to the reference, nats, by file and place in it."""


def episode_files(folder: Path) -> list[Path]:
    """Return the files of episodes of a run, those of the test first, then the latest of training."""
    files = sorted((folder / EPISODES).glob("*.jsonl"), reverse=True)
    return sorted(files, key=lambda path: not path.stem.startswith("test"))


def file_record(
    folder: Path, stem: str, *, episodes: int = EPISODES_PER_FILE, ratios: Ratios | None = None, draw: bool = True
) -> dict[str, Any]:
    """Return what the page shows of a file of episodes, ready for JSON.

    Args:
        folder: The run's.
        stem: The name of the file without its ending.
        episodes: Most episodes, the first ones.
        ratios: Log-ratios to the reference, as `scoring.log_ratios` returns them.
        draw: Whether to play the episodes again, so that their games draw them.

    Returns:
        `episodes`, `pictures` (those that episodes refer to by number), `objective` (whose advantages are shown),
        `residual` (see `Credit`) and `notes`: of what is not shown, why.

    Raises:
        InputError: There is no such file, or it is being written, or damaged.
    """
    path = folder / EPISODES / f"{stem}.jsonl"
    if path not in episode_files(folder):
        raise InputError(f"{folder.name} has no episodes {stem}")
    try:
        some = list(islice(read_episodes(path), episodes))
    except (OSError, ValueError) as error:
        raise InputError(f"{stem} cannot be read: {error}") from error
    notes: dict[str, str] = {}
    credit = _credit(path, some, notes)
    values = _values(folder, stem, some, notes)
    played = replayed(some) if draw else [Replayed(why_not="they were not asked for") for _ in some]
    if len({one.why_not for one in played}) == 1 and played[0].why_not:
        notes["picture"] = f"Pictures: {played[0].why_not}."
    elif failed := sum(bool(one.why_not) for one in played):
        notes["picture"] = f"Pictures: {failed} of {len(played)} episodes could not be played again to their end."
    if not any(name == stem for name, _ in ratios or {}):
        notes["ratio"] = "Log-ratios: turngym view --reference computes them."
    spelling, pictures = spelling_of(folder), dict[Drawing, int]()
    shown = [
        episode_record(
            episode, spelling, ratios=(ratios or {}).get((stem, place)), values=values[place] if values else (),
            baselines=credit.values[place] if credit and credit.values else (),
            advantages=credit.advantages[place] if credit else None, potentials=played[place].potentials,
            pictures=[pictures.setdefault(drawing, len(pictures)) for drawing in played[place].drawings],
        )
        for place, episode in enumerate(some)
    ]  # fmt: skip
    return {
        "episodes": shown,
        "pictures": [{"kind": one.kind, "source": one.source, "words": one.words} for one in pictures],
        "objective": credit.objective if credit else "", "residual": bool(credit and credit.residual), "notes": notes,
    }  # fmt: skip


def _credit(path: Path, episodes: Sequence[Episode], notes: dict[str, str]) -> Credit | None:
    """Return what a step made of its episodes, or note why that is not known."""
    why = "nothing was learned from these episodes"
    if path.stem.startswith("train"):
        why = "this step was recorded before they were written"
        try:
            credit = read_credit(path.parents[1], path.stem)
        except ValueError as error:
            credit, why = None, str(error)
        if credit is not None:
            if _fits(credit, episodes):
                return credit
            why = "they are of other episodes than these"
    notes["advantage"] = f"Advantages: none; {why}."
    return None


def _fits(credit: Credit, episodes: Sequence[Episode]) -> bool:
    """Return whether the values and advantages have the lengths of some episodes, which are the first of theirs."""
    rows = zip(credit.values or [[0.0] * len(one.turns) for one in episodes], credit.advantages, episodes, strict=False)
    return len(credit.advantages) >= len(episodes) and all(
        len(values) == len(one.turns) and (advantages is None or len(advantages) == one.num_sampled)
        for values, advantages, one in rows
    )


def _values(folder: Path, stem: str, episodes: list[Episode], notes: dict[str, str]) -> list[list[float | None]]:
    """Return V* before each turn of some episodes, or note why there is none."""
    try:
        from turngym.trainers.viewing import state_values  # needs torch, the rest does not

        config = known_config(folder)
        values = state_values.values_before_turns(folder, config, stem, episodes)
        beta_value = state_values.beta_value_of(folder, config, stem)
    except ModuleNotFoundError as error:
        notes["value"] = f"V*: none without {error.name}; {install_command('train')}."
        return []
    except (ValueError, OSError) as error:
        notes["value"] = f"V*: none; {error}."
        return []
    known = sum(value is not None for row in values for value in row)
    states = sum(map(len, values))
    told = [f"of {known} of {states} states here; stage 1 has met no others"] if known < states else []
    if beta_value != config.values.beta_value:
        told.append(f"at temperature {beta_value:g}, as set live in place of values.beta_value "
                    f"{config.values.beta_value:g}")  # fmt: skip
    if told:
        notes["value"] = f"V*: {'; '.join(told)}."
    return values


# One episode ----------------------------------------------------------------------------------------------------


def episode_record(
    episode: Episode,
    spelling: Spelling,
    *,
    ratios: Sequence[float] | None = None,
    advantages: Sequence[float] | None = None,
    values: Sequence[float | None] = (),
    baselines: Sequence[float] = (),
    potentials: Sequence[float] = (),
    pictures: Sequence[int] = (),
) -> dict[str, Any]:
    """Return an episode with what the model saw and said.

    Args:
        episode: The episode, of K turns.
        spelling: Spells the tokens.
        ratios: The log-ratio of every sampled token to the reference, nats, in order.
        advantages: The advantage of every sampled token, in order.
        values: V* before each turn, `[K]`.
        baselines: What the objective compared with before each turn, `[K]`.
        potentials: The environment's own potential before each turn and after the last, at most `[K + 1]`; told where
            it is another than the recorded one.
        pictures: The numbers of the pictures before each turn and of the last, at most `[K + 1]`.
    """
    left = _Sampled(iter(ratios or ()), iter(advantages or ()))
    turns = [
        _turn(episode, turn, spelling, left)
        | {"value": _at(values, place), "baseline": _at(baselines, place), "picture": _at(pictures, place),
           "own_potential": _other(_at(potentials, place), turn.potential)}
        for place, turn in enumerate(episode.turns)
    ]  # fmt: skip
    sampled = [logprob for turn in episode.turns for logprob in turn.logprobs]
    return {
        "split": episode.split, "index": episode.index, "seed": episode.seed, "status": episode.status.value,
        "success": episode.success, "error": episode.error, "reward": finite(episode.total_reward),
        "task_return": finite(episode.task_return), "logprob": finite(sum(sampled)) if sampled else None,
        "rules": episode.instructions, "end": episode.final_observation, "turns": turns,
        "picture": _at(pictures, len(turns)),
    }  # fmt: skip


@dataclass(slots=True)
class _Sampled:
    """What is known of the sampled tokens of an episode, from the next one on."""

    ratios: Iterator[float]
    advantages: Iterator[float]


def _turn(episode: Episode, turn: Turn, spelling: Spelling, left: _Sampled) -> dict[str, Any]:
    tokens: list[list[Any]] = []
    logprobs = iter(turn.logprobs)
    places = {place for part in turn.sampled() for place in range(*part)}
    ids = episode.token_ids[slice(*turn.span)]
    for place, text in enumerate(spelling.pieces(ids), start=turn.span[0]):
        if place in places:
            numbers = (next(logprobs, None), next(left.ratios, None), next(left.advantages, None))
            tokens.append([text, *map(finite, numbers)])
        else:
            tokens.append([text, None, None, None])
    seen = spelling.text(episode.token_ids[turn.row_start : turn.span[0]])
    return {
        "observation": turn.observation, "action": turn.action, "reward": finite(turn.reward),
        "task_reward": finite(turn.task_reward), "potential": finite(turn.potential), "valid": turn.valid,
        "cut": turn.cut, "tokens": tokens, "seen": seen,
    }  # fmt: skip


def _at(row: Sequence[Any], place: int) -> Any:
    return row[place] if place < len(row) else None


def _other(own: float | None, recorded: float) -> float | None:
    """Return an environment's own potential where the recorded one is another, by a name of `shaping.potential`."""
    return None if own is None or abs(own - recorded) <= SAME else finite(own)


def finite(value: object) -> float | None:
    """Return a number as JSON has it; None for what is none, or not finite."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else None

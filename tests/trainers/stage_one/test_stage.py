"""What stage 1 leaves to stage 2, and what it says of filters by the spread of returns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import metric_lines, with_learning

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one import stage as stage_module
from turngym.trainers.stage_one.sampling import StageOneSetup, store_fingerprint
from turngym.trainers.stage_one.stage import filtered_spread, run_stage_one
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.variance import VarianceSplit


class Notes(SilentProgress):
    """Keeps what is worth reading after a run."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def filtering(config: TrainConfig, name: str, **settings: Any) -> StageOneSetup:
    """Return the stage 1 of a run whose objective has a filter."""
    return StageOneSetup.of(with_learning(config, name, **settings))


def played(returns: list[float]) -> list[Episode]:
    """Return one instance's episodes of one and the same reply."""
    return [Episode(env_id="x", split="train", index=0, seed=place, success=value > 0, turns=[
                Turn(observation="", action="bet", reward=value, task_reward=value, state_key="s|1", potential=0.0,
                     valid=True)])
            for place, value in enumerate(returns)]  # fmt: skip


@pytest.mark.parametrize(("keep", "luck"), [("top_std", 0.16), ("mixed", 0.04), ("all", 0.16)])
def test_a_filter_by_luck_is_told_and_its_share_goes_into_the_metrics(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, luck: float
) -> None:
    found = VarianceSplit(returns=0.2, environment=luck, repeated=9, varied=2)
    monkeypatch.setattr(stage_module, "variance_split", lambda transitions: found)
    notes, metrics = Notes(), Metrics(tmp_path / "metrics.jsonl")
    run_stage_one(
        model, tmp_path / "values.sqlite", filtering(tiny, "astarpo", filter=keep, group_size=2), metrics, notes
    )
    shares = {line.get("environment_share") for line in metrics.lines()}
    assert shares == ({None} if keep == "all" else {found.environment_share})
    told = ["filter by the spread of returns: not to be trusted, most of the spread is luck."]
    said = [text for text in notes.texts if not text.startswith("stage 1: ")]  # of replies that a new model cuts
    assert said == (told if keep == "top_std" else [])


@pytest.mark.parametrize("objective", ["dapo", "starpo_s"])
def test_the_filter_of_the_objective_itself_counts(tiny: TrainConfig, tmp_path: Path, objective: str) -> None:
    with ValueStore(tmp_path / "values.sqlite", {}) as store:
        store.add(played([1.0, 0.0, 0.0]))
        split = filtered_spread(store, filtering(tiny, objective))
        assert split is not None and split.spread_is_luck
        assert filtered_spread(store, filtering(tiny, objective, filter="all")) is None


def test_nothing_is_said_of_what_was_not_measured(tiny: TrainConfig, tmp_path: Path) -> None:
    with ValueStore(tmp_path / "values.sqlite", {}) as store:
        store.add(played([1.0]))
        assert filtered_spread(store, filtering(tiny, "grpo", filter="mixed")) is None, "no start was played twice"


def test_the_last_line_tells_the_width_of_the_bracket(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    values = replace(tiny.values, beta_value=0.25, explorer_temperatures=[1.5], explorer_samples=1)
    config, metrics = replace(tiny, values=values), Metrics(tmp_path / "metrics.jsonl")
    run_stage_one(model, tmp_path / "values", StageOneSetup.of(config), metrics, SilentProgress())
    lines = metric_lines(tmp_path, "values")
    with ValueStore(tmp_path / "values", store_fingerprint(model, Rollouts.of(config))) as store:
        returns = store.returns()
    widths = [0.25 * math.log(np.mean(np.exp(np.array(group) / 0.25))) - np.mean(group) for group in returns.values()]
    assert max(widths) > 0.1
    *blocks, explored = lines
    assert blocks[-1]["bracket_width"] == pytest.approx(np.mean(widths))
    assert blocks[0]["episodes"] < blocks[-1]["episodes"] and "bracket_width" not in explored
    run_stage_one(model, tmp_path / "values", StageOneSetup.of(config), metrics, SilentProgress())
    assert metric_lines(tmp_path, "values") == lines  # nothing is left to play or to tell


def test_what_the_context_ends_is_told_once_and_counted_in_every_block(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    model.context_length = 90
    notes, metrics = Notes(), Metrics(tmp_path / "metrics.jsonl")
    run_stage_one(model, tmp_path / "values.sqlite", StageOneSetup.of(tiny), metrics, notes)
    (note,) = (text for text in notes.texts if "context" in text)
    assert note.startswith("stage 1: ") and note.endswith("count as failures; raise model.context_length")
    shares = [line["cut_episodes"] for line in metrics.lines()]
    assert len(shares) > 1 and f"{max(shares[:1]):.0%}" in note and all(0 <= share <= 1 for share in shares)

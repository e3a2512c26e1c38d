"""What stage 1 as a whole reports."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.trainers.harness import metric_lines

from turngym.agents.language_model import LanguageModel
from turngym.trainers.config import TrainConfig
from turngym.trainers.metrics import Metrics
from turngym.trainers.progress import SilentProgress
from turngym.trainers.reference import store_fingerprint
from turngym.trainers.stage_one import run_stage_one
from turngym.trainers.value_store import ValueStore


def test_the_last_line_tells_the_width_of_the_bracket(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    values = replace(tiny.values, beta_value=0.25, explorer_temperatures=[1.5], explorer_samples=1)
    config, metrics = replace(tiny, values=values), Metrics(tmp_path / "metrics.jsonl")
    run_stage_one(player, tmp_path / "values", config, metrics, SilentProgress())
    lines = metric_lines(tmp_path, "values")
    with ValueStore(tmp_path / "values", store_fingerprint(player, config)) as store:
        returns = store.returns()
    widths = [0.25 * math.log(np.mean(np.exp(np.array(group) / 0.25))) - np.mean(group) for group in returns.values()]
    assert max(widths) > 0.1
    *blocks, explored = lines
    assert blocks[-1]["bracket_width"] == pytest.approx(np.mean(widths))
    assert blocks[0]["episodes"] < blocks[-1]["episodes"] and "bracket_width" not in explored
    run_stage_one(player, tmp_path / "values", config, metrics, SilentProgress())
    assert metric_lines(tmp_path, "values") == lines  # nothing is left to play or to tell

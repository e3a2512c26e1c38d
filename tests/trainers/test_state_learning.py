"""Learning with values of states."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.trainers.harness import metric_lines, run_both_stages, with_learning

from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, remove_after
from turngym.trainers.config import TrainConfig
from turngym.trainers.config.values import StateEstimatorName
from turngym.trainers.reporting.progress import SilentProgress


def config_of(tiny: TrainConfig, baseline: str = "state_tracker") -> TrainConfig:
    config = replace(tiny, env=replace(tiny.env, kwargs={"size": 3, "success_rate": 0.8}))
    return with_learning(config, "astarpo_turn", warmup_steps=0, baseline=baseline, turn_lambda=0.5)


def learn(model: LanguageModel, config: TrainConfig, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Run or finish stage 2; return the fingerprint of the weights and the numbers of the steps, without times."""
    folder.mkdir(exist_ok=True)
    loop = run_both_stages(model, config, folder, SilentProgress())
    return fingerprint_of(loop.learner.policy.model.state_dict()), metric_lines(folder, "learning")


@pytest.mark.parametrize("baseline", ["state_tracker", "state_vstar"])
def test_a_run_resumed_is_the_run(model: LanguageModel, tiny: TrainConfig, tmp_path: Path, baseline: str) -> None:
    config = config_of(tiny, baseline)
    whole = learn(model, config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    remove_after(tmp_path / "resumed" / "checkpoints", 4)
    last = latest_checkpoint(tmp_path / "resumed" / "checkpoints")
    assert last is not None and last.name == "step-000004"
    assert learn(model, config, tmp_path / "resumed") == whole
    assert [step["step"] for step in whole[1]] == [1, 2, 3, 4, 5, 6]


def test_each_source_of_values_leads_elsewhere(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    sources = {
        name: config_of(tiny, baseline) for name, baseline in [("tracker", "state_tracker"), ("vstar", "state_vstar")]
    }
    names: tuple[StateEstimatorName, ...] = ("soft_values", "log_mean_exp")
    for name in names:
        sources[name] = replace(sources["vstar"], values=replace(tiny.values, state_estimator=name))
    del sources["vstar"]
    ends = {name: learn(model, config, tmp_path / name)[0] for name, config in sources.items()}
    assert len(set(ends.values())) == 3

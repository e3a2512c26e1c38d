"""Learning with values of states, and from the episodes of stage 1."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import metric_lines, run_both_stages

from turngym.agents.language_model import LanguageModel
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, remove_after
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.config import CurriculumConfig, MonitorsConfig, TrainConfig
from turngym.trainers.loop import reference_batch, value_states
from turngym.trainers.objectives import chosen_objective, step_settings
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import prepare_learner


def config_of(tiny: TrainConfig, baseline: str = "state_tracker", reference_steps: int = 0) -> TrainConfig:
    return replace(
        tiny,
        env=replace(tiny.env, kwargs={"size": 3, "success_rate": 0.8}),
        astarpo=replace(tiny.astarpo, objective="astarpo_turn", reference_steps=reference_steps, warmup_steps=0),
        objectives=replace(tiny.objectives, baseline=baseline, turn_lambda=0.5),
    )


def learn(player: LanguageModel, config: TrainConfig, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Run or finish stage 2; return the fingerprint of the weights and the numbers of the steps, without times."""
    folder.mkdir(exist_ok=True)
    learner = run_both_stages(player, config, folder, SilentProgress())
    return fingerprint_of(learner.policy.model.state_dict()), metric_lines(folder, "astarpo")


@pytest.mark.parametrize(("baseline", "reference_steps"), [
    ("state_tracker", 2), ("state_tracker", 5), ("state_vstar", 0), ("state_vstar", 5)])  # fmt: skip
def test_a_run_resumed_is_the_run(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, baseline: str, reference_steps: int
) -> None:
    config = config_of(tiny, baseline, reference_steps)
    whole = learn(player, config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    remove_after(tmp_path / "resumed" / "checkpoints", 4)
    last = latest_checkpoint(tmp_path / "resumed" / "checkpoints")
    assert last is not None and last.name == "step-000004"
    assert learn(player, config, tmp_path / "resumed") == whole
    assert [step["step"] for step in whole[1]] == [1, 2, 3, 4, 5, 6]


def test_steps_on_stage_one_play_nothing_and_begin_on_policy(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    _, steps = learn(player, config_of(tiny, reference_steps=3), tmp_path / "run")
    stage_one = Metrics(tmp_path / "run" / "metrics.jsonl").total("values", "sampled_tokens")
    assert [step["generated_tokens"] for step in steps[:3]] == [stage_one] * 3
    assert steps[3]["generated_tokens"] == stage_one + steps[3]["sampled_tokens"]
    # What the reference sampled is what the untouched policy would say; after a step no longer.
    assert steps[0]["ess"] == pytest.approx(1.0, abs=1e-4) and all(0 < step["ess"] < 0.9999 for step in steps[1:3])
    assert steps[3]["logprob_drift"] < 1e-4 and "ess" not in steps[3]


def test_steps_on_stage_one_say_nothing_about_how_the_policy_plays(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = replace(config_of(tiny, reference_steps=3), monitors=MonitorsConfig(retrieval_every=1))
    _, steps = learn(player, config, tmp_path / "run")
    of_policy = {
        "success", "task_return", "turns", "valid", "entropy", "reply_length", "distinct_1", "duplicate_share",
        "predictive_std", "kl", "kl_per_token", "kl_tax", "logprob_drift", "logprob_drift_p50", "logprob_drift_p99",
        "residual_mean", "residual_var", "value_gap", "retrieval_accuracy",
    }  # fmt: skip
    for step in steps[:3]:
        assert not of_policy & set(step)
        assert {"loss", "grad_norm", "value", "kept", "negative_share", "sampled_tokens", "ess"} <= set(step)
    assert all(of_policy <= set(step) for step in steps[3:])


def test_steps_on_stage_one_are_no_good_readings_of_what_they_do_not_tell(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    """Learning far too fast from stage 1, the policy is away from the reference as soon as it plays."""
    config = config_of(tiny, reference_steps=3)
    config = replace(
        config,
        astarpo=replace(config.astarpo, learning_rate=0.3, steps=4),
        monitors=MonitorsConfig(grad_norm_ratio=1e9),
    )
    learn(player, config, tmp_path / "run")
    (alarm,) = metric_lines(tmp_path / "run", "alarm")
    assert (alarm["alarm"], alarm["step"], alarm["last_good_step"]) == ("kl_tax", 4, 0)


def test_steps_on_stage_one_end_where_its_episodes_do(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    """It stores fewer than asked for where all instances have their most."""
    values = replace(tiny.values, instances=8, samples=2, extra_samples=64, max_samples=2)
    config = replace(config_of(tiny, reference_steps=6), values=values)
    _, steps = learn(player, config, tmp_path / "run")
    stage_one = Metrics(tmp_path / "run" / "metrics.jsonl").total("values", "sampled_tokens")
    assert [step["generated_tokens"] > stage_one for step in steps] == [False] * 2 + [True] * 4


def test_a_value_never_rests_on_an_episode_that_it_judges(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = config_of(tiny, reference_steps=3)
    metrics = Metrics(tmp_path / "metrics.jsonl")
    learner = prepare_learner(player, config, tmp_path, metrics, SilentProgress())
    settings = step_settings(config, 0.05, 1.0)
    batch, known = reference_batch(learner, config), learner.transitions
    assert known is not None
    number_M = np.cumsum(known.turn_S[known.state_M] == 0) - 1
    for number in batch:
        states = [known.keys[state] for state in known.state_M[number_M == number]]
        assert states == [turn.state_key for turn in learner.reference_episodes[number].turns]
    paid_M = np.where(np.isin(number_M, batch), 1.0 - known.to_go_M, known.to_go_M)
    said = []
    for learner.step in (0, 3):
        for to_go_M in (known.to_go_M, paid_M):
            learner.transitions = replace(known, to_go_M=to_go_M, reward_M=to_go_M)
            value_states(learner, config, settings)
            assert learner.states is not None
            said.append(learner.states.state_dict())
    assert said[0] == said[1] and said[2] != said[3]


def test_each_source_of_values_leads_elsewhere(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    sources = {
        name: config_of(tiny, baseline) for name, baseline in [("tracker", "state_tracker"), ("vstar", "state_vstar")]
    }
    for name in ("soft_values", "log_mean_exp"):
        sources[name] = replace(sources["vstar"], values=replace(tiny.values, state_estimator=name))
    del sources["vstar"]
    ends = {name: learn(player, config, tmp_path / name)[0] for name, config in sources.items()}
    assert len(set(ends.values())) == 3


def test_learning_from_stage_one_needs_values_of_states_and_enough_episodes(tiny: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"set objectives\.baseline to state_tracker or state_vstar, or leave it at 0"):
        chosen_objective(replace(tiny, astarpo=replace(tiny.astarpo, reference_steps=1)))
    with pytest.raises(ValueError, match=r"9 astarpo\.reference_steps of 8 episodes need more than the 64 of stage 1"):
        chosen_objective(config_of(tiny, reference_steps=9))
    assert chosen_objective(config_of(tiny, reference_steps=8)).name == "astarpo_turn"
    few = replace(config_of(tiny, reference_steps=1), values=replace(tiny.values, instances=7, extra_samples=1))
    with pytest.raises(ValueError, match="by the values of the others, and its 15 episodes fill fewer than two of 8"):
        chosen_objective(few)


def test_values_of_stage_one_alone_know_no_easier_level(tiny: TrainConfig) -> None:
    curriculum = CurriculumConfig(levels=[{"size": 2}])
    assert chosen_objective(replace(config_of(tiny, "state_tracker"), curriculum=curriculum)).name == "astarpo_turn"
    with pytest.raises(ValueError, match="which plays no easier level: set it to state_tracker"):
        chosen_objective(replace(config_of(tiny, "state_vstar"), curriculum=curriculum))

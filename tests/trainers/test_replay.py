"""Replay: what stage 1 has played is learned from too, where that leads to the same optimum, and resumed to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainers.harness import Halted, copied, metric_lines, run_both_stages

from turngym._errors import InputError
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.config import ShapingConfig, TrainConfig, with_algorithm, with_overrides
from turngym.trainers.replay import Replay
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import store_name
from turngym.trainers.stage_one.exploring.exploration import Exploration
from turngym.trainers.stage_one.sampling import StageOneSetup, sample_reference, store_fingerprint
from turngym.trainers.stage_one.store import ValueStore


@pytest.fixture
def config(tiny: TrainConfig) -> TrainConfig:
    return replayed(tiny, 0.5)


def replayed(config: TrainConfig, share: float, name: str = "astarpo_turn", **objective: Any) -> TrainConfig:
    config = with_algorithm(config, name)
    values = {"explorer_temperatures": [2.0], "explorer_agents": ["oracle"], "explorer_samples": 1}
    chosen = {"baseline": "state_vstar", "turn_lambda": 0.5, **objective} if name == "astarpo_turn" else objective
    with_values = with_overrides(config, {"values": values} if config.needs_stage_one else {})
    with_objective = with_overrides(with_values, {"objective": chosen})
    return with_overrides(with_objective, {"learning": {"replay_share": share}})


def filled(path: Path, model: LanguageModel, config: TrainConfig) -> ValueStore:
    store, setup = ValueStore(path, store_fingerprint(model, Rollouts.of(config))), StageOneSetup.of(config)
    assert list(sample_reference(model, store, setup, SilentProgress()))
    with Exploration(model, store, setup) as exploring:
        assert list(exploring.blocks(SilentProgress()))
    return store


def test_whole_episodes_of_all_but_scripts_come_back(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    with filled(tmp_path / "v", model, config) as store:
        numbers = store.whole_episodes()
        episodes = [store.whole_episode(number) for number in numbers]
        kept = [("reference", store.summary()), ("temperature 2.0", store.summary(behaviour="temperature 2.0"))]
        assert len(numbers) == sum(summary.episodes for _, summary in kept)
        assert store.summary(behaviour="agent oracle").episodes == 24
        assert all(episode.token_ids and turn.logprobs for episode in episodes for turn in episode.turns)
        assert [episode.total_reward for episode in episodes[:2]] == store.returns()[0][:2]

        replay = Replay(store, count=9, paid=config.shaping, seed=3)
        drawn, again = replay.draw(5, 0, config.shaping), replay.draw(5, 0, config.shaping)
        assert drawn == again and len(drawn) == 9 and replay.draw(6, 0, config.shaping) != drawn
        dearer = replay.draw(5, 0, ShapingConfig(step_cost=0.25))
        for before, after in zip(drawn, dearer, strict=True):
            assert after.total_reward == pytest.approx(before.total_reward - 0.25 * len(before.turns))


def test_a_store_without_whole_episodes_is_refused(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    plain = with_overrides(config, {"learning": {"replay_share": 0.0}})
    with filled(tmp_path / "v", model, plain) as store, pytest.raises(InputError, match="keeps no whole episodes"):
        Replay(store, count=1, paid=config.shaping, seed=0)


def test_a_run_learns_from_both_and_is_resumed_to_the_bit(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = run_both_stages(model, config, tmp_path / "whole", SilentProgress())
    with pytest.raises(KeyboardInterrupt):
        run_both_stages(model, config, tmp_path / "parts", Halted())
    parts = run_both_stages(model, config, tmp_path / "parts", SilentProgress())

    weights = [loop.learner.policy.model.state_dict() for loop in (whole, parts)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    lines = metric_lines(tmp_path / "whole", "learning")
    assert lines == metric_lines(tmp_path / "parts", "learning")
    assert [line["replayed"] for line in lines] == [4] * 6
    assert all(line["logprob_drift"] < 1e-4 for line in lines)  # of what the policy has played itself
    assert max(abs(line["replay_log_ratio"]) for line in lines) > 0.01
    with ValueStore(tmp_path / "whole" / store_name(1), None) as store:
        assert store.whole_episodes()


def test_what_is_replayed_changes_what_is_learned(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    """With as many episodes played, the replayed ones move the weights too."""
    ended = []
    for share, batch_size in ((0.5, 8), (0.0, 4)):
        chosen = with_overrides(config, {"learning": {"replay_share": share, "batch_size": batch_size, "steps": 1}})
        folder = tmp_path / str(share)
        folder.mkdir()
        ended.append(run_both_stages(copied(model), chosen, folder, SilentProgress()).learner.policy.model.state_dict())
    assert any(not torch.equal(weight, ended[1][name]) for name, weight in ended[0].items())


@pytest.mark.parametrize(
    ("name", "objective", "said"),
    [
        ("astarpo", {}, "is for astarpo_turn with objective.baseline state_vstar"),
        ("grpo", {}, "is for astarpo_turn with objective.baseline state_vstar"),
        ("astarpo_turn", {"baseline": "state_tracker"}, "is for astarpo_turn with objective.baseline state_vstar"),
        ("astarpo_turn", {"optimal_baseline": True}, "does not go with objective.optimal_baseline"),
        ("astarpo_turn", {"group_size": 2}, "does not go with objective.group_size"),
    ],
)
def test_what_needs_its_own_play_refuses(tiny: TrainConfig, name: str, objective: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"learning\.replay_share {said}"):
        replayed(tiny, 0.25, name, **objective)


def test_a_moving_temperature_is_refused(config: TrainConfig) -> None:
    with pytest.raises(InputError, match=r"learning\.replay_share needs V\* of the policy's own temperature"):
        replace(config, learning=replace(config.learning, temperature_final=0.7),
                objective=replace(config.objective, turn_lambda=1.0))  # type: ignore[call-arg]  # fmt: skip

"""Shaping in training: the same terms as the wrappers', wherever an episode ends, and never in what is measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import WrapperSpec
from tests.trainers.harness import instance_baseline, make_loop, run, with_learning

from turngym.agents.episode import Episode, Status, Turn, read_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import HostileAgent, RandomAgent
from turngym.envs.core import TextEnv
from turngym.trainers.config import ShapingConfig, TrainConfig, ValueConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import train
from turngym.trainers.shaping import is_shaped, shape_rewards, shaped_range, shaping_means, shaping_terms
from turngym.trainers.stage_one.sampling import StageOneSetup, estimate, sample_reference, store_fingerprint
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreMismatch

SHAPING = ShapingConfig(potential_weight=0.7, invalid_penalty=0.11, format_penalty=0.17, step_cost=0.013)
SHAPED_LAKE = "test/ShapedLake-v0"
INSTANCES = instance_range("train", 12)


@pytest.fixture
def shaped(tiny: TrainConfig) -> TrainConfig:
    return replace(tiny, shaping=SHAPING)


@pytest.fixture
def shaped_lake() -> Iterator[str]:
    """The lake of the tests with the wrappers around it, under an id of its own."""
    lake = gym.spec("turngym/FrozenLake-v0")
    wrappers = (
        ("PotentialShaping", {"potential": None, "weight": SHAPING.potential_weight, "potential_range": (0.0, 1.0)}),
        ("PlainShaping", {"invalid_penalty": 0.11, "format_penalty": 0.17, "step_cost": 0.013}),
    )
    layers = tuple(WrapperSpec(name, f"turngym.envs.shaping:{name}", dict(kwargs)) for name, kwargs in wrappers)
    gym.register(SHAPED_LAKE, entry_point=lake.entry_point, max_episode_steps=lake.max_episode_steps,
                 additional_wrappers=(*lake.additional_wrappers, *layers))  # fmt: skip
    yield SHAPED_LAKE
    del gym.registry[SHAPED_LAKE]


def walk(
    potentials: Sequence[float],
    *,
    valid: bool = True,
    well_formed: bool = True,
    status: Status = Status.COMPLETED,
) -> Episode:
    turns = [
        Turn(observation="", action="up", reward=0.25, task_reward=0.25, state_key="s", potential=potential,
             valid=valid, well_formed=well_formed)
        for potential in potentials
    ]  # fmt: skip
    return Episode(env_id="x", split="train", index=0, seed=0, turns=turns, status=status)


# What is added --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("agent", [RandomAgent, HostileAgent])
def test_the_terms_are_those_of_the_wrappers(
    shaped: TrainConfig, tiny: TrainConfig, shaped_lake: str, agent: Any, reasoning: bool
) -> None:
    settings = {**tiny.env.kwargs, "reasoning": reasoning}
    rollouts = Rollouts.of(replace(shaped, env=replace(tiny.env, kwargs=settings)))
    wrapped = Rollouts.of(replace(tiny, env=replace(tiny.env, id=shaped_lake, kwargs=settings)))
    expected = [[turn.reward for turn in episode.turns] for episode in wrapped.play(agent(), INSTANCES)]
    episodes = rollouts.play(agent(), INSTANCES, shaped=True)
    assert [[turn.reward for turn in episode.turns] for episode in episodes] == expected
    assert {episode.status for episode in episodes} >= {Status.TRUNCATED_TURNS}
    kinds = {(turn.well_formed, turn.valid) for episode in episodes for turn in episode.turns}
    assert kinds >= {(False, False), (True, False)} or agent is RandomAgent
    assert rollouts.return_range == wrapped.return_range == pytest.approx((-0.7 - 10 * 0.183, 1.0))
    for episode in episodes:
        assert rollouts.return_range[0] <= episode.total_reward <= 1.0


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.TRUNCATED_TURNS, Status.TRUNCATED_LENGTH])
def test_the_last_potential_is_paid_back_however_an_episode_ends(status: Status) -> None:
    episode = walk([0.5, 0.75, 0.25], status=status)
    shape_rewards(episode, ShapingConfig(potential_weight=2.0))
    assert [turn.reward for turn in episode.turns] == [0.75, -0.75, -0.25]
    assert [turn.task_reward for turn in episode.turns] == [0.25] * 3
    assert episode.total_reward == episode.task_return - 2.0 * 0.5


def test_the_kinds_are_kept_apart() -> None:
    shaping = ShapingConfig(potential_weight=2.0, invalid_penalty=0.5, format_penalty=0.25, step_cost=0.125)
    assert shaping_terms(walk([0.5, 0.75], valid=False), shaping) == ([0.5, -1.5], [-0.625, -0.625])
    malformed = walk([0.5, 0.75], valid=False, well_formed=False)
    assert shaping_terms(malformed, shaping) == ([0.5, -1.5], [-0.375, -0.375])
    assert shaping_terms(walk([]), shaping) == ([], [])
    means = shaping_means([walk([0.5, 0.75], valid=False), walk([0.25])], shaping)
    assert means == {"potential_shaping": -0.75, "plain_shaping": -0.6875}


@pytest.mark.parametrize("name", ["potential_weight", "invalid_penalty", "format_penalty", "step_cost"])
def test_only_what_is_asked_for_is_shaped(tiny: TrainConfig, name: str) -> None:
    plain = Rollouts.of(tiny)
    amount: Any = {name: 0.1}
    rollouts = replace(plain, shaping=ShapingConfig(**amount))
    assert is_shaped(rollouts.shaping) and not is_shaped(plain.shaping)
    played = plain.play(HostileAgent(), INSTANCES)
    assert plain.play(HostileAgent(), INSTANCES, shaped=True) == played == rollouts.play(HostileAgent(), INSTANCES)
    assert rollouts.play(HostileAgent(), INSTANCES, shaped=True) != played
    assert plain.return_range == (0.0, 1.0)


def test_a_wrapped_environment_declares_its_own_range(tiny: TrainConfig, shaped_lake: str) -> None:
    config = replace(tiny, env=replace(tiny.env, id=shaped_lake), shaping=ShapingConfig(step_cost=0.1))
    assert Rollouts.of(config).return_range == pytest.approx((-0.7 - 10 * 0.283, 1.0))


def test_without_a_turn_limit_penalties_have_no_bound() -> None:
    assert shaped_range((0.0, 1.0), ShapingConfig(step_cost=0.1), None) == (-np.inf, 1.0)
    assert shaped_range((0.0, 1.0), ShapingConfig(potential_weight=0.5), None) == (-0.5, 1.0)
    assert shaped_range((-1.0, 2.0), ShapingConfig(format_penalty=0.5, invalid_penalty=0.25), 4) == (-3.0, 2.0)


# Stage 1 --------------------------------------------------------------------------------------------------------------


def test_stage_one_stores_shaped_rewards_beside_the_task_rewards(
    model: LanguageModel, shaped: TrainConfig, tmp_path: Path
) -> None:
    setup = StageOneSetup.of(replace(shaped, shaping=ShapingConfig(potential_weight=0.7, step_cost=0.1)))
    with ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, setup.rollouts)) as store:
        blocks = list(sample_reference(model, store, setup, SilentProgress()))
        turns = list(store.turns())
        totals = [(instance, total) for instance, returns in store.returns().items() for total in returns]
        values = estimate(store, setup).values
    starts = {turn.instance: turn.potential for turn in turns if turn.turn == 0}
    assert min(total for _, total in totals) < -0.5, "returns must leave the unshaped range"
    earned = {(turn.instance, turn.sample): 0.0 for turn in turns}
    for turn in turns:
        earned[turn.instance, turn.sample] += turn.task_reward - 0.1
    expected = sorted((instance, value - 0.7 * starts[instance]) for (instance, _), value in earned.items())
    np.testing.assert_allclose(sorted(totals), expected, rtol=0, atol=1e-12)
    assert blocks[-1]["value"] == pytest.approx(values.mean())
    assert values.min() < 0 and 0 < blocks[-1]["success"] < 1, "success is that of the task"


def test_values_fall_by_the_potential_of_the_start(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    """Where no instance borrows from the pool, and at one temperature: its unit is the unshaped range."""
    plain = replace(tiny, values=ValueConfig(instances=24, samples=2, extra_samples=0, prior_strength=0.0))
    found, starts = [], {}
    for config in (plain, replace(plain, shaping=ShapingConfig(potential_weight=0.7))):
        setup, path = StageOneSetup.of(config), tmp_path / f"{is_shaped(config.shaping)}.sqlite"
        with ValueStore(path, store_fingerprint(model, setup.rollouts)) as store:
            assert len(list(sample_reference(model, store, setup, SilentProgress()))) == 1
            found.append(estimate(store, setup).values)
            starts = {turn.instance: turn.potential for turn in store.turns() if turn.turn == 0}
    potential_I = np.array([starts[instance] for instance in sorted(starts)])
    assert potential_I.std() > 0.1
    np.testing.assert_allclose(found[1], found[0] - 0.7 * potential_I, rtol=0, atol=1e-12)


def test_a_store_of_other_shaping_is_refused_by_name(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    def opened(name: str, shaping: ShapingConfig) -> ValueStore:
        rollouts = replace(Rollouts.of(tiny), shaping=shaping)
        return ValueStore(tmp_path / f"{name}.sqlite", store_fingerprint(model, rollouts))

    none = ShapingConfig()
    assert "reward shaping" not in store_fingerprint(model, Rollouts.of(tiny)), "stores without it stay as they are"
    opened("plain", none).close()
    opened("shaped", SHAPING).close()
    heavier, stricter = replace(SHAPING, potential_weight=0.8), replace(SHAPING, format_penalty=0.1)
    for name, shaping in (("plain", SHAPING), ("shaped", none), ("shaped", heavier), ("shaped", stricter)):
        with pytest.raises(ValueStoreMismatch, match="another set-up: reward shaping is ") as refused:
            opened(name, shaping)
        assert str(refused.value).count(" in the store") == 1
    opened("shaped", SHAPING).close()


# Stage 2 and measurement ----------------------------------------------------------------------------------------------


def test_a_shaped_run_learns_from_shaped_rewards_and_reports_those_of_the_task(
    model: LanguageModel, shaped: TrainConfig, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "base")
    result = train(shaped, tmp_path, SilentProgress())
    learned_from = list(read_episodes(tmp_path / "episodes" / "train_000006.jsonl"))
    for episode in learned_from:
        added = sum(turn.reward - turn.task_reward for turn in episode.turns)
        assert added == pytest.approx(sum(map(sum, shaping_terms(episode, SHAPING))), abs=1e-12)
        assert added < 0
    lines = [line for line in Metrics(tmp_path / "metrics.jsonl").lines() if line["phase"] == "learning"]
    means = shaping_means(learned_from, SHAPING)
    assert {key: lines[-1][key] for key in means} == means
    assert lines[-1]["task_return"] == np.mean([episode.success for episode in learned_from]) == lines[-1]["success"]
    assert lines[0]["beta"] == pytest.approx(0.05), "its unit is the unshaped reward range"
    tested = list(read_episodes(tmp_path / "episodes" / "test_trained_sampled.jsonl"))
    assert all(turn.reward == turn.task_reward for episode in tested for turn in episode.turns)
    assert result["trained_sampled"]["mean_return"] == np.mean([episode.success for episode in tested])


def test_values_follow_the_shaped_return(
    model: LanguageModel, shaped: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(model, shaped)
    told: list[float] = []
    monkeypatch.setattr(instance_baseline(loop).means, "update", lambda index, soft_return: told.append(soft_return))
    numbers, (episodes,) = run(loop, tmp_path, steps=1)
    assert told == [episode.total_reward for episode in episodes]
    assert np.mean(told) == pytest.approx(
        numbers[0]["task_return"] + numbers[0]["potential_shaping"] + numbers[0]["plain_shaping"], abs=1e-12
    )


def test_the_share_of_each_kind_of_reply_tells_what_it_cost(
    model: LanguageModel, shaped: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other reply of the model is taken away before the game sees it."""
    step, turn = TextEnv.step, itertools.count()
    monkeypatch.setattr(TextEnv, "step", lambda env, action: step(env, action if next(turn) % 2 else ""))
    (numbers, *_), (episodes,) = run(make_loop(model, with_learning(shaped, steps=1)), tmp_path)
    turns = [turn for episode in episodes for turn in episode.turns]
    valid, well_formed = numbers["valid"], numbers["well_formed"]
    assert valid == np.mean([turn.valid for turn in turns]) < well_formed
    assert well_formed == np.mean([turn.well_formed for turn in turns]) == pytest.approx(0.5, abs=0.1)
    cost = SHAPING.step_cost + SHAPING.invalid_penalty * (well_formed - valid)
    cost += SHAPING.format_penalty * (1 - well_formed)
    assert numbers["plain_shaping"] == pytest.approx(-cost * numbers["turns"], abs=1e-12)


def test_without_shaping_its_means_are_not_reported(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    numbers, _ = run(make_loop(model, with_learning(tiny, steps=1)), tmp_path)
    assert not {"potential_shaping", "plain_shaping"} & set(numbers[0])

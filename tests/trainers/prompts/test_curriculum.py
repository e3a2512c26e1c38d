"""The curriculum: who gets which share, whose value is whose, and a run that resumes with the same bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import STAGE_ONE, alone_and_halted, make_loop, run, with_learning

from turngym.agents.episode import Episode, read_episodes
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import Instance
from turngym.seeds import Stream, generator
from turngym.trainers.config import CurriculumConfig, EnvConfig, TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, LEVEL_BLOCK, LEVEL_INSTANCES, TARGET, level_instances, level_of
from turngym.trainers.objectives import OBJECTIVES
from turngym.trainers.prompts.curriculum import level_shares, outcomes
from turngym.trainers.prompts.levels import check_levels
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import train

EASIER = [{"size": 2, "frozen_probability": 1.0}, {"frozen_probability": 1.0}]
FIRST, SECOND = LEVEL_INSTANCES, LEVEL_INSTANCES + LEVEL_BLOCK


@pytest.fixture
def graded(tiny: TrainConfig) -> TrainConfig:
    """The tiny run with two easier levels: lakes of 2x2, and lakes without holes."""
    return replace(tiny, curriculum=CurriculumConfig(levels=EASIER))


def levels(config: TrainConfig, **settings: Any) -> TrainConfig:
    return replace(config, curriculum=replace(config.curriculum, **settings))


def successes(easier: int = 2) -> SuccessTracker:
    return SuccessTracker(STAGE_ONE, easier=easier)


def ended(index: int, success: bool) -> Episode:
    return Episode(env_id="any", split="train", index=index, seed=0, success=success)


# The rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "min_share", "shares"),
    [
        ([0.5, 0.0], 0.0, [0.55 / 0.6, 0.05 / 0.6]),
        ([0.5, 0.0], 0.1, [0.1 + 0.8 * 0.55 / 0.6, 0.1 + 0.8 * 0.05 / 0.6]),
        ([0.9, 0.2, 0.0], 0.1, [0.1 + 0.7 * 0.35 / 0.85, 0.1 + 0.7 * 0.45 / 0.85, 0.1 + 0.7 * 0.05 / 0.85]),
        ([1.0, 0.0, 0.0, 1.0], 0.1, [0.25] * 4),
        ([0.5, 0.0, 0.9], 1 / 3, [1 / 3] * 3),
        ([0.7], 0.3, [1.0]),
    ],
)
def test_shares(success: list[float], min_share: float, shares: list[float]) -> None:
    assert level_shares(success, min_share) == pytest.approx(shares, rel=1e-12)


def test_the_share_moves_on_as_levels_are_mastered() -> None:
    """Level k is won with the probability that k + 1 has been mastered so far, as when skills build on each other."""
    learning = successes()
    first = [FIRST, SECOND, FRESH_INSTANCES]
    rng = np.random.default_rng(0)

    def play_for(success: Sequence[float]) -> list[float]:
        for _ in range(1000):
            for index, rate in zip(first, success, strict=True):
                learning.update([ended(index, bool(rng.random() < rate))])
        return level_shares(learning.level_successes(), 0.1).tolist()

    shares = [play_for(rates) for rates in [(0.5, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 1.0, 0.5), (1.0, 1.0, 1.0)]]
    assert [int(np.argmax(share)) for share in shares[:3]] == [0, 1, 2]
    assert all(max(share) > 0.6 for share in shares[:3])
    assert shares[3] == pytest.approx([1 / 3] * 3, abs=0.02)
    assert learning.level_successes() == pytest.approx([1.0] * 3, abs=0.01)


def test_no_level_starves(graded: TrainConfig) -> None:
    learning, prompts = successes(), PromptSampler.of(with_learning(graded, batch_size=20), STAGE_ONE.pool)
    for _ in range(1000):  # one level is a toss-up for ever, the others are hopeless
        for index, solved in [(FIRST, True), (FIRST, False), (SECOND, False), (FRESH_INSTANCES, False)]:
            learning.update([ended(index, solved)])
    drawn = np.zeros(3)
    for step in range(500):
        for instance in prompts.draw(step, 0, learning):
            drawn[level_of(instance.index)] += 1 / 10_000
    assert drawn == pytest.approx(level_shares(learning.level_successes(), 0.1), abs=0.02)
    assert drawn.min() > 0.1 and level_shares(learning.level_successes(), 0.0).min() < 0.09


def test_a_success_estimate_is_a_beta_distribution_that_fades() -> None:
    learning = successes()
    wins, losses = 5.0, 5.0
    assert learning.level_successes()[:2] == [0.5, 0.5]
    for number in range(40):
        solved = number % 3 == 0
        learning.update([ended(SECOND + number, solved)])
        wins, losses = 0.99 * wins + solved, 0.99 * losses + (not solved)
        assert learning.level_successes()[1] == pytest.approx(wins / (wins + losses), rel=1e-12)
    assert learning.level_successes()[0] == 0.5


def test_without_levels_nothing_is_drawn(tiny: TrainConfig, graded: TrainConfig) -> None:
    """No random number goes into the levels then, so that the prompts are those of a run that knows of none."""
    alone, with_levels = (PromptSampler.of(config, STAGE_ONE.pool).draw(0, 0, successes()) for config in (tiny, graded))
    assert alone != with_levels and {level_of(instance.index) for instance in alone} == {TARGET}
    rng = generator(tiny.run.seed, Stream.STEP, 0, 0)
    weights = successes().prompt_weights(STAGE_ONE.pool)
    known = rng.choice(list(STAGE_ONE.pool), size=4, replace=False, p=weights / weights.sum()).tolist()
    assert [instance.index for instance in alone[:4]] == known


# Instances ------------------------------------------------------------------------------------------------------


def test_an_index_tells_its_level() -> None:
    assert [level_of(i) for i in (0, 1023, FRESH_INSTANCES, LEVEL_INSTANCES - 1)] == [TARGET] * 4
    assert [level_of(i) for i in (FIRST, SECOND - 1, SECOND, SECOND + LEVEL_BLOCK)] == [0, 0, 1, 2]
    assert level_instances([2, 0, 1], 128) == [FIRST + 128, FIRST + 129, SECOND + LEVEL_BLOCK + 128]
    assert FRESH_INSTANCES + LEVEL_BLOCK == LEVEL_INSTANCES


def test_every_prompt_of_an_easier_level_is_fresh_and_has_a_group(graded: TrainConfig) -> None:
    prompts = PromptSampler.of(with_learning(graded, batch_size=24, group_size=4), STAGE_ONE.pool)
    learning = successes()
    for _ in range(1000):  # the easiest level is mastered, and the target out of reach
        learning.update([ended(FIRST, True), ended(FRESH_INSTANCES, False)])
    shares = level_shares(learning.level_successes(), 0.1)
    assert shares == pytest.approx([0.16, 0.68, 0.16], abs=0.02)
    seen: set[int] = set()
    counts = np.zeros(3, dtype=int)
    for step in range(60):
        instances = prompts.draw(step, 0, learning)
        assert len(instances) == 24
        assert prompts.draw(step, 0, learning) == instances
        prompts.count_step()
        indices = [instance.index for instance in instances]
        assert all(indices.count(index) == 4 for index in indices)
        fresh = {index for index in indices if index >= FRESH_INSTANCES}
        assert not fresh & seen
        seen |= fresh
        for index in set(indices):
            counts[level_of(index)] += 1
        assert len({instance.seed for instance in instances}) == 24
    assert counts.sum() == 360 and counts / 360 == pytest.approx(shares, abs=0.05)


def test_each_level_is_played_in_its_own_environment(model: LanguageModel, graded: TrainConfig) -> None:
    instances = [Instance(split="train", index=i, seed=i) for i in (3, FRESH_INSTANCES, FIRST, SECOND, SECOND + 1)]
    rollouts = Rollouts.of(graded)
    played = rollouts.play(rollouts.agent(model), instances)
    assert [episode.index for episode in played] == [instance.index for instance in instances]
    easy, easier = {"size": 3, "frozen_probability": 1.0}, {"size": 2, "frozen_probability": 1.0}
    assert [episode.env_kwargs for episode in played] == [{"size": 3}, {"size": 3}, easier, easy, easy]
    assert rollouts.env_kwargs() == graded.env.kwargs


# A step and a run -----------------------------------------------------------------------------------------------


def test_a_step_reports_its_levels() -> None:
    mixed = [ended(3, True), ended(4, False), ended(FIRST, True), ended(FIRST + 1, True)]
    assert outcomes(mixed, 2) == {
        "success": 0.5, "task_return": 0.0,
        "levels": [{"share": 0.5, "success": 1.0}, {"share": 0.0}, {"share": 0.5, "success": 0.5}],
    }  # fmt: skip
    assert outcomes(mixed[2:], 2) == {"levels": [{"share": 1.0, "success": 1.0}, {"share": 0.0}, {"share": 0.0}]}
    assert outcomes(mixed[:2], 0) == {"success": 0.5, "task_return": 0.0}


def test_a_batch_mixes_levels_and_every_level_learns_its_own(
    model: LanguageModel, graded: TrainConfig, tmp_path: Path
) -> None:
    config = with_learning(graded, batch_size=16, steps=3)
    loop = make_loop(model, config)
    numbers, played = run(loop, tmp_path)
    kwargs = {level: loop.rollouts.env_kwargs(level) for level in (0, 1, TARGET)}
    expected = successes()
    for step, episodes in zip(numbers, played, strict=True):
        assert json.loads(json.dumps(step, allow_nan=False)) == step
        assert all(episode.env_kwargs == kwargs[level_of(episode.index)] for episode in episodes)
        assert len(episodes) == 16 and len({level_of(episode.index) for episode in episodes}) > 1
        target = [episode.success for episode in episodes if level_of(episode.index) == TARGET]
        assert step.get("success") == (np.mean(target) if target else None)
        assert sum(level["share"] for level in step["levels"]) == pytest.approx(1.0)
        expected.update(episodes)
    assert loop.successes.level_successes() == expected.level_successes()


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_learns_with_levels(
    model: LanguageModel, graded: TrainConfig, tmp_path: Path, name: str
) -> None:
    config = with_learning(graded, name, steps=2, batch_size=16)
    numbers, _ = run(make_loop(model, config), tmp_path)
    assert all(np.isfinite(step["loss"]) and len(step["levels"]) == 3 for step in numbers)
    assert any(step["grad_norm"] > 0 for step in numbers)


@pytest.mark.parametrize("name", ["astarpo", "grpo"])
def test_a_run_resumes_bit_for_bit(model: LanguageModel, graded: TrainConfig, tmp_path: Path, name: str) -> None:
    config = with_learning(graded, name, batch_size=16, steps=4)

    alone, halted = alone_and_halted(model, config, tmp_path)
    assert (alone.files, alone.lines) == (halted.files, halted.lines)
    for left in (alone, halted):
        assert len(json.loads(left.files["state.json"])["extra"]["successes"]["levels"]) == 3
        assert left.loop.successes.level_successes()[0] != 0.5


def test_a_whole_run_measures_the_target_alone(graded: TrainConfig, tmp_path: Path) -> None:
    config = replace(graded, warm_start=replace(graded.warm_start, enabled=False))
    result = train(with_learning(config, batch_size=16, steps=2), tmp_path, SilentProgress())
    assert result["trained_greedy"]["episodes"] == 20
    tested = read_episodes(tmp_path / "episodes" / "test_trained_greedy.jsonl")
    assert {str(episode.env_kwargs) for episode in tested} == {"{'size': 3}"}
    trained = read_episodes(tmp_path / "episodes" / "train_000002.jsonl")
    assert len({str(episode.env_kwargs) for episode in trained}) > 1


# What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"levels": [{"sise": 3}]}, r"levels\[0\] \{'sise': 3\} cannot be made: .*unexpected keyword argument 'sise'"),
        ({"levels": [{}, {"size": 99}]}, r"levels\[0\] \{\} is the same as another level or the environment itself"),
        ({"levels": [{"size": 2}, {"size": 99}]}, r"levels\[1\] .* cannot be made: size must be in \[2, 16\], got 99"),
        ({"levels": [{"size": 3}]}, "is the same as another level"),
        ({"levels": [{"size": 5}, {"size": 5}]}, r"levels\[1\] .* is the same as another level"),
        ({"levels": [{"split": "test"}]}, "split makes no level, since training sets it; leave it out"),
        ({"levels": [{"reasoning": True}]}, "must not change reasoning: it has True, the environment itself False"),
    ],
)
def test_levels_that_cannot_be_played_are_refused_before_anything_is(
    tiny: TrainConfig, tmp_path: Path, settings: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        train(levels(tiny, **settings), tmp_path, SilentProgress())
    assert not list(tmp_path.iterdir())


def test_least_shares_that_add_up_to_more_than_everything_are_refused() -> None:
    assert CurriculumConfig(levels=EASIER, min_share=1 / 3).min_share == 1 / 3
    assert CurriculumConfig(min_share=1.0).min_share == 1.0  # nothing to share out without levels
    with pytest.raises(ValueError, match=r"least share of each of 3 levels: lower it to 0.333 or less, got 0.4"):
        CurriculumConfig(levels=EASIER, min_share=0.4)


def test_levels_that_fit_pass(graded: TrainConfig) -> None:
    check_levels(graded.env, graded.curriculum.levels)
    check_levels(EnvConfig(id="test/Nowhere-v0"), [])  # without a curriculum no environment is made


def test_the_range_of_the_return_must_be_the_same(monkeypatch: pytest.MonkeyPatch, tiny: TrainConfig) -> None:
    from turngym.envs.frozen_lake import FrozenLakeEnv

    monkeypatch.setattr(FrozenLakeEnv, "reward_range", property(lambda lake: (0.0, float(lake.size))))
    with pytest.raises(ValueError, match=r"must not change reward_range: it has \(0.0, 2.0\), .* \(0.0, 3.0\)"):
        check_levels(tiny.env, [{"size": 2}])

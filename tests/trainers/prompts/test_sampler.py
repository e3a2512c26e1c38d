"""The prompts of a step: fresh ones and those of the pool, each by what is predicted of it before it is played."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trainers.harness import fail_on, make_learner, run, stage
from tests.trainers.stage_one.test_sampling import fill
from tests.trainers.test_state_learning import learn

from turngym.agents.episode import Episode, Turn
from turngym.agents.language_model import LanguageModel
from turngym.agents.rollout import Instance, make_env, read_starts
from turngym.trainers.baselines.states import State, StateValues
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint, remove_after
from turngym.trainers.config import CurriculumConfig, TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES, LEVEL_INSTANCES, TARGET, level_of
from turngym.trainers.prompts import sampler
from turngym.trainers.prompts.curriculum import make_tracker
from turngym.trainers.prompts.sampler import (
    check_prompts,
    choose_instances,
    follow_start,
    known_starts,
    predicted_successes,
)
from turngym.trainers.stage_one.instance_values import NO_ESTIMATES
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_rows import StoredStart

EASIER = [{"size": 2, "frozen_probability": 1.0}]


def test_half_of_the_prompts_are_fresh_and_none_comes_twice(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    fresh: list[int] = []
    for step in range(20):
        learner.step, learner.fresh_instances = step, 8 * step
        instances = choose_instances(learner, tiny)
        indices = [instance.index for instance in instances]
        assert len(set(indices)) == 8
        assert {instance.split for instance in instances} == {"train"}
        known = [index for index in indices if index < FRESH_INSTANCES]
        assert len(known) == 4 and set(known) <= set(learner.pool)
        fresh += [index for index in indices if index >= FRESH_INSTANCES]
    assert len(set(fresh)) == len(fresh) == 80


@pytest.mark.parametrize(("share", "known"), [(0.0, 8), (1.0, 0), (0.25, 6)])
def test_the_share_of_fresh_prompts(player: LanguageModel, tiny: TrainConfig, share: float, known: int) -> None:
    instances = choose_instances(make_learner(player, tiny), stage(tiny, fresh_share=share))
    assert sum(instance.index < FRESH_INSTANCES for instance in instances) == known
    assert len(instances) == 8


def test_a_small_pool_is_played_whole(player: LanguageModel, tiny: TrainConfig) -> None:
    instances = choose_instances(make_learner(player, tiny), stage(tiny, batch_size=64, fresh_share=0.5))
    assert sorted(instance.index for instance in instances)[:12] == list(range(12))
    assert len(instances) == 12 + 32


def test_prompts_that_are_a_toss_up_come_more_often(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    counts: Counter[int] = Counter()
    for step in range(400):
        learner.step = step
        counts.update(instance.index for instance in choose_instances(learner, stage(tiny, fresh_share=0.5)))
    middle, ends = counts[5] + counts[6], counts[0] + counts[11]
    assert middle > 2 * ends > 0


def test_the_choice_is_a_function_of_seed_and_step(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    first = choose_instances(learner, tiny)
    assert choose_instances(learner, tiny) == first
    assert choose_instances(learner, replace(tiny, run=replace(tiny.run, seed=1))) != first
    learner.step = 1
    assert choose_instances(learner, tiny) != first


# The frontier ---------------------------------------------------------------------------------------------------


def test_the_frontier_is_what_was_never_solved(player: LanguageModel, tiny: TrainConfig) -> None:
    tracker = make_learner(player, tiny).tracker
    assert tracker.unsolved(range(14)) == [0, 12, 13]
    tracker.update(0, 0.0, success=False)
    tracker.update(13, 1.0, success=True)
    tracker.update(FRESH_INSTANCES, 1.0, success=True)
    for _ in range(500):
        tracker.update(11, 0.0, success=False)
    assert tracker.unsolved([0, 11, 12, 13, FRESH_INSTANCES]) == [0, 12, FRESH_INSTANCES]
    again = make_learner(player, tiny).tracker
    again.load_state_dict(json.loads(json.dumps(tracker.state_dict())))
    assert again.unsolved(range(14)) == [0, 12]


def test_the_frontier_has_its_share_and_leaves_the_rest(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    learner.pool = range(20)  # stage 1 never solved 0, and knows nothing of 12 to 19
    config = stage(tiny, frontier_share=0.5)
    counts: Counter[int] = Counter()
    for step in range(400):
        learner.step = step
        indices = [instance.index for instance in choose_instances(learner, config)]
        assert len(set(indices)) == 8 and sum(index >= FRESH_INSTANCES for index in indices) == 2
        assert set(indices[:4]) <= {0, *range(12, 20)}
        counts.update(indices[:4])
    assert len(counts) == 9 and max(counts.values()) < 1.25 * min(counts.values())


def test_a_small_frontier_is_played_whole_and_the_usual_draw_fills_up(player: LanguageModel, tiny: TrainConfig) -> None:
    learner = make_learner(player, tiny)
    indices = [instance.index for instance in choose_instances(learner, stage(tiny, frontier_share=0.5))]
    assert indices[0] == 0 and len(set(indices)) == 8
    assert sum(index >= FRESH_INSTANCES for index in indices) == round(0.5 * 7)
    learner.pool = [0]
    indices = [instance.index for instance in choose_instances(learner, stage(tiny, frontier_share=0.5))]
    assert indices[0] == 0 and len(indices) == 1 + 4


def test_the_size_of_the_frontier_is_reported_as_it_was_drawn_from(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    learner = make_learner(player, tiny)
    learner.pool = range(40)
    numbers, played = run(learner, stage(tiny, frontier_share=0.5, steps=3), tmp_path)
    left = {0, *range(12, 40)}
    for step, episodes in zip(numbers, played, strict=True):
        assert step["frontier"] == len(left)
        left -= {episode.index for episode in episodes if episode.success}
    assert len(left) < 29
    numbers, _ = run(make_learner(player, tiny), stage(tiny, steps=1), tmp_path)
    assert "frontier" not in numbers[0]


# Fresh instances looked at before they are played ---------------------------------------------------------------


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that fills with the instances that are looked at."""
    seen: list[int] = []

    def listen(env_id: str, instances: list[Instance], **settings: Any) -> Any:
        seen.extend(instance.index for instance in instances)
        return read_starts(env_id, instances, **settings)

    monkeypatch.setattr(sampler, "read_starts", listen)
    return seen


def test_one_candidate_is_taken_without_a_look(
    player: LanguageModel, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looked_at(monkeypatch)
    fresh = [instance.index for instance in choose_instances(make_learner(player, tiny), tiny)[4:]]
    assert fresh == list(range(FRESH_INSTANCES, FRESH_INSTANCES + 4)) and not seen


def test_nothing_is_looked_at_twice(player: LanguageModel, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over steps and levels; and what is not taken comes from the same blocks, level by level."""
    seen = looked_at(monkeypatch)
    config = replace(stage(tiny, fresh_candidates=3), curriculum=CurriculumConfig(levels=EASIER))
    learner = make_learner(player, config)
    learner.tracker = make_tracker(NO_ESTIMATES, {}, config)
    played: list[int] = []
    for learner.step in range(20):
        learner.fresh_instances = learner.step * 8 * 3
        before = len(seen)
        indices = [instance.index for instance in choose_instances(learner, config)]
        looks = seen[before:]
        fresh = [index for index in indices if index >= FRESH_INSTANCES]
        assert len(indices) == 8 and set(fresh) <= set(looks)
        assert {level: 3 * count for level, count in Counter(map(level_of, fresh)).items()} == Counter(
            map(level_of, looks)
        )
        played += fresh
    assert len(set(seen)) == len(seen) == 3 * len(played)
    assert any(index >= LEVEL_INSTANCES for index in played) and any(index < LEVEL_INSTANCES for index in played)


def test_candidates_whose_like_is_a_toss_up_come_more_often(player: LanguageModel, tiny: TrainConfig) -> None:
    """On 3x3 lakes the start's potential tells who stands far from the goal; these are a toss-up, others are won."""
    config = stage(tiny, fresh_candidates=4, fresh_share=1.0)
    learner = make_learner(player, config)
    indices = range(FRESH_INSTANCES, FRESH_INSTANCES + 200)
    instances = [Instance(split="train", index=index, seed=0) for index in indices]
    infos = read_starts(config.env.id, instances, env_kwargs=config.env.kwargs)
    potential = {index: info["potential"] for index, info in zip(indices, infos, strict=True) if info}
    for value in set(potential.values()):
        for success in (1.0, 0.0 if value == 0 else 1.0):
            learner.starts.add(State("", 0, value), success, visits=50)
    taken: Counter[bool] = Counter()
    for step in range(6):
        learner.step = step
        taken.update(potential[instance.index] == 0 for instance in choose_instances(learner, config))
    share = np.mean([value == 0 for value in potential.values()])
    assert 0.1 < share < 0.9
    assert taken[True] / 48 > share + 0.1


def test_the_prediction_is_that_of_the_like(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(tiny.env.id, tiny.env.kwargs)
    _, info = env.reset(seed=9, options={"split": "train", "index": 5})
    starts = StateValues()
    starts.add(State("", 0, info["potential"]), 0.75, visits=10)
    starts.add(State("", 0, 7.0), 0.0, visits=10)
    alone = starts.value(State("never met", 0, info["potential"]))
    assert 0.375 < alone < 0.75
    fail_on(monkeypatch, lambda index: index == 6)
    assert predicted_successes([5, 6], TARGET, starts, tiny) == [alone, 0.0]


def test_episodes_and_stage_one_teach_the_starts(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    def episode(index: int, potential: float, success: bool) -> Episode:
        turn = Turn(
            observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=potential, valid=True
        )
        return Episode(env_id="x", split="train", index=index, seed=0, turns=[turn, turn], success=success)

    starts = StateValues()
    follow_start(starts, episode(3, 0.5, True))
    follow_start(starts, episode(4, 0.5, False))
    follow_start(starts, episode(LEVEL_INSTANCES, 0.5, True))
    assert starts.value(State("", 0, 0.5)) == pytest.approx(0.5)
    assert 0.5 < starts.value(State("", 0, 0.5, level=0)) < 1.0  # one success, shrunk towards those of the target

    fill(tmp_path / "values.sqlite", player, tiny)
    with ValueStore(tmp_path / "values.sqlite", None) as store:
        stored, rates = list(store.starts()), store.success_rates()
        first = {turn.instance: turn.potential for turn in store.turns() if turn.turn == 0}
    assert [(start.instance, start.success) for start in stored] == list(rates.items())
    assert {start.instance: start.potential for start in stored} == first
    known = [StoredStart(instance=index, potential=0.5, success=rate) for index, rate in rates.items()]
    assert known_starts(known).value(State("", 0, 0.5)) == pytest.approx(np.mean(list(rates.values())))


@pytest.mark.parametrize("settings", [{"fresh_candidates": 3}, {"frontier_share": 0.5}])
def test_a_run_resumed_is_the_run(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = stage(tiny, **settings)
    whole = learn(player, config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    remove_after(tmp_path / "resumed" / "checkpoints", 4)
    assert learn(player, config, tmp_path / "resumed") == whole


def test_what_the_starts_taught_is_in_the_checkpoint(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    config = stage(tiny, fresh_candidates=3, steps=4)
    learn(player, config, tmp_path)
    last = latest_checkpoint(tmp_path / "checkpoints")
    assert last is not None
    with ValueStore(tmp_path / "values.sqlite", None) as store:
        before = known_starts(store.starts()).state_dict()
    assert load_checkpoint(last).extra["starts"] != json.loads(json.dumps(before))


def test_numbers_that_choose_nothing_are_refused(tiny: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"fresh_candidates .* got 0"):
        check_prompts(stage(tiny, fresh_candidates=0))
    with pytest.raises(ValueError, match=r"frontier_share must lie in \[0, 1\], got 1.5"):
        check_prompts(stage(tiny, frontier_share=1.5))

"""How likely a prompt is solved: where that starts, what it follows, and the weight it gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.episode import Episode
from turngym.trainers.instances import FRESH_INSTANCES, LEVEL_INSTANCES
from turngym.trainers.prompts.successes import SuccessTracker, predictive_stds, sampling_weights
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.stage import StageOneResult

RATES = {3: 0.75, 8: 0.0}
ESTIMATES = estimate_values({3: [1.0, 1.0, 1.0, 0.0], 8: [0.0, 0.0]}, 0.5, 1.0, (0.0, 1.0))
RESULT = StageOneResult(pool=[3, 8], estimates=ESTIMATES, success_rates=RATES)


def played(index: int, *outcomes: bool) -> list[Episode]:
    return [Episode(env_id="x", split="train", index=index, seed=0, success=success) for success in outcomes]


def test_starts_from_stage_one_leaning_on_the_pool() -> None:
    start = SuccessTracker(RESULT)
    assert start.success(3) == pytest.approx((4 * 0.75 + 0.375) / 5)
    assert start.success(8) == pytest.approx((2 * 0.0 + 0.375) / 3)
    assert start.success(99) == start.success(FRESH_INSTANCES) == pytest.approx(0.375)


def test_without_stage_one_everything_is_a_toss_up() -> None:
    unknown = SuccessTracker(StageOneResult(pool=range(4)), easier=1)
    assert [unknown.success(index) for index in (0, 3, FRESH_INSTANCES, LEVEL_INSTANCES)] == [0.5] * 4
    assert SuccessTracker(StageOneResult(pool=[3, 8], estimates=ESTIMATES)).success(3) == 0.5


def test_the_pool_follows_the_policy_and_lifts_what_was_not_played() -> None:
    learning = SuccessTracker(RESULT)
    learning.update(played(3, *[True] * 300))
    assert learning.success(99) > 0.7 and learning.success(8) > SuccessTracker(RESULT).success(8) + 0.1


def test_prompts_that_are_a_toss_up_weigh_most() -> None:
    assert sampling_weights([0.0, 0.5, 1.0, 1.7]) == pytest.approx([0.05, 0.55, 0.05, 0.05])
    assert predictive_stds([0.1, 0.5]) == pytest.approx([0.3, 0.5])
    learning = SuccessTracker(RESULT)
    assert learning.prompt_weights([3, 8]) == pytest.approx(
        sampling_weights([learning.success(3), learning.success(8)])
    )
    assert learning.predictive_stds([3]) == pytest.approx(predictive_stds([learning.success(3)]))
    assert learning.prompt_weights([]).shape == (0,)
    learning.update(played(3, *[True] * 50))
    assert learning.prompt_weights([3])[0] < 0.3


def test_a_level_is_followed_by_itself_and_handed_on() -> None:
    learning = SuccessTracker(RESULT, easier=1)
    assert learning.level_successes() == [0.5, pytest.approx(0.375)]
    learning.update(played(LEVEL_INSTANCES, True) + played(LEVEL_INSTANCES + 1, True))
    assert learning.level_successes()[0] > 0.5 and learning.level_successes()[1] == pytest.approx(0.375)
    following = SuccessTracker(RESULT, easier=1)
    following.follow_on(learning)
    assert following.level_successes() == learning.level_successes()
    learning.update(played(3, False))
    assert following.success(3) == SuccessTracker(RESULT).success(3)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_a_success_stays_a_probability(visits: list[tuple[int, bool]]) -> None:
    learning = SuccessTracker(RESULT)
    for index, success in visits:
        learning.update(played(index, success))
    assert all(-1e-12 <= learning.success(index) <= 1 + 1e-12 for index in range(12))
    weights = learning.prompt_weights(range(12))
    assert (weights >= 0.05).all() and (weights <= 0.55 + 1e-12).all()


def test_the_state_survives_json_to_the_last_bit() -> None:
    first, second = (SuccessTracker(RESULT, easier=2) for _ in range(2))
    rng = np.random.default_rng(0)
    for index in (3, 99, LEVEL_INSTANCES, 3, 8):
        first.update(played(index, bool(rng.random() < 0.5)))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for learning in (first, second):
        learning.update(played(3, True, False, True))
    assert second.state_dict() == first.state_dict()
    assert first.prompt_weights(range(90)).tolist() == second.prompt_weights(range(90)).tolist()

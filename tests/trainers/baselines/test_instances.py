"""The tracker: where it starts, what it learns, and what it must not look at."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.baselines.instances import ValueTracker
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.stage_one.instance_values import ValueEstimates, estimate_values

RETURNS = {3: [1.0, 1.0, 1.0, 0.0], 8: [0.0, 0.0]}
ESTIMATES = estimate_values(RETURNS, 0.5, 1.0, (0.0, 1.0))
RATES = {3: 0.75, 8: 0.0}


def tracker(**settings: float) -> ValueTracker:
    return ValueTracker(ESTIMATES, RATES, **settings)


def test_starts_from_stage_one_leaning_on_the_pool() -> None:
    start = tracker(pool_weight=1.0)
    assert start.value(3) == pytest.approx((4 * ESTIMATES.values[0] + ESTIMATES.prior) / 5)
    assert start.value(8) == pytest.approx((2 * ESTIMATES.values[1] + ESTIMATES.prior) / 3)
    assert start.success(3) == pytest.approx((4 * 0.75 + 0.375) / 5)
    assert tracker(pool_weight=1e-9).value(3) == pytest.approx(ESTIMATES.values[0])


def test_unknown_instances_get_the_level_of_the_pool() -> None:
    assert tracker().value(99) == ESTIMATES.prior
    assert tracker().success(99) == pytest.approx(0.375)
    assert ValueTracker(ESTIMATES, {}).success(99) == 0.5


def test_what_stage_one_said_stays_known() -> None:
    learning = tracker()
    learning.update(3, 9.0, success=True)
    learning.load_state_dict(learning.state_dict())
    assert [learning.first_value(index) for index in (3, 8, 99)] == [*ESTIMATES.values, ESTIMATES.prior]


def test_the_last_return_of_what_is_played_again_is_kept() -> None:
    learning = tracker()
    assert learning.last_return(3) is None
    for index, total in [(3, 0.5), (8, 1.0), (3, 0.25), (FRESH_INSTANCES, 1.0)]:
        learning.remember(index, total)
    again = tracker()
    again.load_state_dict(json.loads(json.dumps(learning.state_dict())))
    for known in (learning, again):
        assert [known.last_return(index) for index in (3, 8, FRESH_INSTANCES)] == [0.25, 1.0, None]


def test_the_pool_follows_the_policy() -> None:
    learning = tracker()
    for _ in range(300):
        learning.update(3, 0.95, success=True)
    assert learning.value(99) == pytest.approx(0.95, abs=0.05)
    assert learning.success(99) > 0.9
    assert learning.value(8) > tracker().value(8) + 0.1  # unvisited, and lifted by the others


def test_the_value_of_a_sample_does_not_depend_on_it() -> None:
    for index in (3, 99):
        used = []
        for outcome in (-5.0, 0.0, 1.0):
            learning = tracker()
            used.append(learning.value(index))
            learning.update(index, outcome, success=False)
            assert learning.value(index) != used[0]
        assert len(set(used)) == 1


def test_old_visits_fade() -> None:
    steady, jumpy = tracker(memory=1.0), tracker(memory=0.5)
    for learning in (steady, jumpy):
        for outcome in [0.0] * 20 + [1.0] * 4:
            learning.update(3, outcome, success=outcome > 0)
    assert steady.value(3) < 0.35
    assert jumpy.value(3) > 0.6


def test_fresh_instances_move_the_pool_and_leave_no_trace() -> None:
    learning = tracker()
    for index in range(100, 150):
        learning.update(index, 0.9, success=True)
        assert learning.value(index) == learning.value(99)
    assert learning.value(99) == pytest.approx(0.9, abs=0.1)
    assert learning.state_dict()["instances"] == [3, 8]


def test_prompt_weights_prefer_a_toss_up() -> None:
    learning = ValueTracker(ESTIMATES, {3: 0.5, 8: 1.0}, pool_weight=1e-12)
    assert learning.prompt_weights([3, 8]) == pytest.approx([0.55, 0.05], abs=1e-5)
    assert learning.prompt_weights([]).shape == (0,)
    for _ in range(50):
        learning.update(3, 1.0, success=True)
    assert learning.prompt_weights([3])[0] < 0.2


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-2, 2), st.booleans()), max_size=40))
def test_values_stay_within_what_was_seen(visits: list[tuple[int, float, bool]]) -> None:
    learning = tracker()
    for index, outcome, success in visits:
        learning.update(index, outcome, success=success)
    low = min([0.0, *(outcome for _, outcome, _ in visits)])
    high = max([1.0, *(outcome for _, outcome, _ in visits)])
    for index in range(12):
        assert low - 1e-12 <= learning.value(index) <= high + 1e-12
        assert -1e-12 <= learning.success(index) <= 1 + 1e-12
    assert np.isfinite(learning.prompt_weights(range(12))).all()


def test_state_survives_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    first, second = tracker(memory=0.8), tracker()
    for index in range(20):
        first.update(index, float(rng.normal()), success=bool(index % 3))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    for learning in (first, second):
        learning.update(3, 1 / 3, success=True)
        learning.update(77, 0.1, success=False)
    assert [first.value(i).hex() for i in range(90)] == [second.value(i).hex() for i in range(90)]
    assert first.prompt_weights(range(90)).tolist() == second.prompt_weights(range(90)).tolist()


def test_unusable_arguments_are_refused() -> None:
    for settings in ({"memory": 0.0}, {"memory": 1.1}, {"pool_weight": 0.0}):
        with pytest.raises(ValueError, match="0 < memory <= 1"):
            tracker(**settings)
    for pool_memory in (0.0, 1.1):
        with pytest.raises(ValueError, match=f"need 0 < pool_memory <= 1, got {pool_memory}"):
            tracker(pool_memory=pool_memory)
    for outcome in (math.nan, math.inf):
        learning = tracker()
        with pytest.raises(ValueError, match="finite soft return"):
            learning.update(3, outcome, success=True)
        assert learning.state_dict() == tracker().state_dict()


def test_approaches_the_soft_value_of_the_policy() -> None:
    """A game of two turns with luck: the mean of S is the soft value that the Bellman equation gives."""
    rng, beta = np.random.default_rng(0), 0.1
    policy, reference = np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([[0.5, 0.5], [0.4, 0.6]])  # [state, action]
    lucky = np.array([0.9, 0.3])  # probability that the first action leads to state 1, not to the end
    reward = np.array([0.2, 1.0])  # of the second action
    ratio = np.log(policy / reference)
    second = float(policy[1] @ (reward - beta * ratio[1]))
    first = float(policy[0] @ (lucky * second - beta * ratio[0]))

    outcomes = {}
    for a, luck, b in itertools.product(range(2), range(2), range(2)):
        odds = policy[0, a] * (lucky[a] if luck else 1 - lucky[a]) * policy[1, b]
        outcomes[a, luck, b] = (odds, -beta * ratio[0, a] + luck * (reward[b] - beta * ratio[1, b]))
    assert sum(odds * soft_return for odds, soft_return in outcomes.values()) == pytest.approx(first, abs=1e-15)

    estimates = ValueEstimates(
        instances=np.array([0]), values=np.array([1.0]), stds=np.array([0.0]), counts=np.array([8]), prior=1.0
    )
    odds, soft_returns = zip(*outcomes.values(), strict=True)
    draws = rng.choice(soft_returns, size=20_000, p=odds)
    settled, fading = ValueTracker(estimates, {}, memory=1.0), ValueTracker(estimates, {}, memory=0.9)
    recent = []
    for soft_return in draws:
        settled.update(0, float(soft_return), success=True)
        recent.append(fading.value(0))
        fading.update(0, float(soft_return), success=True)
    assert settled.value(0) == pytest.approx(first, abs=0.01)
    assert np.mean(recent[1000:]) == pytest.approx(first, abs=0.01)

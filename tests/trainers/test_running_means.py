"""Running means of instances: where they start, how they move, and what they must not look at."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.trainers.instances import LEVEL_BLOCK, LEVEL_INSTANCES
from turngym.trainers.running_means import InstanceMeans, LevelMeans, RunningMean, level_means

FIRST, COUNTS, POOL = {3: 0.9, 8: 0.2}, {3: 4.0, 8: 2.0}, 0.6
EASIEST, EASY = LEVEL_INSTANCES, LEVEL_INSTANCES + LEVEL_BLOCK


def means() -> InstanceMeans:
    return InstanceMeans(FIRST, COUNTS, POOL)


def test_a_running_mean_weighs_what_it_is_given() -> None:
    mean = RunningMean()
    mean.add(0.0, 3.0)
    mean.add(1.0)
    assert (mean.value, mean.weight) == (0.25, 4.0)


def test_a_mean_of_ten_episodes_that_fades_keeps_its_weight() -> None:
    mean = RunningMean(1.0, 10.0)
    mean.fade(0.9)
    mean.add(0.0)
    assert (mean.value, mean.weight) == (pytest.approx(0.9), pytest.approx(10.0))


def test_a_cap_lowers_the_weight_and_never_raises_it() -> None:
    heavy, light = RunningMean(1.0, 10.0), RunningMean(1.0, 2.0)
    heavy.cap(9.0)
    light.cap(9.0)
    assert (heavy.weight, light.weight) == (9.0, 2.0)


def test_starts_from_stage_one_leaning_on_the_pool() -> None:
    start = means()
    assert start.value(3) == pytest.approx((4 * 0.9 + POOL) / 5)
    assert start.value(8) == pytest.approx((2 * 0.2 + POOL) / 3)


def test_unknown_instances_get_the_level_of_the_pool() -> None:
    assert means().value(99) == means().pool == POOL


def test_the_pool_follows_the_policy() -> None:
    learning = means()
    for _ in range(300):
        learning.update(3, 0.95)
    assert learning.value(99) == pytest.approx(0.95, abs=0.05)
    assert learning.value(8) > means().value(8) + 0.1  # not played, and lifted by the others


def test_the_value_of_a_sample_does_not_depend_on_it() -> None:
    for index in (3, 99):
        used = []
        for outcome in (-5.0, 0.0, 1.0):
            learning = means()
            used.append(learning.value(index))
            learning.update(index, outcome)
            assert learning.value(index) != used[0]
        assert len(set(used)) == 1


def test_old_episodes_fade() -> None:
    learning, plain = means(), RunningMean(FIRST[3], COUNTS[3])
    for outcome in [0.0] * 40 + [1.0] * 10:
        learning.update(3, outcome)
        plain.add(outcome)
    assert learning.value(3) > 0.5
    assert plain.value < 0.3


def test_fresh_instances_move_the_pool_and_leave_no_trace() -> None:
    learning = means()
    for index in range(100, 150):
        learning.update(index, 0.9)
        assert learning.value(index) == learning.value(99)
    assert learning.value(99) == pytest.approx(0.9, abs=0.1)
    assert [index for index, *_ in learning.state_dict()["instances"]] == [3, 8]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-2, 2)), max_size=40))
def test_values_stay_within_what_was_seen(episodes: list[tuple[int, float]]) -> None:
    learning = means()
    for index, outcome in episodes:
        learning.update(index, outcome)
    low = min([0.2, *(outcome for _, outcome in episodes)])
    high = max([0.9, *(outcome for _, outcome in episodes)])
    for index in range(12):
        assert low - 1e-12 <= learning.value(index) <= high + 1e-12


def test_state_survives_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    first, second = means(), means()
    for index in range(20):
        first.update(index, float(rng.normal()))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    for learning in (first, second):
        learning.update(3, 1 / 3)
        learning.update(77, 0.1)
    assert [first.value(i).hex() for i in range(90)] == [second.value(i).hex() for i in range(90)]


def test_levels_do_not_share_means() -> None:
    alone = InstanceMeans(FIRST, COUNTS, POOL, pool_memory=0.99)
    levels = level_means(FIRST, COUNTS, POOL, easier=2, easier_pool=0.5)
    assert levels.pools == [0.5, 0.5, POOL]
    for index, outcome in [(3, 0.2), (EASIEST + 3, 0.8), (99, 0.1), (EASY, -0.4)]:
        levels.update(index, outcome)
        if index < EASIEST:
            alone.update(index, outcome)
    assert [levels.value(index) for index in range(100)] == [alone.value(index) for index in range(100)]
    # Ten episodes at 0.5, faded once by 0.99.
    assert levels.pools == pytest.approx([(9.9 * 0.5 + 0.8) / 10.9, (9.9 * 0.5 - 0.4) / 10.9, alone.pool])
    assert levels.value(EASIEST + 9) == levels.pools[0] and levels.of(EASY).pool == levels.pools[1]


def test_without_easier_levels_the_pool_remembers_longer() -> None:
    (one,) = level_means({}, {}, 0.5, easier=0, easier_pool=0.5).pools
    single, several = (level_means({}, {}, one, easier=easier, easier_pool=0.5) for easier in (0, 1))
    for levels in (single, several):
        levels.update(0, 1.0)
    assert single.pools[-1] == pytest.approx((9.95 * 0.5 + 1) / 10.95)
    assert several.pools[-1] == pytest.approx((9.9 * 0.5 + 1) / 10.9)


def test_later_means_take_over_the_easier_levels_alone() -> None:
    earlier, later = (level_means(FIRST, COUNTS, pool, easier=1, easier_pool=0.5) for pool in (0.25, 0.75))
    earlier.update(EASIEST, 1.0)
    earlier.update(3, 0.0)
    later.follow_on(earlier)
    assert later.pools == [earlier.pools[0], 0.75] and later.value(3) != earlier.value(3)


def test_the_state_of_levels_survives_json_and_fits_as_many_levels() -> None:
    first, second = (level_means(FIRST, COUNTS, POOL, easier=1, easier_pool=0.5) for _ in range(2))
    for index in (3, 99, EASIEST, EASIEST + 1):
        first.update(index, 1 / 3)
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert second.state_dict() == first.state_dict() and second.pools == first.pools
    with pytest.raises(ValueError, match="zip"):
        LevelMeans(means()).load_state_dict(state)


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

    odds, soft_returns = zip(*outcomes.values(), strict=True)
    draws = rng.choice(soft_returns, size=20_000, p=odds)
    settled, fading = RunningMean(1.0, 8.0), InstanceMeans({0: 1.0}, {0: 8.0}, 1.0)
    recent = []
    for soft_return in draws:
        settled.add(float(soft_return))
        recent.append(fading.value(0))
        fading.update(0, float(soft_return))
    assert settled.value == pytest.approx(first, abs=0.01)
    assert np.mean(recent[1000:]) == pytest.approx(first, abs=0.01)

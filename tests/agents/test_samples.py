"""Several plays of the same instances: pass@k, the best of k, and agents in pairs."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.episode import Episode, Status, Turn
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.samples import compare, pass_at_k, sampled_instances, score_samples


def episode(index: int, success: bool, earned: float | None = None, status: Status = Status.COMPLETED) -> Episode:
    reward = float(success) if earned is None else earned
    turn = Turn(observation=f"instance {index}", action="go", reward=reward, task_reward=reward, potential=0.0,
                state_key=f"map{index}|0|9", valid=True)  # fmt: skip
    return Episode(env_id="test/Game-v0", split="test", index=index, seed=index, turns=[turn], success=success,
                   status=status)  # fmt: skip


def played(table: list[list[bool]]) -> list[Episode]:
    """Return episodes of a table of instances and samples, sample by sample."""
    return [episode(index, row[sample]) for sample in range(len(table[0])) for index, row in enumerate(table)]


# pass@k ---------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_subsets_with_a_success(numbers: tuple[int, int, int]) -> None:
    n, c, k = numbers
    assert pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k), abs=1e-12)


def test_it_is_what_all_subsets_of_samples_say() -> None:
    outcomes = [True, False, False, True, False]
    for k in range(1, 6):
        subsets = list(combinations(outcomes, k))
        assert pass_at_k(5, 2, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_it_is_unbiased() -> None:
    rng, rate = np.random.default_rng(0), 0.3
    drawn = [pass_at_k(6, int(count), 3) for count in rng.binomial(6, rate, size=20_000)]
    assert np.mean(drawn) == pytest.approx(1 - (1 - rate) ** 3, abs=0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_numbers_that_do_not_fit_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"pass@k needs 0 <= successes <= samples"):
        pass_at_k(n, c, k)


# Instances ------------------------------------------------------------------------------------------------------------


def test_one_sample_is_the_usual_range_and_more_have_other_seeds() -> None:
    assert sampled_instances("test", 5, 2, seed=3) == instance_range("test", 5, 2, seed=3)
    many = [one for seed in range(3) for one in sampled_instances("test", 5, 2, samples=4, seed=seed)]
    assert len({one.seed for one in many}) == len(many) == 60
    assert {one.index for one in many} == set(range(2, 7))


# Scores ---------------------------------------------------------------------------------------------------------------


def test_the_first_row_is_the_success_rate_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    episodes = played((rng.random((30, 4)) < rng.random((30, 1))).tolist())
    scored, plain = score_samples(episodes, 4), score_episodes(episodes, 0.0)
    assert scored is not None
    assert scored.pass_at[1][0] == pytest.approx(plain.rate) and scored.pass_at[1][1] == plain.interval
    rates = [scored.pass_at[k][0] for k in (1, 2, 3, 4)]
    assert rates == sorted(rates) and scored.instances == 30
    assert all(low < rate < high for rate, (low, high) in scored.pass_at.values())


def test_the_last_row_is_a_share_of_instances() -> None:
    scored = score_samples(played([[True, False], [False, False], [True, True], [False, True]]), 2)
    assert scored is not None and scored.pass_at[2][0] == 0.75 == scored.best_return
    assert scored.pass_at[2][1] == pytest.approx((0.3006, 0.9544), abs=1e-4), "Wilson's of 3 of 4"


def test_the_best_return_is_over_the_samples_of_an_instance() -> None:
    episodes = [episode(0, False, 0.25), episode(1, False, 0.5), episode(0, False, 0.75), episode(1, True, 0.5)]
    scored = score_samples(episodes, 2)
    assert scored is not None and scored.best_return == 0.625
    low, high = scored.best_interval
    assert low == pytest.approx(0.625 - 1.96 * 0.125) and high - 0.625 == pytest.approx(0.625 - low)
    assert scored.to_dict()["pass_at"]["2"][0] == 0.5


def test_instances_with_an_error_are_left_out() -> None:
    episodes = [episode(0, True), episode(1, True), episode(0, True),
                episode(1, False, status=Status.ERROR_ENVIRONMENT)]  # fmt: skip
    scored = score_samples(episodes, 2)
    assert scored is not None and scored.instances == 1
    assert score_samples(episodes[1:2], 2) is None


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_an_agent_is_not_ahead_of_itself() -> None:
    episodes = played([[number % 3 == 0] for number in range(30)])
    found = compare(episodes, episodes)
    assert found is not None and found.difference == 0.0 and found.instances == 30
    low, high = found.interval
    assert low == pytest.approx(-high) and high > 0.05, (
        "the same outcomes on 30 instances do not say that they are alike on all"
    )


def test_pairs_say_more_than_two_intervals() -> None:
    hard = [number % 2 == 0 for number in range(200)]
    first = played([[easy] for easy in hard])
    second = played([[easy and number % 10 != 0] for number, easy in enumerate(hard)])
    found = compare(first, second)
    assert found is not None and found.difference == pytest.approx(0.1)
    assert found.interval[0] > 0
    (low, _), (_, high) = score_episodes(first, 0.0).interval, score_episodes(second, 0.0).interval
    assert low < high, "although the intervals of both overlap"


def test_only_instances_that_both_have_played_are_compared() -> None:
    first = [episode(0, True), episode(1, True), episode(2, False, status=Status.ERROR_TIMEOUT)]
    second = [episode(1, False), episode(2, True)]
    found = compare(first, second)
    assert found is not None and (found.instances, found.difference) == (1, 1.0)
    assert compare(first[:1], second) is None

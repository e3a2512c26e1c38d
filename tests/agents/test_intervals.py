"""Wilson intervals, plain and over instances that were played several times; intervals of means over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from turngym.agents.intervals import (
    clustered_interval,
    effective_trials,
    mean_interval,
    paired_difference,
    student_interval,
    student_quantile,
    welch_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_no_trials_say_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n", "z"), [(-1, 3, 1.96), (4, 3, 1.96), (1, 3, -1.0)])
def test_impossible_counts_are_refused(successes: int, n: int, z: float) -> None:
    with pytest.raises(ValueError, match="must"):
        wilson_interval(successes, n, z)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0, 10))
def test_the_interval_holds_the_rate_and_mirrors(counts: tuple[int, int], z: float) -> None:
    successes, n = counts
    low, high = wilson_interval(successes, n, z)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    mirrored = wilson_interval(n - successes, n, z)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.integers(0, 50), st.integers(2, 20))
def test_more_evidence_narrows_the_interval(successes: int, factor: int) -> None:
    low, high = wilson_interval(successes, 50)
    low_more, high_more = wilson_interval(successes * factor, 50 * factor)
    assert high_more - low_more < high - low


# Instances that were played several times -------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_distinct_instances_are_plain_trials(outcomes: list[bool]) -> None:
    assert clustered_interval(outcomes, range(len(outcomes))) == wilson_interval(sum(outcomes), len(outcomes))


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(2, 12))
def test_repeating_what_always_ends_alike_adds_nothing(outcomes: list[bool], times: int) -> None:
    again, instances = outcomes * times, [*range(len(outcomes))] * times
    assert effective_trials(again, instances) == pytest.approx(len(outcomes))
    plain = wilson_interval(sum(outcomes), len(outcomes))
    assert clustered_interval(again, instances) == pytest.approx(plain)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=200))
def test_the_interval_holds_the_rate_whatever_the_instances(played: list[tuple[bool, int]]) -> None:
    outcomes, instances = zip(*played, strict=True)
    low, high = clustered_interval(outcomes, instances)
    assert 0.0 <= low <= sum(outcomes) / len(outcomes) + 1e-12 and sum(outcomes) / len(outcomes) - 1e-12 <= high <= 1.0
    assert 1.0 <= effective_trials(outcomes, instances) <= len(outcomes)


def test_one_instance_whose_episodes_differ_is_measured_by_all_of_them() -> None:
    assert effective_trials([True, False, True, True], ["only"] * 4) == 4.0
    assert effective_trials([True] * 4, ["only"] * 4) == 1.0


@pytest.mark.parametrize(("spread", "wanted"), [(0.0, 480.0), (0.5, 48.0)])
def test_the_correlation_is_estimated_from_the_episodes(spread: float, wanted: float) -> None:
    """48 goals, each played ten times: by luck alone, or as the goal wants it."""
    rng = np.random.default_rng(0)
    goals = np.repeat(np.arange(48), 10)
    odds = np.where(np.arange(48) % 2 == 0, 0.5 - spread, 0.5 + spread)[goals]
    outcomes = (rng.random(480) < odds).tolist()
    assert effective_trials(outcomes, goals.tolist()) == pytest.approx(wanted, rel=0.25)


def test_the_interval_covers_the_rate_of_the_family() -> None:
    """95 of 100, where the plain one would do with 70: goals with odds of their own, each played ten times."""
    rng = np.random.default_rng(1)
    covered = plain = 0
    for _ in range(400):
        odds = rng.beta(1.0, 1.0, size=48)
        goals = np.repeat(np.arange(48), 10)
        outcomes = (rng.random(480) < odds[goals]).tolist()
        low, high = clustered_interval(outcomes, goals.tolist())
        covered += low <= 0.5 <= high
        low, high = wilson_interval(sum(outcomes), 480)
        plain += low <= 0.5 <= high
    assert covered / 400 > 0.92 and plain / 400 < 0.8


# Means and pairs ------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_of_shares_that_are_0_or_1_it_is_wilson_s(outcomes: list[bool]) -> None:
    n = len(outcomes)
    assert mean_interval([float(one) for one in outcomes], range(n), n) == pytest.approx(
        wilson_interval(sum(outcomes), n), abs=1e-9
    )


def test_a_mean_of_shares_is_surer_than_one_of_outcomes_up_to_its_episodes() -> None:
    shares = [0.4, 0.5, 0.6, 0.5] * 5
    wide, narrow = mean_interval(shares, range(20), 20), mean_interval(shares, range(20), 80)
    assert wide == wilson_interval(10, 20) and narrow == wilson_interval(40, 80)


def test_the_same_instance_twice_is_one() -> None:
    twice = mean_interval([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1, 2, 2, 3, 3], 8)
    assert twice == pytest.approx(wilson_interval(2, 4))


def pairs(both: int, first: int, second: int, none: int) -> tuple[list[float], list[float]]:
    return ([1.0] * both + [1.0] * first + [0.0] * second + [0.0] * none,
            [1.0] * both + [0.0] * first + [1.0] * second + [0.0] * none)  # fmt: skip


def by_newcombe(e: int, f: int, g: int, h: int) -> tuple[float, float]:
    """Return the interval by method 10, written from the counts of the table."""
    n = e + f + g + h
    (l_1, u_1), (l_2, u_2) = wilson_interval(e + f, n), wilson_interval(e + g, n)
    p_1, p_2, spread = (e + f) / n, (e + g) / n, (e + f) * (g + h) * (e + g) * (f + h)
    product = float(e * h - f * g)
    product = max(product - n / 2, 0) if product > 0 else product
    phi = product / spread**0.5 if spread else 0.0
    lower = (p_1 - l_1) ** 2 - 2 * phi * (p_1 - l_1) * (u_2 - p_2) + (u_2 - p_2) ** 2
    upper = (p_2 - l_2) ** 2 - 2 * phi * (p_2 - l_2) * (u_1 - p_1) + (u_1 - p_1) ** 2
    return p_1 - p_2 - max(lower, 0.0) ** 0.5, p_1 - p_2 + max(upper, 0.0) ** 0.5


@given(*[st.integers(0, 30)] * 4)
def test_of_outcomes_the_difference_is_newcombe_s(e: int, f: int, g: int, h: int) -> None:
    assume(e + f + g + h)
    first, second = pairs(e, f, g, h)
    n = len(first)
    difference, interval = paired_difference(first, second, range(n), n)
    assert difference == pytest.approx((f - g) / n, abs=1e-12) and interval == pytest.approx(by_newcombe(e, f, g, h))
    assert interval[0] <= difference <= interval[1]


@pytest.mark.parametrize(("e", "f", "g", "h"), [(30, 12, 6, 52), (5, 20, 5, 70), (90, 6, 2, 2)])
def test_it_holds_the_difference_in_19_of_20_cases(e: int, f: int, g: int, h: int) -> None:
    rng, truth, n = np.random.default_rng(0), (f - g) / 100, 80
    held = 0
    for _ in range(1_000):
        drawn = rng.multinomial(n, np.array([e, f, g, h]) / 100).tolist()
        first, second = pairs(*drawn)
        _, (low, high) = paired_difference(first, second, range(n), n)
        held += low <= truth <= high
    assert 0.93 <= held / 1_000 <= 0.995


# Means over seeds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),
    [
        # Abramowitz and Stegun (1964), table 26.10; the first two have closed forms.
        (0.975, 1, math.tan(math.pi * 0.475)),
        (0.975, 2, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.975, 10, 2.228),
        (0.975, 11, 2.201),
        (0.975, 30, 2.042),
        (0.975, 120, 1.980),
        (0.995, 5, 4.032),
        (0.9, 7, 1.415),
    ],
)
def test_quantiles_of_students_t(share: float, freedom: int, quantile: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(quantile, abs=6e-4)
    assert student_quantile(1 - share, freedom) == pytest.approx(-quantile, abs=6e-4)
    assert student_quantile(0.5, freedom) == 0.0


def test_quantiles_by_integration() -> None:
    """The density between a quantile and its mirror image, by Simpson's rule."""
    for freedom in (1, 2, 5, 8, 23):
        end = student_quantile(0.975, freedom)
        places = np.linspace(-end, end, 20_001)
        scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
        density = scale * (1 + places**2 / freedom) ** (-(freedom + 1) / 2)
        weights = np.where(np.arange(len(places)) % 2, 4, 2)
        weights[[0, -1]] = 1
        assert float((density * weights).sum() * (places[1] - places[0]) / 3) == pytest.approx(0.95, abs=1e-7)


@pytest.mark.parametrize(("share", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_impossible_quantiles_are_refused(share: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(share, freedom)


def test_student_interval_by_hand() -> None:
    mean, half = student_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert mean == pytest.approx(0.3) and half == pytest.approx(2.776445 * math.sqrt(0.025 / 5), rel=1e-6)
    mean, half = student_interval([0.7])
    assert mean == 0.7 and math.isnan(half)


def test_student_intervals_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    held = [abs(mean) <= half for mean, half in (student_interval(rng.normal(size=4).tolist()) for _ in range(2000))]
    assert 0.93 < np.mean(held) < 0.97


def test_welch_interval_by_hand() -> None:
    """Variances 1 and 4, three of each: (1/3 + 4/3)^2 / ((1/9 + 16/9) / 2) = 2.94 degrees of freedom, so 2."""
    difference, half = welch_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert difference == -2.0 and half == pytest.approx(4.302653 * math.sqrt(5 / 3), rel=1e-6)
    assert welch_interval([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.0)
    assert math.isnan(welch_interval([0.5], [0.25, 0.5])[1])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_welch_intervals_mirror(first: list[float], second: list[float]) -> None:
    one, other = welch_interval(first, second), welch_interval(second, first)
    assert one == pytest.approx((-other[0], other[1]), abs=1e-12)
    # With as many of each and the least degrees of freedom it is no narrower than that of the pooled variance.
    assert one[1] >= 0

"""The values of a pool of instances: pooling, uncertainty and who is sampled next."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exactness.estimators import binary_value, shrunk_value

from turngym.trainers.stage_one.estimators import log_mean_exp
from turngym.trainers.stage_one.instance_values import ValueEstimates, estimate_values, next_instances, posterior_stds

UNIT = (0.0, 1.0)


def test_estimates_are_sorted_and_count_their_samples() -> None:
    estimates = estimate_values({7: [1.0, 0.0, 0.0], 2: [1.0], 5: [0.0, 0.0]}, 0.5, 1.0, UNIT)
    assert estimates.instances.tolist() == [2, 5, 7]
    assert estimates.counts.tolist() == [1, 2, 3]
    assert estimates.values.dtype == estimates.stds.dtype == np.float64


def test_estimates_equal_the_one_by_one_estimate() -> None:
    returns = {0: [1.0], 1: [0.0, 0.0, 0.0], 2: [0.25, 0.5], 3: [1.0, 0.0, 1.0, 1.0]}
    estimates = estimate_values(returns, 0.2, 1.5, UNIT)
    assert estimates.prior == pytest.approx(log_mean_exp([log_mean_exp(row, 0.2) for row in returns.values()], 0.2))
    for index, value in zip(estimates.instances, estimates.values, strict=True):
        assert value == pytest.approx(shrunk_value(returns[int(index)], 0.2, estimates.prior, 1.5), abs=1e-14)


def test_every_instance_weighs_the_same_in_the_pool() -> None:
    even = estimate_values({0: [1.0], 1: [0.0]}, 0.5, 1.0, UNIT)
    uneven = estimate_values({0: [1.0], 1: [0.0] * 16}, 0.5, 1.0, UNIT)
    assert uneven.prior == pytest.approx(even.prior) == pytest.approx(binary_value(0.5, 0.5))


def test_an_instance_that_always_failed_keeps_some_value() -> None:
    estimates = estimate_values({0: [0.0, 0.0], 1: [1.0, 1.0], 2: [1.0, 0.0]}, 0.02, 1.0, UNIT)
    assert 0.9 < estimates.values[0] < estimates.values[2] < estimates.values[1] <= 1.0
    assert estimate_values({0: [0.0, 0.0], 1: [1.0, 1.0]}, 0.02, 0.0, UNIT).values.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("beta", [0.0, 1e-300, 1e-6, 0.5, 1e6, math.inf])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_estimates_are_finite_at_every_temperature(beta: float, strength: float) -> None:
    estimates = estimate_values({0: [0.0, 0.0], 1: [1.0, 0.0, 0.5], 2: [0.9]}, beta, strength, UNIT)
    assert np.isfinite(estimates.values).all()
    assert np.isfinite(estimates.stds).all()
    assert (estimates.stds >= 0).all()
    assert ((estimates.values >= 0) & (estimates.values <= 1)).all()


def test_uncertainty_at_infinite_temperature_is_that_of_the_mean() -> None:
    returns = [[0.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0]]
    assert posterior_stds(returns, np.ones((2, 4)), math.inf, 0.0) == pytest.approx(
        np.std(returns, axis=1) / math.sqrt(5)
    )
    near = posterior_stds(returns, np.ones((2, 4)), 1e7, 1.0)
    assert near == pytest.approx(posterior_stds(returns, np.ones((2, 4)), math.inf, 1.0), rel=1e-6)


def test_uncertainty_falls_with_samples_and_does_not_read_padding() -> None:
    few = estimate_values({0: [0.0, 1.0], 1: [0.0, 1.0]}, 0.5, 1.0, UNIT)
    many = estimate_values({0: [0.0, 1.0] * 8, 1: [0.0, 1.0]}, 0.5, 1.0, UNIT)
    assert many.stds[0] < many.stds[1] == pytest.approx(few.stds[1])
    drawn = [[1, 1, 0], [1, 1, 1]]
    stds = [posterior_stds(np.array([[0, 1, pad], [1, 1, 0]]), drawn, 0.1, 1.0) for pad in (0.0, 9.0)]
    assert stds[0].tolist() == stds[1].tolist()


def test_without_a_strength_the_prior_is_fitted() -> None:
    returns = {0: [1.0, 1.0, 1.0, 0.0], 1: [0.0, 0.0], 2: [1.0, 0.0, 1.0], 3: [1.0, 1.0]}
    fitted = estimate_values(returns, 0.2, None, UNIT)
    given = estimate_values(returns, 0.2, fitted.strength, UNIT)
    assert 0.1 < fitted.strength < 1000.0
    assert fitted.values.tolist() == given.values.tolist() and fitted.stds.tolist() == given.stds.tolist()
    other = estimate_values(returns, 0.2, 2 * fitted.strength, UNIT)
    assert (other.values != fitted.values).any() and other.strength == 2 * fitted.strength


@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize(("shape", "over_plain", "over_one"), [(5.0, 0.5, 0.75), (20.0, 0.4, 0.5), (0.3, 0.95, 0.97)])
def test_the_fitted_prior_lowers_the_error(shape: float, beta: float, over_plain: float, over_one: float) -> None:
    """RMSE with success rates from Beta(shape, shape), beside no prior and one of a single sample."""
    rng = np.random.default_rng(0)
    rates = rng.beta(shape, shape, 512)
    truth = np.array([binary_value(p, beta) for p in rates])
    returns = {i: rng.binomial(1, p, 4).astype(float).tolist() for i, p in enumerate(rates)}

    def error(strength: float | None) -> float:
        return float(np.sqrt(np.mean((estimate_values(returns, beta, strength, UNIT).values - truth) ** 2)))

    assert error(None) < over_plain * error(0.0)
    assert error(None) < over_one * error(1.0)
    assert error(None) < 1.1 * error(2 * shape)


def test_unusable_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="no reference returns at all"):
        estimate_values({}, 0.5, 1.0, UNIT)
    with pytest.raises(ValueError, match=r"no reference returns for instances \[4\]"):
        estimate_values({3: [1.0], 4: []}, 0.5, 1.0, UNIT)
    with pytest.raises(ValueError, match=r"instance 4 has returns between 0 and 1\.5"):
        estimate_values({3: [1.0], 4: [0.0, 1.5]}, 0.5, 1.0, UNIT)
    assert isinstance(estimate_values({3: [1.0 + 1e-12]}, 0.5, 1.0, UNIT), ValueEstimates)


def test_the_widest_posterior_is_sampled_next() -> None:
    assert next_instances([2, 2, 2], [0.1, 0.3, 0.2], 1, 16).tolist() == [1]
    assert next_instances([2, 1, 2], [0.2, 0.2, 0.2], 3, 16).tolist()[0] == 1
    # Each further sample is expected to narrow 0.3: to 0.26, 0.23, 0.21, and then below 0.2.
    assert next_instances([2, 2, 2], [0.1, 0.3, 0.2], 5, 16).tolist() == [1, 1, 1, 1, 2]


def test_the_stronger_the_prior_the_less_a_sample_narrows_the_posterior() -> None:
    assert next_instances([2, 2], [0.3, 0.2], 5, 16, 0.0).tolist() == [0, 0, 0, 1, 0]
    assert next_instances([2, 2], [0.3, 0.2], 5, 16, 1.0).tolist() == [0, 0, 0, 0, 1]
    assert next_instances([2, 2], [0.3, 0.2], 5, 16, 9.0).tolist() == [0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="strength must be at least 0"):
        next_instances([2, 2], [0.3, 0.2], 5, 16, -1.0)


def test_no_instance_exceeds_the_most_samples() -> None:
    chosen = next_instances([2, 4, 9], [0.1, 0.3, 0.9], 100, 4)
    assert chosen.tolist() == [0, 0]
    assert next_instances([2, 4, 9], [0.1, 0.3, 0.9], 100, [3, 6, 9]).tolist() == [1, 1, 0]
    assert next_instances([], [], 3, 4).tolist() == []
    with pytest.raises(ValueError, match="same shape"):
        next_instances([1, 2], [0.1], 3, 4)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), max_size=20),
    st.integers(0, 60),
    st.integers(1, 6),
)
def test_a_batch_is_the_greedy_choice(state: list[tuple[int, float]], k: int, max_samples: int) -> None:
    counts = np.array([count for count, _ in state], np.int64)
    stds = np.array([std for _, std in state])
    chosen = next_instances(counts, stds, k, max_samples)
    room = np.maximum(max_samples - counts, 0)
    assert len(chosen) == min(k, room.sum())
    taken = np.bincount(chosen, minlength=len(counts))
    assert (taken <= room).all()
    width = stds * np.sqrt((counts + 1) / (counts + taken + 1))
    last_taken = stds * np.sqrt((counts + 1) / (counts + np.maximum(taken, 1)))
    if (taken > 0).any() and (taken < room).any():
        assert width[taken < room].max() <= last_taken[taken > 0].min() + 1e-12


def test_thousands_are_handed_out_in_no_time() -> None:
    rng = np.random.default_rng(0)
    started = time.process_time()
    chosen = next_instances(rng.integers(2, 8, 4096), rng.random(4096), 4096, 16)
    assert len(chosen) == 4096
    assert time.process_time() - started < 2.0


def test_adaptive_samples_lower_the_error() -> None:
    """The same number of reference episodes says more when they go to the widest posteriors."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, 400)
    truth = np.array([binary_value(p, 0.5) for p in rates])

    def error(adaptive: bool) -> float:
        returns = {i: rng.binomial(1, p, 4).astype(float).tolist() for i, p in enumerate(rates)}
        for _ in range(16):
            estimates = estimate_values(returns, 0.5, 1.0, UNIT)
            extra = (
                next_instances(estimates.counts, estimates.stds, 100, 16) if adaptive else rng.integers(400, size=100)
            )
            for position in extra:
                returns[int(position)].append(float(rng.random() < rates[position]))
        return float(np.sqrt(np.mean((estimate_values(returns, 0.5, 1.0, UNIT).values - truth) ** 2)))

    assert error(adaptive=True) < 0.9 * error(adaptive=False)

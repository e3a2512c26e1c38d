"""Weights of explorers' turns: the reference's odds come out, whoever has played."""

from __future__ import annotations

import numpy as np
import pytest

from turngym.trainers.stage_one.importance import effective_share, turn_weights


def test_what_a_turn_is_worth() -> None:
    assert effective_share([0.0, 0.0, 0.0]) == 1.0
    assert effective_share(np.log([1.0, 3.0])) == pytest.approx(2.0**2 / 5.0)
    assert effective_share(np.log([1.0, 3.0]) - 5000.0) == pytest.approx(0.8)
    assert effective_share([0.0, -5000.0]) == 0.5


def test_the_reference_alone_counts_exactly_one() -> None:
    assert turn_weights(np.zeros(7), np.zeros(7, int), [0, 0, 1, 2, 1, 0, 0]).tolist() == [1.0] * 7


def test_weights_by_hand() -> None:
    """Two turns of the reference and two of an explorer whose turns are worth 0.8 each; the states are apart."""
    log_ratio = [0.0, 0.0, *np.log([1.0, 3.0])]
    assert turn_weights(log_ratio, [0, 0, 1, 1], [0, 0, 0, 0]) == pytest.approx(np.array([1, 1, 0.8, 2.4]) / 2.4)
    assert turn_weights(log_ratio, [0, 0, 1, 1], [0, 1, 1, 0]) == pytest.approx([1 / 2.4, 1, 0.8, 1])


def test_impossible_replies_have_no_weight() -> None:
    assert turn_weights([0.0, -5000.0], [0, 1], [0, 0]).tolist() == [1.0, 0.0]
    assert turn_weights([-9000.0, -5000.0], [0, 0], [0, 1]).tolist() == [1.0, 1.0]


def drawn(rng: np.random.Generator, reference_U: np.ndarray, behaviours: list[np.ndarray], counts: list[int]) -> float:
    """Return the estimated odds of the first action in one state."""
    action = np.concatenate([rng.choice(len(b), size=n, p=b) for b, n in zip(behaviours, counts, strict=True)])
    model = np.repeat(np.arange(len(behaviours)), counts)
    log_ratio = np.log(reference_U[action] / np.array(behaviours)[model, action])
    weight = turn_weights(log_ratio, model, np.zeros_like(action))
    return float(weight[action == 0].sum() / weight.sum())


def test_the_odds_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    reference = np.array([0.1, 0.6, 0.3])
    hot, cold = (reference**power / (reference**power).sum() for power in (0.4, 1.7))
    assert drawn(rng, reference, [reference, hot, cold], [3000, 9000, 9000]) == pytest.approx(0.1, abs=0.01)
    assert drawn(rng, reference, [hot], [9000]) == pytest.approx(0.1, abs=0.01)


def test_wild_weights_do_not_drown_the_turns_of_the_reference() -> None:
    """An explorer whose weights vary much still makes the estimate better; it would make it worse at full count."""
    rng = np.random.default_rng(0)
    reference, wild = np.array([0.5, 0.5]), np.array([0.95, 0.05])
    errors = {
        name: np.std([drawn(rng, reference, players, counts) for _ in range(2000)])
        for name, players, counts in (
            ("alone", [reference], [160]),
            ("pooled", [reference, wild], [160, 160]),
        )
    }
    assert errors["pooled"] < 0.97 * errors["alone"]


def test_a_script_weighs_nothing_and_changes_no_weight() -> None:
    never = -np.inf
    alone = turn_weights([0.0, 0.3, -0.2], [0, 1, 1], [0, 0, 1])
    assert turn_weights([0.0, 0.3, -0.2, never, never], [0, 1, 1, 2, 2], [0, 0, 1, 1, 2]).tolist() == [*alone, 0.0, 0.0]
    assert effective_share([never, never]) == 0.0

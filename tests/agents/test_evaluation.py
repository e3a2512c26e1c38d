"""Wilson intervals and scores."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.episode import Episode, Status, Turn
from turngym.agents.evaluation import Score, score_episodes, wilson_interval


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


def episode(rewards: list[float], *, success: bool = False, status: Status = Status.COMPLETED) -> Episode:
    """Return an episode with one turn of three sampled ids per reward."""
    turns = [
        Turn(
            observation="o",
            action="a",
            reward=reward + 10.0,
            task_reward=reward,
            state_key="s",
            potential=0.0,
            valid=True,
            span=(5 * i, 5 * i + 3),
        )
        for i, reward in enumerate(rewards)
    ]
    return Episode(env_id="e", split="test", index=0, seed=0, turns=turns, success=success, status=status)


def test_a_score_by_hand() -> None:
    score = score_episodes(
        [
            episode([0.0, 1.0], success=True),
            episode([0.5], status=Status.TRUNCATED_LENGTH),
            episode([0.0, 0.0, 0.0], status=Status.TRUNCATED_TURNS),
            episode([9.0] * 50, success=True, status=Status.ERROR_ENVIRONMENT),
            episode([], status=Status.ERROR_TIMEOUT),
        ],
        seconds=2.5,
    )
    assert (score.episodes, score.successes, score.errors) == (3, 1, 2)
    assert score.rate == pytest.approx(1 / 3)
    assert score.interval == wilson_interval(1, 3)
    assert score.mean_return == pytest.approx(0.5), "task rewards, not shaped ones"
    assert score.mean_turns == pytest.approx(2.0)
    assert score.mean_tokens == pytest.approx(6.0)
    assert score.seconds == 2.5


def test_a_score_of_nothing_has_no_evidence() -> None:
    score = score_episodes([episode([], status=Status.ERROR_TIMEOUT)], seconds=0.0)
    assert (score.episodes, score.errors, score.rate, score.interval) == (0, 1, 0.0, (0.0, 1.0))


def test_a_score_survives_json() -> None:
    score = score_episodes([episode([1.0], success=True)], seconds=1.0)
    assert Score.from_dict(json.loads(json.dumps(score.to_dict()))) == score


@pytest.mark.parametrize("record", [{}, {"interval": [0, 1]}, {"interval": 3}, {"interval": ["a", "b"]}])
def test_what_is_no_score_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a score"):
        Score.from_dict(record)

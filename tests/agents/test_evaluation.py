"""Scores: what is counted, over which instances, and what was cut."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from turngym.agents.episode import Episode, Status, Turn
from turngym.agents.evaluation import Score, instance_range, score_episodes
from turngym.agents.intervals import wilson_interval
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent, RuleAgent


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
    assert (score.cut_episodes, score.cut_replies) == (pytest.approx(1 / 3), 0.0)


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


def test_a_score_from_before_cuts_were_counted_is_read() -> None:
    record = score_episodes([episode([1.0])], seconds=1.0).to_dict()
    for name in ("instances", "cut_episodes", "cut_replies"):
        del record[name]
    assert Score.from_dict(record).cut_replies is None


def test_cut_replies_are_a_share_of_all_replies() -> None:
    long, short = episode([0.0, 0.0, 1.0]), episode([1.0])
    long.turns[1] = replace(long.turns[1], cut=True)
    assert score_episodes([long, short], 0.0).cut_replies == 0.25


@pytest.mark.parametrize(
    ("env_id", "distinct"),
    [("WebShopOriginal", 48), ("FrozenLakeWindy", 360), ("Multiplication", 372), ("WebShop", 385), ("Countdown", 420),
     ("FrozenLake", 494)],
)  # fmt: skip
def test_instances_of_a_family_that_repeats_itself_are_counted_once(env_id: str, distinct: int) -> None:
    episodes = collect_episodes(RandomAgent(), f"turngym/{env_id}-v0", instance_range("test", 512))
    score = score_episodes(episodes, 0.0)
    assert (score.episodes, score.instances) == (512, distinct)


def test_a_player_that_always_does_the_same_has_the_interval_of_its_instances() -> None:
    episodes = collect_episodes(RuleAgent(), "turngym/WebShopOriginal-v0", instance_range("test", 512))
    few, many = score_episodes(episodes[:48], 0.0), score_episodes(episodes, 0.0)
    assert many.instances == few.instances == 48
    assert many.interval == pytest.approx(few.interval, abs=0.005)
    assert many.interval == pytest.approx(wilson_interval(48 * many.rate, 48), abs=0.002)


def test_where_every_episode_is_of_another_instance_the_interval_is_plain() -> None:
    episodes = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("test", 20))
    score = score_episodes(episodes, 0.0)
    assert score.instances == 20 and score.interval == wilson_interval(score.successes, 20)


def numbered(name: str, index: int, observation: str, *, success: bool) -> Episode:
    """Return an episode of a game that names its instances by their numbers."""
    played = episode([0.0], success=success)
    turn = replace(played.turns[0], observation=observation, state_key=f"{name}{index}|1:{observation}|7")
    return replace(played, index=index, turns=[turn])


@pytest.mark.parametrize("name", ["test/", "seed="])
def test_a_game_that_numbers_its_instances_is_known_by_what_it_shows(name: str) -> None:
    shown = [numbered(name, index, f"goal {index % 10}", success=index % 10 < 4) for index in range(100)]
    assert score_episodes(shown, 0.0).instances == 10
    assert score_episodes(shown, 0.0).interval == wilson_interval(4, 10)
    hidden = [numbered(name, index, "Which number?", success=index % 10 < 4) for index in range(100)]
    assert score_episodes(hidden, 0.0).instances == 100
    assert score_episodes(hidden, 0.0).interval == wilson_interval(40, 100)

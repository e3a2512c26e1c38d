"""The audit: no environment of the suite pays for nothing, and one that does is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from tests.benchmarks.careless_games import LooksForWordEnv, PaysForExampleEnv, PaysForFormEnv

from turngym.benchmarks import audit as auditing
from turngym.benchmarks.audit import FLOOR, Finding, able, audit, cells, limit_of, page, record, too_much
from turngym.benchmarks.exploiters import EXPLOITERS, Echo, Repetition, echoes, examples
from turngym.envs import env_ids, make_env, text_env
from turngym.trainers.reporting.progress import SilentProgress

CARELESS = {"form": PaysForFormEnv, "example": PaysForExampleEnv, "word": LooksForWordEnv}


@pytest.fixture
def careless() -> Iterator[dict[str, str]]:
    """Environments that pay for nothing, by what they pay for."""
    ids = {name: f"careless/{name.title()}-v0" for name in CARELESS}
    for name, env_id in ids.items():
        gym.register(env_id, cast("Any", CARELESS[name]), max_episode_steps=3)
    yield ids
    for env_id in ids.values():
        del gym.registry[env_id]


@pytest.mark.parametrize("env_id", env_ids())
def test_no_environment_of_the_suite_pays_for_nothing(env_id: str) -> None:
    findings = audit([env_id], 12, SilentProgress())
    assert too_much(findings) == []
    assert all(finding.episodes == 12 and finding.errors == 0 for finding in findings)
    of_form = [one for one in findings if one.exploiter in ("format only", "echo", "at once")]
    assert len(of_form) == 6 and {one.reasoning for one in of_form} == {False, True}
    assert all(one.success == 0 and one.score < 0.1 for one in of_form)


def test_the_shop_pays_for_a_purchase_but_its_success_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    findings = audit(["turngym/WebShop-v0"], 40, SilentProgress())
    (first,) = [one for one in findings if one.exploiter == "first result"]
    assert first.success < 0.1 and 0.4 < first.score < 0.65


@pytest.mark.parametrize(
    ("game", "found"), [("form", "format only"), ("form", "echo"), ("example", "echo"), ("word", "at once")]
)
def test_what_a_careless_game_pays_for_is_found(careless: dict[str, str], game: str, found: str) -> None:
    sentences = too_much(audit([careless[game]], 12, SilentProgress()))
    assert any(sentence.startswith(f"{game.title()} pays {found!r} 1.000 in success") for sentence in sentences)


def test_a_game_without_usable_actions_is_played_by_those_who_need_none(careless: dict[str, str]) -> None:
    assert list(able(careless["form"])) == ["format only", "echo"]
    assert list(able(careless["word"])) == [FLOOR, "format only", "echo", "at once", "in turn", "repetition"]
    assert list(able("turngym/WebShop-v0")) == [FLOOR, *EXPLOITERS]


def finding(exploiter: str, success: float, score: float = 0.0, *, low: float | None = None) -> Finding:
    return Finding(env_id="turngym/FrozenLake-v0", exploiter=exploiter, reasoning=False, success=success, score=score,
                   low=success if low is None else low, episodes=10, errors=0)  # fmt: skip


def test_blind_play_is_measured_by_the_random_agent() -> None:
    floor = finding(FLOOR, 0.2, 0.2)
    assert too_much([floor, finding("in turn", 0.3, 0.45)]) == []
    assert too_much([floor, finding("in turn", 0.6, 0.45, low=0.29)]) == []
    (sentence,) = too_much([floor, finding("in turn", 0.36, 0.2, low=0.31)])
    assert sentence == ("FrozenLake pays 'in turn' 0.360 in success and 0.200 in score, where 0.300 and 0.450 are "
                        "allowed.")  # fmt: skip
    assert too_much([finding("in turn", 0.2)]), "without a random agent chance excuses nothing"
    assert too_much([floor, finding("echo", 0.02, low=0.0)]), "nor does it excuse the form of a reply"
    assert limit_of(floor, [floor]).success == 1.0


def test_the_page_has_a_row_for_each_environment_and_the_higher_of_two_figures() -> None:
    findings = [finding(FLOOR, 0.2, 0.25), finding("echo", 0.0, 0.05), finding("echo", 0.01, 0.0)]
    head, rows = cells(findings)
    assert head == ["environment", FLOOR, *EXPLOITERS]
    assert rows == [["FrozenLake", "0.200 / 0.250", "", "0.010 / 0.000", "", "", "", ""]]
    text = page(findings, "turngym bench audit")
    assert "| FrozenLake | 0.200 / 0.250 |  | 0.010 / 0.000 |" in text and "Nothing is paid beyond" in text
    assert all(exploiter.summary in text for exploiter in EXPLOITERS.values())
    kept = record(findings)
    assert len(kept["findings"]) == 3 and kept["too_much"] == [] and set(kept["limits"]) == set(auditing.LIMITS)


def test_examples_are_found_in_the_instructions_of_every_environment_that_gives_some() -> None:
    found = {}
    for env_id in env_ids():
        env = make_env(env_id)
        found[env_id] = list(examples(text_env(env).instructions))
        env.close()
    assert found["turngym/Countdown-v0"] == ["(3 + 7) * 9"]
    assert "3 * 7" in found["turngym/CountdownSteps-v0"] and "7/2 - -3" in found["turngym/CountdownSteps-v0"]
    assert "click[Buy Now]" in found["turngym/WebShop-v0"]


def test_what_can_be_copied_from_an_observation() -> None:
    copied = list(echoes("Target: 5. Numbers: 3 -4.\n'Buy Now' click[six jars]"))
    assert copied[:5] == ["Buy Now", "click[six jars]", "5", "3", "-4"]
    assert "Target: 5. Numbers: 3 -4." in copied


def test_the_echo_reads_each_observation_and_the_repetition_keeps_to_its_first_action() -> None:
    env = make_env("turngym/WebShop-v0")
    observation, _ = env.reset(seed=0, options={"split": "test", "index": 0})
    echo, repetition = Echo(), Repetition()
    for player in (echo, repetition):
        player.start(0, text_env(env), observation, seed=0)
    wish = text_env(env).goal.instruction  # type: ignore[attr-defined]
    assert repetition.act([0])[0].text == f"search[{wish}]"
    assert echo.act([0])[0].text == "click[Buy Now]"
    observation = env.step(f"search[{wish}]")[0]
    for player in (echo, repetition):
        player.observe(0, observation)
    assert repetition.act([0])[0].text == f"search[{wish}]"
    assert echo.replies(echo._seats[0])[-1] == observation
    env.close()


def test_the_same_episodes_earn_the_same() -> None:
    one, two = (audit(["turngym/FrozenLake-v0"], 10, SilentProgress()) for _ in range(2))
    assert one == two
    assert np.isfinite([finding.score for finding in one]).all()

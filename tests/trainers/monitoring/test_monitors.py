"""What watches a run: what it measures, what it remembers, and which checkpoints it asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turngym.agents.episode import Episode, Turn
from turngym.trainers.config import MonitorsConfig, ShapingConfig
from turngym.trainers.instances import FRESH_INSTANCES, LEVEL_INSTANCES
from turngym.trainers.monitoring.monitors import Monitors
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.stage_one.stage import StageOneResult

KINDS = ["reward_std", "grad_norm", "empty_steps"]
FINE = {"kept": 1.0, "grad_norm": 1.0, "success": 0.5}
NOTHING_KNOWN = SuccessTracker(StageOneResult(pool=[]))


def monitors(shaping: ShapingConfig | None = None, *, easier: int = 0, **settings: Any) -> Monitors:
    return Monitors(MonitorsConfig(**settings), shaping or ShapingConfig(), kinds=KINDS, easier=easier)


def episode(index: int, *, success: bool = False, turns: int = 1, valid: bool = True) -> Episode:
    """Return an episode with one token a turn, whose last turn pays where it is won."""
    played = [Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.5, valid=valid,
                   span=(turn, turn + 1), logprobs=[-0.5]) for turn in range(turns)]  # fmt: skip
    played[-1].reward = played[-1].task_reward = float(success)
    return Episode(env_id="x", split="train", index=index, seed=0, turns=played, token_ids=[*range(turns)],
                   success=success)  # fmt: skip


def test_a_step_is_measured_before_it_is_learned_from() -> None:
    played = [episode(1, success=True, turns=3), episode(2, valid=False)]
    numbers = monitors().measure(played, NOTHING_KNOWN)
    assert {name: numbers[name] for name in ("success", "task_return", "turns", "valid", "entropy")} == {
        "success": 0.5, "task_return": 0.5, "turns": 2.0, "valid": 0.75, "entropy": 0.5,
    }  # fmt: skip
    assert not {"levels", "potential_shaping", "revisit_std"} & set(numbers)


def test_levels_and_shaping_are_reported_where_there_are_any() -> None:
    played = [episode(1), episode(LEVEL_INSTANCES, success=True)]
    numbers = monitors(ShapingConfig(step_cost=0.25), easier=1).measure(played, NOTHING_KNOWN)
    assert numbers["success"] == 0.0
    assert numbers["levels"] == [{"share": 0.5, "success": 1.0}, {"share": 0.5, "success": 0.0}]
    assert (numbers["potential_shaping"], numbers["plain_shaping"]) == (0.0, -0.25)


def test_only_returns_of_the_pool_are_remembered() -> None:
    watching = monitors()
    watching.remember([episode(3), episode(8, success=True), episode(FRESH_INSTANCES), episode(LEVEL_INSTANCES)])
    watching.remember([episode(3, success=True)])
    assert dict(watching.state_dict()["last_returns"]) == {3: 1.0, 8: 1.0}


def test_returns_are_compared_with_those_of_the_last_episode_of_an_instance() -> None:
    watching = monitors()
    watching.remember([episode(index) for index in range(8)])
    numbers = watching.measure([episode(index, success=True) for index in range(8)], NOTHING_KNOWN)
    assert numbers["revisit_std"] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(("every", "measured"), [(None, []), (1, [1, 2, 3, 4, 5, 6]), (3, [3, 6])])
def test_retrieval_is_measured_every_so_many_steps(every: int | None, measured: list[int]) -> None:
    watching = monitors(retrieval_every=every)
    assert [step for step in range(1, 7) if watching.measures_retrieval(step)] == measured


@pytest.mark.parametrize(("sensitivity", "rings"), [(1.0, False), (2.0, True)])
def test_sensitivity_reaches_the_alarms(sensitivity: float, rings: bool) -> None:
    watching = monitors(sensitivity=sensitivity)
    assert bool(watching.judge({**FINE, "step": 1, "kl_tax": 0.15})) is rings


@pytest.mark.parametrize(("action", "steps"), [("warn", []), ("stop", [0, 7, 7]), ("rollback", [0, 7, 7])])
def test_checkpoints_are_asked_for_where_an_alarm_may_need_them(action: str, steps: list[int]) -> None:
    watching = monitors(on_alarm=action)
    watching.judge({**FINE, "step": 7})
    assert watching.good_steps() == steps  # of the kinds in turn; the first was never read


def test_the_state_survives_json() -> None:
    first, second = monitors(), monitors()
    for step in range(1, 5):
        first.judge({**FINE, "step": step, "grad_norm": 1 / step, "kept": 0.0})
    first.remember([episode(3, success=True)])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    empty = {**FINE, "step": 5, "kept": 0.0}
    assert [alarm.alarm for alarm in second.judge(dict(empty))] == ["empty_steps"]
    assert first.judge(dict(empty)) and first.state_dict() == second.state_dict()

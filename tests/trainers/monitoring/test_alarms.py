"""When each alarm rings, when it does not, when it clears, and what it remembers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from turngym.trainers.config import MonitorsConfig
from turngym.trainers.monitoring.alarms import ADVICE, FIGURE, Alarm, Alarms, Thresholds, kinds_read
from turngym.trainers.objectives import find_objective

PLAIN = Thresholds()
FINE = {"kept": 1.0, "grad_norm": 1.0, "revisit_std": 0.4, "success": 0.5, "kl_tax": 0.0}


def ring(*steps: dict[str, Any], thresholds: Thresholds = PLAIN, alarms: Alarms | None = None) -> list[str]:
    """Return what rang, as "kind@step", when the steps differ so from one that is fine."""
    alarms = alarms or Alarms()
    return [f"{alarm.alarm}@{alarm.step}" for number, step in enumerate(steps, start=1)
            for alarm in alarms.judge({**FINE, **step, "step": number}, thresholds)]  # fmt: skip


def series(name: str, values: Sequence[float]) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


# Each kind ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["revisit_std", "group_std"])
def test_the_spread_of_rewards_collapses(name: str) -> None:
    first = [0.3, 0.5] * 5  # mean 0.4, threshold 0.04
    assert ring(*series(name, first + [0.039] * 10)) == ["reward_std@20"]
    assert ring(*series(name, first + [0.039] * 9 + [0.041])) == []
    assert ring(*series(name, first + [0.041] * 30)) == []
    assert ring(*series(name, first + [0.0] * 9 + [0.2] + [0.0] * 9)) == []
    assert ring(*series(name, first + [0.0] * 15 + [0.2] + [0.0] * 10)) == ["reward_std@20", "reward_std@36"]


def test_the_spread_within_a_step_takes_precedence_over_that_between_steps() -> None:
    steps = [{"group_std": 0.5, "revisit_std": 0.5}] * 10 + [{"group_std": 0.0, "revisit_std": 0.5}] * 10
    assert ring(*steps) == ["reward_std@20"]


def test_a_spread_of_zero_from_the_start_rings() -> None:
    assert ring(*series("group_std", [0.0] * 30)) == ["reward_std@10"]
    assert ring(*series("group_std", [0.0] * 9 + [0.1] + [0.0] * 9)) == []
    assert ring(*[{"group_std": 0.0, "success": 0.95}] * 30) == []


def test_a_step_without_a_spread_is_no_reading() -> None:
    unread = {key: value for key, value in FINE.items() if key != "revisit_std"}
    alarms = Alarms()
    for step in range(1, 30):
        alarms.judge({**unread, "predictive_std": 0.0, "step": step}, PLAIN)
    assert "reward_std" not in alarms.last_good_steps and alarms.first_stds == []


def test_a_solved_task_is_no_collapse() -> None:
    start = series("revisit_std", [0.4] * 10)
    assert ring(*start, *[{"revisit_std": 0.0, "success": 0.95}] * 20) == []
    assert ring(*start, *[{"revisit_std": 0.0, "success": 0.94}] * 20) == ["reward_std@20"]


def test_first_steps_and_patience_are_thresholds() -> None:
    thresholds = Thresholds(std_first_steps=2, std_steps=3, std_share=0.5)
    assert ring(*series("revisit_std", [0.4, 0.4, 0.1, 0.1, 0.1]), thresholds=thresholds) == ["reward_std@5"]


def test_the_gradient_norm_leaves_its_average() -> None:
    # The average of 1 and 3 with a memory of 0.9 is (0.9 * 1 + 3) / 1.9 = 2.0526.
    assert ring(*series("grad_norm", [1.0, 3.0, 20.6])) == ["grad_norm@3"]
    assert ring(*series("grad_norm", [1.0, 3.0, 20.4])) == []
    assert ring(*series("grad_norm", [1000.0])) == []
    assert ring(*series("grad_norm", [1.0, 11.0, 1.0, 100.0])) == ["grad_norm@2", "grad_norm@4"]


def test_steps_without_a_gradient_do_not_lower_its_average() -> None:
    alarms = Alarms()
    assert ring(*series("grad_norm", [0.0, 0.0, 1.0, 0.0, 0.0, 9.0]), alarms=alarms) == []
    assert alarms.grad_norm == pytest.approx((0.9 * 1.0 + 9.0) / 1.9)


def test_the_average_before_the_step_is_added_to_its_numbers() -> None:
    alarms, steps = Alarms(), [{**FINE, "step": step, "grad_norm": float(step)} for step in (1, 2, 3)]
    for numbers in steps:
        alarms.judge(numbers, PLAIN)
    assert "grad_norm_ema" not in steps[0]
    assert [step["grad_norm_ema"] for step in steps[1:]] == [1.0, pytest.approx((0.9 + 2.0) / 1.9)]


def test_the_kl_tax_rings_above_its_threshold() -> None:
    assert ring(*series("kl_tax", [0.2, 0.201, 0.3, 0.19, 0.21])) == ["kl_tax@2", "kl_tax@5"]
    assert ring(*series("kl_tax", [0.3]), thresholds=Thresholds(kl_tax=0.4)) == []


def test_validation_fails_for_long() -> None:
    checks: list[dict[str, Any]] = [{}, {"validation": 0.009}]
    assert ring(*checks * 5) == ["validation@10"]
    assert ring(*checks * 4, {"validation": 0.01}, *checks * 4) == []
    assert ring(*[{"validation": 0.01}] * 9) == []


def test_steps_without_any_kept_episode_ring() -> None:
    empty = {"kept": 0.0, "grad_norm": 0.0}
    assert ring(*[empty] * 7) == ["empty_steps@5"]
    assert ring(*[empty] * 4, {"kept": 0.01}, *[empty] * 4) == []
    assert ring(*[empty] * 2, thresholds=Thresholds(empty_steps=2)) == ["empty_steps@2"]


def test_drift_between_sampler_and_trainer_rings() -> None:
    assert ring(*series("logprob_drift_p99", [0.01, 0.011, 0.011, 0.009, 0.5])) == ["drift@2", "drift@5"]
    assert ring({"logprob_drift": 1.0}) == []  # a single token may
    assert ring(*series("logprob_drift_p99", [0.05]), thresholds=Thresholds(drift=0.1)) == []


def test_a_step_that_is_fine_rings_nothing_and_several_may_ring_at_once() -> None:
    assert ring(*[{}] * 50) == []
    assert ring({}, {"kl_tax": 1.0, "grad_norm": 11.0}) == ["grad_norm@2", "kl_tax@2"]


# What an alarm says and what is remembered ----------------------------------------------------------------------


def test_an_alarm_says_what_happened_and_what_to_try() -> None:
    (tax,) = Alarms().judge({**FINE, "step": 12, "kl_tax": 0.3125}, PLAIN)
    assert tax == Alarm(alarm="kl_tax", step=12, figure=0.3125, threshold=0.2, readings=1, last_good_step=0)
    assert str(tax) == f"alarm kl_tax at step 12: beta * KL / reward range is 0.312, above 0.2. {ADVICE['kl_tax']}"
    low = replace(tax, alarm="validation", figure=0.005, threshold=0.01, readings=5)
    assert "the success in validation is 0.005, below 0.01 for 5 readings in a row. " in str(low)
    empty = replace(low, alarm="empty_steps", figure=0.0, threshold=0.0)
    assert "the filter kept is 0 for 5 readings in a row. " in str(empty)
    assert set(FIGURE) == set(ADVICE)


def test_an_alarm_knows_the_last_step_that_was_fine() -> None:
    alarms = Alarms()
    for step in range(1, 40):
        fine = step <= 17
        for alarm in alarms.judge({**FINE, "step": step, "revisit_std": 0.4 if fine else 0.0}, PLAIN):
            assert (alarm.step, alarm.last_good_step) == (27, 17)
    assert alarms.last_good_steps == {"reward_std": 17, "grad_norm": 39, "kl_tax": 39, "empty_steps": 39}
    assert alarms.bad_readings["reward_std"] == 22


@pytest.mark.parametrize(("kind", "setting"), [("cut_episodes", "context_length"), ("cut_replies", "max_reply_tokens")])
def test_what_is_cut_short_rings_and_says_what_to_raise(kind: str, setting: str) -> None:
    assert ring(*series(kind, [0.11, 0.1, 0.2, 0.11, 0.5])) == [f"{kind}@4"]
    assert ring(*series(kind, [0.4] * 3), thresholds=Thresholds(cut_share=0.5)) == []
    assert ring(*series(kind, [0.06, 0.06]), thresholds=Thresholds.at(2.0)) == [f"{kind}@2"]
    alarm = Alarm(alarm=kind, step=2, figure=0.5, threshold=0.1, readings=2, last_good_step=0)
    assert f"raise model.{setting}" in str(alarm) and "is 0.5, above 0.1 for 2 readings in a row" in str(alarm)


def test_a_kind_that_was_never_read_puts_every_step_in_doubt() -> None:
    kinds = kinds_read(find_objective("astarpo"), validates=True)
    assert kinds == [
        "reward_std",
        "grad_norm",
        "kl_tax",
        "validation",
        "empty_steps",
        "drift",
        "cut_episodes",
        "cut_replies",
    ]
    alarms = Alarms()
    ring(*[{}] * 7, alarms=alarms)
    assert alarms.good_steps(kinds) == [7, 7, 7, 0, 7, 0, 0, 0]
    ring({"validation": 0.5, "logprob_drift_p99": 0.0, "cut_episodes": 0.1, "cut_replies": 0.0}, alarms=alarms)
    assert alarms.good_steps(kinds) == [1] * 8
    assert kinds_read(find_objective("grpo"), validates=False) == [
        "reward_std",
        "grad_norm",
        "empty_steps",
        "drift",
        "cut_episodes",
        "cut_replies",
    ]


def test_a_state_that_went_through_json_rings_as_if_nothing_had_happened() -> None:
    steps = series("revisit_std", [0.31, 0.47] * 5 + [0.03] * 12)
    steps = [{**step, "grad_norm": 1 / (3 + number)} for number, step in enumerate(steps)]
    for cut in (3, 14, 21):
        whole, first = Alarms(), Alarms()
        for number, step in enumerate(steps, start=1):
            if number == cut:
                first = Alarms.from_state_dict(json.loads(json.dumps(first.state_dict())))
            numbers = [{**FINE, **step, "step": number} for _ in range(2)]
            assert whole.judge(numbers[0], PLAIN) == first.judge(numbers[1], PLAIN)
        assert whole == first


def test_sensitivity_moves_every_distance_and_no_patience() -> None:
    twice, half = Thresholds.at(2.0), Thresholds.at(0.5)
    assert Thresholds.at(1.0) == PLAIN
    assert (twice.std_share, twice.grad_norm_ratio, twice.kl_tax, twice.validation_success, twice.drift) == (
        0.2, 5.0, 0.1, 0.02, 0.005,
    )  # fmt: skip
    assert (half.std_share, half.grad_norm_ratio, half.kl_tax, half.validation_success, half.drift) == (
        0.05, 20.0, 0.4, 0.005, 0.02,
    )  # fmt: skip
    for other in (twice, half):
        assert (other.std_steps, other.std_first_steps, other.validations, other.empty_steps) == (10, 10, 5, 5)
        assert other.std_solved == PLAIN.std_solved
    between = series("kl_tax", [0.15])
    assert ring(*between, thresholds=twice) == ["kl_tax@1"] and ring(*between) == []


def test_actions_are_known_by_name() -> None:
    for action in ("warn", "stop", "rollback"):
        assert MonitorsConfig(on_alarm=action).on_alarm == action  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"monitors\.on_alarm must be one of 'warn', 'stop', 'rollback', got 'halt'"):
        MonitorsConfig(on_alarm="halt")  # type: ignore[arg-type]

"""Values of states: shrinkage over the levels, memory, soft returns, and what stage 1 says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from turngym.agents.episode import Episode, Turn
from turngym.trainers.baselines.states import SHRINKAGE, State, StateValues, stage_one_states
from turngym.trainers.config import ValueConfig
from turngym.trainers.config.values import StateEstimatorName
from turngym.trainers.stage_one.soft_values import monte_carlo_values, read_transitions, soft_values
from turngym.trainers.stage_one.store_rows import StoredTurn


def turn(key: str, reward: float = 0.0, potential: float = 0.0) -> Turn:
    return Turn(observation="", action="", reward=reward, task_reward=reward, state_key=key, potential=potential,
                valid=True)  # fmt: skip


def episode(*turns: Turn) -> Episode:
    return Episode(env_id="x", split="train", index=0, seed=0, turns=list(turns))


def stored(sample: int, turns: list[tuple[str, str, float]], instance: int = 0) -> list[StoredTurn]:
    return [
        StoredTurn(instance=instance, sample=sample, turn=number, state_key=f"{instance}|{key}|{9 - number}",
                   action=action, reward=reward, task_reward=reward, valid=True, potential=0.25)
        for number, (key, action, reward) in enumerate(turns)
    ]  # fmt: skip


def test_a_state_of_a_turn_never_visited_has_value_zero() -> None:
    assert StateValues().value(State("s", 0, 0.5)) == 0.0


def test_a_state_is_shrunk_towards_its_bucket_and_that_towards_its_turn() -> None:
    values = StateValues(["s"])
    values.add(State("s", 1, 0.5), 1.0, visits=2)
    values.add(State("other", 1, 0.5), 0.0, visits=2)
    values.add(State("far", 1, 0.9), 0.0, visits=4)
    turn_level = 2 / 8
    bucket = (2 * 1.0 + SHRINKAGE * turn_level) / (4 + SHRINKAGE)
    state = (2 * 1.0 + SHRINKAGE * bucket) / (2 + SHRINKAGE)
    assert values.value(State("s", 1, 0.5)) == pytest.approx(state)
    assert values.value(State("fresh", 1, 0.5)) == pytest.approx(bucket)
    assert values.value(State("fresh", 1, 0.1)) == pytest.approx(turn_level)
    assert values.value(State("fresh", 0, 0.5)) == 0.0


def test_only_states_of_stage_one_are_remembered_singly() -> None:
    values = StateValues(["s"])
    for key in ("s", "fresh"):
        values.add(State(key, 0, 0.0), 1.0)
    assert [len(level) for level in values.state_dict()["averages"]] == [1, 1, 1]


def test_without_potentials_a_bucket_is_a_turn() -> None:
    values = StateValues(potentials=False)
    values.add(State("near", 0, 0.9), 1.0)
    values.add(State("far", 0, 0.1), 0.0)
    again = StateValues()
    again.load_state_dict(json.loads(json.dumps(values.state_dict())))
    assert (
        values.value(State("x", 0, 0.9)) == values.value(State("x", 0, 0.1)) == again.value(State("x", 0, 0.9)) == 0.5
    )


def test_levels_of_a_curriculum_are_kept_apart() -> None:
    values = StateValues()
    values.add(State("easy", 0, 0.5, level=0), 1.0)
    assert values.value(State("other", 0, 0.5, level=0)) == 1.0
    assert values.value(State("other", 0, 0.5)) == 0.0


def test_a_level_begins_with_the_values_of_the_target() -> None:
    values = StateValues()
    values.add(State("s", 0, 0.5), 0.5, visits=100)
    easy = State("easy", 0, 0.25, level=0)
    assert values.value(easy) == 0.5 and values.value(easy._replace(turn=1)) == 0.0
    values.add(easy, 1.0, visits=4)
    turn_level = (4 * 1.0 + SHRINKAGE * 0.5) / (4 + SHRINKAGE)
    assert values.value(easy) == pytest.approx((4 * 1.0 + SHRINKAGE * turn_level) / (4 + SHRINKAGE))
    assert values.value(State("s", 0, 0.5)) == 0.5


def test_old_visits_fade() -> None:
    """After ever more visits worth 0, what began at 1 fades: the state within tens, the turn within thousands."""
    values = StateValues(["s"])
    values.add(State("s", 0, 0.0), 1.0, visits=1000)
    for _ in range(40):
        values.visit(State("s", 0, 0.0), 0.0)
    (_, turn_value, _), (_, bucket_value, _), (_, state_value, _) = (
        level[0] for level in values.state_dict()["averages"]
    )
    assert state_value == pytest.approx(0.9**40) and bucket_value == pytest.approx(0.99**40)
    assert turn_value == pytest.approx(0.998**40)


def test_the_first_visits_weigh_the_same() -> None:
    values = StateValues()
    for value in (0.0, 1.0, 1.0, 0.0):
        values.visit(State("s", 0, 0.0), value)
    assert values.value(State("s", 0, 0.0)) == pytest.approx(0.5)


def test_soft_returns_are_rewards_to_go_less_the_soft_cost_to_go() -> None:
    values = StateValues("ab")
    values.follow(episode(turn("a", 0.5), turn("b", 1.0)), [0.1, 0.3])
    levels = values.state_dict()["averages"]
    assert [[name, value] for name, value, _ in levels[2]] == [["a", pytest.approx(1.1)], ["b", pytest.approx(0.7)]]
    assert values.before_turns(episode(turn("a"), turn("b"))) == pytest.approx([1.1, 0.7])


def test_the_state_survives_json() -> None:
    values = StateValues(["s"])
    values.follow(episode(turn("s", 0.1, 1 / 3), turn("t", 0.7, 2 / 3)), [0.01, 0.0])
    again = StateValues()
    again.load_state_dict(json.loads(json.dumps(values.state_dict())))
    more = episode(turn("s", 0.3, 1 / 3), turn("t", 0.0, 2 / 3))
    for one in (values, again):
        one.follow(more, [0.0, 0.2])
    assert again.before_turns(more) == values.before_turns(more)
    assert json.dumps(again.state_dict()) == json.dumps(values.state_dict())


LUCKY = [*stored(0, [("s", "x", 1.0)]), *stored(1, [("s", "x", 0.0)]), *stored(2, [("s", "y", 0.0)]),
         *stored(3, [("s", "y", 0.0)])]  # fmt: skip
"""One reply has now this outcome, now that."""
SKILLED = [*stored(0, [("s", "x", 1.0)]), *stored(1, [("s", "x", 1.0)]), *stored(2, [("s", "y", 0.0)]),
           *stored(3, [("s", "y", 0.0)])]  # fmt: skip


@pytest.mark.parametrize(("turns", "estimator"), [(LUCKY, "soft_values"), (SKILLED, "log_mean_exp")])
def test_the_estimator_follows_what_was_measured(turns: list[StoredTurn], estimator: StateEstimatorName) -> None:
    transitions = read_transitions(turns)
    config = ValueConfig()
    measured = stage_one_states(transitions, 0.1, config)
    asked_for = stage_one_states(transitions, 0.1, replace(config, state_estimator=estimator))
    assert measured.state_dict() == asked_for.state_dict()


def test_values_of_stage_one_are_those_of_the_estimator() -> None:
    transitions = read_transitions(LUCKY)
    expected: dict[StateEstimatorName, float] = {
        "soft_values": soft_values(transitions, 0.1, 1.0)[0],
        "log_mean_exp": monte_carlo_values(transitions, 0.1)[0],
    }
    for name, value in expected.items():
        states = stage_one_states(transitions, 0.1, ValueConfig(state_estimator=name))
        assert states.value(State(transitions.keys[0], 0, 0.25)) == pytest.approx(value)
    assert monte_carlo_values(transitions, 0.1)[0] == pytest.approx(0.1 * math.log(np.mean([math.exp(10), 1, 1, 1])))


def test_nothing_of_stage_one_is_forgotten() -> None:
    """However many states share a bucket, and in whatever order they come."""
    turns = [one for instance in range(600) for one in stored(0, [("s", "x", float(instance < 450))], instance)]
    states = stage_one_states(read_transitions(turns), 0.1, ValueConfig())
    assert states.value(State("fresh", 0, 0.25)) == pytest.approx(0.75)
    assert states.value(State("fresh", 0, 0.5)) == pytest.approx(0.75)


def test_an_unknown_estimator_is_named() -> None:
    with pytest.raises(ValueError, match=r"values\.state_estimator must be one of 'measured', .*got 'magic'"):
        ValueConfig(state_estimator="magic")  # type: ignore[arg-type]

"""The baselines of a configuration: what each says before a turn, what it follows, and what it hands on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from turngym.agents.episode import Episode, Turn
from turngym.trainers.baselines.baseline import (
    BatchBaseline,
    InstanceBaseline,
    NoBaseline,
    StateBaseline,
    make_baseline,
    values_of_states,
)
from turngym.trainers.baselines.states import StateValues, stage_one_states
from turngym.trainers.config import AstarpoConfig, ValueConfig
from turngym.trainers.instances import LEVEL_INSTANCES
from turngym.trainers.objectives import TrainingBatch
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.stage import StageOneResult
from turngym.trainers.stage_one.store_rows import StoredTurn

ESTIMATES = estimate_values({3: [1.0, 1.0, 1.0, 0.0], 8: [0.0, 0.0]}, 0.5, 1.0, (0.0, 1.0))
TURNS = [
    StoredTurn(instance=3, sample=sample, turn=turn, state_key=f"{key}|{2 - turn}", action=action, reward=reward,
               task_reward=reward, valid=True, potential=0.0)
    for sample, (action, reward) in enumerate([("x", 1.0), ("y", 0.0), ("y", 0.0)])
    for turn, (key, action, reward) in enumerate([("start", "go", 0.0), ("end", action, reward)])
]  # fmt: skip
RESULT = StageOneResult(pool=[3, 8], estimates=ESTIMATES, transitions=read_transitions(TURNS))


def make(name: str, *, easier: int = 0, result: StageOneResult = RESULT) -> Any:
    objective = AstarpoConfig(baseline=name)  # type: ignore[arg-type]
    return make_baseline(objective, result, ValueConfig(), easier=easier, middle=0.5)


def episode(index: int, rewards: Sequence[float]) -> Episode:
    turns = [Turn(observation="", action="", reward=reward, task_reward=reward, potential=0.0, valid=True,
                  state_key=("start|2", "end|1")[place])
             for place, reward in enumerate(rewards)]  # fmt: skip
    return Episode(env_id="x", split="train", index=index, seed=0, turns=turns)


def batch(episodes: Sequence[Episode]) -> TrainingBatch:
    """Return episodes of up to two turns as tensors, with a token for each turn."""
    pairs = torch.tensor([(row, turn) for row, one in enumerate(episodes) for turn in range(len(one.turns))])
    rewards = [[turn.reward for turn in one.turns] + [0.0] * (2 - len(one.turns)) for one in episodes]
    return TrainingBatch(logp_N=torch.zeros(len(pairs)), episode_N=pairs[:, 0], turn_N=pairs[:, 1],
                         reward_BK=torch.tensor(rewards, dtype=torch.float64),
                         group_B=torch.tensor([one.index for one in episodes]))  # fmt: skip


def said(baseline: Any, episodes: Sequence[Episode]) -> list[list[float]]:
    values: list[list[float]] = baseline.values(batch(episodes), episodes).tolist()
    return values


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tracker", InstanceBaseline), ("vstar", InstanceBaseline), ("state_tracker", StateBaseline),
     ("state_vstar", StateBaseline), ("batch", BatchBaseline), ("none", NoBaseline)],
)  # fmt: skip
def test_every_name_has_its_baseline(name: str, kind: type) -> None:
    assert type(make(name)) is kind


def test_the_baseline_none_is_zero_and_has_no_state() -> None:
    none, played = make("none"), [episode(3, [0.25, 0.5])]
    none.begin_step(0.1)
    none.update(played, [[0.1, 0.2]], 0.1)
    assert said(none, played) == [[0.0, 0.0]] and none.state_dict() == {} and none.first_value(3) is None


def test_the_mean_of_the_batch_is_that_of_the_other_episodes_of_the_level() -> None:
    """Returns 0, 1 and 2 of the target, and 3 and 5 of an easier level; a later turn is worth what is left."""
    played = [episode(3, [0.0]), episode(4, [0.25, 0.75]), episode(99, [2.0]), episode(LEVEL_INSTANCES, [3.0]),
              episode(LEVEL_INSTANCES + 7, [5.0])]  # fmt: skip
    values = said(make("batch", easier=1), played)
    assert [value_K[0] for value_K in values] == pytest.approx([1.5, 1.0, 0.5, 5.0, 3.0])
    assert values[1] == pytest.approx([1.0, 0.75])
    assert make("batch").first_value(3) is None


def test_the_value_of_a_later_turn_is_less_by_the_rewards_so_far() -> None:
    start = (4 * ESTIMATES.values[0] + ESTIMATES.prior) / 5
    assert said(make("tracker"), [episode(3, [0.25, 0.5])]) == [pytest.approx([start, start - 0.25])]
    first = ESTIMATES.values[0]
    assert said(make("vstar"), [episode(3, [0.25, 0.5])]) == [pytest.approx([first, first - 0.25])]
    assert said(make("vstar"), [episode(99, [0.0])])[0][0] == pytest.approx(ESTIMATES.prior)


def test_a_tracker_follows_soft_returns_and_the_values_of_stage_one_stay() -> None:
    """S = 0.75 - 0.1 * (1 + 2), after visits worth four."""
    played, log_ratio_BK = [episode(3, [0.25, 0.5])], [[1.0, 2.0]]
    tracker, vstar = make("tracker"), make("vstar")
    for baseline in (tracker, vstar):
        baseline.update(played, log_ratio_BK, 0.1)
        assert [baseline.first_value(index) for index in (3, 8, 99)] == [*ESTIMATES.values, ESTIMATES.prior]
    weight = 0.9 * 4 + 1
    mean = ESTIMATES.values[0] + (0.45 - ESTIMATES.values[0]) / weight
    pool = ESTIMATES.prior + (0.45 - ESTIMATES.prior) / (0.995 * 10 + 1)
    assert tracker.value(3) == pytest.approx((weight * mean + pool) / (weight + 1))
    assert said(tracker, played)[0][0] == pytest.approx(tracker.value(3))
    assert said(vstar, played)[0][0] == pytest.approx(ESTIMATES.values[0])


@pytest.mark.parametrize("reward", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["tracker", "state_tracker"])
def test_a_soft_return_that_is_not_finite_is_refused(name: str, reward: float) -> None:
    baseline, plain = make(name), make(name)
    with pytest.raises(ValueError, match="finite soft return"):
        baseline.update([episode(3, [reward])], [[0.0]], 0.1)
    assert baseline.state_dict() == plain.state_dict()


def test_an_easier_level_begins_in_the_middle_and_has_its_running_value() -> None:
    baseline = make("tracker", easier=1)
    assert baseline.value(LEVEL_INSTANCES) == baseline.first_value(LEVEL_INSTANCES + 1) == 0.5
    baseline.update([episode(LEVEL_INSTANCES, [1.0])], [[0.0]], 0.1)
    assert baseline.first_value(LEVEL_INSTANCES + 1) == baseline.value(LEVEL_INSTANCES) > 0.5
    assert baseline.value(99) == ESTIMATES.prior


def test_the_next_reference_takes_over_the_easier_levels() -> None:
    earlier, later = make("tracker", easier=1), make("tracker", easier=1)
    earlier.update([episode(LEVEL_INSTANCES, [1.0]), episode(3, [0.0])], [[0.0], [0.0]], 0.1)
    later.follow_on(earlier)
    assert later.value(LEVEL_INSTANCES) == earlier.value(LEVEL_INSTANCES) > 0.5
    assert later.value(3) == make("tracker").value(3) != earlier.value(3)


# States ---------------------------------------------------------------------------------------------------------


def states_at(beta: float) -> list[float]:
    return stage_one_states(read_transitions(TURNS), beta, ValueConfig()).before_turns(episode(3, [0.0, 0.0]))


def test_states_are_worth_what_stage_one_says_at_the_temperature_of_the_step() -> None:
    vstar, played = make("state_vstar"), [episode(3, [0.0, 1.0])]
    for beta in (0.5, 0.1):
        vstar.begin_step(beta)
        assert said(vstar, played) == [pytest.approx(states_at(beta))]
        vstar.update(played, [[0.0, 0.0]], beta)
    assert states_at(0.5) != pytest.approx(states_at(0.1))


def test_states_are_followed_from_the_first_step_on() -> None:
    tracker, played = make("state_tracker"), [episode(3, [0.0, 1.0])]
    tracker.begin_step(0.5)
    assert said(tracker, played) == [pytest.approx(states_at(0.5))]
    tracker.update(played, [[0.0, 0.0]], 0.5)
    tracker.begin_step(0.1)
    moved = said(tracker, played)
    assert min(moved[0]) > max(states_at(0.5)), "it won, and the temperature is asked for once"
    another = make("state_tracker")  # as of the next round
    another.begin_step(0.1)
    assert said(another, played) == [pytest.approx(states_at(0.1))]


def test_values_of_states_are_padded() -> None:
    states = StateValues()
    states.follow(episode(3, [0.25, 0.5]), [0.0, 0.0])
    played = [episode(3, [0.0]), episode(4, [0.0, 0.0])]
    found = values_of_states(batch(played), played, states)
    assert found.tolist() == [[0.75, 0.0], [0.75, 0.5]] and found.dtype == torch.float64


@pytest.mark.parametrize("name", ["tracker", "vstar", "state_tracker", "state_vstar"])
def test_the_state_survives_json_to_the_last_bit(name: str) -> None:
    first, second = make(name, easier=1), make(name, easier=1)
    played = [episode(3, [1 / 3, 0.1]), episode(LEVEL_INSTANCES, [0.7]), episode(99, [0.2, 0.3])]
    first.begin_step(0.3)
    first.update(played, [[0.1, -0.2], [0.3], [0.0, 0.7]], 0.3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    for baseline in (first, second):
        baseline.begin_step(0.2)
        baseline.update(played, [[0.0, 0.0], [0.1], [0.2, 0.0]], 0.2)
    assert said(first, played) == said(second, played)

"""Stage 2: what is scheduled, what is learned, and what must never reach the optimizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainers.harness import copied, fail_on, instance_baseline, learn_from, make_loop, run, with_learning
from torch import Tensor

from turngym.agents.episode import Episode, Status, read_episodes
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.checkpoints.tensor_tree import to_json
from turngym.trainers.config import AstarpoConfig, TrainConfig, with_algorithm
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.loop import Loop
from turngym.trainers.objectives import StepParams
from turngym.trainers.reporting.credit import Credit
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.schedules import scheduled_beta, scheduled_learning_rate


def fingerprint(loop: Loop) -> tuple[Any, ...]:
    """Name every bit of the state of a loop."""
    tensors: dict[str, Tensor] = {}
    structure = to_json(loop.learner.optimizer.state_dict(), tensors, "optimizer")
    weights = fingerprint_of(loop.learner.policy.model.state_dict())
    components = (loop.successes, instance_baseline(loop), loop.monitors, loop.prompts, loop.schedule)
    states = [copy.deepcopy(component.state_dict()) for component in components]
    return weights, json.dumps(structure), fingerprint_of(tensors), states


# The loop -------------------------------------------------------------------------------------------------------


def test_every_step_is_reported_and_moves_the_policy_alone(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    loop = make_loop(model, tiny)
    models = loop.learner.policy, loop.references.current
    before = [fingerprint_of(model.model.state_dict()) for model in models]
    numbers, played = run(loop, tmp_path)
    after = [fingerprint_of(model.model.state_dict()) for model in models]
    assert before[0] == before[1] == after[1] != after[0]
    assert [step["step"] for step in numbers] == [1, 2, 3, 4, 5, 6]
    assert loop.schedule.step == 6
    assert numbers[0]["kl"] == 0.0
    assert all(step["kl"] != 0.0 for step in numbers[1:])
    for step, episodes in zip(numbers, played, strict=True):
        assert json.loads(json.dumps(step, allow_nan=False)) == step
        assert len(episodes) == tiny.learning.batch_size
        assert step["success"] == np.mean([episode.success for episode in episodes])
        assert step["sampled_tokens"] == sum(episode.num_sampled for episode in episodes)
        assert step["errors"] == 0
        assert 0 < step["rollout_seconds"] < step["seconds"]
        # What the sampler recorded with its cache is what the trainer computes without: the data are on policy.
        assert step["logprob_drift"] < 1e-4
        assert {turn.policy_version for episode in episodes for turn in episode.turns} == {step["step"] - 1}
    assert not (tmp_path / "failed.jsonl").exists()


def test_the_credit_of_a_step_is_of_its_episodes(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    loop = make_loop(model, tiny)
    before = copy.deepcopy(instance_baseline(loop))
    given: list[Credit] = []

    def look(numbers: dict[str, Any], episodes: Sequence[Episode]) -> None:
        credit = loop.credit(episodes)
        given.append(credit)
        assert credit.objective == "astarpo" and credit.residual
        assert [len(row) for row in credit.values] == [len(episode.turns) for episode in episodes]
        lengths = [None if row is None else len(row) for row in credit.advantages]
        assert lengths == [episode.num_sampled for episode in episodes]
        if len(given) == 1:  # the values are those from before the step, which the step has moved since
            assert [row[0] for row in credit.values] == pytest.approx([before.value(one.index) for one in episodes])
            assert [row[0] for row in credit.values] != [instance_baseline(loop).value(one.index) for one in episodes]
            # The first policy is the reference: what is left of R - V - beta * l is R - V.
            for one, value, row in zip(episodes, credit.values, credit.advantages, strict=True):
                assert row == pytest.approx([one.total_reward - value[0]] * one.num_sampled, abs=1e-4)

    loop.run_round(look, tmp_path / "failed.jsonl")
    assert len(given) == tiny.learning.steps


def test_an_episode_that_is_filtered_out_has_no_advantage(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    loop = make_loop(model, with_algorithm(tiny, "raft"))

    def look(numbers: dict[str, Any], episodes: Sequence[Episode]) -> None:
        credit = loop.credit(episodes)
        assert not credit.values
        assert [row is not None for row in credit.advantages] == [episode.success for episode in episodes]
        assert all(len({round(one, 6) for one in row}) == 1 and row[0] > 0 for row in credit.advantages if row)

    loop.run_round(look, tmp_path / "failed.jsonl")


def test_learning_goes_on_from_its_step_bit_for_bit(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    straight, halted = (make_loop(copied(model), tiny) for _ in range(2))
    run(straight, tmp_path)

    class Stop(Exception):
        pass

    def stop(step: dict[str, Any], episodes: Sequence[Episode]) -> None:
        if step["step"] == 3:
            raise Stop

    with pytest.raises(Stop):
        halted.run_round(stop, tmp_path / "failed.jsonl")
    run(halted, tmp_path)
    assert fingerprint(halted) == fingerprint(straight)


def test_values_and_successes_learn_of_an_episode_after_its_value_was_used(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(model, tiny)
    values, successes = instance_baseline(loop).means, loop.successes.means
    before = copy.deepcopy(values)
    told: dict[str, list[tuple[int, float]]] = {"values": [], "successes": []}
    for name, means in (("values", values), ("successes", successes)):

        def listen(index: int, value: float, name: str = name, update: Any = means.update) -> None:
            told[name].append((index, value))
            update(index, value)

        monkeypatch.setattr(means, "update", listen)
    numbers, (first, second) = run(loop, tmp_path, steps=2)
    assert numbers[0]["value"] == pytest.approx(np.mean([before.value(episode.index) for episode in first]))
    assert told["successes"] == [(episode.index, float(episode.success)) for episode in (*first, *second)]
    # At the first step policy and reference are the same, so the soft return is the return.
    assert told["values"][:8] == [(episode.index, episode.total_reward) for episode in first]
    soft_returns = [value for _, value in told["values"][8:]]
    bonus = np.mean([episode.total_reward for episode in second]) - np.mean(soft_returns)
    assert bonus == pytest.approx(numbers[1]["beta"] * numbers[1]["kl"], abs=1e-9)


@pytest.mark.parametrize("kept", ["mixed", "none"])
def test_values_follow_what_a_filter_drops(model: LanguageModel, tiny: TrainConfig, kept: str) -> None:
    """Their soft returns are those of all episodes, or the mean would not be the policy's soft value."""
    rollouts = Rollouts.of(tiny)
    pairs = [Instance(split="train", index=index, seed=seed) for index in range(12) for seed in (1, 2)]
    episodes = rollouts.play(rollouts.agent(model), pairs)
    if kept == "none":
        for episode in episodes:
            for turn in episode.turns:
                turn.reward = 0.0
    steps = []
    for config in (AstarpoConfig(), AstarpoConfig(filter="mixed", group_size=2)):
        loop = make_loop(copied(model), tiny)
        for weight in loop.references.current.model.parameters():
            weight.data.mul_(1.05)
        steps.append(learn_from(loop, episodes, StepParams(config=config, beta=0.05)))
    whole, some = steps
    assert some.numbers["kept"] < whole.numbers["kept"] == 1.0
    assert (some.numbers["kept"] == 0.0) == (kept == "none")
    for filtered, plain in zip(some.log_ratio_BK, whole.log_ratio_BK, strict=True):
        assert filtered == pytest.approx(plain, abs=1e-4) and any(abs(ratio) > 1e-3 for ratio in plain)


def test_beta_is_in_units_of_the_reward_range(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "reward_range", (-1.0, 3.0))
    numbers, _ = run(make_loop(model, with_learning(tiny, steps=1, beta=0.02)), tmp_path)
    assert numbers[0]["beta"] == pytest.approx(0.08)


@pytest.mark.parametrize("objective", ["astarpo", "astarpo_turn"])
def test_both_objectives_run(model: LanguageModel, tiny: TrainConfig, tmp_path: Path, objective: str) -> None:
    numbers, _ = run(make_loop(model, with_learning(tiny, objective, steps=2)), tmp_path)
    assert all(step["loss"] > 0 and step["grad_norm"] > 0 for step in numbers)


# What is not finite ---------------------------------------------------------------------------------------------


def nan_in_a_reward(loop: Loop, episodes: list[Episode]) -> None:
    episodes[3].turns[0].reward = float("nan")


def nan_in_a_gradient(loop: Loop, episodes: list[Episode]) -> None:
    loop.learner.policy.model.model.norm.weight.register_hook(lambda gradient: gradient * torch.nan)


def infinity_in_the_reference(loop: Loop, episodes: list[Episode]) -> None:
    loop.references.current.model.model.norm.weight.data[0] = torch.inf


@pytest.mark.parametrize("damage", [nan_in_a_reward, nan_in_a_gradient, infinity_in_the_reference])
@pytest.mark.parametrize("tokens", [1, 10**6])
def test_what_is_not_finite_never_reaches_the_optimizer(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Loop, list[Episode]], None], tokens: int,
) -> None:  # fmt: skip
    loop = make_loop(model, with_learning(tiny, tokens_per_microbatch=tokens))
    run(loop, tmp_path, steps=2)  # so that the optimizer has a state to lose
    before = fingerprint(loop)
    batches: list[list[Episode]] = []
    play = Rollouts.play

    def damaged(*arguments: Any, **settings: Any) -> list[Episode]:
        episodes = play(*arguments, **settings)
        damage(loop, episodes)
        batches.append(episodes)
        return episodes

    monkeypatch.setattr(Rollouts, "play", damaged)
    for _ in range(2):  # the file holds the failed step, not every attempt at it
        with pytest.raises(NonFiniteError, match=r"step 2: loss .*the optimizer step was not taken"):
            run(loop, tmp_path)
        assert fingerprint(loop) == before
        assert all(parameter.grad is None for parameter in loop.learner.policy.model.parameters())
        saved = list(read_episodes(tmp_path / "failed.jsonl"))
        assert [episode.token_ids for episode in saved] == [episode.token_ids for episode in batches[-1]]


def test_damaged_weights_are_noticed_while_playing(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    loop = make_loop(model, tiny)
    run(loop, tmp_path, steps=2)
    loop.learner.policy.model.model.norm.weight.data[0] = torch.nan
    before = fingerprint(loop)
    with pytest.raises(NonFiniteError, match="logits are not finite"):
        run(loop, tmp_path)
    assert fingerprint(loop) == before


def test_what_is_cut_short_is_counted(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    model.context_length = 90
    numbers, played = run(make_loop(model, with_learning(tiny, steps=1)), tmp_path)
    cut = sum(episode.status is Status.TRUNCATED_LENGTH for episode in played[0])
    assert cut > 0 and numbers[0]["cut_episodes"] == cut / tiny.learning.batch_size
    ends = [episode.token_ids[turn.span[1] - 1] for episode in played[0] for turn in episode.turns]
    assert numbers[0]["cut_replies"] == np.mean([end not in model.chat.stop_ids for end in ends])


# Environments that fail -----------------------------------------------------------------------------------------


def test_a_failing_environment_costs_its_own_episodes(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on(monkeypatch, lambda index: index == FRESH_INSTANCES + 1)
    numbers, played = run(make_loop(model, with_learning(tiny, steps=2)), tmp_path)
    assert [step["errors"] for step in numbers] == [1, 0]
    assert len(played[0]) == 7


def test_a_step_without_a_single_episode_stops_the_run(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on(monkeypatch, lambda index: True)
    with pytest.raises(RuntimeError, match=r"no episode of step 0 can be learned from: .*out of order"):
        run(make_loop(model, tiny), tmp_path)


# Scheduling ----------------------------------------------------------------------------------------------------


def test_a_budget_of_tokens_ends_learning_and_moves_the_schedules(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = with_learning(tiny, steps=10**6, max_tokens=400, warmup_steps=0)
    loop = make_loop(model, config)
    loop.schedule.count_stage_one("the reference", 100)
    numbers, _ = run(loop, tmp_path)
    spent = [step["generated_tokens"] for step in numbers]
    assert spent[-2] < 400 <= spent[-1] and len(numbers) >= 3
    shares = [(tokens - 100) / 300 for tokens in [100, *spent[:-1]]]
    assert [step["beta"] for step in numbers] == pytest.approx(
        [scheduled_beta(config.objective, share) for share in shares]
    )
    loop.schedule.count_stage_one("another", 300)
    with pytest.raises(ValueError, match="stage 1 alone generated 400 tokens of the 400 allowed"):
        run(loop, tmp_path)


def test_a_moving_temperature_leaves_every_step_on_policy(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    """Sampler, policy and reference share the temperature of the step: equal models have a log-ratio of 0."""
    cooling = with_learning(tiny, temperature=1.5, temperature_final=0.5, steps=4)
    numbers, _ = run(make_loop(model, cooling), tmp_path)
    assert all(step["logprob_drift"] < 1e-4 for step in numbers) and numbers[-1]["kl"] != 0.0
    still = with_learning(cooling, learning_rate=0.0, final_learning_rate=0.0)
    numbers, played = run(make_loop(model, still), tmp_path)
    assert [step["kl"] for step in numbers] == [0.0] * 4
    surprise = [-np.mean([logp for episode in episodes for turn in episode.turns for logp in turn.logprobs])
                for episodes in played]  # fmt: skip
    assert surprise[0] > 1.5 * surprise[-1]


def test_the_optimizer_uses_the_scheduled_rate_and_never_decays_weights(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    loop = make_loop(model, tiny)
    numbers, _ = run(loop, tmp_path)
    expected = [scheduled_learning_rate(tiny.learning, step, step / 5) for step in range(6)]
    assert [step["learning_rate"] for step in numbers] == expected
    (group,) = loop.learner.optimizer.param_groups
    assert group["lr"] == numbers[-1]["learning_rate"]
    assert group["weight_decay"] == 0.0

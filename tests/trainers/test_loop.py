"""Stage 2: what is scheduled, what is learned, and what must never reach the optimizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainers.harness import copied, fail_on, make_learner, run, stage
from torch import Tensor

from turngym.agents.episode import Episode, read_episodes
from turngym.agents.language_model import LanguageModel, NonFiniteError
from turngym.agents.rollout import Instance
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers import loop
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.checkpoints.tensor_tree import to_json
from turngym.trainers.config import TrainConfig
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.learner import Learner
from turngym.trainers.loop import learn, update
from turngym.trainers.objectives import Settings, find_objective
from turngym.trainers.rollouts import model_player, play
from turngym.trainers.schedules import scheduled_beta, scheduled_learning_rate


def fingerprint(learner: Learner) -> tuple[Any, ...]:
    """Name every bit of the learner's state."""
    tensors: dict[str, Tensor] = {}
    structure = to_json(learner.optimizer.state_dict(), tensors, "optimizer")
    weights = fingerprint_of(learner.policy.model.state_dict())
    return weights, json.dumps(structure), fingerprint_of(tensors), learner.tracker.state_dict(), learner.step


# The loop -------------------------------------------------------------------------------------------------------


def test_every_step_is_reported_and_moves_the_policy_alone(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    learner = make_learner(player, tiny)
    before = [fingerprint_of(model.model.state_dict()) for model in (learner.policy, learner.reference)]
    numbers, played = run(learner, tiny, tmp_path)
    after = [fingerprint_of(model.model.state_dict()) for model in (learner.policy, learner.reference)]
    assert before[0] == before[1] == after[1] != after[0]
    assert [step["step"] for step in numbers] == [1, 2, 3, 4, 5, 6]
    assert learner.step == 6
    assert numbers[0]["kl"] == 0.0
    assert all(step["kl"] != 0.0 for step in numbers[1:])
    for step, episodes in zip(numbers, played, strict=True):
        assert json.loads(json.dumps(step, allow_nan=False)) == step
        assert len(episodes) == tiny.astarpo.batch_size
        assert step["success"] == np.mean([episode.success for episode in episodes])
        assert step["sampled_tokens"] == sum(episode.num_sampled for episode in episodes)
        assert step["errors"] == 0
        assert 0 < step["rollout_seconds"] < step["seconds"]
        # What the sampler recorded with its cache is what the trainer computes without: the data are on policy.
        assert step["logprob_drift"] < 1e-4
        assert {turn.policy_version for episode in episodes for turn in episode.turns} == {step["step"] - 1}
    assert not (tmp_path / "failed.jsonl").exists()


def test_learning_goes_on_from_its_step_bit_for_bit(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    straight, halted = (make_learner(LanguageModel(copy.deepcopy(player.model), player.tokenizer), tiny)
                        for _ in range(2))  # fmt: skip
    run(straight, tiny, tmp_path)

    class Stop(Exception):
        pass

    def stop(step: dict[str, Any], episodes: Sequence[Episode]) -> None:
        if step["step"] == 3:
            raise Stop

    with pytest.raises(Stop):
        learn(halted, tiny, on_step=stop, failure_file=tmp_path / "failed.jsonl")
    run(halted, tiny, tmp_path)
    assert fingerprint(halted) == fingerprint(straight)


def test_the_tracker_learns_the_soft_return_after_it_was_used(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    learner = make_learner(player, tiny)
    told: list[tuple[int, float, bool]] = []
    before = copy.deepcopy(learner.tracker)
    update = learner.tracker.update

    def listen(index: int, soft_return: float, *, success: bool) -> None:
        told.append((index, soft_return, success))
        update(index, soft_return, success=success)

    learner.tracker.update = listen  # type: ignore[method-assign, assignment]
    numbers, played = run(learner, stage(tiny, steps=2), tmp_path)
    first, second = played
    assert numbers[0]["value"] == pytest.approx(np.mean([before.value(episode.index) for episode in first]))
    # At the first step policy and reference are the same, so the soft return is the return.
    assert told[:8] == [(episode.index, episode.total_reward, episode.success) for episode in first]
    bonus = np.mean([episode.total_reward for episode in second]) - np.mean([soft for _, soft, _ in told[8:]])
    assert bonus == pytest.approx(numbers[1]["beta"] * numbers[1]["kl"], abs=1e-9)


@pytest.mark.parametrize("kept", ["mixed", "none"])
def test_values_follow_what_a_filter_drops(player: LanguageModel, tiny: TrainConfig, kept: str) -> None:
    """Their soft returns are those of all episodes, or the mean would not be the policy's soft value."""
    agent = model_player(player, tiny)
    pairs = [Instance(split="train", index=index, seed=seed) for index in range(4) for seed in (1, 2)]
    episodes = play(agent, pairs, tiny)
    learner = make_learner(copied(player), tiny)
    for weight in learner.reference.model.parameters():
        weight.data.mul_(1.05)
    objective, settings = find_objective("astarpo"), Settings(beta=0.05)
    if kept == "none":
        for episode in episodes:
            for turn in episode.turns:
                turn.reward = 0.0
    whole = update(copy.deepcopy(learner), objective, episodes, tiny, settings)
    some = update(copy.deepcopy(learner), objective, episodes, tiny, replace(settings, filter="mixed"))
    assert some[0]["kept"] < whole[0]["kept"] == 1.0 and (some[0]["kept"] == 0.0) == (kept == "none")
    for filtered, plain in zip(some[1], whole[1], strict=True):
        assert filtered == pytest.approx(plain, abs=1e-4) and any(abs(ratio) > 1e-3 for ratio in plain)


def test_beta_is_in_units_of_the_reward_range(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "reward_range", (-1.0, 3.0))
    numbers, _ = run(make_learner(player, tiny), stage(tiny, steps=1, beta=0.02), tmp_path)
    assert numbers[0]["beta"] == pytest.approx(0.08)


@pytest.mark.parametrize("objective", ["astarpo", "astarpo_turn"])
def test_both_objectives_run(player: LanguageModel, tiny: TrainConfig, tmp_path: Path, objective: str) -> None:
    numbers, _ = run(make_learner(player, tiny), stage(tiny, steps=2, objective=objective), tmp_path)
    assert all(step["loss"] > 0 and step["grad_norm"] > 0 for step in numbers)


def test_an_unknown_objective_is_refused_before_anything_is_played(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    learner = make_learner(player, tiny)
    before = fingerprint(learner)
    with pytest.raises(ValueError, match="did you mean 'astarpo'"):
        run(learner, stage(tiny, objective="astar"), tmp_path)
    assert fingerprint(learner) == before


# What is not finite ---------------------------------------------------------------------------------------------


def nan_in_a_reward(learner: Learner, episodes: list[Episode]) -> None:
    episodes[3].turns[0].reward = float("nan")


def nan_in_a_gradient(learner: Learner, episodes: list[Episode]) -> None:
    learner.policy.model.model.norm.weight.register_hook(lambda gradient: gradient * torch.nan)


def infinity_in_the_reference(learner: Learner, episodes: list[Episode]) -> None:
    learner.reference.model.model.norm.weight.data[0] = torch.inf


@pytest.mark.parametrize("damage", [nan_in_a_reward, nan_in_a_gradient, infinity_in_the_reference])
@pytest.mark.parametrize("tokens", [1, 10**6])
def test_what_is_not_finite_never_reaches_the_optimizer(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Learner, list[Episode]], None], tokens: int,
) -> None:  # fmt: skip
    config = stage(tiny, tokens_per_microbatch=tokens)
    learner = make_learner(player, config)
    run(learner, stage(config, steps=2), tmp_path)  # so that the optimizer has a state to lose
    before = fingerprint(learner)
    batches: list[list[Episode]] = []

    def damaged(*arguments: Any, **settings: Any) -> list[Episode]:
        episodes = play(*arguments, **settings)
        damage(learner, episodes)
        batches.append(episodes)
        return episodes

    monkeypatch.setattr(loop, "play", damaged)
    for _ in range(2):  # the file holds the failed step, not every attempt at it
        with pytest.raises(NonFiniteError, match=r"step 2: loss .*the optimizer step was not taken"):
            run(learner, config, tmp_path)
        assert fingerprint(learner) == before
        assert all(parameter.grad is None for parameter in learner.policy.model.parameters())
        saved = list(read_episodes(tmp_path / "failed.jsonl"))
        assert [episode.token_ids for episode in saved] == [episode.token_ids for episode in batches[-1]]


def test_damaged_weights_are_noticed_while_playing(player: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    learner = make_learner(player, tiny)
    run(learner, stage(tiny, steps=2), tmp_path)
    learner.policy.model.model.norm.weight.data[0] = torch.nan
    before = fingerprint(learner)
    with pytest.raises(NonFiniteError, match="logits are not finite"):
        run(learner, tiny, tmp_path)
    assert fingerprint(learner) == before


# Environments that fail -----------------------------------------------------------------------------------------


def test_a_failing_environment_costs_its_own_episodes(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on(monkeypatch, lambda index: index == FRESH_INSTANCES + 1)
    numbers, played = run(make_learner(player, tiny), stage(tiny, steps=2), tmp_path)
    assert [step["errors"] for step in numbers] == [1, 0]
    assert len(played[0]) == 7


def test_a_step_without_a_single_episode_stops_the_run(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on(monkeypatch, lambda index: True)
    with pytest.raises(RuntimeError, match=r"no episode of step 0 can be learned from: .*out of order"):
        run(make_learner(player, tiny), tiny, tmp_path)


# Scheduling ----------------------------------------------------------------------------------------------------


def test_a_budget_of_tokens_ends_learning_and_moves_the_schedules(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = replace(tiny, astarpo=replace(tiny.astarpo, steps=10**6, max_tokens=400, warmup_steps=0))
    learner = make_learner(player, config)
    learner.stage_one_tokens = learner.generated_tokens = 100
    numbers, _ = run(learner, config, tmp_path)
    spent = [step["generated_tokens"] for step in numbers]
    assert spent[-2] < 400 <= spent[-1] and len(numbers) >= 3
    shares = [(tokens - 100) / 300 for tokens in [100, *spent[:-1]]]
    assert [step["beta"] for step in numbers] == pytest.approx([scheduled_beta(config, share) for share in shares])
    learner.stage_one_tokens = 400
    with pytest.raises(ValueError, match="stage 1 alone generated 400 tokens of the 400 allowed"):
        run(learner, config, tmp_path)


def test_a_moving_temperature_leaves_every_step_on_policy(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    """Sampler, policy and reference share the temperature of the step: equal models have a log-ratio of 0."""
    cooling = stage(tiny, temperature=1.5, temperature_final=0.5, steps=4)
    numbers, _ = run(make_learner(player, cooling), cooling, tmp_path)
    assert all(step["logprob_drift"] < 1e-4 for step in numbers) and numbers[-1]["kl"] != 0.0
    still = stage(cooling, learning_rate=0.0, final_learning_rate=0.0)
    numbers, played = run(make_learner(player, still), still, tmp_path)
    assert [step["kl"] for step in numbers] == [0.0] * 4
    surprise = [-np.mean([logp for episode in episodes for turn in episode.turns for logp in turn.logprobs])
                for episodes in played]  # fmt: skip
    assert surprise[0] > 1.5 * surprise[-1]


def test_the_optimizer_uses_the_scheduled_rate_and_never_decays_weights(
    player: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    learner = make_learner(player, tiny)
    numbers, _ = run(learner, tiny, tmp_path)
    expected = [scheduled_learning_rate(tiny, step, step / 5) for step in range(6)]
    assert [step["learning_rate"] for step in numbers] == expected
    (group,) = learner.optimizer.param_groups
    assert group["lr"] == numbers[-1]["learning_rate"]
    assert group["weight_decay"] == 0.0

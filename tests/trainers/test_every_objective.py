"""Every objective in the loop: exact gradients, micro-batches that do not matter, runs that resume, and a bandit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainers.harness import (
    STAGE_ONE,
    alone_and_halted,
    copied,
    learn_from,
    make_loop,
    run,
    total,
    with_learning,
)
from tests.trainers.objectives.steps import step_params, with_advantages
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers.models.seed_oss.modeling_seed_oss import SeedOssRMSNorm

from turngym.agents.episode import Episode
from turngym.agents.models.decoding import History
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_scores, token_batches
from turngym.agents.rollout import Instance
from turngym.trainers.baselines.baseline import InstanceBaseline, make_baseline
from turngym.trainers.batches import make_batch, split_batch
from turngym.trainers.config import AstarpoConfig, DapoConfig, LearningConfig, TrainConfig, ValueConfig
from turngym.trainers.config.objective_parts import BaselineName
from turngym.trainers.instances import FRESH_INSTANCES
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import FILTERS, OBJECTIVES, StepParams, TrainingBatch, find_objective
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import TrainingRun
from turngym.trainers.schedules import Moment

NAMES = list(OBJECTIVES)
MOMENT = Moment(step=0, beta=0.05, temperature=1.0, learning_rate=1e-3)


def params(name: str) -> StepParams[Any]:
    """Return the numbers of a step in which everything that an objective can do is asked for."""
    return step_params(name, beta=0.05, kl_coef=0.1, turn_lambda=0.9, optimal_baseline=True)


# One step, in float64 -------------------------------------------------------------------------------------------


@pytest.fixture
def history() -> History:
    """What the model sees of earlier turns."""
    return "all"


@pytest.fixture
def exact(model: LanguageModel, history: History) -> Iterator[LanguageModel]:
    """A model that is float64 throughout: the library's norm would go through float32."""

    def norm(self: Any, x_BTD: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x_BTD, self.weight.shape, self.weight, self.variance_epsilon)

    model.decoding = replace(model.decoding, history=history, history_turns=1)
    model.model.double()
    model.model.get_input_embeddings().padding_idx = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeedOssRMSNorm, "forward", norm)
        yield model


@pytest.fixture
def episodes(exact: LanguageModel, tiny: TrainConfig) -> list[Episode]:
    """Two groups of three and one of one, played by the model before it moves, with drawn rewards."""
    instances = [Instance(split="train", index=i, seed=seed) for seed, i in enumerate([3, 3, 5, 3, 5, 5, 8])]
    rollouts = Rollouts.of(tiny)
    played = rollouts.play(rollouts.agent(exact), instances)
    rng = np.random.default_rng(3)
    for number, episode in enumerate(played):
        episode.success = number % 2 == 0
        for turn in episode.turns:
            turn.reward = float(rng.normal())
    return played


@pytest.fixture
def moved(exact: LanguageModel, episodes: list[Episode]) -> LanguageModel:
    """The model a few steps later, so that ratios to sampler and reference are not 1."""
    generator = torch.Generator().manual_seed(7)
    for parameter in exact.model.parameters():
        parameter.data += 0.003 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return exact


class Step:
    """One optimizer step without its end: the loss and its gradient, with the advantages of the start."""

    def __init__(
        self, moved: LanguageModel, reference: LanguageModel, episodes: Sequence[Episode], name: str, tokens: int
    ) -> None:
        self.objective, self.params, self.episodes = find_objective(name), params(name), episodes
        config = LearningConfig(tokens_per_microbatch=tokens)
        self.learner = Learner(moved, self.objective, config, seed=0)
        if self.learner.critic:
            torch.nn.init.constant_(self.learner.critic.weight, 0.05)
        batch = make_batch(episodes, moved)
        baseline = InstanceBaseline(STAGE_ONE, easier=0, middle=0.5, follows=True)
        batch = replace(batch, value_BK=baseline.values(batch, episodes))
        (self.minibatch,) = split_batch(episodes, batch, self.objective, config, seed=0, step=0)
        batch = self.learner.score_tokens(batch, self.minibatch, reference, self.params, MOMENT)
        self.batch = self.learner.compute_advantages(batch, self.params)

    def loss(self) -> float:
        logp_N = torch.empty_like(self.batch.logp_N)
        return self.learner.backward_minibatch(self.batch, self.minibatch, logp_N, self.params, MOMENT)

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.learner.parameters() if p.grad is not None])


@pytest.fixture
def step(moved: LanguageModel, episodes: list[Episode]) -> Callable[..., Step]:
    reference = copied(moved)
    for parameter in reference.model.requires_grad_(False).parameters():
        parameter.data *= 0.99

    def make(name: str, tokens: int = 10**6) -> Step:
        return Step(moved, reference, episodes, name, tokens)

    return make


@pytest.mark.parametrize("name", [name for name in NAMES if name != "astarpo_turn"])
def test_the_gradient_equals_finite_differences(step: Callable[..., Step], name: str) -> None:
    """Along random directions through the weights of the transformer; the advantages of the batch are held fixed."""
    one = step(name)
    one.loss()
    gradient, parameters = one.gradient(), one.learner.parameters()
    weights = parameters_to_vector(parameters).detach().clone()
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.nn.functional.normalize(torch.randn(gradient.shape, generator=generator).double(), dim=0)
        sides = []
        for distance in (1e-5, -1e-5):
            vector_to_parameters(weights + distance * direction, parameters)
            sides.append(one.loss())
        vector_to_parameters(weights, parameters)
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(float(gradient @ direction), rel=1e-5, abs=1e-8)
    assert gradient.norm() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_advantages_of_tokens_are_what_their_gradients_are_weighted_with(
    step: Callable[..., Step], name: str
) -> None:
    """Those that the objective works out itself, or what its loss comes to: then they make up the whole gradient."""
    one = step(name)
    on_policy = torch.zeros_like(one.batch.logp_N)
    one.learner.backward_minibatch(one.batch, one.minibatch, on_policy, one.params, MOMENT)
    batch = replace(one.batch, logp_N=on_policy)
    advantage_N = one.learner.token_advantages(batch, one.params)
    if one.objective.advantages is not None:
        assert advantage_N is batch.advantage_N
        return
    gradient = one.gradient()
    one.learner.optimizer.zero_grad()
    for part in one.minibatch:
        logp_N = sampled_scores(one.learner.policy, part, MOMENT.temperature, critic=None)[0]
        weighted = advantage_N[batch.token_positions(part.members)] * logp_N
        (-weighted.sum() / len(one.episodes)).backward()
    assert float((one.gradient() - gradient).abs().max() / gradient.abs().max()) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_do_not_change_the_step(step: Callable[..., Step], name: str) -> None:
    results, counts = [], set()
    for tokens in (1, 700, 10**6):
        one = step(name, tokens)
        results.append((one.loss(), one.gradient()))
        counts.add(len(one.minibatch))
    (loss, gradient), *others = results
    assert len(counts) > 1
    for other_loss, other_gradient in others:
        assert other_loss == pytest.approx(loss, rel=1e-12)
        assert float((other_gradient - gradient).abs().max() / gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("history", ["window", "turn"])
@pytest.mark.parametrize("name", ["astarpo", "gvpo", "ppo", "gigpo"])
def test_micro_batches_hold_all_rows_of_an_episode(step: Callable[..., Step], name: str) -> None:
    steps = [step(name, tokens) for tokens in (1, 10**6)]
    losses = [one.loss() for one in steps]
    gradients = [one.gradient() for one in steps]
    assert len(steps[0].minibatch) > len(steps[1].minibatch)
    assert max(len(part.ids_RT) for batch in steps[0].minibatch for part in batch.parts) > 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_processes_that_share_a_batch_add_up_to_its_step(step: Callable[..., Step], name: str) -> None:
    """Each has some of the groups and the constants of the whole batch, and the mean of their gradients is taken."""
    one = step(name)
    one.loss()
    whole, count = one.gradient(), len(one.batch.reward_BK)
    tokens_per_episode = len(one.batch.logp_N) / count
    shares, mean = ([0, 1, 3], [2, 4, 5, 6]), torch.zeros_like(whole)
    for share in shares:
        one.learner.optimizer.zero_grad()
        for batch in token_batches(one.episodes, 10**6, torch.device("cpu"), [share]):
            logp_N, critic_N = sampled_scores(one.learner.policy, batch, MOMENT.temperature, critic=one.learner.critic)
            part = replace(one.batch.select(batch.members), logp_N=logp_N, critic_N=critic_N,
                           tokens_per_episode=tokens_per_episode)  # fmt: skip
            (one.objective.loss(part, one.params).sum() * len(shares) / count).backward()
        mean += one.gradient() / len(shares)
    assert float((mean - whole).abs().max() / whole.abs().max()) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_logits_where_nothing_was_sampled_do_not_matter(step: Callable[..., Step], name: str) -> None:
    one = step(name)
    before = one.loss(), one.gradient()

    parts = [part for batch in one.minibatch for part in batch.parts]
    read: list[Any] = []

    def note(_: object, arguments: Any, settings: Any) -> None:
        read.extend(rows for rows in parts if torch.equal(rows.ids_RT[:, :-1], settings["input_ids"]))

    def disturb(_: object, arguments: Any) -> Any:
        noise_RTH = 100 * torch.randn_like(arguments[0])
        return (arguments[0] + noise_RTH.where(~read[-1].sampled_RT[:, 1:, None], 0.0),)

    network = one.learner.policy.model
    head = network.get_output_embeddings()
    with network.register_forward_pre_hook(note, with_kwargs=True), head.register_forward_pre_hook(disturb):
        after = one.loss(), one.gradient()
    assert len(read) >= len(parts)
    assert after[0] == before[0] and torch.equal(after[1], before[1])


def test_groups_stay_together_where_their_losses_are_joined(step: Callable[..., Step]) -> None:
    for name, together in [("gvpo", True), ("rebel", True), ("rloo", False), ("astarpo", False)]:
        groups = step(name, 1).batch.group_B
        parts = [set(groups[batch.members].tolist()) for batch in step(name, 1).minibatch]
        assert len(parts) == (3 if together else 7) and all(len(part) == 1 for part in parts)


# The loop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_learns_several_times_from_a_batch(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, name: str
) -> None:
    config = with_learning(tiny, name, steps=2, updates_per_batch=2, minibatches=2)
    loop = make_loop(model, config)
    reference, policy = loop.references.current.model, loop.learner.policy.model
    before = fingerprint_of(reference.state_dict())
    numbers, _ = run(loop, tmp_path)
    assert all(np.isfinite(step["loss"]) and step["logprob_drift"] < 1e-4 for step in numbers if step["kept"])
    assert fingerprint_of(reference.state_dict()) == before
    assert fingerprint_of(policy.state_dict()) != before
    assert [step["generated_tokens"] for step in numbers] == list(
        np.cumsum([step["sampled_tokens"] for step in numbers])
    )
    objective = find_objective(name)
    assert all(("kl" in step) == objective.reads_reference(config.objective) for step in numbers)
    assert all(("value" in step) == objective.needs_values for step in numbers)
    assert all(("beta" in step) == hasattr(config.objective, "beta") for step in numbers)
    steps_taken = {int(state["step"]) for state in loop.learner.optimizer.state.values()}
    assert max(steps_taken) == 8 or config.objective.filter != "all"


@pytest.mark.parametrize("name", ["oapl", "rebel", "dr_grpo", "raft"])
def test_a_reference_that_is_not_needed_is_not_asked(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, name: str
) -> None:
    loop = make_loop(model, with_learning(tiny, name, steps=1))
    loop.references.current.model = None  # to call it would raise
    (numbers,), _ = run(loop, tmp_path)
    assert "kl" not in numbers


def test_groups_play_one_prompt_each(model: LanguageModel, tiny: TrainConfig) -> None:
    loop = make_loop(model, with_learning(tiny, "grpo", batch_size=16))
    instances = loop.prompts.draw(0, 0, loop.successes)
    indices = [instance.index for instance in instances]
    assert indices == [index for index in indices[::4] for _ in range(4)] and len(set(indices)) == 4
    assert len({instance.seed for instance in instances}) == 16
    assert sum(index < FRESH_INSTANCES for index in indices) == 8


def test_a_step_that_keeps_nothing_changes_nothing(
    model: LanguageModel, tiny: TrainConfig, episodes: list[Episode]
) -> None:
    model.model.float()
    for episode in episodes:
        episode.turns = episode.turns[:1]
        episode.turns[0].reward = 1.0
    loop = make_loop(model, with_learning(tiny, "dapo"))
    before = fingerprint_of(model.model.state_dict())
    learned = learn_from(loop, episodes, StepParams(config=DapoConfig()))
    assert learned.numbers["kept"] == learned.numbers["loss"] == learned.numbers["grad_norm"] == 0.0
    assert learned.batch is None and learned.kept == []
    assert len(learned.log_ratio_BK) == 7 and not any(map(any, learned.log_ratio_BK))
    assert fingerprint_of(model.model.state_dict()) == before and not loop.learner.optimizer.state


def test_what_a_filter_drops_does_not_weigh(model: LanguageModel, tiny: TrainConfig, episodes: list[Episode]) -> None:
    """A step on a batch is the step on what the filter keeps of it."""
    results = []
    keep = [episode for episode in episodes if episode.index == 3]
    for episode in episodes:
        episode.turns[0].reward *= 10 if episode.index == 3 else 0.01
    filtered = AstarpoConfig(filter="top_std", filter_share=0.4, group_size=2)
    for batch, config in [(episodes, filtered), (keep, AstarpoConfig())]:
        policy = copied(model)
        learned = learn_from(make_loop(policy, tiny), batch, StepParams(config=config, beta=0.05))
        results.append(fingerprint_of(policy.model.state_dict()))
        assert learned.numbers["kept"] == len(keep) / len(batch) and len(learned.log_ratio_BK) == len(batch)
    assert results[0] == results[1] != fingerprint_of(model.model.state_dict())


def test_minibatches_keep_groups_whole_and_change_with_the_step(model: LanguageModel, episodes: list[Episode]) -> None:
    batch, objective = make_batch(episodes, model), find_objective("grpo")

    def members(step: int) -> list[list[int]]:
        parts = split_batch(episodes, batch, objective, LearningConfig(minibatches=2), seed=0, step=step)
        return [sorted(chain.from_iterable(batch.members for batch in part)) for part in parts]

    drawn = [members(step) for step in range(8)]
    assert drawn[0] == members(0) and len({str(parts) for parts in drawn}) > 1
    for parts in drawn:
        assert sorted(chain(*parts)) == list(range(7))
        groups = [{episodes[row].index for row in part} for part in parts]
        assert not groups[0] & groups[1]
    crowded = split_batch(episodes, batch, objective, LearningConfig(minibatches=9), seed=0, step=0)
    assert len(crowded) == 3


def test_where_values_come_from(model: LanguageModel, episodes: list[Episode]) -> None:
    batch = make_batch(episodes, model)
    values, known = {}, {}
    names: tuple[BaselineName, ...] = ("tracker", "vstar", "batch", "none")
    for name in names:
        config = AstarpoConfig(baseline=name)
        baseline = make_baseline(config, STAGE_ONE, ValueConfig(), easier=0, middle=0.5)
        if isinstance(baseline, InstanceBaseline):
            before = baseline.value(3)
            baseline.means.update(3, 5.0)
            known[name] = baseline.value(3), baseline.first_value(3), before
        values[name] = baseline.values(batch, episodes)
    after, first, before = known["tracker"]
    assert float(values["tracker"][0, 0]) == after > before
    assert float(values["vstar"][0, 0]) == first == known["vstar"][1]
    total_B = batch.reward_BK.sum(1)
    assert float(values["batch"][2, 0]) == pytest.approx(float((total_B.sum() - total_B[2]) / 6))
    assert not values["none"].any()
    torch.testing.assert_close(values["vstar"][:, 1], values["vstar"][:, 0] - batch.reward_BK[:, 0])


# A whole stage 2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppo", "grpo", "reinforce"])
def test_several_updates_a_batch_resume_bit_for_bit(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, name: str
) -> None:
    config = with_learning(tiny, name, steps=4, updates_per_batch=2, minibatches=2)

    alone, halted = alone_and_halted(model, config, tmp_path)
    assert (alone.files, alone.lines) == (halted.files, halted.lines)
    for ended in (alone, halted):
        if name == "ppo":
            critic = ended.loop.learner.critic
            assert critic is not None and critic.weight.abs().max() > 0
        assert ("policy/critic.safetensors" in ended.files) == (name == "ppo")
        stores = [folder / "values.sqlite" for folder in (ended.folder, ended.checkpoint)]
        assert [store.exists() for store in stores] == [name == "reinforce"] * 2


def test_tokens_of_stage_one_are_counted(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    loop = TrainingRun(model, with_learning(tiny, steps=1), tmp_path, metrics, SilentProgress()).loop
    stage_one = total(metrics, "values", "sampled_tokens")
    assert loop.schedule.generated_tokens == stage_one > 64
    (numbers,), _ = run(loop, tmp_path)
    assert numbers["generated_tokens"] == stage_one + numbers["sampled_tokens"]


# A bandit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_solves_a_bandit(name: str) -> None:
    """Two turns of three arms; an episode pays when both are right. Groups of eight, 60 steps of Adam."""
    objective = find_objective(name)
    step = step_params(name, beta=0.05)
    logits_KA = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    critic_K = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits_KA, critic_K], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    episode_N, turn_N = torch.arange(64).repeat_interleave(2), torch.arange(2).repeat(64)
    for _ in range(60):
        logp_KA = logits_KA.log_softmax(-1)
        arm_BK = torch.multinomial(logp_KA.detach().exp(), 64, replacement=True, generator=generator).T
        success_B = (arm_BK == torch.tensor([2, 0])).all(1)
        logp_N = logp_KA[turn_N, arm_BK.flatten()]
        batch = TrainingBatch(
            logp_N=logp_N, old_logp_N=logp_N.detach(), ref_logp_N=torch.full_like(logp_N, 1 / 3).log(),
            episode_N=episode_N, turn_N=turn_N, critic_N=critic_K[turn_N], success_B=success_B, tokens_per_episode=2.0,
            reward_BK=torch.stack([torch.zeros(64), success_B], dim=1).double(),
            value_BK=torch.full((64, 2), 0.3, dtype=torch.float64), group_B=torch.arange(64) // 8,
            state_BK=torch.arange(128).view(64, 2) // 16 * 2 + torch.arange(2),
        )  # fmt: skip
        kept = FILTERS[step.config.filter](batch, step).nonzero()[:, 0].tolist()
        if kept:
            loss_B = objective.loss(with_advantages(batch.select(kept), name, step), step)
            optimizer.zero_grad()
            loss_B.mean().backward()
            optimizer.step()
    solved = logits_KA.detach().softmax(-1)[[0, 1], [2, 0]].prod()
    assert float(solved) > 0.5  # from 1 / 9

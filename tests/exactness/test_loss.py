"""The loss and the gradient of a real optimizer step, in float64, against NumPy and against finite differences.

Episodes are played by a tiny model; turn rewards are drawn, so that every turn has one. The step is
`Learner.train_step` itself, with an optimizer that keeps the gradient and moves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.trainers.objectives.steps import step_params
from torch import Tensor
from transformers.models.seed_oss.modeling_seed_oss import SeedOssRMSNorm

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance, collect_episodes
from turngym.trainers.base_model import load_or_build
from turngym.trainers.baselines.baseline import InstanceBaseline
from turngym.trainers.batches import make_batch
from turngym.trainers.config import EnvConfig, LearningConfig, ModelConfig, TrainConfig
from turngym.trainers.learner import Learner, TrainStep
from turngym.trainers.objectives import find_objective
from turngym.trainers.schedules import Moment
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.stage import StageOneResult

Floats = NDArray[np.float64]
OBJECTIVES = ["astarpo", "astarpo_turn"]
CASES = [("astarpo", 1.0), ("astarpo_turn", 1.0), ("astarpo_turn", 0.9), ("astarpo_turn", 0.0)]
"""Objectives, and lambda."""
BETA, TEMPERATURE = 0.05, 0.8
CONFIG = TrainConfig(
    env=EnvConfig(kwargs={"size": 3}),
    model=ModelConfig(
        hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=512, max_reply_tokens=4
    ),
    learning=LearningConfig(temperature=TEMPERATURE, max_grad_norm=1e9),
)


class KeepGradient(torch.optim.Optimizer):
    """Keeps the gradient it is given, as one vector, and leaves the weights as they are."""

    def __init__(self, parameters: list[Tensor]) -> None:
        super().__init__(parameters, {"lr": 0.0})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        self.gradient = torch.cat([p.grad.flatten().clone() for p in self.param_groups[0]["params"]])


@pytest.fixture(scope="module")
def reference() -> Iterator[LanguageModel]:
    """A model that is float64 throughout: the library's norm would go through float32."""

    def norm(self: Any, x_BTD: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x_BTD, self.weight.shape, self.weight, self.variance_epsilon)

    model = load_or_build(CONFIG)
    model.model.double().requires_grad_(False)
    # The library gives the padding token's input embedding no gradient, even where an untrained model says it.
    model.model.get_input_embeddings().padding_idx = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeedOssRMSNorm, "forward", norm)
        yield model


@pytest.fixture
def policy(reference: LanguageModel) -> LanguageModel:
    """A policy some way from the reference."""
    moved = reference.copy()
    generator = torch.Generator().manual_seed(7)
    for parameter in moved.model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    moved.model.requires_grad_(True)
    return moved


@pytest.fixture(scope="module")
def episodes(reference: LanguageModel) -> list[Episode]:
    agent = LanguageModelAgent(reference, temperature=TEMPERATURE, slots=4, max_reply_tokens=4)
    # Fewer turns for some, so that batches have padding of both kinds: tokens and turns.
    played = []
    for turns in (4, 2):
        kwargs = {"size": 3, "max_episode_steps": turns}
        instances = [Instance(split="train", index=10 * turns + i, seed=i) for i in range(3)]
        played += collect_episodes(agent, CONFIG.env.id, instances, env_kwargs=kwargs, slots=4)
    rng = np.random.default_rng(3)
    for turn in (turn for episode in played for turn in episode.turns):
        turn.reward = float(rng.normal())
    return played


def values_of(episodes: list[Episode]) -> InstanceBaseline:
    rng = np.random.default_rng(4)
    returns = {episode.index: list(rng.uniform(0, 1, 2)) for episode in episodes}
    result = StageOneResult(pool=[], estimates=estimate_values(returns, 0.5, 1.0, (0.0, 1.0)))
    return InstanceBaseline(result, easier=0, middle=0.5, follows=True)


def step(
    policy: LanguageModel,
    reference: LanguageModel,
    episodes: list[Episode],
    name: str,
    config: LearningConfig = CONFIG.learning,
    baseline: InstanceBaseline | None = None,
    turn_lambda: float = 1.0,
) -> tuple[float, Tensor, TrainStep]:
    """Take a step; return its loss, its gradient, and what it leaves."""
    learner = Learner(policy, find_objective(name), config, seed=0)
    optimizer = learner.optimizer = KeepGradient([*learner.parameters()])
    batch = make_batch(episodes, policy)
    batch = replace(batch, value_BK=(baseline or values_of(episodes)).values(batch, episodes))
    numbers = step_params(name, beta=BETA, turn_lambda=turn_lambda)
    moment = Moment(step=0, beta=BETA, temperature=TEMPERATURE, learning_rate=0.0)
    taken = learner.train_step(batch, episodes, reference, numbers, moment)
    return taken.numbers["loss"], optimizer.gradient, taken


def numpy_log_ratios(policy: LanguageModel, reference: LanguageModel, episode: Episode) -> list[float]:
    """Sum log pi - log pi_ref over each turn's sampled ids, from logits of the episode alone."""

    def logp(model: LanguageModel) -> Floats:
        with torch.no_grad():
            logits_TV = model.model(input_ids=torch.tensor([episode.token_ids])).logits[0].numpy() / TEMPERATURE
        largest_T = logits_TV.max(-1)
        return np.asarray(logits_TV - (largest_T + np.log(np.exp(logits_TV - largest_T[:, None]).sum(-1)))[:, None])

    ratio_TV = logp(policy) - logp(reference)
    return [sum(float(ratio_TV[place - 1, episode.token_ids[place]]) for place in range(*turn.span))
            for turn in episode.turns]  # fmt: skip


def numpy_residuals(
    name: str, turn_lambda: float, log_ratios: list[float], episode: Episode, value: float
) -> list[float]:
    """Return what multiplies the score of each turn, by the sums of the definition written out.

    The value of the start is carried on by what was earned since; the end is worth 0.
    """
    rewards = [turn.reward for turn in episode.turns]
    turns = range(len(rewards))
    if name == "astarpo":
        return [BETA * sum(log_ratios) - (sum(rewards) - value) for _ in turns]
    values = [*(value - sum(rewards[:t]) for t in turns), 0.0]
    deltas = [BETA * log_ratios[t] - rewards[t] - values[t + 1] + values[t] for t in turns]
    return [sum(turn_lambda ** (k - t) * deltas[k] for k in turns[t:]) for t in turns]


@pytest.mark.parametrize(("name", "turn_lambda"), CASES)
def test_the_loss_equals_numpy(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode], name: str, turn_lambda: float
) -> None:
    baseline = values_of(episodes)
    expected, ratios = 0.0, []
    for episode in episodes:
        log_ratios = numpy_log_ratios(policy, reference, episode)
        residuals = numpy_residuals(name, turn_lambda, log_ratios, episode, baseline.value(episode.index))
        squares = residuals[0] ** 2 if name == "astarpo" else sum(residual**2 for residual in residuals)
        expected += squares / (2 * BETA) / len(episodes)
        ratios.append(sum(log_ratios))
    loss, _, taken = step(policy, reference, episodes, name, turn_lambda=turn_lambda)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert [sum(log_ratio_K) for log_ratio_K in taken.log_ratio_BK] == pytest.approx(ratios, rel=0, abs=1e-12)
    assert float(taken.log_ratio_B.mean()) == pytest.approx(np.mean(ratios), abs=1e-12)
    assert max(map(abs, ratios)) > 0.1


@pytest.mark.parametrize(("name", "turn_lambda"), CASES)
def test_the_gradient_equals_finite_differences(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode], name: str, turn_lambda: float
) -> None:
    """Along random directions; the residuals of the per-turn form are held fixed, as its definition says."""
    _, gradient, _ = step(policy, reference, episodes, name, turn_lambda=turn_lambda)
    baseline = values_of(episodes)

    def ratios() -> list[list[float]]:
        return [numpy_log_ratios(policy, reference, episode) for episode in episodes]

    held = [numpy_residuals(name, turn_lambda, ratio, episode, baseline.value(episode.index))
            for ratio, episode in zip(ratios(), episodes, strict=True)]  # fmt: skip

    def loss() -> float:
        if name == "astarpo":
            return step(policy, reference, episodes, name)[0]
        return sum(float(np.dot(g, ratio)) for g, ratio in zip(held, ratios(), strict=True)) / len(episodes)

    parameters = list(policy.model.parameters())
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.nn.functional.normalize(torch.randn(gradient.shape, generator=generator).double(), dim=0)
        weights = torch.nn.utils.parameters_to_vector(parameters).detach()
        sides = []
        for distance in (1e-5, -1e-5):
            torch.nn.utils.vector_to_parameters(weights + distance * direction, parameters)
            sides.append(loss())
        torch.nn.utils.vector_to_parameters(weights, parameters)
        slope = float(gradient @ direction)
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)
        assert abs(slope) > 1e-4


def test_at_the_first_step_the_log_ratio_is_zero_and_the_gradient_is_that_of_the_advantage(
    reference: LanguageModel, episodes: list[Episode]
) -> None:
    policy = reference.copy()
    policy.model.requires_grad_(True)
    baseline = values_of(episodes)
    advantage_B = np.array([episode.total_reward - baseline.value(episode.index) for episode in episodes])
    loss, gradient, taken = step(policy, reference, episodes, "astarpo")
    assert not any(map(any, taken.log_ratio_BK))
    assert not taken.log_ratio_B.any()
    assert loss == pytest.approx((advantage_B**2).mean() / (2 * BETA), rel=1e-14)
    expected = torch.zeros_like(gradient)
    for episode, advantage in zip(episodes, advantage_B, strict=True):
        batch = next(token_batches([episode], 1, torch.device("cpu")))
        score = torch.autograd.grad(sampled_logprobs(policy, batch, TEMPERATURE).sum(), list(policy.model.parameters()))
        expected -= float(advantage) * torch.cat([part.flatten() for part in score]) / len(episodes)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert gradient.abs().max() > 1e-2


@torch.no_grad()
def test_a_turn_in_a_context_of_its_own_scores_as_it_does_in_the_stream(
    policy: LanguageModel, episodes: list[Episode]
) -> None:
    """The stream of an episode is the context of its last turn, and begins with those of all others."""
    whole = {batch.members[0]: sampled_logprobs(policy, batch, TEMPERATURE)
             for batch in token_batches(episodes, 1, torch.device("cpu"))}  # fmt: skip
    for number, episode in enumerate(episodes):
        alone = []
        for turn in episode.turns:
            context = replace(episode, turns=[turn], token_ids=episode.token_ids[: turn.span[1]])
            (batch,) = token_batches([context], 1, torch.device("cpu"))
            alone.append(sampled_logprobs(policy, batch, TEMPERATURE))
        assert len(alone) > 1
        torch.testing.assert_close(torch.cat(alone), whole[number], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-12), (torch.bfloat16, 1e-2)])
@torch.no_grad()
def test_what_the_sampler_recorded_is_what_is_scored(
    reference: LanguageModel, dtype: torch.dtype, precision: float
) -> None:
    """Token by token with a key-value cache, or all at once without."""
    player = LanguageModel(copy.deepcopy(reference.model).to(dtype), reference.tokenizer)
    agent = LanguageModelAgent(player, temperature=TEMPERATURE, slots=4, max_reply_tokens=4)
    instances = [Instance(split="train", index=i, seed=i) for i in range(6)]
    played = collect_episodes(agent, CONFIG.env.id, instances, env_kwargs={"size": 3, "max_episode_steps": 4}, slots=4)
    for batch in token_batches(played, 10**6, torch.device("cpu")):
        recorded = [logprob for i in batch.members for turn in played[i].turns for logprob in turn.logprobs]
        scored_N = sampled_logprobs(player, batch, TEMPERATURE).double()
        torch.testing.assert_close(scored_N, torch.tensor(recorded, dtype=torch.float64), rtol=0, atol=precision)


def test_the_residuals_of_the_turns_telescope(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode]
) -> None:
    """G_0 is the residual of the whole trajectory, and G_t - G_{t+1} is the soft Bellman residual of turn t."""
    baseline = values_of(episodes)
    for batch in token_batches(episodes, 10**6, torch.device("cpu")):
        logp_N = sampled_logprobs(policy, batch, TEMPERATURE).detach().requires_grad_()
        with torch.no_grad():
            ref_logp_N = sampled_logprobs(reference, batch, TEMPERATURE)
        samples = make_batch([episodes[i] for i in batch.members], policy)
        value_BK = baseline.values(samples, [episodes[i] for i in batch.members])
        samples = replace(samples, logp_N=logp_N, ref_logp_N=ref_logp_N, value_BK=value_BK)
        losses = {name: find_objective(name).loss(samples, step_params(name, beta=BETA)).sum() for name in OBJECTIVES}
        (g_N,) = torch.autograd.grad(losses["astarpo_turn"], logp_N)
        (whole_N,) = torch.autograd.grad(losses["astarpo"], logp_N)
        torch.testing.assert_close(g_N[batch.turn_N == 0], whole_N[batch.turn_N == 0], rtol=0, atol=1e-12)
        for row, member in enumerate(batch.members):
            ratios = numpy_log_ratios(policy, reference, episodes[member])
            own = batch.episode_N == row
            g_K = [float(g_N[own & (batch.turn_N == k)][0]) for k in range(len(ratios))]
            value = baseline.value(episodes[member].index)
            for k, turn in enumerate(episodes[member].turns):
                after = 0.0 if k + 1 == len(ratios) else value - turn.reward
                following = 0.0 if k + 1 == len(ratios) else g_K[k + 1]
                assert g_K[k] - following == pytest.approx(BETA * ratios[k] - turn.reward - after + value, abs=1e-12)
                value = after


@pytest.mark.parametrize("name", OBJECTIVES)
def test_logits_where_nothing_was_sampled_do_not_matter(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode], name: str
) -> None:
    before = step(policy, reference, episodes, name)
    sampled = {tuple(episode.token_ids): [place - 1 for turn in episode.turns for place in range(*turn.span)]
               for episode in episodes}  # fmt: skip

    read: list[list[list[int]]] = []

    def note(_: object, arguments: Any, settings: Any) -> None:
        read.append(settings["input_ids"].tolist())

    def disturb(_: object, arguments: Any) -> Any:
        noise_BTH = 100 * torch.randn_like(arguments[0])
        for row, ids in enumerate(read[-1]):
            places = next(
                places for stream, places in sampled.items() if list(stream[: len(ids)]) == ids[: len(stream)]
            )
            noise_BTH[row, places] = 0.0
        return (arguments[0] + noise_BTH,)

    policy.model.register_forward_pre_hook(note, with_kwargs=True)
    policy.model.get_output_embeddings().register_forward_pre_hook(disturb)
    after = step(policy, reference, episodes, name)
    assert after[0] == before[0]
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_micro_batches_do_not_change_the_step(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode], name: str, dtype: torch.dtype
) -> None:
    frozen = reference.copy()
    for model in (policy, frozen):
        model.model.to(dtype)
    results = []
    for tokens in (1, 700, 10**6):
        config = replace(CONFIG.learning, tokens_per_microbatch=tokens)
        results.append(step(policy, frozen, episodes, name, config))
    precision = torch.finfo(dtype).eps
    (loss, gradient, taken), *others = results
    scale = gradient.abs().max()
    for other_loss, other_gradient, other in others:
        residual = (other_gradient - gradient).abs() / scale
        assert float(residual.max()) < 100 * precision
        assert float(residual.mean()) < 2 * precision
        assert other_loss == pytest.approx(loss, rel=100 * precision)
        for other_K, ratio_K in zip(other.log_ratio_BK, taken.log_ratio_BK, strict=True):
            assert other_K == pytest.approx(ratio_K, rel=0, abs=1000 * precision)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_episode_weighs_the_same_alone_as_in_company(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode], name: str
) -> None:
    """Sums over tokens and a constant normaliser: no episode is scaled by its length, its batch or its micro-batch."""
    assert len({episode.num_sampled for episode in episodes}) > 1
    baseline = values_of(episodes)
    alone = [step(policy, reference, [episode], name, baseline=baseline) for episode in episodes]
    together = step(policy, reference, episodes, name, baseline=baseline)
    assert together[0] == pytest.approx(np.mean([one[0] for one in alone]), rel=1e-12)
    mean = torch.stack([one[1] for one in alone]).mean(0)
    torch.testing.assert_close(together[1], mean, rtol=0, atol=1e-12)


def test_a_step_leaves_the_values_that_it_reads_alone(
    policy: LanguageModel, reference: LanguageModel, episodes: list[Episode]
) -> None:
    baseline = values_of(episodes)
    before = baseline.state_dict()
    _, _, taken = step(policy, reference, episodes, "astarpo", baseline=baseline)
    assert baseline.state_dict() == before
    assert taken.batch is not None
    assert taken.batch.value_BK[:, 0].tolist() == pytest.approx([baseline.value(one.index) for one in episodes])

"""Every objective against its definition, written out once more in NumPy, episode by episode and token by token."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.trainers.objectives.steps import step_params, with_advantages

from turngym.trainers.objectives import OBJECTIVES, StepParams, TrainingBatch

Floats = NDArray[np.float64]
BETA, KL_COEF = 0.3, 0.2
NUMBERS = {"turn_lambda": 0.6, "gae_lambda": 0.8, "kl_coef": KL_COEF, "clip_low": 0.1, "clip_high": 0.15,
           "state_weight": 0.7, "beta_value": 0.7}  # fmt: skip
"""For every objective that has them."""
OWN: dict[str, dict[str, float]] = {
    "dapo": {"clip_high": 0.25}, "starpo_s": {"clip_high": 0.25}, "ppo": {"gamma": 0.9}, "awr": {"beta_value": 0.3},
}  # fmt: skip
STEPS = {name: step_params(name, beta=BETA, **{**NUMBERS, **OWN.get(name, {})}) for name in OBJECTIVES}
LEVELS = ["token", "turn", "bilevel"]


class Batch:
    """The samples as NumPy sees them: episode `i` has tokens `at[i]`."""

    def __init__(self, samples: TrainingBatch) -> None:
        self.logp, self.old, self.ref, self.critic = (
            x.detach().numpy() for x in (samples.logp_N, samples.old_logp_N, samples.ref_logp_N, samples.critic_N)
        )
        self.turn: list[int] = samples.turn_N.tolist()
        self.at: list[list[int]] = [(samples.episode_N == i).nonzero()[:, 0].tolist() for i in range(6)]
        self.turns = [self.turn[at[-1]] + 1 for at in self.at]
        self.reward, self.value = samples.reward_BK.numpy(), samples.value_BK.numpy()
        self.total = self.reward.sum(1)
        self.group = samples.group_B.tolist()
        self.state = samples.state_BK.numpy()

    def others(self, i: int) -> list[int]:
        return [j for j in range(6) if self.group[j] == self.group[i] and j != i]

    def mates(self, i: int) -> list[int]:
        return [j for j in range(6) if self.group[j] == self.group[i]]

    def to_go(self, i: int, t: int, discount: float = 1.0) -> float:
        return sum(discount ** (k - t) * self.reward[i, k] for k in range(t, self.turns[i]))

    def log_ratio(self, i: int, base: Floats, turn: int | None = None) -> float:
        at = [n for n in self.at[i] if turn is None or self.turn[n] == turn]
        return float((self.logp - base)[at].sum())

    def surrogate(self, n: int, advantage: float, low: float, high: float) -> float:
        ratio = float(np.exp(self.logp[n] - self.old[n]))
        return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)

    def k3(self, n: int) -> float:
        gap = float(self.logp[n] - self.ref[n])
        return KL_COEF * (math.exp(-gap) - 1 + gap)

    def k2(self, n: int) -> float:
        return KL_COEF * float(self.logp[n] - self.ref[n]) ** 2 / 2

    def score(self, x: float, peers: list[float]) -> float:
        return 0.0 if len(peers) < 2 else float((x - np.mean(peers)) / (np.std(peers, ddof=1) + 1e-6))

    def z(self, i: int) -> float:
        return self.score(self.total[i], [self.total[j] for j in self.mates(i)])


def astarpo(b: Batch, i: int) -> float:
    return (BETA * b.log_ratio(i, b.ref) - (b.total[i] - b.value[i, 0])) ** 2 / (2 * BETA)


def astarpo_turn(b: Batch, i: int) -> float:
    last = b.turns[i] - 1
    delta = [BETA * b.log_ratio(i, b.ref, t) - b.reward[i, t] - (b.value[i, t + 1] if t < last else 0.0)
             + b.value[i, t] for t in range(last + 1)]  # fmt: skip
    g = [sum(0.6 ** (k - t) * delta[k] for k in range(t, last + 1)) for t in range(last + 1)]
    return sum(x * x for x in g) / (2 * BETA)


def oapl(b: Batch, i: int) -> float:
    others = [b.total[j] for j in b.others(i)]
    value = 0.7 * np.log(np.mean(np.exp(np.array(others) / 0.7))) if others else b.total[i]
    return float((BETA * b.log_ratio(i, b.old) - (b.total[i] - value)) ** 2 / (2 * BETA))


def gvpo(b: Batch, i: int) -> float:
    cost = {j: BETA * b.log_ratio(j, b.ref) - b.total[j] for j in b.mates(i)}
    n = len(cost)
    return float((cost[i] - np.mean(list(cost.values()))) ** 2 / (2 * BETA)) * (n / (n - 1) if n > 1 else 0.0)


def rebel(b: Batch, i: int) -> float:
    pairs = [(BETA * (b.log_ratio(i, b.old) - b.log_ratio(j, b.old)) - (b.total[i] - b.total[j])) ** 2
             for j in b.others(i)]  # fmt: skip
    return float(np.mean(pairs)) / (4 * BETA) if pairs else 0.0


def soft_rewards(b: Batch, i: int) -> list[float]:
    kl = [float((b.old - b.ref)[[n for n in b.at[i] if b.turn[n] == t]].sum()) for t in range(b.turns[i])]
    return [b.reward[i, t] - BETA * kl[t] for t in range(b.turns[i])]


def reinforce(b: Batch, i: int) -> float:
    soft = soft_rewards(b, i)
    return -sum((sum(soft[b.turn[n] :]) - b.value[i, b.turn[n]]) * b.logp[n] for n in b.at[i])


def rloo(b: Batch, i: int) -> float:
    others = [sum(soft_rewards(b, j)) for j in b.others(i)]
    lead = sum(soft_rewards(b, i)) - np.mean(others) if others else 0.0
    return float(-lead * b.logp[b.at[i]].sum())


def grpo(b: Batch, i: int) -> float:
    return float(np.mean([b.surrogate(n, b.z(i), 0.1, 0.15) + b.k3(n) for n in b.at[i]]))


def dr_grpo(b: Batch, i: int) -> float:
    advantage = float(b.total[i] - np.mean([b.total[j] for j in b.mates(i)]))
    return sum(b.surrogate(n, advantage, 0.1, 0.15) for n in b.at[i])


def dapo(b: Batch, i: int) -> float:
    return sum(b.surrogate(n, b.z(i), 0.1, 0.25) for n in b.at[i]) / (len(b.logp) / 6)


def gigpo(b: Batch, i: int) -> float:
    def of_turn(t: int) -> float:
        peers = [b.to_go(j, k, 0.95) for j in b.mates(i) for k in range(b.turns[j]) if b.state[j, k] == b.state[i, t]]
        return b.score(b.to_go(i, t, 0.95), peers)

    return sum(
        b.surrogate(n, b.z(i) + 0.7 * of_turn(b.turn[n]), 0.1, 0.15) + b.k3(n) for n in b.at[i]
    ) / (len(b.logp) / 6)  # fmt: skip


def gae(b: Batch, i: int, level: str) -> dict[int, float]:
    """Return the advantage of each token of an episode, by recursion from its end."""
    at, last = b.at[i], b.turns[i] - 1
    ends = {t: max(n for n in at if b.turn[n] == t) for t in range(last + 1)}
    starts = {t: min(n for n in at if b.turn[n] == t) for t in range(last + 1)}
    found: dict[int, float] = {}
    if level == "token":
        for n in reversed(at):
            reward = b.reward[i, b.turn[n]] if n == ends[b.turn[n]] else 0.0
            following, rest = (b.critic[n + 1], found[n + 1]) if n + 1 in found else (0.0, 0.0)
            found[n] = reward + 0.9 * following - b.critic[n] + 0.9 * 0.8 * rest
        return found
    places = starts if level == "turn" else ends
    of_turn: dict[int, float] = {}
    for t in range(last, -1, -1):
        following, rest = (b.critic[places[t + 1]], of_turn[t + 1]) if t < last else (0.0, 0.0)
        of_turn[t] = b.reward[i, t] + 0.95 * following - b.critic[places[t]] + 0.95 * 0.8 * rest
    if level == "turn":
        return {n: of_turn[b.turn[n]] for n in at}
    for n in reversed(at):
        t = b.turn[n]
        if n == ends[t]:  # the return of the turn is the reward of its last token, and the chain begins anew
            found[n] = of_turn[t] + b.critic[n] - b.critic[n]
        else:
            found[n] = 0.9 * b.critic[n + 1] - b.critic[n] + 0.9 * 0.8 * found[n + 1]
    return found


def mixed_returns(rewards: list[float], values: list[float], discount: float) -> list[float]:
    """Return the lambda-returns of a chain: G = r + discount * (0.2 * V' + 0.8 * G'), from its end."""
    found: list[float] = []
    for place in range(len(rewards) - 1, -1, -1):
        following = 0.2 * values[place + 1] + 0.8 * found[0] if found else 0.0
        found.insert(0, rewards[place] + discount * following)
    return found


def critic_targets(b: Batch, i: int, level: str) -> dict[int, float]:
    """Return what the critic should have said before each token of an episode: the return of the chain it stands in."""
    at, turns = b.at[i], range(b.turns[i])
    of = {t: [n for n in at if b.turn[n] == t] for t in turns}
    if level == "token":
        rewards = [b.reward[i, b.turn[n]] if n == of[b.turn[n]][-1] else 0.0 for n in at]
        return dict(zip(at, mixed_returns(rewards, [b.critic[n] for n in at], 0.9), strict=True))
    valued = [b.critic[of[t][0 if level == "turn" else -1]] for t in turns]
    of_turns = mixed_returns([b.reward[i, t] for t in turns], valued, 0.95)
    if level == "turn":
        return {n: of_turns[b.turn[n]] for n in at}
    found: dict[int, float] = {}
    for t in turns:
        rewards = [0.0] * (len(of[t]) - 1) + [of_turns[t]]
        found.update(zip(of[t], mixed_returns(rewards, [b.critic[n] for n in of[t]], 0.9), strict=True))
    return found


def ppo(b: Batch, i: int, level: str = "token") -> float:
    advantages = {n: a for j in range(6) for n, a in gae(b, j, level).items()}
    mean, std = float(np.mean(list(advantages.values()))), float(np.std(list(advantages.values()), ddof=1))
    targets = critic_targets(b, i, level)
    costs = [b.surrogate(n, (advantages[n] - mean) / (std + 1e-6), 0.1, 0.15) + b.k3(n)
             + 0.5 * (b.critic[n] - targets[n]) ** 2 / 2 for n in b.at[i]]  # fmt: skip
    return float(sum(costs) / (len(b.logp) / 6))


def awr(b: Batch, i: int) -> float:
    weight = np.exp(min((b.total[i] - b.value[i, 0]) / 0.3, 3.0))
    return float(sum(b.k2(n) - weight * b.logp[n] for n in b.at[i]))


def weighted_sft(b: Batch, i: int) -> float:
    excess = b.total - b.value[:, 0]
    z = (excess[i] - excess.mean()) / (excess.std(ddof=1) + 1e-6)
    weight = np.clip(np.clip(z, -3, 3) + 1, 0.1, 5)
    return float(np.mean([b.k2(n) - weight * b.logp[n] for n in b.at[i]]))


def raft(b: Batch, i: int) -> float:
    return float(-b.logp[b.at[i]].sum() / (len(b.logp) / 6))


DEFINITIONS: dict[str, Callable[[Batch, int], float]] = {
    "astarpo": astarpo, "astarpo_turn": astarpo_turn, "oapl": oapl, "gvpo": gvpo, "rebel": rebel,
    "reinforce": reinforce, "rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo, "dapo": dapo, "starpo_s": dapo,
    "gigpo": gigpo, "ppo": ppo, "awr": awr, "weighted_sft": weighted_sft, "raft": raft,
}  # fmt: skip


def losses(samples: TrainingBatch, name: str, step: StepParams[Any] | None = None) -> torch.Tensor:
    step = step or STEPS[name]
    return OBJECTIVES[name].loss(with_advantages(samples, name, step), step)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_losses_equal_their_definition(samples: TrainingBatch, name: str) -> None:
    batch = Batch(samples)
    expected = [DEFINITIONS[name](batch, i) for i in range(6)]
    np.testing.assert_allclose(losses(samples, name).detach(), expected, rtol=1e-12, atol=1e-13)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize("level", LEVELS)
def test_ppo_on_every_level(samples: TrainingBatch, level: str) -> None:
    settings: dict[str, Any] = {**NUMBERS, "gae_level": level, **({} if level == "turn" else {"gamma": 0.9})}
    loss_B = losses(samples, "ppo", step_params("ppo", beta=BETA, **settings))
    batch = Batch(samples)
    np.testing.assert_allclose(loss_B.detach(), [ppo(batch, i, level) for i in range(6)], rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "astarpo_turn"])
def test_gradients_equal_finite_differences(samples: TrainingBatch, name: str) -> None:
    """With the advantages of the batch held fixed. The per-turn form of A*PO holds more than that fixed."""
    objective, step = OBJECTIVES[name], STEPS[name]
    weighed = with_advantages(samples, name, step)
    live = [samples.logp_N, *([samples.critic_N] if objective.returns else [])]
    gradients = torch.autograd.grad(objective.loss(weighed, step).sum(), live)
    for field, at, gradient in zip(("logp_N", "critic_N"), live, gradients, strict=False):
        numeric = []
        for n in range(len(at)):
            sides = []
            for distance in (1e-6, -1e-6):
                moved = at.detach().clone()
                moved[n] += distance
                loss_B = objective.loss(replace(weighed, **{field: moved}), step)  # type: ignore[arg-type]
                sides.append(float(loss_B.detach().sum()))
            numeric.append((sides[0] - sides[1]) / 2e-6)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_losses_do_not_depend_on_who_shares_the_micro_batch(samples: TrainingBatch, name: str) -> None:
    objective, step = OBJECTIVES[name], STEPS[name]
    weighed = with_advantages(samples, name, step)
    together_B = objective.loss(weighed, step)
    parts = [[0, 1, 3], [4, 2], [5]] if objective.needs_pairs else [[5, 0], [1], [4, 3, 2]]
    for part in parts:
        torch.testing.assert_close(objective.loss(weighed.select(part), step), together_B[part], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_wider_padding_changes_nothing(samples: TrainingBatch, name: str) -> None:
    wide = replace(
        samples,
        reward_BK=torch.nn.functional.pad(samples.reward_BK, (0, 2)),
        value_BK=torch.nn.functional.pad(samples.value_BK, (0, 2), value=3.0),
        state_BK=torch.nn.functional.pad(samples.state_BK, (0, 2), value=-1),
    )
    assert torch.equal(losses(wide, name), losses(samples, name))

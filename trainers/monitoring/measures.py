"""Measurements of the health of learning that need no further pass through a model.

Before learning collapses, the spread of rewards within prompts falls first, then the entropy, then the rewards (RAGEN,
arXiv:2504.20073, section 4.1). `alarms.py` compares these numbers with thresholds.

Shapes: B episodes, N sampled tokens, P prompts, M pairs of a value and its target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.trainers.objectives import Objective, StepParams, TrainingBatch
from turngym.trainers.objectives.groups import EPSILON
from turngym.trainers.prompts.successes import SuccessTracker

REVISITS = 8
"""Least number of prompts with one episode in a step and one or more before, for `revisit_std` to be reported."""
NGRAMS = (1, 2)
"""The lengths n of the n-grams of `distinct_n`."""
CALIBRATION_SAMPLES = 100
"""Least number of values for `value_calibration` to be reported, so that each tenth holds ten or more."""


# Before the update ----------------------------------------------------------------------------------------------


def measure_rollouts(
    episodes: Sequence[Episode], successes: SuccessTracker, last_returns: Mapping[int, float]
) -> dict[str, float]:
    """Return the numbers of the episodes of a step, before the policy learns from them.

    Args:
        episodes: At least one, each with a sampled token.
        successes: As they were when the episodes were drawn.
        last_returns: The return of the last episode of each instance that was played in an earlier step.

    Returns:
        predictive_std: Mean over the prompts of sqrt(p (1 - p)), p the success that `successes` predicts. p is shrunk
            towards the mean of the pool, so it cannot tell a pool half of which is always won from one that is won half
            of the time.
        group_std: Mean over the prompts with several episodes of the standard deviation of their returns; absent
            without such a prompt.
        revisit_std: The standard deviation of the returns of a prompt that is played once in a step: the root of half
            the mean square of the difference between this return and that of the step that played it last. Absent for
            fewer than `REVISITS` such prompts, thus for fresh prompts alone. What the policy learned in between counts
            as spread too.
        zero_std_share: Share of the prompts of either kind whose returns do not differ; absent without any.
        entropy: Mean of -log pi over the sampled tokens, an unbiased estimate of the entropy per token, nats.
        reply_length: Mean sampled tokens of a turn.
        distinct_1, distinct_2: Distinct n-grams of token ids within replies, as a share of all (arXiv:1510.03055);
            absent where no reply is that long.
        duplicate_share: Share of episodes whose replies repeat those of an earlier one, token for token.
    """
    replies = [[tuple(chain.from_iterable(episode.token_ids[slice(*part)] for part in turn.sampled()))
                for turn in episode.turns] for episode in episodes]  # fmt: skip
    spoken = [reply for turns in replies for reply in turns if reply]
    logprobs = [logprob for episode in episodes for turn in episode.turns for logprob in turn.logprobs]
    return {
        **reward_spread(episodes, successes, last_returns),
        "entropy": -float(np.mean(logprobs)),
        "reply_length": float(np.mean([len(reply) for reply in spoken])),
        **{f"distinct_{n}": share for n in NGRAMS if (share := distinct_share(spoken, n)) is not None},
        "duplicate_share": 1 - len({tuple(turns) for turns in replies}) / len(episodes),
    }


def reward_spread(
    episodes: Sequence[Episode], successes: SuccessTracker, last_returns: Mapping[int, float]
) -> dict[str, float]:
    """Return `predictive_std`, `group_std`, `revisit_std` and `zero_std_share` of `measure_rollouts`."""
    returns: dict[int, list[float]] = {}
    for episode in episodes:
        returns.setdefault(episode.index, []).append(episode.total_reward)
    stds = [float(np.std(group, ddof=1)) for group in returns.values() if len(group) > 1]
    changes = [group[0] - last for index, group in returns.items()
               if len(group) == 1 and (last := last_returns.get(index)) is not None]  # fmt: skip
    if len(changes) < REVISITS:
        changes = []
    numbers = {"predictive_std": float(np.mean(successes.predictive_stds(returns)))}
    if stds:
        numbers["group_std"] = float(np.mean(stds))
    if changes:
        numbers["revisit_std"] = float(np.sqrt(np.mean(np.square(changes)) / 2))
    if spread := stds + changes:
        numbers["zero_std_share"] = float(np.mean([abs(each) <= EPSILON for each in spread]))
    return numbers


def distinct_share(replies: Sequence[Sequence[int]], n: int) -> float | None:
    """Return the share of distinct n-grams among all within the replies, None where there is none."""
    grams = [tuple(reply[start : start + n]) for reply in replies for start in range(len(reply) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


# After the update -----------------------------------------------------------------------------------------------


def measure_update(
    batch: TrainingBatch,
    logp_N: Tensor,
    unmoved_N: Tensor,
    log_ratio_B: Tensor,
    *,
    return_B: Tensor,
    value_B: Tensor,
    first_value_B: Sequence[float | None],
    objective: Objective,
    step: StepParams[Any],
) -> dict[str, Any]:
    """Return the numbers of the update of a step.

    Args:
        batch: The episodes that were learned from, with their advantages.
        logp_N: The policy's log-probability of each sampled token in the first pass.
        unmoved_N: The positions of the tokens whose log-probability was computed before the first optimizer step.
        log_ratio_B: Log-ratio of policy to reference of each episode, nats; 0 without a reference.
        return_B: The return of each episode as it was played, without automatic shaping.
        value_B: The baseline of each start; empty for an objective without values.
        first_value_B: V* of each start as stage 1 estimated it; None where stage 1 is not read.
        objective: The objective.
        step: The settings and the KL temperature of the step.

    Returns:
        logprob_drift, logprob_drift_p50, logprob_drift_p99: Largest |log pi of the trainer - log pi of the sampler|
            over tokens, and its quantiles, nats.
        kl, kl_per_token: Mean log-ratio of policy to reference of an episode and of a token, nats; where the objective
            reads the reference.
        kl_tax: beta * kl / reward range, the share of the reward that the KL eats; where the loss charges beta.
        residual_mean, residual_var: Of V - S, with S = R - beta * log-ratio the soft return and V the value used; for
            objectives with a value.
        value_gap: Mean of V* of stage 1 less the mean soft return; where stage 1 is read.
        explained_variance, value_calibration: See `value_quality`; of V and S, for a critic of its value before
            each token and its target.
        negative_share: Share of sum |A| over tokens that comes from negative advantages; A is S - V where the objective
            has values and no advantages of its own, and absent where it has neither.
    """
    soft_return_B = return_B - step.beta * log_ratio_B
    advantage_N = batch.advantage_N
    if objective.needs_values and not advantage_N.numel():
        advantage_N = (soft_return_B - value_B)[batch.episode_N]
    numbers: dict[str, Any] = {}
    mass = float(advantage_N.double().abs().sum())
    if mass > 0:
        numbers["negative_share"] = float(advantage_N.double().clamp(max=0).abs().sum()) / mass
    drift_N = (logp_N - batch.old_logp_N)[unmoved_N].abs().double().cpu().numpy()
    numbers["logprob_drift"] = float(drift_N.max())
    numbers |= {f"logprob_drift_p{q}": float(np.percentile(drift_N, q)) for q in (50, 99)}
    if objective.reads_reference(step.config):
        numbers["kl"] = float(np.mean(log_ratio_B.tolist()))
        numbers["kl_per_token"] = float(log_ratio_B.double().sum()) / len(logp_N)
    if objective.needs_reference:
        numbers["kl_tax"] = step.beta * numbers["kl"] / step.reward_span
    if objective.needs_values:
        residual_B = (value_B - soft_return_B).double()
        numbers["residual_mean"] = float(residual_B.mean())
        numbers["residual_var"] = float(residual_B.var(correction=0))
        numbers |= value_quality(_array(value_B), _array(soft_return_B))
    firsts = [value for value in first_value_B if value is not None]
    if firsts:
        numbers["value_gap"] = float(np.mean(firsts)) - float(soft_return_B.double().mean())
    if objective.returns is not None:
        numbers |= value_quality(_array(batch.critic_N), _array(batch.return_N))
    return numbers


def value_quality(value_M: NDArray[np.float64], target_M: NDArray[np.float64]) -> dict[str, Any]:
    """Return how well values predicted their targets.

    Args:
        value_M: The predictions, shape [M].
        target_M: Their targets, shape [M].

    Returns:
        explained_variance: 1 - Var(target - value) / Var(target), at most 1, 0 for a constant and below 0 for values
            that are worse than a constant; absent where the targets do not differ.
        value_calibration: The mean value and the mean target of each tenth of the pairs, by rising value, as ten lists
            of two; absent for fewer than `CALIBRATION_SAMPLES` pairs.
    """
    numbers: dict[str, Any] = {}
    spread = float(target_M.var())
    if spread > EPSILON**2:
        numbers["explained_variance"] = 1 - float((target_M - value_M).var()) / spread
    if len(value_M) >= CALIBRATION_SAMPLES:
        tenths = np.array_split(np.argsort(value_M, kind="stable"), 10)
        numbers["value_calibration"] = [[float(value_M[part].mean()), float(target_M[part].mean())] for part in tenths]
    return numbers


def _array(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(x.detach().to("cpu", torch.float64).numpy())

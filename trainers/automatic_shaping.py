"""Shaping by what the reference knows: the potential of a state is V* of stage 1, fixed during a run.

    r'_t = r_t + weight * (Phi(s_{t+1}) - Phi(s_t)),    V'(s_t) = V(s_t) - weight * Phi(s_t),    Phi = 0 after the end

No optimal policy changes for learners that do not discount, that of the KL-regularised objective neither: set
`objectives.turn_discount` to 1 with the turn levels of ppo, and `objectives.state_discount` with gigpo, for which
nothing is left of the shaping then. All episodes of one start gain the same, so objectives that weigh whole returns
learn as before wherever they compare episodes of one prompt or have a value, and so does A*PO turn by turn, in which V
and Phi cancel. What changes is credit within an episode: rewards to go that are discounted, or cut off by lambda < 1,
see at once whether a turn led to a better state. A*PO(lambda) without a value then learns as if its value were Phi.

Only what an objective reads is shaped; trackers, values of states and what is measured stay with the rewards as played.

Source: Ng, Harada and Russell, "Policy invariance under reward transformations", 1999, with gamma = 1.
Shapes: B episodes, K turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from turngym.agents.episode import Episode
from turngym.envs.shaping import potential_gains
from turngym.trainers.baselines.states import StateValues, stage_one_states
from turngym.trainers.batches import values_of_states
from turngym.trainers.config import TrainConfig
from turngym.trainers.objectives import Samples
from turngym.trainers.stage_one.soft_values import Transitions
from turngym.trainers.units import value_temperature

GRAIN = 64
"""Potentials are rounded to so many times the precision of the samples. Their sums then have no rounding error, which
the objectives that divide by the spread of equal returns would blow up."""


def reference_potential(transitions: Transitions, config: TrainConfig) -> StateValues:
    """Return V* of states and buckets at `values.beta_value`, in the unit of the returns.

    Args:
        transitions: The turns of stage 1.
        config: The run.
    """
    return stage_one_states(transitions, value_temperature(config), config.values)


def shape_samples(
    samples: Samples, episodes: Sequence[Episode], potential: StateValues, weight: float, *, baseline: str
) -> Samples:
    """Return the samples with shaped rewards, and with values to match.

    Args:
        samples: A whole batch, with its values.
        episodes: The same as they were played.
        potential: Phi, in the unit of the returns.
        weight: Its weight.
        baseline: Where the values come from. "none" stays 0, which says nothing of the rewards as played.
    """
    grain = GRAIN * torch.finfo(samples.reward_BK.dtype).eps
    phi_BK = (weight * values_of_states(samples, episodes, potential) / grain).round() * grain
    gain_BK = phi_BK.new_tensor([potential_gains(phi_K) for phi_K in phi_BK.tolist()])
    value_BK = samples.value_BK if baseline == "none" else samples.value_BK - phi_BK
    return replace(samples, reward_BK=samples.reward_BK + gain_BK, value_BK=value_BK)

"""Automatic shaping: the potential Phi of a state is V* of stage 1, fixed during a round.

    r'_t = r_t + weight * (Phi(s_{t+1}) - Phi(s_t)),    V'(s_t) = V(s_t) - weight * Phi(s_t),    Phi = 0 after the end

For learners that do not discount no optimal policy changes, nor that of the KL-regularised objective: set
`objective.turn_gamma` to 1 with the turn levels of ppo, and `objective.gamma` to 1 with gigpo, whose advantages the
shaping then leaves as they are. All episodes of one start gain the same, so objectives that weigh whole returns
learn as before wherever they compare episodes of one prompt or have a value, and so does A*PO turn by turn, in which V
and Phi cancel. What changes is credit within an episode: rewards to go that are discounted, or cut off by lambda < 1,
see at once whether a turn led to a better state. A*PO(lambda) without a value then learns as if its value were Phi.

Only the batch that the objective reads is shaped; baselines, monitors and evaluation see the rewards as played.

Source: Ng, Harada and Russell, "Policy invariance under reward transformations", 1999, with gamma = 1.
Shapes: B episodes, K turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from turngym.agents.episode import Episode
from turngym.envs.shaping import potential_gains
from turngym.trainers.baselines.baseline import values_of_states
from turngym.trainers.baselines.states import StateValues, stage_one_states
from turngym.trainers.config import ValueConfig
from turngym.trainers.objectives import TrainingBatch
from turngym.trainers.stage_one.soft_values import Transitions

GRAIN = 64
"""Potentials are rounded to multiples of this times the precision of the batch. Their sums then have no rounding error,
which objectives that divide by the standard deviation of nearly equal returns would magnify."""


class AutomaticShaping:
    """Shapes batches by V* of the states for the reference.

    Args:
        transitions: The turns of stage 1.
        beta_value: Temperature of V*, in the unit of the returns.
        values: Tells how states are valued.
        weight: Weight of the potential.
    """

    def __init__(self, transitions: Transitions, beta_value: float, values: ValueConfig, weight: float) -> None:
        self._potential: StateValues = stage_one_states(transitions, beta_value, values)
        self._weight = weight

    def shape(self, batch: TrainingBatch, episodes: Sequence[Episode], *, shift_values: bool) -> TrainingBatch:
        """Return a batch with shaped rewards, and with values to match.

        Args:
            batch: A whole batch, with its values if the objective has any.
            episodes: The same episodes as they were played.
            shift_values: Whether to subtract the potential from the values. Not for the baseline "none", whose values
                stay 0.
        """
        grain = GRAIN * torch.finfo(batch.reward_BK.dtype).eps
        phi_BK = (self._weight * values_of_states(batch, episodes, self._potential) / grain).round() * grain
        gain_BK = phi_BK.new_tensor([potential_gains(phi_K) for phi_K in phi_BK.tolist()])
        value_BK = batch.value_BK - phi_BK if shift_values and batch.value_BK.numel() else batch.value_BK
        return replace(batch, reward_BK=batch.reward_BK + gain_BK, value_BK=value_BK)

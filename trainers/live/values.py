"""What becomes of values when settings change while a run learns.

V* of stage 1 is computed anew from the stored episodes wherever its temperature or its reward changes, and everything
that began with it begins anew: a baseline that follows soft returns forgets those of the old temperature or reward, and
follows again from V*. Where V* cannot be computed from what is stored, the change is refused.
"""

from __future__ import annotations

from turngym._errors import InputError
from turngym.trainers.config import STATE_BASELINES, TrainConfig, Valued
from turngym.trainers.shaping import played_shaping

BASELINE, AUTOMATIC_SHAPING = "baseline", "automatic shaping"
"""What holds values of stage 1."""
KEEP_V_STAR = ("vstar", "state_vstar")
"""The baselines that never follow the policy."""


def values_changed(before: TrainConfig, after: TrainConfig) -> list[str]:
    """Return what holds values that depend on the settings in which two configurations of a run differ."""
    found = []
    reward = played_shaping(before.shaping) != played_shaping(after.shaping)
    v_star = reward or before.values.beta_value != after.values.beta_value
    if isinstance(after.objective, Valued) and after.objective.reads_stage_one:
        # V* of states is that of every step where the baseline does not follow, and V* of instances is at beta_value.
        follows = after.objective.baseline not in KEEP_V_STAR
        if v_star or (follows and _betas(before) != _betas(after)):
            found.append(BASELINE)
    weights = before.shaping.automatic_weight, after.shaping.automatic_weight
    if weights[0] != weights[1] or (v_star and weights[1]):
        found.append(AUTOMATIC_SHAPING)
    return found


def _betas(config: TrainConfig) -> tuple[float, float] | None:
    objective = config.objective
    return (objective.beta, objective.beta_final) if isinstance(objective, Valued) else None


def check_values(begun: TrainConfig, after: TrainConfig) -> None:
    """Check that the stored episodes say what they would have to say after a change.

    Args:
        begun: The settings that the run began with.
        after: Those it is to have.

    Raises:
        InputError: Stage 1 was not played, or was played at another sampling temperature than V* is to be of.
    """
    if after.needs_stage_one and not begun.needs_stage_one:
        raise InputError("shaping.automatic_weight needs V* of states, and this run has played no stage 1: start "
                         "another run with it")  # fmt: skip
    if after.learning.temperature == begun.learning.temperature:
        return
    objective = after.objective
    if isinstance(objective, Valued) and objective.baseline in KEEP_V_STAR:
        other = "state_tracker" if objective.baseline in STATE_BASELINES else "tracker"
        raise InputError("learning.temperature cannot change while a run learns whose baseline is "
                         f"{objective.baseline}: V* of stage 1 is of the reference at {begun.learning.temperature:g}, "
                         "and episodes that were sampled there do not tell it of another one; start another run with "
                         f"objective.baseline {other}, which follows")  # fmt: skip
    if after.shaping.automatic_weight:
        raise InputError("learning.temperature cannot change while a run learns with shaping.automatic_weight: V* of "
                         f"stage 1 is of the reference at {begun.learning.temperature:g}; set the weight to 0 "
                         "with it")  # fmt: skip

"""Importance weights: what the replies of an explorer tell about the odds of the reference's replies.

The outcome of a reply in a state does not depend on the policy that gave it, so turns of an explorer b tell as much
about outcomes as those of the reference. The odds of the replies do depend on it, and are corrected by weights. For the
action u of a reply y in a state s,

    ref(u | s) = E_{y ~ b}[w(y) 1{y plays u}],    1 = E_{y ~ b}[w(y)],    w(y) = ref(y | s) / b(y | s)

so the weighted share of the turns that played u, `sum w 1{u} / sum w`, tends to ref(u | s) for turns of b as for turns
of the reference, whose w is 1 (self-normalised importance sampling). Turns of several behaviours may be put together,
each behaviour's w times a constant of its own, since numerator and denominator keep their ratio. The constant here is
its effective share, `mean(w)^2 / mean(w^2)`: the reciprocal of the variance that its turns bring along, as when means
of unlike precision are averaged.

Example: the reference goes up nine times in ten and down once, the explorer half the time each. Of 100 turns of the
explorer, 50 go up with w = .9 / .5 = 1.8 and 50 down with w = .1 / .5 = .2, so the weighted share of "up" is
90 / 100 = .9, as it should be. The effective share is 1 / ((1.8^2 + .2^2) / 2) = .61: a turn of the explorer counts as
.61 turns of the reference where both have played. Where the explorer alone has been, it alone decides.

A script has no b, and the log-ratio of its turns is taken to be minus infinity: they weigh nothing in the odds, and
tell of outcomes alone. That needs a state's key which holds all that the script acts on: one that knew what chance will
bring would show better outcomes than the reference will see.

All other behaviours must give every reply that the reference gives, as every temperature above 0 does. Above the
temperature of the reference weights are bounded. Below it they are not: the replies with the largest weights are seldom
played and may be missing, which the effective share does not show. Where replies depend on more of the past than a
state's key holds, the odds are those for the pasts that were played.

Shapes: M turns, S states.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from turngym.trainers.stage_one.estimators import Floats


def effective_share(log_ratio_M: ArrayLike) -> float:
    """Return how many turns of the reference a turn of a behaviour counts for, in [0, 1]: `mean(w)^2 / mean(w^2)`.

    It is 0 for a script alone.

    Reference: Kong, A note on importance sampling using standardized weights, 1992.

    Args:
        log_ratio_M: Log-probability of each reply under the reference, less that under the behaviour; at least one.
    """
    log_ratio = np.asarray(log_ratio_M, np.float64)
    if log_ratio.max() == -math.inf:
        return 0.0
    with np.errstate(under="ignore"):
        weights = np.exp(log_ratio - log_ratio.max())
        return float(weights.mean() ** 2 / (weights**2).mean())


def turn_weights(log_ratio_M: ArrayLike, behaviour_M: ArrayLike, state_M: ArrayLike) -> Floats:
    """Return how much each turn counts among the turns of its state, in [0, 1], the most in every state being 1.

    Where the reference alone has played, all count 1; where scripts alone have, all count 0.

    Args:
        log_ratio_M: Log-probability of each reply under the reference, less that under who gave it.
        behaviour_M: Who gave it, from 0.
        state_M: The state it was given in, from 0.
    """
    log_weight = np.array(log_ratio_M, np.float64)
    behaviour, state = np.asarray(behaviour_M), np.asarray(state_M)
    for number in np.unique(behaviour):
        if share := effective_share(log_weight[behaviour == number]):
            log_weight[behaviour == number] += math.log(share)
    most_S = np.full(int(state.max()) + 1, -np.inf)
    np.maximum.at(most_S, state, log_weight)
    least = np.finfo(np.float64).min  # in place of minus infinity, which less itself would be no number
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(log_weight - np.maximum(most_S, least)[state]))

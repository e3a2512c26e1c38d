"""The strength of the prior that the values of a pool are shrunk with, fitted to how far its instances differ.

The law of an instance's returns is drawn from a Dirichlet process around the law of the pool, whose weight `kappa` is
worth as many samples. Over any classes of returns their counts are then Dirichlet-multinomial, for 0 and 1
beta-binomial, and the strength is the `kappa` under which those of the pool are likeliest (empirical Bayes). Lest a few
instances that look alike by chance all get one value, `kappa / (kappa + 1)`, the weight of the pool beside one sample,
is taken to be anything from 0 to 1 beforehand, which counts for little in a pool of hundreds.

Example: forty instances with four samples each, half of which were won. If every instance won two, they are alike, and
`fitted_strength` is 79: each has nearly the pool's value. If twenty won all four and twenty none, they are not, and it
is 0.1: each has its own. With a strength of 1, an instance that won none of four in a pool at .5 has
(0 + 1 * .5) / (4 + 1) = .1.

Reference: Minka, Estimating a Dirichlet distribution (2000), section 3.
Shapes: I instances, N samples of one instance, L classes of returns, K candidates.
"""

from __future__ import annotations

import numpy as np

from turngym.trainers.stage_one.estimators import Bools, Floats, Ints

CANDIDATES_K = np.logspace(-1, 3, 201)
"""The strengths that are tried. Below them shrinkage has hardly any effect, above them every instance has nearly the
pool's value."""
FEW = 8
"""Most different values of the returns that each are a class of their own. With more, hardly any value would occur
twice, so the returns are divided into two classes, below and above the pool's median."""
DECIMALS = 9
"""Decimals of a return, in units of its range, that tell classes apart; sums of rewards are no more exact."""
UNKNOWN = 1.0
"""The strength where the pool allows no estimate."""
LOG_PRIOR_K = np.log(CANDIDATES_K) - 2.0 * np.log1p(CANDIDATES_K)
"""Log density of `log kappa` where `kappa / (kappa + 1)` is uniform; it is highest at `UNKNOWN`."""


def fitted_strength(returns_IN: Floats, drawn_IN: Floats) -> float:
    """Return by how many pseudo-samples an instance is best shrunk: the posterior mode of `log kappa`.

    Args:
        returns_IN: Returns of each instance, padded with any finite number.
        drawn_IN: 1 where a return was drawn, 0 where it is padding; every row has a 1.

    Returns:
        One of `CANDIDATES_K`: `UNKNOWN` where all returns are equal, none was sampled twice, or there is one instance.
    """
    counts_IL = _class_counts(returns_IN, drawn_IN > 0)
    counts_I = counts_IL.sum(axis=1)
    if len(counts_IL) == 1:  # the law of the pool is its own
        return UNKNOWN
    law_L = (counts_IL / counts_I[:, None]).mean(axis=0)
    # Gamma(n + kappa) / Gamma(kappa) is the product of kappa + j over j < n, so instances of n > j share its factors.
    posterior_K = LOG_PRIOR_K.copy()
    for j in range(int(counts_I.max())):
        posterior_K += np.log(CANDIDATES_K[:, None] * law_L + j) @ (counts_IL > j).sum(axis=0)
        posterior_K -= np.log(CANDIDATES_K + j) * (counts_I > j).sum()
    return float(CANDIDATES_K[posterior_K.argmax()])


def _class_counts(returns_IN: Floats, drawn_IN: Bools) -> Ints:
    """Return how many returns of each instance lie in each class, `[I, L]`; no class is empty."""
    returns = returns_IN[drawn_IN]
    span = float(np.ptp(returns)) or 1.0
    values, class_of = np.unique(np.round((returns - returns.min()) / span, DECIMALS), return_inverse=True)
    row = np.nonzero(drawn_IN)[0]
    if len(values) > FEW:
        # Every instance weighs the same; a value lies where the middle of its weight does.
        weight = np.bincount(class_of, 1.0 / drawn_IN.sum(axis=1)[row])
        class_of = (weight.cumsum() - weight / 2 >= weight.sum() / 2).astype(np.int64)[class_of]
    counts = np.zeros((len(returns_IN), int(class_of.max()) + 1), np.int64)
    np.add.at(counts, (row, class_of), 1)
    return counts

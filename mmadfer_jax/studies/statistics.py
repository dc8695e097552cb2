"""Figures of several runs: their mean and spread, and what two arms differ in."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
TOO_FEW = "too few pairs"
_RESAMPLES = 50_000
_ALL_SIGNS = 16  # pairs up to which every pattern of signs is counted
_CHUNK = 10_000


class Spread(NamedTuple):
    """Of n values: their mean, and the sample standard deviation; None for fewer than 1 and 2."""

    n: int
    mean: float | None
    std: float | None


class Difference(NamedTuple):
    """Of an arm to the first one, from runs of the same fold and seed.

    Attributes:
        n: Pairs of runs.
        mean: Of the differences.
        low: Lower end of the bootstrap interval; None for fewer than 2 pairs.
        high: Upper end.
        negative: In how many pairs the arm has the lower figure.
        p: Of the sign-flip test, two-sided.
        least_p: The least that so many pairs can give.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    negative: int
    p: float
    least_p: float

    @property
    def verdict(self) -> str:
        """In words: `TOO_FEW`, "lower", "higher" or "not told apart"."""
        if self.least_p > 1 - LEVEL:
            return TOO_FEW
        if self.p > 1 - LEVEL:
            return "not told apart"
        return "lower" if self.mean < 0 else "higher"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (that of n - 1)."""
    n = len(values)
    mean = float(np.mean(values)) if n else None
    return Spread(n, mean, float(np.std(values, ddof=1)) if n > 1 else None)


def difference(pairs: Sequence[tuple[float, float]]) -> Difference | None:
    """What an arm differs in from the first one; None without pairs.

    Args:
        pairs: (the arm's, the first arm's) figure of the same fold and seed.
    """
    if not pairs:
        return None
    found = np.array([arm - first for arm, first in pairs])
    n = len(found)
    low, high = bootstrap_interval(found) if n > 1 else (None, None)
    negative, least_p = int((found < 0).sum()), 2.0 ** (1 - n)
    return Difference(n, float(found.mean()), low, high, negative, sign_flip_p(found), least_p)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The expanded percentile interval of a mean, from resamples of the values.

    The plain percentiles are too narrow for few values: by sqrt((n - 1) / n), and as the normal
    distribution is against Student's. Their levels are moved by as much (Hesterberg, "What teachers
    should know about the bootstrap", The American Statistician 69(4), 2015, section 5.3).

    Args:
        values: [n], n of 2 or more.
        seed: Of the resamples.
    """
    rng, n = np.random.default_rng(seed), len(values)
    means = np.concatenate(
        [values[rng.integers(0, n, (_CHUNK, n))].mean(axis=1) for _ in range(_RESAMPLES // _CHUNK)]
    )
    tail = norm.cdf(math.sqrt(n / (n - 1)) * t.ppf((1 - LEVEL) / 2, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def sign_flip_p(values: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of the mean against 0, by flipping the signs of the values.

    It assumes only that without a difference either sign is as likely. All patterns are counted for
    up to 16 values, as many drawn at random for more.

    Args:
        values: [n], n of 1 or more.
        seed: Of the patterns that are drawn.
    """
    n = len(values)
    if n <= _ALL_SIGNS:
        signs = np.array(list(itertools.product((1, -1), repeat=n)))
        drawn = 0
    else:
        signs = np.random.default_rng(seed).choice((1, -1), (2**_ALL_SIGNS, n))
        drawn = 1  # the pattern that was found counts as one of those drawn
    sums = np.abs(signs @ values)
    as_far = (sums >= abs(values.sum()) * (1 - 1e-9) - 1e-12).sum()
    return float((as_far + drawn) / (len(signs) + drawn))

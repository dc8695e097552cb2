"""How far UAR and WAR of a set of clips may lie from those of all such clips: the bootstrap.

Clips are drawn again with replacement, as many as there are (Efron, 1979), and the middle 95 % of
the figures of 10,000 such sets are the interval. Clips count as independent of each other; where
several show one person or scene the true interval is wider.
"""

import numpy as np

RESAMPLES = 10_000
_TAILS = (2.5, 97.5)  # percent

Interval = tuple[float, float]


def resampled(labels: np.ndarray, right: np.ndarray, seed: int = 0) -> tuple[np.ndarray, ...]:
    """UAR and WAR of m sets of answers to the same clips, on clips drawn again.

    Clips of one class that all sets answered alike are interchangeable, so their numbers are drawn
    instead of the clips: the distribution is the same.

    Args:
        labels: int [n], true classes.
        right: bool [m, n], whether each set has the clip right.
        seed: Of the draw.

    Returns:
        Two of float64 [m, 10,000]. A class that a draw has no clip of has no part in its UAR.
    """
    sets, clips = right.shape
    patterns = 2**sets
    classes = int(labels.max()) + 1
    cells = labels * patterns + (right.T @ (1 << np.arange(sets)))
    counts = np.bincount(cells, minlength=classes * patterns)
    drawn = np.random.default_rng(seed).multinomial(clips, counts / clips, size=RESAMPLES)
    drawn = drawn.reshape(RESAMPLES, classes, patterns)
    totals = drawn.sum(axis=-1)
    present = totals > 0
    uars, wars = [], []
    for one in range(sets):
        hits = drawn[:, :, (np.arange(patterns) >> one) % 2 == 1].sum(axis=-1)
        recalls = hits / np.maximum(totals, 1)
        uars.append(recalls.sum(axis=1) / present.sum(axis=1))
        wars.append(hits.sum(axis=1) / clips)
    return np.stack(uars), np.stack(wars)


def intervals(labels: np.ndarray, right: np.ndarray) -> dict[str, Interval]:
    """The 95 % intervals of "uar" and "war" of answers to n clips.

    Args:
        labels: int [n], true classes.
        right: bool [n], which clips were answered rightly.
    """
    uars, wars = resampled(labels, right[None])
    return {"uar": middle(uars[0]), "war": middle(wars[0])}


def differences(labels: np.ndarray, right: np.ndarray, other: np.ndarray) -> dict[str, Interval]:
    """As `intervals`, of one set of answers less another to the same clips."""
    uars, wars = resampled(labels, np.stack([right, other]))
    return {"uar": middle(uars[0] - uars[1]), "war": middle(wars[0] - wars[1])}


def middle(values: np.ndarray) -> Interval:
    """The middle 95 % of values."""
    low, high = np.percentile(values, _TAILS)
    return float(low), float(high)

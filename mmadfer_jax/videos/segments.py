"""From windows to segments: a class that holds for a while."""

from typing import NamedTuple

import numpy as np

from mmadfer_jax.timelines.timeline import Segment, Windows

# What a change of class costs, in nats of a whole window: a class that comes between two stretches
# of another for as long as a window must be 1.6 times as probable as that one (e^0.5), for half as
# long 2.7 times. So what a single window says does not start a segment unless it says it clearly.
SWITCH_COST = 0.25
_LEAST = 1e-6  # probability, so that no class is impossible
_LEAST_WEIGHT = 1e-3  # of a window at its edges, which are all that some steps have


def find_segments(
    windows: Windows, classes: tuple[str, ...], window: float, hop: float
) -> tuple[Segment, ...]:
    """Smooths the answers for each person and says which class holds when.

    Time is cut into steps of one hop. The probabilities of a step are the mean of those of all
    windows that hold it, weighted by how near their middle is. The classes are the path through the
    steps with the most log-probability, where each change costs `SWITCH_COST` (Viterbi). Steps
    without an answer end a segment.

    Args:
        windows: The answers.
        classes: The K names.
        window: Length of a window in seconds.
        hop: Seconds from window to window.

    Returns:
        In order of start, then person.
    """
    found = []
    for person in np.unique(windows.person):
        asked = (windows.person == person) & np.isfinite(windows.probabilities).all(axis=1)
        if asked.any():
            found += _of_person(int(person), windows, asked, classes, window, hop)
    return tuple(sorted(found, key=lambda segment: (segment.start, segment.person)))


def _of_person(
    person: int,
    windows: Windows,
    asked: np.ndarray,
    classes: tuple[str, ...],
    window: float,
    hop: float,
) -> list[Segment]:
    steps = _steps(windows, asked, hop)
    known = np.flatnonzero(steps.end)
    apart = np.diff(known) > (1 if hop <= window else 0)  # nothing is known between windows
    found = []
    for run in np.split(known, np.flatnonzero(apart) + 1):
        weighed = np.log(np.maximum(steps.smooth[run], _LEAST)) * min(1.0, hop / window)
        path = _path(weighed)
        for piece in np.split(np.arange(len(run)), np.flatnonzero(np.diff(path)) + 1):
            held, best = run[piece], path[piece[0]]
            found.append(
                Segment(
                    person=person,
                    start=float(held[0] * hop),
                    end=float(min((held[-1] + 1) * hop, steps.end[held[-1]])),
                    label=classes[best],
                    confidence=float(steps.smooth[held, best].mean()),
                    doubtful=float(steps.doubtful[held].mean()),
                )
            )
    return found


class _Steps(NamedTuple):
    """Time in steps of one hop, m of them; NaN where no window holds a step.

    `smooth` [m, K] is the mean of the probabilities of the windows that hold it, `doubtful` [m] the
    share of them with notes, `end` [m] where the last one ends, 0 where there is none.
    """

    smooth: np.ndarray
    doubtful: np.ndarray
    end: np.ndarray


def _steps(windows: Windows, asked: np.ndarray, hop: float) -> _Steps:
    starts, ends = windows.start[asked], windows.end[asked]
    doubtful = np.array([bool(notes) for notes in windows.notes])[asked]
    first = np.rint(starts / hop).astype(int)
    # The last step of a window may reach over its end.
    lengths = np.ceil(np.round((ends - starts) / hop, 6)).astype(int)
    stop = first + np.maximum(lengths, 1)
    sums = np.zeros((stop.max(), windows.probabilities.shape[1] + 1))
    weights, end = np.zeros(len(sums)), np.zeros(len(sums))
    for row, answer in enumerate(windows.probabilities[asked]):
        held = np.arange(first[row], stop[row])
        apart = np.abs((held + 0.5) * hop - (starts[row] + ends[row]) / 2)
        weight = np.maximum(1 - apart / (ends[row] - starts[row]) * 2, _LEAST_WEIGHT)
        sums[held] += weight[:, None] * [*answer, doubtful[row]]
        weights[held] += weight
        end[held] = np.maximum(end[held], ends[row])
    with np.errstate(invalid="ignore"):
        means = sums / weights[:, None]
    return _Steps(means[:, :-1], means[:, -1], end)


def _path(scores: np.ndarray) -> np.ndarray:
    """The best class of each step, int [n], for scores [n, K] where a change costs.

    Of two as good ones, the lower class and the later change are taken.
    """
    best, came_from = scores[0], []
    for row in scores[1:]:
        changed = best.max() - SWITCH_COST
        came_from.append(np.where(best >= changed, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, changed) + row
    path = [int(best.argmax())]
    for step in reversed(came_from):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1])

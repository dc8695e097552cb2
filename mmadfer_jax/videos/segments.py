"""From windows to segments: a class that holds for a while."""

from typing import NamedTuple

import numpy as np

from mmadfer_jax.timelines.timeline import Segment, Windows

# What a change of class costs, in nats of a whole window: a class that comes between two stretches
# of another for as long as a window must be e times as probable as that one, for half as long e^2
# times. So what a single window says does not start a segment unless it says it clearly.
SWITCH_COST = 0.5
_LEAST = 1e-6  # probability, so that no class is impossible


def find_segments(
    windows: Windows, classes: tuple[str, ...], window: float, hop: float
) -> tuple[Segment, ...]:
    """Smooths the answers for each person and says which class holds when.

    Time is cut into steps of one hop. The probabilities of a step are the mean of those of all
    windows that hold it. The classes are the path through the steps with the most log-probability,
    where each change costs `SWITCH_COST` (Viterbi). Steps without an answer end a segment.

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
    steps = _steps(windows, asked, window, hop)
    known = np.flatnonzero(steps.count)
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

    `count` int [m] is that of the windows that hold it, `smooth` [m, K] the mean of their
    probabilities, `doubtful` [m] the share of them with notes, `end` [m] where the last one ends.
    """

    count: np.ndarray
    smooth: np.ndarray
    doubtful: np.ndarray
    end: np.ndarray


def _steps(windows: Windows, asked: np.ndarray, window: float, hop: float) -> _Steps:
    starts, ends = windows.start[asked], windows.end[asked]
    doubtful = np.array([bool(notes) for notes in windows.notes])[asked]
    first = np.rint(starts / hop).astype(int)
    # The last step of a window may reach over its end.
    lengths = np.ceil(np.round((ends - starts) / hop, 6)).astype(int)
    stop = first + np.maximum(lengths, 1)
    sums = np.zeros((stop.max(), windows.probabilities.shape[1] + 1))
    count, end = np.zeros(len(sums), int), np.zeros(len(sums))
    for row, answer in enumerate(windows.probabilities[asked]):
        held = slice(first[row], stop[row])
        sums[held] += [*answer, doubtful[row]]
        count[held] += 1
        end[held] = np.maximum(end[held], ends[row])
    with np.errstate(invalid="ignore"):
        means = sums / count[:, None]
    return _Steps(count, means[:, :-1], means[:, -1], end)


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

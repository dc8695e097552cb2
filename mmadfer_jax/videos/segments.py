"""From windows to segments: a class that holds for a while."""

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
    starts, ends = windows.start[asked], windows.end[asked]
    doubtful = np.array([bool(notes) for notes in windows.notes])[asked]
    first = np.rint(starts / hop).astype(int)
    # A window holds the steps that begin in it, the last one for what is left of it.
    stop = np.maximum(first + 1, np.ceil(np.round((ends - starts) / hop, 6)).astype(int) + first)
    if hop >= window:
        stop = first + 1
    steps = stop.max()
    total = np.zeros((steps, len(classes)))
    doubts, count, end = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    for row in range(len(first)):
        held = slice(first[row], stop[row])
        total[held] += windows.probabilities[asked][row]
        doubts[held] += doubtful[row]
        count[held] += 1
        end[held] = np.maximum(end[held], ends[row])
    known = np.flatnonzero(count)
    segments = []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        smooth = total[run] / count[run, None]
        path = _path(np.log(np.maximum(smooth, _LEAST)) * min(1.0, hop / window))
        for piece in np.split(np.arange(len(run)), np.flatnonzero(np.diff(path)) + 1):
            steps_of_it = run[piece]
            last = steps_of_it[-1]
            segments.append(
                Segment(
                    person=person,
                    start=float(steps_of_it[0] * hop),
                    end=float(min((last + 1) * hop, end[last]) if hop < window else end[last]),
                    label=classes[path[piece[0]]],
                    confidence=float(smooth[piece, path[piece[0]]].mean()),
                    doubtful=float((doubts[steps_of_it] / count[steps_of_it]).mean()),
                )
            )
    return segments


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

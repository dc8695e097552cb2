"""How a timeline is shown: the running probabilities of a person, and the colours of classes."""

from typing import NamedTuple

import numpy as np

from mmadfer_jax.timelines.cues import one_line
from mmadfer_jax.timelines.timeline import Timeline

# Told apart by colour-blind readers too (Okabe and Ito, and a brown).
_PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#f0e442"]
_PALETTE += ["#8c510a"]
_OTHERS = "#a0a6ae"
DOUBT = "#8a9099"


def class_colours(timeline: Timeline) -> list[str]:
    """A colour a class; with more classes than colours, those that are seldom likely share one."""
    classes, own = len(timeline.classes), len(_PALETTE)
    if classes <= own:
        return _PALETTE[:classes]
    answers = timeline.windows.probabilities
    answers = answers[np.isfinite(answers).all(axis=1)]
    likely = answers.mean(axis=0) if len(answers) else np.zeros(classes)
    chosen = sorted(np.argsort(-likely, kind="stable")[:own].tolist())
    return [_PALETTE[chosen.index(k)] if k in chosen else _OTHERS for k in range(classes)]


def legend(timeline: Timeline) -> list[tuple[str, str]]:
    """What each colour stands for: names and colours."""
    pairs = list(zip(map(one_line, timeline.classes), class_colours(timeline), strict=True))
    named = [(name, colour) for name, colour in pairs if colour != _OTHERS]
    return named if len(named) == len(pairs) else [*named, ("others", _OTHERS)]


class Answer(NamedTuple):
    """What is shown at n times: probabilities [n, K], NaN where nothing is said; doubtful [n]."""

    probabilities: np.ndarray
    doubtful: np.ndarray


class Running:
    """The answers for a person as functions of time: an answer stands at the middle of its window.

    Between windows that follow each other it goes over in a straight line. Elsewhere it holds as
    far as its window reaches.
    """

    def __init__(self, timeline: Timeline, person: int):
        windows = timeline.windows
        rows = np.flatnonzero(windows.person == person)
        rows = rows[np.isfinite(windows.probabilities[rows]).all(axis=1)]
        self._middle = (windows.start[rows] + windows.end[rows]) / 2
        self._reach = (windows.end[rows] - windows.start[rows]) / 2
        self._probabilities = windows.probabilities[rows].astype(np.float64)
        self._doubtful = np.array([bool(windows.notes[row]) for row in rows], bool)
        self._step = 1.5 * timeline.hop  # more lies between windows that do not follow each other

    def at(self, times: np.ndarray) -> Answer:
        """The answers at some times in seconds."""
        times = np.asarray(times, np.float64)
        found = np.full((len(times), self._probabilities.shape[1]), np.nan)
        middle = self._middle
        if not len(middle):
            return Answer(found, np.zeros(len(times), bool))
        after = np.searchsorted(middle, times).clip(0, len(middle) - 1)
        before = (after - 1).clip(0)
        nearer = np.abs(times - middle[before]) < np.abs(times - middle[after])
        near = np.where(nearer, before, after)
        held = np.abs(times - middle[near]) <= self._reach[near] + 1e-6
        found[held] = self._probabilities[near[held]]
        gap = middle[after] - middle[before]
        within = (times > middle[before]) & (times < middle[after]) & (gap <= self._step)
        share = ((times - middle[before])[within] / gap[within])[:, None]
        one, other = self._probabilities[before[within]], self._probabilities[after[within]]
        found[within] = (1 - share) * one + share * other
        return Answer(found, self._doubtful[near])

"""How a timeline is shown: the running probabilities of a person, and the colours of classes."""

from collections.abc import Sequence
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


def stack(colours: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Classes of one colour put together, as they are drawn one on the other.

    Args:
        colours: Of the K classes.

    Returns:
        The G colours, that of the others last, and float64 [K, G]: probabilities times this are
        those of the colours.
    """
    shown = sorted(dict.fromkeys(colours), key=lambda colour: colour == _OTHERS)
    return shown, np.array([[colour == one for one in shown] for colour in colours], np.float64)


class Answer(NamedTuple):
    """What is shown at n times: probabilities [n, K], NaN where nothing is said; doubtful [n]."""

    probabilities: np.ndarray
    doubtful: np.ndarray


class Span(NamedTuple):
    """A stretch of time in seconds in which answers are doubtful for the same reasons."""

    start: float
    end: float
    notes: tuple[str, ...]


class Running:
    """The answers for a person as functions of time: an answer stands at the middle of its window.

    Between windows that follow each other it goes over in a straight line. Elsewhere it holds as
    far as its window reaches.

    Attributes:
        runs: Windows that follow each other, as corners of the lines between them: seconds [m],
            rising, and probabilities [m, K].
        doubts: Where answers are doubtful.
    """

    def __init__(self, timeline: Timeline, person: int):
        windows = timeline.windows
        rows = np.flatnonzero(windows.person == person)
        rows = rows[np.isfinite(windows.probabilities[rows]).all(axis=1)]
        start, end = windows.start[rows], windows.end[rows]
        self._classes, middle = windows.probabilities.shape[1], (start + end) / 2
        halves = (middle[1:] + middle[:-1]) / 2
        # An answer reaches from `start` to `end`, but no further than half the way to the next.
        start[1:], end[:-1] = np.maximum(start[1:], halves), np.minimum(end[:-1], halves)
        cuts = np.flatnonzero(np.diff(middle) > 1.5 * timeline.hop) + 1
        self.runs = []
        for part in np.split(np.arange(len(rows)), cuts):
            if len(part):
                ends = part[[0, *range(len(part)), -1]]
                times = np.concatenate([start[part[:1]], middle[part], end[part[-1:]]])
                self.runs.append((times, windows.probabilities[rows[ends]].astype(np.float64)))
        self.doubts: list[Span] = []
        for row, *times in zip(rows, start.tolist(), end.tolist(), strict=True):
            span = Span(*times, windows.notes[row])
            if span.notes and self.doubts and self._goes_on(span):
                span = span._replace(start=self.doubts.pop().start)
            if span.notes:
                self.doubts.append(span)
        # In front one that is never reached, so that there always is one.
        self._doubts = np.array([(-np.inf, -np.inf), *(span[:2] for span in self.doubts)])

    def _goes_on(self, span: Span) -> bool:
        before = self.doubts[-1]
        return before.notes == span.notes and before.end >= span.start

    def at(self, times: np.ndarray) -> Answer:
        """The answers at one or more times in seconds."""
        times = np.asarray(times, np.float64)
        found = np.full((len(times), self._classes), np.nan)
        for corners, probabilities in self.runs:
            if corners[0] > times.max() or corners[-1] < times.min():
                continue
            within = (times >= corners[0]) & (times <= corners[-1])
            for k in range(self._classes):
                found[within, k] = np.interp(times[within], corners, probabilities[:, k])
        span = np.searchsorted(self._doubts[:, 0], times, "right") - 1
        return Answer(found, times <= self._doubts[span, 1])

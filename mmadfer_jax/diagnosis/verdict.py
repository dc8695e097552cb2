"""What measured figures and treatments say about a preparation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmadfer_jax.diagnosis.expected import Expected
from mmadfer_jax.diagnosis.treatments import NO_PICTURE, NO_SOUND, OTHER_SOUND, Treatment
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.metrics import confusion_matrix

TRUSTED, DOUBTFUL, NOT_TRUSTED, TOO_GOOD, UNKNOWN = (
    *("can be trusted", "is doubtful", "cannot be trusted", "is not what is tested", "unknown"),
)
_FAR, _FAR_ABOVE = 5.0, 8.0  # points of UAR
_CHANCE = 0.01  # p below which a treatment counts as helping
_GAIN = 0.02  # UAR that it must gain at least
_NOTHING_FOUND = (
    "Nothing that was tried makes it better. What prepared clips cannot tell: whether the sound "
    "has the videos' own rate, whether faces are cut out as the authors' program does it (look at "
    "the dataset's report.html), and whether clips of the fold are missing."
)
_NOTHING = -0.02  # a change of UAR above which what was taken away said nothing


class Tried(NamedTuple):
    """A treatment and what it did to the UAR of some clips.

    Attributes:
        treatment: What was done.
        uar: With it.
        change: Of UAR.
        interval: Of the change, 95 %.
        p: McNemar's.
    """

    treatment: Treatment
    uar: float
    change: float
    interval: tuple[float, float]
    p: float

    @property
    def helps(self) -> bool:
        """Whether it makes the figures better by more than chance."""
        return self.p < _CHANCE and self.change > _GAIN and self.interval[0] > 0


def judge(uar: float, interval: tuple[float, float], expected: Expected | None) -> str:
    """What a measured UAR says, given what was expected.

    Args:
        uar: Share.
        interval: Its 95 % interval.
        expected: In percent; None where nobody knows.
    """
    if expected is None:
        return UNKNOWN
    low, high = (100 * end for end in interval)
    if low > expected.uar + expected.tolerance and 100 * uar > expected.uar + _FAR_ABOVE:
        return TOO_GOOD
    if high >= expected.uar - expected.tolerance:
        return TRUSTED
    return DOUBTFUL if expected.uar - 100 * uar < _FAR else NOT_TRUSTED


def class_order(answers: Answers, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The order of classes that fits answers best.

    It is found on one half of the clips and tried on the other, both ways, so that it gains nothing
    by chance.

    Args:
        answers: To n clips.
        classes: The K class names.

    Returns:
        bool [n], which clips are answered rightly in that order; and for each class that has
        another place "A -> B", where what the data call A the model calls B.
    """
    labels, said = answers.labels, answers.logits.argmax(axis=1)
    half = np.zeros(len(labels), bool)
    for label in np.unique(labels):  # every other clip of each class
        half[np.flatnonzero(labels == label)[::2]] = True
    right = np.empty(len(labels), bool)
    for inside in (half, ~half):
        order = _order(labels[inside], said[inside], len(classes))
        right[~inside] = said[~inside] == order[labels[~inside]]
    order = _order(labels, said, len(classes))
    moved = [f"{classes[i]} -> {classes[k]}" for i, k in enumerate(order) if i != k]
    return right, moved


def _order(labels: np.ndarray, said: np.ndarray, count: int) -> np.ndarray:
    """The class that each class of the data is taken for, each used once; ties keep their place."""
    matrix = confusion_matrix(labels, said, count)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return linear_sum_assignment(shares + 1e-6 * np.eye(count), maximize=True)[1]


def causes(tried: Sequence[Tried], away: Mapping[str, Tried], uar: float) -> list[str]:
    """What is likely wrong, the likeliest first, each with its evidence.

    Args:
        tried: What may undo a mistake.
        away: What takes something away, by its name.
        uar: Of the same clips as they are, a share.
    """
    found = []
    for one in sorted((one for one in tried if one.helps), key=lambda one: -one.change):
        treatment = one.treatment
        found.append(
            f"{treatment.mistake}. Evidence: with {treatment.name} the UAR of the same clips is "
            f"{100 * one.uar:.1f} instead of {100 * uar:.1f} % ({_change(one)}, p = {one.p:.1g}). "
            f"What to do: {treatment.advice}"
        )
    silent, other = away.get(NO_SOUND), away.get(OTHER_SOUND)
    if silent and other and min(silent.change, other.change) > _NOTHING:
        found.append(
            "the sound tells the model nothing: it was converted badly, or is that of other clips. "
            f"Evidence: without it the UAR changes by {_change(silent)}, with the sound of other "
            f"clips by {_change(other)}. Others measured 38.00 / 45.04 on DFEW with sound that was "
            "converted wrongly. What to do: listen to some of the sounds, and prepare the dataset "
            "again from the videos"
        )
    blind = away.get(NO_PICTURE)
    if blind and blind.change > _NOTHING:
        found.append(
            "the picture tells the model nothing. Evidence: with black frames the UAR changes by "
            f"{_change(blind)}. What to do: look at the faces in the dataset's report.html"
        )
    return found


def say(verdict: str, uar: float, expected: Expected | None, found: Sequence[str]) -> str:
    """The verdict in words.

    Args:
        verdict: One of the five.
        uar: What was measured, a share.
        expected: In percent.
        found: Causes and oddities, the likeliest first.
    """
    text = f"The preparation {verdict}."
    if verdict == UNKNOWN:
        text = (
            "Nobody has told what this model should reach on these data, so there is no verdict; "
            "give --expect=UAR/WAR if you know."
        )
    elif verdict == TOO_GOOD:
        text = (
            f"The UAR is {100 * uar - expected.uar:.1f} points above what was expected: the model "
            "has probably seen these clips in its training. Is it the checkpoint of this fold? The "
            "preparation itself seems to be right."
        )
    else:
        text += f" The UAR is {100 * uar - expected.uar:+.1f} points from what was expected."
    if not found:
        if verdict in (DOUBTFUL, NOT_TRUSTED):
            text += f" {_NOTHING_FOUND}"
        return text
    first = "Likeliest cause" if verdict in (DOUBTFUL, NOT_TRUSTED) else "To be looked at"
    rest = [f"- {text}." for text in found[1:]]
    return "\n".join([f"{text} {first}: {found[0]}.", *(["", "Also:", *rest] if rest else [])])


def _change(one: Tried) -> str:
    low, high = (100 * end for end in one.interval)
    return f"{100 * one.change:+.1f} points, {low:+.1f} to {high:+.1f}"

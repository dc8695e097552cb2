"""Two models on the same clips: who is right where, and whether the difference may be chance."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.classes import canonical
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.intervals import differences
from mmadfer_jax.evaluation.metrics import recalls_of
from mmadfer_jax.evaluation.section import Section, number, percent, span, table


def mcnemar(right: np.ndarray, other: np.ndarray) -> float:
    """The exact test of McNemar (1947), two-sided.

    Args:
        right: bool [n], which clips one model has right.
        other: bool [n], which the other.

    Returns:
        The probability that of the clips which one model alone has right as many or more fall to
        one of them, if each were as likely to fall to either.
    """
    ours, theirs = int((right & ~other).sum()), int((other & ~right).sum())
    return float(binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0


def comparison_section(
    answers: Answers,
    classes: Sequence[str],
    other: Answers,
    other_classes: Sequence[str],
    name: str,
) -> Section:
    """Compares a model with another one.

    Args:
        answers: Of the model.
        classes: Its K class names.
        other: Of the other model, to these clips and perhaps to more.
        other_classes: Its class names.
        name: Of the other one.

    Raises:
        UserError: It did not answer all clips, or to other true classes.
    """
    labels, right = answers.labels, answers.logits.argmax(axis=1) == answers.labels
    theirs = _right(answers, classes, other, other_classes, name)
    recalls, other_recalls = (recalls_of(labels, x, len(classes)) for x in (right, theirs))
    intervals, p = differences(labels, right, theirs), mcnemar(right, theirs)
    figures = {
        "uar": (np.nanmean(recalls), np.nanmean(other_recalls)),
        "war": (right.mean(), theirs.mean()),
    }
    clips = {
        "both": int((right & theirs).sum()),
        "this_alone": int((right & ~theirs).sum()),
        "other_alone": int((theirs & ~right).sum()),
        "neither": int((~right & ~theirs).sum()),
    }
    rows = [
        (key.upper(), percent(a), percent(b), f"{100 * (a - b):+.2f}", span(intervals[key]))
        for key, (a, b) in figures.items()
    ]
    rows += [
        (f"recall of {label}", percent(number(a)), percent(number(b)), f"{100 * (a - b):+.2f}", "")
        for label, a, b in zip(classes, recalls, other_recalls, strict=True)
        if not np.isnan(a)
    ]
    text = (
        table(("percent", "this model", "the other", "difference", "95 % of resamples"), rows)
        + f"\n\nThe other is {name}. Of {len(labels):,} clips both have {clips['both']:,} right, "
        f"this one alone {clips['this_alone']:,}, the other alone {clips['other_alone']:,}, "
        f"neither {clips['neither']:,}. McNemar's exact test: p = {p:.2g}."
    )
    results = {
        "other": name,
        **{
            key: {
                "this": float(a),
                "other": float(b),
                "difference": float(a - b),
                "interval": intervals[key],
            }
            for key, (a, b) in figures.items()
        },
        "right": clips,
        "mcnemar_p": p,
    }
    return Section("comparison", "Two models on the same clips", results, text)


def _right(
    answers: Answers,
    classes: Sequence[str],
    other: Answers,
    other_classes: Sequence[str],
    name: str,
) -> np.ndarray:
    """Whether the other model has each of our clips right, bool [n]."""
    places = {clip: place for place, clip in enumerate(other.ids)}
    if missing := [clip for clip in answers.ids if clip not in places]:
        raise UserError(
            f"{name} has no answer to {len(missing):,} of {len(answers.ids):,} clips, such as "
            f"{missing[0]}; two models are compared on the same clips"
        )
    theirs = np.array([places[clip] for clip in answers.ids])
    names = [canonical(label) for label in other_classes]
    for clip, ours, place in zip(answers.ids, answers.labels, theirs, strict=True):
        if canonical(classes[ours]) != names[other.labels[place]]:
            raise UserError(
                f"the true class of {clip} is {classes[ours]} here and "
                f"{other_classes[other.labels[place]]} in {name}; compare on the same labels"
            )
    return (other.logits.argmax(axis=1) == other.labels)[theirs]

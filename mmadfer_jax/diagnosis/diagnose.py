"""Evaluates a model whose figures are known on prepared data, and finds out why they differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_parts
from mmadfer_jax.diagnosis.checks import look_at
from mmadfer_jax.diagnosis.expected import Expected
from mmadfer_jax.diagnosis.treatments import Treatment, taking_away, undoing
from mmadfer_jax.diagnosis.verdict import TOO_GOOD, TRUSTED, Tried, causes, class_order, judge, say
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.comparison import mcnemar
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.intervals import differences, intervals
from mmadfer_jax.evaluation.metrics import recalls_of
from mmadfer_jax.evaluation.published import MISTAKES, POINTS_LOST, Published
from mmadfer_jax.evaluation.section import Section, percent, span, table

_OF_A_PART = 100  # clips of each part, to tell which one a checkpoint does not know


def diagnose(
    examination: Examination, expected: Expected | None, *, clips: int = 200, always: bool = False
) -> Iterator[Section]:
    """A section for each step; the last one is the verdict.

    Args:
        examination: The model and the clips, whose classes are matched already.
        expected: What the model should reach on them.
        clips: On how many of them treatments are tried.
        always: Whether they are tried where the figures are as expected, too.

    Raises:
        UserError: A record is corrupt, or an answer is not finite.
    """
    source, card = examination.source, examination.model.card
    look, odd = look_at(source, card)
    rows = [(name.replace("_", " "), _plain(value)) for name, value in look.items()]
    told = "\n".join(f"- {text}" for text in odd) or "Nothing odd was found."
    yield Section("data", "The data", {**look, "odd": odd}, f"{table(_OF_SOME, rows)}\n\n{told}")
    answers = examination.answers()
    right = answers.logits.argmax(axis=1) == answers.labels
    uar = float(np.nanmean(recalls_of(answers.labels, right, len(examination.classes))))
    interval = intervals(answers.labels, right)
    verdict = judge(uar, interval["uar"], expected)
    mistakes = MISTAKES if source.info.name == "dfew" and card.preparation is None else ()
    yield _measured(uar, float(right.mean()), interval, expected, mistakes, len(right))
    found = []
    if verdict == TOO_GOOD:
        yield from _folds(examination)
    elif verdict != TRUSTED or always:
        places = spread_over_classes(answers.labels, clips)
        usual = Answers(
            [answers.ids[i] for i in places], answers.labels[places], answers.logits[places]
        )
        tried, away, before = _treat(examination.on(source.only(places)), usual)
        yield _tried([*tried, *away], before, len(places))
        found = causes(tried, {one.treatment.name: one for one in away}, before)
    text = say(verdict, uar, expected, [*found, *odd])
    results = {"verdict": verdict, "causes": found, "odd": odd}
    yield Section("verdict", "Verdict", results, text)


_OF_SOME = ("of some clips", "")


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{rate} Hz: {n}" for rate, n in value.items()) or "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def spread_over_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Places of at most `count` clips, as many of each class as there are, drawn always alike."""
    rng, turns = np.random.default_rng(0), np.empty(len(labels), int)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turns[rng.permutation(own)] = np.arange(len(own))
    return np.sort(np.argsort(turns, kind="stable")[:count])


def _measured(
    uar: float,
    war: float,
    interval: dict[str, tuple[float, float]],
    expected: Expected | None,
    mistakes: Sequence[Published],
    clips: int,
) -> Section:
    def two(first: float | None, second: float | None) -> str:
        return " / ".join("-" if value is None else f"{value:.2f}" for value in (first, second))

    ends = f"UAR {span(interval['uar'])}, WAR {span(interval['war'])}"
    rows = [("measured here", two(100 * uar, 100 * war), f"{clips:,} clips; 95 %: {ends}")]
    if expected:
        rows.append(("expected", two(expected.uar, expected.war), expected.source))
    rows += [
        (
            f"{one.method}, fold {one.fold}" if one.fold else one.method,
            two(one.uar, one.war),
            one.source,
        )
        for one in mistakes
    ]
    text = table(("", "UAR / WAR", "of what"), rows)
    if mistakes:
        text += f"\n\nBeside that, {POINTS_LOST}."
    results = {
        "uar": uar,
        "war": war,
        "intervals": interval,
        "clips": clips,
        "expected": expected and expected._asdict(),
    }
    return Section("measured", "Measured and expected", results, text)


def _treat(examination: Examination, usual: Answers) -> tuple[list[Tried], list[Tried], float]:
    """What undoes a mistake, what takes something away, and the UAR of the clips as they are."""
    labels, classes = usual.labels, examination.classes
    before = usual.logits.argmax(axis=1) == labels
    uar_before = np.nanmean(recalls_of(labels, before, len(classes)))

    def outcome(treatment: Treatment, right: np.ndarray) -> Tried:
        uar = np.nanmean(recalls_of(labels, right, len(classes)))
        interval = differences(labels, right, before)["uar"]
        p = mcnemar(right, before)
        return Tried(treatment, float(uar), float(uar - uar_before), interval, p)

    def tried(treatment: Treatment) -> Tried:
        answers = examination.answers(treatment.alter, treatment.reading)
        return outcome(treatment, answers.logits.argmax(axis=1) == labels)

    card, source = examination.model.card, examination.source
    undone = [tried(treatment) for treatment in undoing(card)]
    right, moved = class_order(usual, classes)
    if moved:
        mistake = f"classes have other places: what the data call A the model calls B in {moved}"
        advice = "look at the class names of the data and of the model, and at their order"
        undone.append(outcome(Treatment("classes in another order", mistake, advice), right))
    return undone, [tried(one) for one in taking_away(source, card)], float(uar_before)


def _tried(tried: Sequence[Tried], before: float, clips: int) -> Section:
    rows = [
        (
            one.treatment.name,
            percent(one.uar, 1),
            f"{100 * one.change:+.1f}",
            span(one.interval),
            f"{one.p:.1g}",
            "yes" if one.helps else "",
        )
        for one in tried
    ]
    text = table(("the clips with", "UAR", "change", "95 %", "p", "helps"), rows)
    text += f"\n\nOf {clips:,} clips, whose UAR as they are is {percent(before, 1)} %."
    results = [
        {
            "treatment": one.treatment.name,
            "uar": one.uar,
            "change": one.change,
            "interval": one.interval,
            "p": one.p,
            "helps": one.helps,
        }
        for one in tried
    ]
    return Section("tried", "What was tried", results, text)


def _folds(examination: Examination) -> Iterator[Section]:
    """How the model does on each part: on the one it was not trained on it does worst."""
    source = examination.source
    try:
        parts = fold_parts(source.info.name, source.info.splits)
    except UserError:
        return
    rows = {}
    for part in parts:
        whole = RecordSource(source.directory, [part], source.info)
        some = examination.on(whole.only(spread_over_classes(whole.labels, _OF_A_PART)))
        answers = some.answers()
        right = answers.logits.argmax(axis=1) == answers.labels
        rows[part] = {"war": float(right.mean()), "clips": len(right)}
    if not rows:
        return
    lines = [(part, row["clips"], percent(row["war"], 1)) for part, row in rows.items()]
    worst = min(rows, key=lambda part: rows[part]["war"])
    text = table(("part", "clips", "right, percent"), lines)
    text += f"\n\nThe part that it knows least is {worst}: the one it was not trained on, perhaps."
    yield Section("folds", "The parts of the dataset", rows, text)

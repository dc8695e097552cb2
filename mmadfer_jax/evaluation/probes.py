"""What a trained model relies on: it is shown clips that were spoilt, and asked again."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation import alterations
from mmadfer_jax.evaluation.conflict import conflict_section, mixed_section
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.figures_probes import probes_figure, recalls_figure
from mmadfer_jax.evaluation.intervals import differences, intervals
from mmadfer_jax.evaluation.metrics import recalls_of
from mmadfer_jax.evaluation.section import Section, number, percent, span, table
from mmadfer_jax.training.input import Alteration

AS_THEY_ARE, NO_SOUND, NO_PICTURE = "as they are", "no sound", "no picture"
_MODALITIES, _ORDER = "modalities", "order"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of probe that has strengths.

    Attributes:
        title: Of its axis in a figure.
        label: Of one strength.
        expected: Which strengths make sense, in words.
        fits: Whether a strength does, for a model of some side in pixels and number of frames.
        usual: Strengths where none are given, for such a model.
        alter: What a strength does, for a model of some side.
    """

    title: str
    label: str
    expected: str
    fits: Callable[[float, int, int], bool]
    usual: Callable[[int, int], Sequence[float]]
    alter: Callable[[float, int], Alteration]


_DECIBELS = {
    "expected": "-100 to 100, a ratio in dB",
    "fits": lambda strength, side, frames: -100 <= strength <= 100,
}
KINDS = {
    "sound_noise": Kind(
        title="noise in the sound: SNR, dB",
        label="sound at {:g} dB SNR",
        usual=lambda side, frames: (20, 10, 0),
        alter=lambda strength, side: partial(alterations.sound_noise, decibels=strength),
        **_DECIBELS,
    ),
    "picture_noise": Kind(
        title="noise in the picture: SNR, dB",
        label="picture at {:g} dB SNR",
        usual=lambda side, frames: (20, 10, 0),
        alter=lambda strength, side: partial(alterations.picture_noise, decibels=strength),
        **_DECIBELS,
    ),
    "blur": Kind(
        title="blur: standard deviation, pixels",
        label="blur of {:g} px",
        expected="pixels, more than 0 and at most the model's side",
        fits=lambda strength, side, frames: 0 < strength <= side,
        usual=lambda side, frames: [round(side / part, 2) for part in (112, 56, 28)],
        alter=lambda strength, side: partial(alterations.blur, pixels=strength, side=side),
    ),
    "size": Kind(
        title="side of the face, pixels",
        label="face of {:g} px",
        expected="a whole number of pixels",
        fits=lambda strength, side, frames: strength >= 1 and strength == int(strength),
        usual=lambda side, frames: [side // part for part in (2, 4, 8)],
        alter=lambda strength, side: partial(alterations.smaller, side=int(strength)),
    ),
    "frames": Kind(
        title="frames that differ",
        label="{:g} of the frames",
        expected="a whole number, at most the model's frames",
        fits=lambda strength, side, frames: 1 <= strength <= frames and strength == int(strength),
        usual=lambda side, frames: [n for n in (8, 4, 2, 1) if n < frames],
        alter=lambda strength, side: partial(alterations.fewer_frames, count=int(strength)),
    ),
}
PROBES = (_MODALITIES, _ORDER, *KINDS)

Wanted = Mapping[str, Sequence[float] | None]  # a probe's name -> its strengths, None: the usual


@dataclasses.dataclass(frozen=True)
class Probe:
    """One pass over the clips.

    Attributes:
        label: What was done to them.
        alter: Does it.
        kind: Key of `KINDS`, where it has a strength.
        strength: That.
    """

    label: str
    alter: Alteration
    kind: str | None = None
    strength: float | None = None


def parse_probes(texts: Sequence[str]) -> Wanted:
    """Reads `--probe`: names, each with its strengths or without.

    Args:
        texts: Such as "modalities", "order", "blur=1,2" or "all".

    Raises:
        UserError: There is no such probe, or a strength is no number.
    """
    found: dict[str, Sequence[float] | None] = {}
    for text in texts:
        name, given, values = text.partition("=")
        if text == "all":
            found = dict.fromkeys(PROBES) | found
        elif name not in PROBES or (given and name not in KINDS):
            strengths = ", ".join(f"{kind}[=A,B,...]" for kind in KINDS)
            raise UserError(
                f"--probe={text}; expected all, {_MODALITIES}, {_ORDER}, or one of {strengths}"
            )
        elif not given:
            found[name] = None
        else:
            try:
                found[name] = tuple(map(float, values.split(",")))
            except ValueError:
                raise UserError(f"--probe={text}; expected numbers after the =") from None
    return found


def plan_probes(wanted: Wanted, examination: Examination) -> list[Probe]:
    """The passes, without that over the clips as they are.

    Raises:
        UserError: A strength makes no sense for this model.
    """
    card, probes = examination.model.card, []
    if _MODALITIES in wanted:
        without_sound = partial(alterations.no_sound, reading=card.reading)
        probes += [Probe(NO_SOUND, without_sound), Probe(NO_PICTURE, alterations.no_picture)]
    if _ORDER in wanted:
        probes += [
            Probe("frames backwards", alterations.backwards),
            Probe("frames shuffled", alterations.shuffled),
        ]
    side, frames = card.model.image_size, card.model.num_frames
    for name, kind in KINDS.items():
        if name not in wanted:
            continue
        for strength in wanted[name] or kind.usual(side, frames):
            if not kind.fits(strength, side, frames):
                raise UserError(f"--probe={name}={strength:g}; expected {kind.expected}")
            label = kind.label.format(strength)
            probes.append(Probe(label, kind.alter(strength, side), name, strength))
    return probes


def probe(examination: Examination, probes: Sequence[Probe], usual: Answers) -> Iterator[Section]:
    """Shows a model its clips in other ways; a section for each question.

    Args:
        examination: The model and the clips.
        probes: As `plan_probes` gives them.
        usual: The answers to the clips as they are.
    """
    found = {p.label: examination.answers(p.alter) for p in probes}
    if probes:
        yield _section(usual, found, probes, examination.classes)
    if NO_PICTURE in found:
        yield conflict_section(usual, found[NO_PICTURE], found[NO_SOUND], examination.classes)
        if len(examination.source) > 1:
            mix = alterations.OtherSound.of(examination.source, examination.model.card.reading)
            answers = examination.answers(mix)
            yield mixed_section(answers, answers.labels[mix.partners])


def _section(
    usual: Answers, found: Mapping[str, Answers], probes: Sequence[Probe], classes: Sequence[str]
) -> Section:
    rows = [
        {"probe": AS_THEY_ARE, "kind": None, "strength": None, **_figures(usual, usual, classes)}
    ]
    for p in probes:
        figures = _figures(found[p.label], usual, classes)
        rows.append({"probe": p.label, "kind": p.kind, "strength": p.strength, **figures})
    recalls = [(row["probe"], *(percent(x, 1) for x in row["recalls"])) for row in rows]
    text = f"{_table(rows)}\n\n{table(('recall, percent', *classes), recalls)}"
    titles = {name: kind.title for name, kind in KINDS.items()}
    figures = {
        "probes.png": partial(probes_figure, rows, titles),
        "probes_by_class.png": partial(recalls_figure, rows, list(classes)),
    }
    answers = {AS_THEY_ARE: usual, **found}
    files = {"probes.csv": _csv(answers, classes)}
    return Section("probes", "What the model relies on", rows, text, figures, files)


def _figures(answers: Answers, usual: Answers, classes: Sequence[str]) -> dict[str, Any]:
    labels, said, before = usual.labels, answers.logits.argmax(axis=1), usual.logits.argmax(axis=1)
    recalls, recalls_before = (
        recalls_of(labels, x == labels, len(classes)) for x in (said, before)
    )
    interval = intervals(labels, said == labels)
    change = differences(labels, said == labels, before == labels)
    return {
        "uar": float(np.nanmean(recalls)),
        "uar_interval": interval["uar"],
        "war": float((said == labels).mean()),
        "war_interval": interval["war"],
        "uar_change": float(np.nanmean(recalls) - np.nanmean(recalls_before)),
        "uar_change_interval": change["uar"],
        "war_change": float((said == labels).mean() - (before == labels).mean()),
        "war_change_interval": change["war"],
        "other_answers": float((said != before).mean()),
        "recalls": [number(recall) for recall in recalls],
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("clips", "UAR", "95 %", "WAR", "change of UAR", "95 %", "other answers")
    lines = []
    for row in rows:
        figures = percent(row["uar"]), span(row["uar_interval"]), percent(row["war"])
        change = f"{100 * row['uar_change']:+.2f}", span(row["uar_change_interval"])
        others = f"{percent(row['other_answers'], 1)} %"
        same = row["probe"] == AS_THEY_ARE
        lines.append((row["probe"], *figures, *(("", "", "") if same else (*change, others))))
    return table(header, lines)


def _csv(answers: Mapping[str, Answers], classes: Sequence[str]) -> str:
    """What was answered to every clip, a column for each way it was shown."""
    text, first = io.StringIO(), next(iter(answers.values()))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "true", *answers])
    said = [[classes[i] for i in x.logits.argmax(axis=1)] for x in answers.values()]
    true = [classes[label] for label in first.labels]
    writer.writerows(zip(first.ids, true, *said, strict=True))
    return text.getvalue()

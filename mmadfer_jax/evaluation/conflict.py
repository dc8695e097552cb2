"""Sound against picture: what each says alone, who is right, and whom the model follows."""

import functools
from collections.abc import Sequence

import numpy as np

from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures_probes import conflict_figure
from mmadfer_jax.evaluation.section import Section, percent, table

_NOTE = """Columns 3 to 5 count what the model says of the whole clip; where both agree, the third
and the fourth count the same clips. Sound alone: every frame is an even grey. Picture alone: the
sound is what stands for none."""


def conflict_section(
    both: Answers, sound: Answers, picture: Answers, classes: Sequence[str]
) -> Section:
    """The table of what sound alone, picture alone and both say of the same clips.

    Args:
        both: The model's answers to whole clips.
        sound: To clips without a picture.
        picture: To clips without sound.
        classes: The K class names.
    """
    labels = both.labels
    said, heard, seen = (x.logits.argmax(axis=1) for x in (both, sound, picture))
    agree, either = heard == seen, (heard == labels) | (seen == labels)
    cases = {
        "agree, right": agree & either,
        "agree, wrong": agree & ~either,
        "disagree, sound right": ~agree & (heard == labels),
        "disagree, picture right": ~agree & (seen == labels),
        "disagree, both wrong": ~agree & ~either,
    }
    counts = {
        "clips": np.full_like(agree, True),
        "as_sound": said == heard,
        "as_picture": said == seen,
        "otherwise": (said != heard) & (said != seen),
        "right": said == labels,
    }
    rows = [
        {"case": case} | {name: int((inside & of).sum()) for name, of in counts.items()}
        for case, inside in cases.items()
    ]
    header = ("alone they", "clips", "model says as sound", "as picture", "otherwise", "is right")
    lines = []
    for row in rows:
        numbers = (f"{row[name]:,}" for name in counts if name != "right")
        share = percent(row["right"] / row["clips"], 1) + " %" if row["clips"] else "-"
        lines.append((row["case"], *numbers, share))
    right = {"clips": counts["clips"], "sound": heard == labels, "picture": seen == labels}
    right["both"] = said == labels
    by_class = {
        name: {key: int((of & (labels == i)).sum()) for key, of in right.items()}
        for i, name in enumerate(classes)
    }
    results = {"cases": rows, "right_by_class": by_class}
    figures = {"conflict.png": functools.partial(conflict_figure, rows)}
    text = f"{table(header, lines)}\n\n{_NOTE}"
    return Section("conflict", "Sound against picture", results, text, figures)


def mixed_section(answers: Answers, sounds: np.ndarray) -> Section:
    """Whom the model follows where the picture of a clip got the sound of another one.

    Args:
        answers: To the mixed clips; labels are those of the pictures.
        sounds: int [n], the true classes of the sounds.
    """
    differ = answers.labels != sounds
    said = answers.logits.argmax(axis=1)[differ]
    picture, sound = said == answers.labels[differ], said == sounds[differ]
    shares = {"picture": picture, "sound": sound, "neither": ~picture & ~sound}
    shares = {name: float(of.mean()) if len(said) else None for name, of in shares.items()}
    text = (
        f"Each picture was shown with the sound of another clip; in {len(said):,} of "
        f"{len(differ):,} the two are of different classes. There the model says the class of the "
        f"picture in {percent(shares['picture'], 1)} %, that of the sound in "
        f"{percent(shares['sound'], 1)} %, and neither in {percent(shares['neither'], 1)} %."
    )
    results = {"clips": len(said), **shares}
    return Section("mixed", "Pictures with the sound of other clips", results, text)

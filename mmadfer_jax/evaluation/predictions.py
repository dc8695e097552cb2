"""`predictions.csv`: what a model says of every clip, written and read back."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.metrics import softmax

PREDICTIONS = "predictions.csv"
_FIRST = ["clip", "true", "predicted"]


def to_csv(answers: Answers, classes: Sequence[str]) -> str:
    """A line a clip: its name, true and predicted class, and each class's probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *(f"p({name})" for name in classes)])
    for clip, label, row in zip(
        answers.ids, answers.labels, softmax(answers.logits.astype(np.float64)), strict=True
    ):
        shares = (f"{share:.9g}" for share in row)
        writer.writerow([clip, classes[label], classes[int(row.argmax())], *shares])
    return text.getvalue()


def read_predictions(path: Path | UPath) -> tuple[Answers, tuple[str, ...]]:
    """Reads what `to_csv` wrote.

    Returns:
        The answers, whose logits are logarithms of the probabilities, and the class names.

    Raises:
        UserError: The file is not there, or is not such a file.
    """
    try:
        header, *rows = csv.reader(io.StringIO(files.read_text(path), newline=""))
        names = [column[2:-1] for column in header[3:] if column[:2] == "p(" and column[-1] == ")"]
        if header[:3] != _FIRST or len(names) != len(header) - 3 or not rows:
            raise ValueError(f"its columns are {', '.join(header)}")
        shares = np.array([row[3:] for row in rows], np.float64).reshape(len(rows), len(names))
        if shares.shape[1] < 2 or not (abs(shares.sum(axis=1) - 1) < 1e-3).all():
            raise ValueError("the probabilities of a line do not add up to 1")
        labels = np.array([names.index(row[1]) for row in rows], np.int32)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path} is no {PREDICTIONS} of an evaluation ({error}); expected the columns "
            f"{', '.join(_FIRST)} and one p(CLASS) for each class"
        ) from error
    logits = np.log(np.maximum(shares, np.finfo(np.float64).tiny))
    return Answers([row[0] for row in rows], labels, logits), tuple(names)

"""The report of an evaluated model: numbers, predictions of every clip, figures fit for a paper."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures import confusion_matrix_figure, curves_figure
from mmadfer_jax.evaluation.metrics import confusion_matrix, per_class_recall, softmax, uar, war


def write_report(
    folder: Path | UPath | None,
    answers: Answers,
    classes: Sequence[str],
    *,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    step: int | None = None,
) -> dict[str, Any]:
    """Writes `results.json`, `predictions.csv` and the figures.

    Args:
        folder: Made where it is not there; None writes nothing.
        answers: Of the evaluation, in the model's order of classes.
        classes: The K class names.
        settings: What the result depends on, copied into `results.json`.
        history: Rows of epochs as `TrainingLog.history` holds them.
        step: Of the evaluated checkpoint, where the model is a run's.

    Returns:
        What `results.json` holds. A class without clips has recall null and no part in the UAR.
    """
    matrix = confusion_matrix(answers.labels, answers.logits.argmax(axis=1), len(classes))
    recalls = per_class_recall(matrix)
    results = {
        "uar": uar(matrix),
        "war": war(matrix),
        "per_class_recall": {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(classes, recalls, strict=True)
        },
        "confusion_matrix": matrix.tolist(),
        "classes": list(classes),
        "clips": len(answers.ids),
        "step": step,
        "settings": dict(settings),
    }
    if folder is None:
        return results
    files.make_folder(folder)
    files.sweep(folder)
    files.write(folder / "predictions.csv", _predictions(answers, classes))
    with files.whole(folder / "confusion_matrix.png") as path:
        confusion_matrix_figure(matrix, classes, path)
    if history:
        with files.whole(folder / "curves.png") as path:
            curves_figure(history, path)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "results.json", text + "\n")
    return results


def _predictions(answers: Answers, classes: Sequence[str]) -> str:
    """CSV with a line a clip: its name, true and predicted class, and each class's probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "true", "predicted", *(f"p({name})" for name in classes)])
    for clip, label, row in zip(
        answers.ids, answers.labels, softmax(answers.logits.astype(np.float64)), strict=True
    ):
        shares = (f"{share:.9g}" for share in row)
        writer.writerow([clip, classes[label], classes[int(row.argmax())], *shares])
    return text.getvalue()


def summary(results: Mapping[str, Any]) -> str:
    """The results in a few lines for the terminal."""
    recalls = ", ".join(
        f"{name} {'-' if recall is None else f'{recall:.1%}'}"
        for name, recall in results["per_class_recall"].items()
    )
    after = "" if results["step"] is None else f" after step {results['step']}"
    return (
        f"UAR {results['uar']:.2%}, WAR {results['war']:.2%} on {results['clips']} clips{after}\n"
        f"recall: {recalls}"
    )

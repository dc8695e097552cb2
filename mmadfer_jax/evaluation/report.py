"""The report of an evaluated model: numbers as JSON, and figures fit for a paper."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax import files
from mmadfer_jax.evaluation.figures import confusion_matrix_figure, curves_figure
from mmadfer_jax.evaluation.metrics import per_class_recall, uar, war


def write_report(
    folder: Path,
    matrix: np.ndarray,
    classes: Sequence[str],
    *,
    step: int,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes `results.json`, `confusion_matrix.png` and, where there is a history, `curves.png`.

    Args:
      folder: made where it is not there.
      matrix: confusion matrix [K, K], rows are true classes.
      classes: the K class names.
      step: the step of the evaluated checkpoint.
      settings: what the result depends on, copied into `results.json`.
      history: rows of epochs as `TrainingLog.history` holds them.

    Returns:
      What `results.json` holds. A class without clips has recall null and no part in the UAR.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recalls = per_class_recall(matrix)
    results = {
        "uar": float(uar(matrix)),
        "war": float(war(matrix)),
        "per_class_recall": {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(classes, recalls, strict=True)
        },
        "confusion_matrix": np.asarray(matrix).tolist(),
        "classes": list(classes),
        "clips": int(np.sum(matrix)),
        "step": step,
        "settings": dict(settings),
    }
    files.write(folder / "results.json", json.dumps(results, indent=2) + "\n")
    confusion_matrix_figure(matrix, classes, folder / "confusion_matrix.png")
    if history:
        curves_figure(history, folder / "curves.png")
    return results


def summary(results: Mapping[str, Any]) -> str:
    """The results in a few lines for the terminal."""
    recalls = ", ".join(
        f"{name} {'-' if recall is None else f'{recall:.1%}'}"
        for name, recall in results["per_class_recall"].items()
    )
    return (
        f"UAR {results['uar']:.2%}, WAR {results['war']:.2%} on {results['clips']} clips "
        f"after step {results['step']}\nrecall: {recalls}"
    )

"""The report of an evaluated model: numbers, predictions of every clip, figures fit for a paper."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.evaluation.calibration import calibration_section
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures import confusion_matrix_figure, curves_figure
from mmadfer_jax.evaluation.intervals import intervals
from mmadfer_jax.evaluation.metrics import confusion_matrix, per_class_recall, uar, war
from mmadfer_jax.evaluation.predictions import PREDICTIONS, to_csv
from mmadfer_jax.evaluation.section import Section, number, percent, span, table


def write_report(
    folder: Path | UPath | None,
    answers: Answers,
    classes: Sequence[str],
    *,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    step: int | None = None,
    sections: Sequence[Section] = (),
) -> dict[str, Any]:
    """Writes `results.json`, `report.md`, `predictions.csv` and the figures.

    Args:
        folder: Made where it is not there; None writes nothing.
        answers: Of the evaluation, in the model's order of classes.
        classes: The K class names.
        settings: What the result depends on, copied into `results.json`.
        history: Rows of epochs as `TrainingLog.history` holds them.
        step: Of the evaluated checkpoint, where the model is a run's.
        sections: What else was asked.

    Returns:
        What `results.json` holds. A class without clips has recall null and no part in the UAR.
    """
    predicted = answers.logits.argmax(axis=1)
    matrix = confusion_matrix(answers.labels, predicted, len(classes))
    recalls = map(number, per_class_recall(matrix))
    sections = [calibration_section(answers), *sections]
    results = {
        "uar": uar(matrix),
        "war": war(matrix),
        "intervals": intervals(answers.labels, predicted == answers.labels),
        "per_class_recall": dict(zip(classes, recalls, strict=True)),
        "confusion_matrix": matrix.tolist(),
        "classes": list(classes),
        "clips": len(answers.ids),
        "step": step,
        "settings": dict(settings),
        **{section.name: section.results for section in sections},
    }
    if folder is not None:
        draw = functools.partial(confusion_matrix_figure, matrix, classes)
        figures = {"confusion_matrix.png": draw}
        if history:
            figures["curves.png"] = functools.partial(curves_figure, history)
        _write(folder, results, to_csv(answers, classes), figures, sections)
    return results


def _write(
    folder: Path | UPath,
    results: Mapping[str, Any],
    predictions: str,
    figures: Mapping[str, Any],
    sections: Sequence[Section],
) -> None:
    files.make_folder(folder)
    files.sweep(folder)
    files.write(folder / PREDICTIONS, predictions)
    every = dict(figures)
    for section in sections:
        every |= section.figures
        for name, text in section.files.items():
            files.write(folder / name, text)
    for name, draw in every.items():
        with files.whole(folder / name) as path:
            draw(path)
    files.write(folder / "report.md", _page(results, figures, sections))
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "results.json", text + "\n")


def _page(
    results: Mapping[str, Any], figures: Mapping[str, Any], sections: Sequence[Section]
) -> str:
    """The report in Markdown."""
    rows = [
        (name.upper(), percent(results[name]), span(results["intervals"][name], 2))
        for name in ("uar", "war")
    ]
    rows += [
        (f"recall of {name}", percent(recall), "")
        for name, recall in results["per_class_recall"].items()
    ]
    head = table(("percent", f"{results['clips']:,} clips", "95 % of resamples"), rows)
    parts = [f"# Evaluation of {results['settings']['model']}", head]
    parts += [f"note: {note}" for note in results["settings"].get("notes", ())]
    parts += _pictures(figures)
    for section in sections:
        parts += [f"## {section.title}", section.text, *_pictures(section.figures)]
    return "\n\n".join(parts) + "\n"


def _pictures(figures: Mapping[str, Any]) -> list[str]:
    return [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in figures]


def summary(results: Mapping[str, Any]) -> str:
    """The results in a few lines for the terminal."""
    recalls = ", ".join(
        f"{name} {'-' if recall is None else f'{recall:.1%}'}"
        for name, recall in results["per_class_recall"].items()
    )
    after = "" if results["step"] is None else f" after step {results['step']}"
    ends = {name: span(interval) for name, interval in results["intervals"].items()}
    return (
        f"UAR {results['uar']:.2%}, WAR {results['war']:.2%} on {results['clips']} clips{after}\n"
        f"95 % of resamples: UAR {ends['uar']} %, WAR {ends['war']} %; calibration error "
        f"{results['calibration']['ece']:.1%}\n"
        f"recall: {recalls}"
    )

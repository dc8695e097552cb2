"""The report of a dataset's folds: figures of each and of all, beside what others published."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax import files
from mmadfer_jax.evaluation.figures import confusion_matrix_figure
from mmadfer_jax.evaluation.metrics import uar, war
from mmadfer_jax.studies.figures import recalls_figure
from mmadfer_jax.studies.outcome import FINISHED, Outcome
from mmadfer_jax.studies.published import Published, published_on
from mmadfer_jax.studies.statistics import spread
from mmadfer_jax.studies.study_report import gap_lines
from mmadfer_jax.studies.summary import FIGURES, figures_of, run_dict
from mmadfer_jax.studies.tables import GAP, Table, mean_and_std, one_line, percent


def folds_results(
    dataset: str, classes: Sequence[str], outcomes: Sequence[Outcome], why_open: Mapping[str, str]
) -> dict[str, Any]:
    """What `results.json` holds; arguments as of `study_results`."""
    done = [found for found in outcomes if found.state == FINISHED]
    found = figures_of(done, classes, {})
    matrix = np.array(found["confusion_matrix"])
    found["pooled"] = {"uar": uar(matrix), "war": war(matrix), "clips": int(matrix.sum())}
    runs = [run_dict(o, why_open) | {"clips": o.results.get("clips")} for o in outcomes]
    best = {
        figure: spread([run["best_epoch"][figure][figure] for run in runs if run["best_epoch"]])
        for figure in FIGURES
    }
    found["best_epoch"] = {figure: values._asdict() for figure, values in best.items()}
    others = [one._asdict() for one in published_on(dataset, len(outcomes), len(classes))]
    return {
        **{"dataset": dataset, "classes": list(classes), "folds": runs},
        **{"all": found, "published": others},
    }


def write_folds_report(folder: Path, results: Mapping[str, Any], command: str) -> None:
    """Writes the report; arguments as of `write_study_report`."""
    files.make_folder(folder)
    files.sweep(folder)
    tables = {"folds": folds_table(results), "recalls": recalls_table(results)}
    if results["published"]:
        tables["published"] = published_table(results)
    for name, table in tables.items():
        files.write(folder / f"{name}.tex", table.latex(f"{results['dataset']}: {name}"))
    files.write(folder / "report.md", _markdown(results, tables, command))
    with files.whole(folder / "confusion_matrix.png") as path:
        confusion_matrix_figure(results["all"]["confusion_matrix"], results["classes"], path)
    with files.whole(folder / "recalls.png") as path:
        recalls_figure(*_recalls(results), path, apart=2)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "results.json", text + "\n")


def folds_table(results: Mapping[str, Any]) -> Table:
    """A row a fold, then their mean and the figures of all clips together."""
    header = ["fold", "clips", "UAR", "WAR", "best UAR (epoch)", "best WAR (epoch)"]
    rows = []
    for run in results["folds"]:
        if run["state"] != FINISHED:
            rows.append([str(run["fold"]), one_line(run["why"], 60)])
            continue
        best = [_best(run["best_epoch"].get(figure), figure) for figure in FIGURES]
        figures = [percent(run[figure]) for figure in FIGURES]
        rows.append([str(run["fold"]), str(run["clips"]), *figures, *best])
    every = results["all"]
    means = [mean_and_std(every[figure]) for figure in FIGURES]
    means += [mean_and_std(every["best_epoch"][figure]) for figure in FIGURES]
    pooled = every["pooled"]
    together = [str(pooled["clips"]), *(percent(pooled[figure]) for figure in FIGURES)]
    return Table(
        header,
        [*rows, [_mean_of(results), "", *means], ["all clips pooled", *together, "", ""]],
        ruled=(len(rows),),
    )


def _best(found: Mapping[str, Any] | None, figure: str) -> str:
    return f"{percent(found[figure])} ({found['epoch']})" if found else GAP


def _mean_of(results: Mapping[str, Any]) -> str:
    done, folds = results["all"]["uar"]["n"], len(results["folds"])
    return "mean" if done == folds else f"mean of {done} of {folds} folds"


def recalls_table(results: Mapping[str, Any]) -> Table:
    """A row a fold with the recall of each class, then mean and standard deviation."""
    rows = [
        [str(run["fold"]), one_line(run["why"], 60)]
        if run["state"] != FINISHED
        else [str(run["fold"]), *(percent(x, 1) for x in run["per_class_recall"].values())]
        for run in results["folds"]
    ]
    spreads = results["all"]["per_class_recall"].values()
    last = [
        [_mean_of(results), *(percent(one["mean"], 1) for one in spreads)],
        ["standard deviation", *(percent(one["std"], 1) for one in spreads)],
    ]
    return Table(["fold", *results["classes"]], rows + last, ruled=(len(rows),))


def published_table(results: Mapping[str, Any]) -> Table:
    """Means of others, then this one's; then single folds beside those of others."""
    others = [Published(**one) for one in results["published"]]
    rows = [
        [one.method, one.kind, _figure(one.uar), _figure(one.war), one.source]
        for one in others
        if one.fold is None
    ]
    every = results["all"]
    if every["uar"]["n"] == len(results["folds"]):
        figures = [percent(every[figure]["mean"]) for figure in FIGURES]
        kind = f"{every['trained'] / 1e6:.1f} M trained, {every['frozen'] / 1e6:.1f} M frozen"
        rows.append(["this run", kind, *figures, "mean of the last epochs"])
    ruled = [len(rows) - 1, len(rows)]
    for run in results["folds"]:
        beside = [one for one in others if one.fold == run["fold"]]
        if beside and run["state"] == FINISHED:
            for one in beside:
                figures = [_figure(one.uar), _figure(one.war)]
                rows.append([f"fold {one.fold}: {one.method}", one.kind, *figures, one.source])
            figures = [percent(run[figure]) for figure in FIGURES]
            rows.append([f"fold {run['fold']}: this run", "", *figures, "last epoch"])
    header = ["method", "kind", "UAR", "WAR", "source"]
    return Table(header, rows, ruled=ruled, align="llrrl")


def _figure(value: float | None) -> str:
    return GAP if value is None else f"{value:.2f}"


def _recalls(results: Mapping[str, Any]) -> tuple[dict[str, list], list[str]]:
    rows = {
        f"fold {run['fold']}": [run["uar"], run["war"], *run["per_class_recall"].values()]
        for run in results["folds"]
        if run["state"] == FINISHED
    }
    every = results["all"]
    means = [every[name]["mean"] for name in FIGURES]
    rows["mean"] = means + [one["mean"] for one in every["per_class_recall"].values()]
    return rows, ["UAR", "WAR", *results["classes"]]


def _markdown(results: Mapping[str, Any], tables: Mapping[str, Table], command: str) -> str:
    every = results["all"]
    speed = every["clips_per_second"]
    parts = [
        f"# {results['dataset']}: all folds\n",
        f"    {command}\n",
        tables["folds"].markdown(),
        "UAR and WAR in percent, of the last epoch, which is the protocol; mean ± sample standard "
        "deviation over the folds. The best epoch was chosen on the test fold itself, so its "
        "figures are too high; they are there for works that report such ones.\n",
        f"{every['trained']:,} parameters train, {every['frozen']:,} do not. A clip takes "
        f"{every['flops_forward'] / 1e9:.3g} GFLOP forward and {every['flops_training'] / 1e9:.3g} "
        "in a training step, counted by XLA"
        + (f"; {speed:.3g} clips/s in training, median of the logs.\n" if speed else ".\n"),
    ]
    if gaps := gap_lines(results["folds"]):
        parts.append("**Gaps.** These folds are in no figure:\n\n" + gaps)
    parts += ["## Recalls\n", tables["recalls"].markdown(), "![recalls](recalls.png)\n"]
    parts.append("All folds together:\n\n![confusion matrix](confusion_matrix.png)")
    if "published" in tables:
        parts += [
            "\n## Beside others\n",
            tables["published"].markdown(),
            "Figures of others as they were published, not measured here. Folds differ by more "
            "than methods do: a single fold compares with the same fold only, and a mean of fewer "
            "folds with nothing here.",
        ]
    return "\n".join(parts) + "\n"

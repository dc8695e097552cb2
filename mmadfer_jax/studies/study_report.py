"""The report of a study: tables as JSON, CSV, Markdown and LaTeX, and figures."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmadfer_jax import files
from mmadfer_jax.studies.figures import differences_figure, recalls_figure
from mmadfer_jax.studies.statistics import TOO_FEW
from mmadfer_jax.studies.tables import (
    GAP,
    Table,
    interval,
    mean_and_std,
    one_line,
    percent,
    probability,
)


def write_study_report(folder: Path, results: Mapping[str, Any], command: str) -> None:
    """Writes the report.

    Args:
        folder: Made where it is not there.
        results: Of `study_results`.
        command: That made it, which stands in the report.
    """
    files.make_folder(folder)
    files.sweep(folder)
    arms, recalls = arms_table(results), recalls_table(results)
    files.write(folder / "report.md", _markdown(results, arms, recalls, command))
    files.write(folder / "arms.tex", arms.latex(results["study"]))
    files.write(folder / "recalls.tex", recalls.latex(f"Recall, percent. {results['study']}"))
    files.write(folder / "arms.csv", _arms_csv(results))
    files.write(folder / "runs.csv", _runs_csv(results))
    _figures(folder, results)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "results.json", text + "\n")


def arms_table(results: Mapping[str, Any]) -> Table:
    """A row an arm: figures, difference to the first one, cost."""
    header = ["arm", "runs", "UAR", "WAR", "ΔUAR", "p", "ΔWAR", "p"]
    header += ["trained, M", "GFLOP", "clips/s"]
    rows = []
    for arm in results["arms"]:
        runs, done = len(arm["runs"]), arm["uar"]["n"]
        row = [arm["name"], str(done) if done == runs else f"{done} of {runs}"]
        if not done:
            rows.append([*row, one_line(_whys(arm)[0], 60)])
            continue
        row += [mean_and_std(arm["uar"]), mean_and_std(arm["war"])]
        for figure in ("uar", "war"):
            found = arm["difference"][figure]
            row += [interval(found), probability(found)]
        speed = arm["clips_per_second"]
        row += [f"{arm['trained'] / 1e6:.3g}", f"{arm['flops_training'] / 1e9:.3g}"]
        rows.append([*row, GAP if speed is None else f"{speed:.3g}"])
    return Table(header, rows)


def recalls_table(results: Mapping[str, Any]) -> Table:
    """A row an arm: the mean recalls of groups and classes."""
    groups, classes = list(results["groups"]), results["classes"]
    rows = []
    for arm in results["arms"]:
        if not arm["uar"]["n"]:
            rows.append([arm["name"], one_line(_whys(arm)[0], 60)])
            continue
        values = [arm["groups"][name]["recall"]["mean"] for name in groups]
        values += [arm["per_class_recall"][name]["mean"] for name in classes]
        rows.append([arm["name"], *(percent(value, 1) for value in values)])
    return Table(["arm", *groups, *classes], rows)


def _whys(arm: Mapping[str, Any]) -> list[str]:
    return [run["why"] for run in arm["runs"] if run["why"]]


def _markdown(results: Mapping[str, Any], arms: Table, recalls: Table, command: str) -> str:
    parts = [f"# {results['study']}\n", f"    {command}\n", arms.markdown(), _notes(results)]
    if gaps := gap_lines(run for arm in results["arms"] for run in arm["runs"]):
        parts.append("**Gaps.** These runs are not in the tables:\n\n" + gaps)
    if len(results["arms"]) > 1:
        parts.append("![differences](differences.png)\n")
    parts += [
        "## Recalls\n",
        recalls.markdown(),
        _groups_note(results),
        "![recalls](recalls.png)\n",
    ]
    lines = [
        f"- **{arm['name']}**: {arm['says'] or 'no remark'}" + _overrides(arm["overrides"])
        for arm in results["arms"]
    ]
    parts += [f"## Arms\n\nSettings beside those of `{results['config']}`:\n", "\n".join(lines)]
    return "\n".join(part for part in parts if part) + "\n"


def _overrides(overrides: Mapping[str, Any]) -> str:
    if not overrides:
        return ""
    return " (" + ", ".join(f"`{name}={value!r}`" for name, value in overrides.items()) + ")"


def _notes(results: Mapping[str, Any]) -> str:
    first = results["arms"][0]["name"]
    found = [arm["difference"]["uar"] for arm in results["arms"]]
    fewest = min((one["n"] for one in found if one), default=None)
    text = (
        "UAR and WAR in percent of the last epoch, mean ± sample standard deviation over the runs. "
        f"Δ: points more than {first}, mean over pairs of runs of the same fold and seed, with the "
        "95 % bootstrap interval over these pairs; p: two-sided sign-flip test, not corrected for "
        "the number of arms. GFLOP: of the products of a clip in a training step. clips/s: in "
        "training, median of the log, on whatever machine it ran.\n"
    )
    if fewest is not None and any(one and one["verdict"] == TOO_FEW for one in found):
        text += (
            f"\n**Too few pairs to tell.** With {fewest} of them no p below "
            f"{2.0 ** (1 - fewest):.3g} can come out, even where all differences have the same "
            "sign; 6 pairs are needed for 0.05. The intervals say how much the figures of these "
            "runs vary, and no more.\n"
        )
    if unpaired := sum(arm["unpaired"] for arm in results["arms"]):
        text += (
            f"\n{unpaired} finished runs have no partner in {first}: it is not finished there, or "
            "was tested on other clips.\n"
        )
    return text


def _groups_note(results: Mapping[str, Any]) -> str:
    if not results["groups"]:
        return "Mean recalls over the runs, percent.\n"
    header = ["arm", *(f"{name}: {' and '.join(of)}" for name, of in results["groups"].items())]
    rows = [
        [
            arm["name"],
            *(percent(arm["groups"][name]["kept"]["mean"], 1) for name in results["groups"]),
        ]
        for arm in results["arms"]
        if arm["uar"]["n"]
    ]
    return (
        "Mean recalls over the runs, percent; of a group, the mean of its classes. How many of a "
        "group's clips are taken for a class of that group, percent:\n\n"
        + Table(header, rows).markdown()
    )


def gap_lines(runs: Iterable[Mapping[str, Any]]) -> str:
    """A line for each reason for which runs are not finished; "" where all are."""
    names: dict[str, list[str]] = {}
    for run in runs:
        if run["why"]:
            names.setdefault(run["why"], []).append(f"`{run['run']}`")
    return "".join(f"- {', '.join(runs)}: {one_line(why, 400)}\n" for why, runs in names.items())


def _figures(folder: Path, results: Mapping[str, Any]) -> None:
    first, *others = results["arms"]
    if any(arm["difference"]["uar"] for arm in others):
        for figure in ("uar", "war"):
            drawn = {
                arm["name"]: (found, found["pairs"])
                if (found := arm["difference"][figure])
                else None
                for arm in others
            }
            name = "differences.png" if figure == "uar" else "differences_war.png"
            with files.whole(folder / name) as path:
                differences_figure(drawn, first["name"], figure.upper(), path)
    groups, classes = list(results["groups"]), results["classes"]
    rows = {
        arm["name"]: [
            arm["uar"]["mean"],
            *(arm["groups"][name]["recall"]["mean"] for name in groups),
            *(arm["per_class_recall"][name]["mean"] for name in classes),
        ]
        for arm in results["arms"]
        if arm["uar"]["n"]
    }
    if rows:
        with files.whole(folder / "recalls.png") as path:
            recalls_figure(rows, ["UAR", *groups, *classes], path, apart=1 + len(groups))


def _arms_csv(results: Mapping[str, Any]) -> str:
    """A line an arm, with shares of 1 and plain numbers."""
    header = ["arm", "runs"]
    for figure in ("uar", "war"):
        header += [f"{figure}_mean", f"{figure}_std"]
        header += [f"{figure}_difference{end}" for end in ("", "_low", "_high", "_p", "_pairs")]
    costs = ["trained", "frozen", "flops_forward", "flops_training", "clips_per_second"]
    rows = [[*header, *costs, *(f"recall({name})" for name in results["classes"])]]
    for arm in results["arms"]:
        row = [arm["name"], arm["uar"]["n"]]
        for figure in ("uar", "war"):
            found = arm["difference"][figure] or {}
            row += [arm[figure]["mean"], arm[figure]["std"]]
            row += [found.get(name) for name in ("mean", "low", "high", "p", "n")]
        row += [arm[name] for name in costs]
        rows.append([*row, *(one["mean"] for one in arm["per_class_recall"].values())])
    return _csv(rows)


def _runs_csv(results: Mapping[str, Any]) -> str:
    """A line a run, finished or not."""
    names = ["run", "fold", "seed", "state", "why", "uar", "war", "clips_per_second"]
    rows = [["arm", *names, *(f"recall({name})" for name in results["classes"])]]
    for arm in results["arms"]:
        for run in arm["runs"]:
            recalls = run["per_class_recall"] or {}
            row = [arm["name"], *(run[name] for name in names)]
            rows.append([*row, *(recalls.get(name) for name in results["classes"])])
    return _csv(rows)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()

"""The figures of a study: of each arm, from whatever of its runs is finished."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmadfer_jax.studies.cost import Cost, cost_of
from mmadfer_jax.studies.outcome import FINISHED, Outcome
from mmadfer_jax.studies.plan import Study
from mmadfer_jax.studies.statistics import difference, spread

FIGURES = ("uar", "war")


def study_results(
    study: Study, classes: Sequence[str], outcomes: Sequence[Outcome], why_open: Mapping[str, str]
) -> dict[str, Any]:
    """What `results.json` holds.

    Args:
        study: It.
        classes: The K class names.
        outcomes: Of all of its runs.
        why_open: Run -> why it is not finished, of those of which their folder does not say it.
    """
    groups = {
        name: list(members)
        for name, members in study.groups.items()
        if set(members) <= set(classes)
    }
    done = [found for found in outcomes if found.state == FINISHED]
    first = [found for found in done if found.run.arm == study.arms[0].name]
    arms = []
    for arm in study.arms:
        mine = [found for found in done if found.run.arm == arm.name]
        others = first if arm is not study.arms[0] else []
        runs = [run_dict(o, why_open) for o in outcomes if o.run.arm == arm.name]
        arms.append(
            {
                **{"name": arm.name, "says": arm.says, "overrides": dict(arm.overrides)},
                **figures_of(mine, classes, groups),
                **_against(mine, others),
                "runs": runs,
            }
        )
    return {
        **{"study": study.says, "config": study.config},
        **{"classes": list(classes), "groups": groups, "arms": arms},
    }


def figures_of(
    done: Sequence[Outcome], classes: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Of finished runs of equal settings: mean figures, pooled confusion matrix, cost, speed."""
    found: dict[str, Any] = {
        figure: spread([o.results[figure] for o in done])._asdict() for figure in FIGURES
    }
    recalls = np.array([o.recalls() for o in done], float).reshape(-1, len(classes))
    found["per_class_recall"] = {
        name: spread(column[~np.isnan(column)])._asdict()
        for name, column in zip(classes, recalls.T, strict=True)
    }
    found["groups"] = {
        name: _group(done, [classes.index(member) for member in members])
        for name, members in groups.items()
    }
    matrices = [o.results["confusion_matrix"] for o in done]
    found["confusion_matrix"] = np.sum(matrices, axis=0).tolist() if done else None
    found |= cost_of(done[0].card)._asdict() if done else dict.fromkeys(Cost._fields)
    speeds = [o.speed for o in done if o.speed]
    found["clips_per_second"] = float(np.median(speeds)) if speeds else None
    return found


def _against(done: Sequence[Outcome], first: Sequence[Outcome]) -> dict[str, Any]:
    """An arm's differences to the first one, and how many of its runs have no partner there."""
    others = {(o.run.fold, o.run.seed): o for o in first}
    pairs = [(o, others[key]) for o in done if (key := (o.run.fold, o.run.seed)) in others]
    pairs = [(a, b) for a, b in pairs if _clips(a) == _clips(b)]
    differences = {
        figure: _difference([(a.results[figure], b.results[figure]) for a, b in pairs])
        for figure in FIGURES
    }
    return {"difference": differences, "unpaired": len(done) - len(pairs) if first else 0}


def _clips(found: Outcome) -> str:
    """Which clips a run was tested on."""
    return found.card.data["test"]["sha256"]


def _difference(pairs: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    if (found := difference(pairs)) is None:
        return None
    return {**found._asdict(), "verdict": found.verdict, "pairs": [a - b for a, b in pairs]}


def _group(done: Sequence[Outcome], members: Sequence[int]) -> dict[str, Any]:
    """Of some classes together.

    Returns:
        "recall", the mean of theirs, and "kept", the share of their clips that were taken for one
        of them; both as `Spread` over the runs.
    """
    recalls, kept = [], []
    for found in done:
        mine = [recall for i, recall in enumerate(found.recalls()) if i in members]
        rows = np.array(found.results["confusion_matrix"])[members]
        if rows.sum():
            recalls.append(float(np.mean([recall for recall in mine if recall is not None])))
            kept.append(float(rows[:, members].sum() / rows.sum()))
    return {"recall": spread(recalls)._asdict(), "kept": spread(kept)._asdict()}


def run_dict(found: Outcome, why_open: Mapping[str, str]) -> dict[str, Any]:
    """A run in `results.json`."""
    run, results = found.run, found.results
    why = found.why or ("" if found.state == FINISHED else why_open.get(run.name, "not run yet"))
    return {
        "run": run.name,
        "fold": run.fold,
        "seed": run.seed,
        "state": found.state,
        "why": why,
        **{figure: results.get(figure) for figure in FIGURES},
        "per_class_recall": results.get("per_class_recall"),
        "best_epoch": best_epochs(found),
        "clips_per_second": found.speed,
    }


def best_epochs(found: Outcome) -> dict[str, Any]:
    """Figure -> epoch and figure of the epoch that has most of it on the test part.

    They were chosen on the data they are measured on.
    """
    best = {}
    for figure in FIGURES:
        rows = [row for row in found.history if row.get(f"test_{figure}") is not None]
        if rows:
            row = max(rows, key=lambda row: row[f"test_{figure}"])
            best[figure] = {"epoch": row["epoch"], figure: row[f"test_{figure}"]}
    return best

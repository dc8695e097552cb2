"""Evaluates the newest checkpoint of a run on the test splits of its fold."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmadfer_jax.evaluation.report import write_report
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.experiment import Experiment
from mmadfer_jax.training.log import read_history
from mmadfer_jax.training.provenance import Provenance, check_data, check_same_run


def read_provenance(
    experiment: Experiment, checkpoints: Checkpoints, workdir: Path, *, training: bool
) -> Provenance:
    """The newest checkpoint's provenance, which must fit the experiment.

    Args:
      experiment: the settings and data at hand.
      checkpoints: of `workdir`.
      workdir: of the run.
      training: whether training is to go on, for which the order of classes must be the same too.

    Raises:
      UserError: for another model or recipe, other classes, or data prepared otherwise.
    """
    provenance = Provenance.from_dict(checkpoints.metadata())
    check_same_run(experiment.settings, provenance.config, workdir)
    info, allowed = experiment.info, set(experiment.config.allow_mismatch)
    if training:  # labels of the data are learned as they are
        allowed -= {"classes"}
    check_data(info.classes, info.preparation, provenance, allowed)
    return provenance


def report(
    experiment: Experiment,
    matrix: np.ndarray,
    classes: tuple[str, ...],
    workdir: Path,
    step: int,
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    """Writes `WORKDIR/report/` in the first process and returns the results, {} in the others."""
    if jax.process_index() != 0:
        return {}
    return write_report(
        Path(workdir) / "report",
        matrix,
        classes,
        step=step,
        settings={
            "config": experiment.settings,
            "dataset": experiment.info.name,
            "preparation": experiment.info.preparation,
            "train_splits": list(experiment.train_splits),
            "test_splits": list(experiment.test_splits),
        },
        history=history,
    )


def evaluate(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Evaluates the newest checkpoint of `workdir` and writes its report.

    Returns:
      What `report/results.json` holds.

    Raises:
      UserError: where there is no checkpoint or it does not fit the settings or the data.
    """
    experiment = Experiment(config)
    checkpoints = Checkpoints(workdir)
    try:
        provenance = read_provenance(experiment, checkpoints, workdir, training=False)
        params = experiment.setup.restore(checkpoints, provenance)
        step = checkpoints.latest
    finally:
        checkpoints.close()
    # Rows are the data's labels, columns the model's classes: both in the model's order.
    rows = [experiment.info.classes.index(name) for name in provenance.classes]
    matrix = experiment.evaluate(params)[rows]
    history = read_history(workdir, step)
    return report(experiment, matrix, provenance.classes, workdir, step, history)

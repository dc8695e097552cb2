"""Runs of a study as if they had been trained: what a run writes, with chosen figures."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.fold import open_fold
from mmadfer_jax.data.records import ShardWriter
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.report import write_report
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.studies.plan import Run
from mmadfer_jax.training import provenance
from mmadfer_jax.training.log import HISTORY
from mmadfer_jax.training.settings import resolve
from tests.conftest import SMALL, make_record, set_model, small_settings
from tests.sizes import changed

CLASSES = ("red", "green", "blue")


def write_folds_dataset(folder: Path, folds: int, *, name: str = "small") -> None:
    """Eight clips a fold, of three classes."""
    counts = {f"part{fold}": 8 for fold in range(1, folds + 1)}
    for split, count in counts.items():
        with ShardWriter(folder, split, 0, 1, name) as writer:
            for number in range(count):
                writer.write(make_record(split, number, len(CLASSES)))
    DatasetInfo(
        name=name,
        classes=CLASSES,
        splits=counts,
        image_size=32,
        preparation=PrepareSettings(image_size=32).to_dict(),
    ).save(folder)


def tiny_settings(dataset: Path) -> ConfigDict:
    """A config that trains in seconds."""
    config = small_settings(dataset)
    set_model(config, changed(SMALL, depth=1, stages=1, temporal_depth=1))
    config.train.update({"batch_size": 4, "epochs": 2})
    return config


def finish(
    run: Run,
    folder: Path,
    right: Sequence[int] | None = None,
    *,
    history: Sequence[dict] = (),
    speeds: Sequence[float] = (),
    step: int | None = None,
) -> None:
    """Writes what a finished run has in its folder.

    Args:
        run: The run.
        folder: Its folder.
        right: Of the clips of each class, how many are recognised; the others are taken for the
            class after it. All, where None.
        history: Rows of epochs.
        speeds: Clips/s of the log's lines.
        step: That was evaluated; the last one, where None.
    """
    fold = open_fold(run.config.data.dir, run.config.data.fold)
    settings = resolve(run.config, fold, lambda values: values)
    card = ModelCard(
        model=ModelConfig.from_dict(settings["model"]),
        classes=fold.info.classes,
        preparation=fold.info.preparation,
        data=provenance.describe_data(fold),
        training={"config": settings, "frozen_sha256": ""},
    )
    labels = np.asarray(fold.test.labels)
    predicted, seen = labels.copy(), [0] * len(CLASSES)
    for i, label in enumerate(labels):
        if right is not None and seen[label] >= right[label]:
            predicted[i] = (label + 1) % len(CLASSES)
        seen[label] += 1
    logits = 5 * np.eye(len(CLASSES), dtype=np.float32)[predicted]
    recipe = settings["train"]
    last = recipe["epochs"] * recipe["steps_per_epoch"]
    files.make_folder(folder)
    files.write(folder / "card.json", json.dumps(card.to_dict()))
    files.write(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in history))
    lines = [
        f"step {i}/9 epoch 1 loss 1.0 accuracy 50.0% {x} clips/s, 0:00:01 left\n"
        for i, x in enumerate(speeds)
    ]
    files.write(folder / "log.txt", "".join(lines))
    write_report(
        folder / "report",
        Answers(list(fold.test.ids), labels, logits),
        CLASSES,
        settings={"model": str(folder), "data": card.data, "card": card.to_dict()},
        history=history,
        step=last if step is None else step,
    )

"""Which splits of a dataset a fold trains and tests on."""

import os
from typing import NamedTuple

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError


def fold_splits(info: DatasetInfo, fold: int | None) -> tuple[list[str], list[str]]:
    """The splits to train and to test on.

    Sets with parts `part1`, `part2`, ...: fold k is tested on part k and trained on the others.
    Sets with fixed splits `train` and `test` have no folds, `fold` does not matter.

    Raises:
        UserError: The dataset has no such fold, or neither parts nor fixed splits.
    """
    if {"train", "test"} <= set(info.splits):
        return ["train"], ["test"]
    parts = [f"part{k}" for k in range(1, len(info.splits) + 1) if f"part{k}" in info.splits]
    if len(parts) < 2:
        raise UserError(
            f"dataset {info.name} has splits {', '.join(info.splits)}; expected train and test, or "
            "part1, part2 and so on"
        )
    test = f"part{fold}"
    if test not in parts:
        raise UserError(f"no fold {fold} in dataset {info.name}; it has 1 to {len(parts)}")
    return [part for part in parts if part != test], [test]


class Fold(NamedTuple):
    """A dataset opened for a fold: what it says of itself, and its clips."""

    info: DatasetInfo
    train: RecordSource
    test: RecordSource


def open_fold(directory: str | os.PathLike, fold: int | None) -> Fold:
    """Opens a prepared dataset; its indices are read once.

    Raises:
        UserError: It is not there or not whole, or has no such fold.
    """
    info = DatasetInfo.load(directory)
    train, test = fold_splits(info, fold)
    return Fold(info, RecordSource(directory, train, info), RecordSource(directory, test, info))

"""A prepared dataset, opened for a fold."""

import os
from typing import NamedTuple

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_splits


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

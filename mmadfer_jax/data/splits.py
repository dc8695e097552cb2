"""Which splits of a dataset are trained and tested on."""

import re
from collections.abc import Collection

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.errors import UserError


def fold_parts(name: str, splits: Collection[str]) -> list[str]:
    """The parts of a dataset with folds, in order; none where it has fixed splits.

    Args:
        name: Of the dataset, for the message.
        splits: Names of its splits.

    Raises:
        UserError: There are neither `train` and `test` nor `part1` to `partK` with K of 2 or more.
    """
    if {"train", "test"} <= set(splits):
        return []
    numbered = {split for split in splits if re.fullmatch(r"part\d+", split)}
    parts = [f"part{k}" for k in range(1, len(numbered) + 1)]
    if len(parts) < 2 or numbered != set(parts):  # a gap would leave a part out unnoticed
        raise UserError(
            f"dataset {name} has splits {', '.join(splits)}; expected train and test, or "
            "part1, part2 and so on"
        )
    return parts


def fold_splits(info: DatasetInfo, fold: int | None) -> tuple[list[str], list[str]]:
    """The splits to train and to test on.

    Sets with parts `part1`, `part2`, ...: fold k is tested on part k and trained on the others.
    Sets with fixed splits `train` and `test` have no folds, `fold` does not matter.

    Raises:
        UserError: The dataset has no such fold, or neither parts nor fixed splits.
    """
    parts = fold_parts(info.name, info.splits)
    if not parts:
        return ["train"], ["test"]
    test = f"part{fold}"
    if test not in parts:
        raise UserError(f"no fold {fold} in dataset {info.name}; it has 1 to {len(parts)}")
    return [part for part in parts if part != test], [test]

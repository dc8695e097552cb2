import pytest

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.splits import fold_splits
from mmadfer_jax.errors import UserError


def info_of(*splits: str) -> DatasetInfo:
    return DatasetInfo("toy", ("a", "b"), dict.fromkeys(splits, 1), 32, {})


def test_a_fold_is_tested_on_its_part_and_trained_on_the_others():
    info = info_of("part2", "part1", "part3")
    assert fold_splits(info, 2) == (["part1", "part3"], ["part2"])
    tested = [fold_splits(info, fold)[1] for fold in (1, 2, 3)]
    assert tested == [["part1"], ["part2"], ["part3"]]
    assert fold_splits(info_of("train", "test", "val"), 1) == (["train"], ["test"])


def test_a_fold_that_is_not_there_is_an_error():
    for fold in (0, 4, None):
        with pytest.raises(UserError, match=f"no fold {fold} in dataset toy; it has 1 to 3"):
            fold_splits(info_of("part1", "part2", "part3"), fold)
    for splits in (("train",), ("part1",), ("part1", "test")):
        with pytest.raises(UserError, match="expected train and test, or part1"):
            fold_splits(info_of(*splits), 1)

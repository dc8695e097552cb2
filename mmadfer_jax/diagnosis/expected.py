"""What a model should reach on prepared data: what others measured, or what its run measured.

Figures of others are of the released MMA-DFER weights, in percent, as public notes of students who
ran them again (DEFR-UOT), a Chinese reproduction's README, and issues of the authors' repository
tell them.
"""

from typing import Any, NamedTuple

from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.evaluation.classes import same_classes
from mmadfer_jax.weights.model_files import RELEASED_CLASSES


class Expected(NamedTuple):
    """A figure to be reached.

    Attributes:
        uar: In percent.
        war: In percent; None where it was not told.
        source: Who measured what.
        tolerance: Points by which it may be missed, because it is not of these very clips.
    """

    uar: float
    war: float | None
    source: str
    tolerance: float = 1.5


class Known(NamedTuple):
    """What others measured with a known mistake; UAR and WAR in percent, None where not told."""

    mistake: str
    uar: float | None
    war: float | None
    source: str


_STUDENTS = "released weights, run again by others (DEFR-UOT)"
# By the dataset's name and the fold; None stands for any fold, with the mean of all five.
_RELEASED = {
    ("dfew", 1): Expected(63.63, 73.99, f"fold 1, {_STUDENTS}"),
    ("dfew", None): Expected(67.01, 77.51, "mean of five folds, second-hand of the paper", 5),
    ("mafw", 1): Expected(37.12, None, f"fold 1, {_STUDENTS}"),
    ("mafw", 3): Expected(48.81, None, f"fold 3, {_STUDENTS}"),
    ("mafw", None): Expected(43.86, 58.31, f"mean of five folds, {_STUDENTS}", 7),
}
MISTAKES = {
    "dfew": (
        Known("ImageNet MAE in place of MAE-Face, fold 1", 52.40, 63.82, "a reproduction's README"),
        Known("ImageNet MAE in place of MAE-Face, fold 2", 49.45, 61.04, "a reproduction's README"),
        Known("sound converted wrongly", 38.00, 45.04, "issue 4 of the authors' repository"),
    ),
    "mafw": (),
}
POINTS_LOST = (
    "released weights lost 2.6 points of UAR with sound at 16 kHz in place of its own rate, and 5 "
    "to 10 with the picture alone (DEFR-UOT, MAFW)"
)


def expected_of(card: ModelCard, info: DatasetInfo, source: RecordSource) -> Expected | None:
    """What a model should reach on clips; None where nobody knows.

    A model that was trained here knows what it reached on its own test part. A released checkpoint
    is known by its classes, and the dataset by its name and its splits.
    """
    figures, data = card.figures, card.data
    if "test_uar" in figures:
        same = data.get("name") == info.name and data["test"]["splits"] == list(source.splits)
        return _own(figures) if same else None
    released = RELEASED_CLASSES.get(card.model.num_classes)
    if card.preparation is not None or same_classes(info.classes, released or ()) is None:
        return None
    (split, *others) = source.splits
    fold = int(split[4:]) if split.startswith("part") and not others else None
    return _RELEASED.get((info.name, fold), _RELEASED.get((info.name, None)))


def _own(figures: dict[str, Any]) -> Expected:
    uar, war = (100 * figures[name] for name in ("test_uar", "test_war"))
    return Expected(uar, war, f"the run's own test, after step {figures['step']}", 0.5)

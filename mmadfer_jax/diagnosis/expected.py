"""What a model should reach on prepared data: what others measured, or what its run measured."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.evaluation.classes import same_classes
from mmadfer_jax.evaluation.published import released_on
from mmadfer_jax.weights.model_files import RELEASED_CLASSES

# Points of UAR by which a single fold may lie below the mean of all.
_FOLDS_DIFFER = {"dfew": 5.0, "mafw": 7.0}


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
    known = released_on(info.name, fold)
    if known is None:
        return None
    if known.fold:
        return Expected(known.uar, known.war, f"fold {fold}, {known.source}")
    spread = _FOLDS_DIFFER[info.name]
    return Expected(known.uar, known.war, f"mean of five folds, {known.source}", spread)


def _own(figures: Mapping[str, Any]) -> Expected:
    uar, war = (100 * figures[name] for name in ("test_uar", "test_war"))
    return Expected(uar, war, f"the run's own test, after step {figures['step']}", 0.5)

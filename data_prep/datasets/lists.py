"""Reads the list files that datasets come with: folds, labels by name or by number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.datasets.places import Item
from data_prep.datasets.tables import read_lines
from data_prep.listing import some
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

FOLDS = 5


class Entry(NamedTuple):
    """A line: the clip's name, its class, and its number of frames where the list has it."""

    name: str
    label: int
    frames: int | None = None


def find_lists(root: Path, patterns: Sequence[str]) -> dict[tuple[str, int], Path]:
    """The list files of the five folds, in the first place that has the test lists.

    Args:
        root: Folder to look in.
        patterns: Paths inside them with `{part}` (`train` or `test`) and `{fold}`.

    Returns:
        Path by part and fold; training lists may be absent.

    Raises:
        UserError: No place has the five test lists.
    """
    folds = range(1, FOLDS + 1)
    for pattern in patterns:
        paths = {
            (part, fold): root / pattern.format(part=part, fold=fold)
            for part in ("test", "train")
            for fold in folds
        }
        there = {key: path for key, path in paths.items() if files.is_file(path)}
        absent = [str(paths["test", fold]) for fold in folds if ("test", fold) not in there]
        if 0 < len(absent) < FOLDS:
            raise UserError(f"test lists are missing: {some(absent, FOLDS)}; add them")
        if not absent:
            return there
    looked = ", ".join(pattern.format(part="test", fold=1) for pattern in patterns)
    raise UserError(
        f"no lists of the five folds in {root}; looked for {looked}; name the folder "
        "they are in with --labels"
    )


def read_authors_list(path: Path, classes: Sequence[str]) -> list[Entry]:
    """Lines `path frames label` as the authors of MMA-DFER have them, labels from 0.

    Raises:
        UserError: A line of another form, or a label that is no class.
    """
    entries = []
    for number, line in read_lines(path):
        fields = line.rsplit(maxsplit=2)  # a path may have spaces
        if len(fields) != 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise UserError(f"{path}: line {number} is {line!r}, expected `path frames label`")
        if int(fields[2]) >= len(classes):
            raise UserError(
                f"{path}: line {number} has label {fields[2]}, expected 0 to {len(classes) - 1} "
                "(labels count from 0 here)"
            )
        name = fields[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
        entries.append(Entry(name, int(fields[2]), int(fields[1])))
    return entries


def note(root: Path, paths: Mapping[tuple[str, int], Path]) -> str:
    """For the report: which lists were taken."""
    training = sum(part == "train" for part, _ in paths)
    against = "" if training == FOLDS else f"; {training} training lists to compare them with"
    return f"lists: {paths['test', 1].relative_to(root)} to fold {FOLDS}{against}"


def five_folds(lists: Mapping[tuple[str, int], Sequence[Entry]]) -> list[Item]:
    """Puts each clip into the part whose test list has it, and checks that lists fit together.

    Args:
        lists: Entries by part (`test`, `train`) and fold; training lists may be absent.

    Returns:
        The clips in the order of the test lists, parts `part1` to `part5`.

    Raises:
        UserError: A clip stands in two test lists, twice in one, with two labels, in the training
            and in the test list of a fold, or in training lists only.
    """
    items: dict[str, Item] = {}
    folds = sorted(fold for part, fold in lists if part == "test")
    for fold in folds:
        for entry in lists["test", fold]:
            if entry.name in items:
                first = items[entry.name].split.removeprefix("part")
                raise UserError(
                    f"clip {entry.name!r} is tested twice, in fold {first} and in fold {fold}; it "
                    "must stand once, in one of the test lists"
                )
            items[entry.name] = Item(entry.name, entry.label, f"part{fold}", entry.frames)
    for (part, fold), entries in lists.items():
        if part == "train":
            _check_training_list(fold, entries, items)
    return list(items.values())


def _check_training_list(fold: int, entries: Sequence[Entry], items: Mapping[str, Item]) -> None:
    names = {entry.name for entry in entries}
    shared = sorted(name for name in names if name in items and items[name].split == f"part{fold}")
    if shared:
        raise UserError(
            f"fold {fold} trains and tests on the same {len(shared)} clips: {some(shared)}; these "
            "lists would leak, get them anew"
        )
    untested = sorted(names - items.keys())
    if untested:
        raise UserError(
            f"the training list of fold {fold} has {len(untested)} clips that no fold tests: "
            f"{some(untested)}; the lists belong to different versions"
        )
    for entry in entries:
        if entry.label != items[entry.name].label:
            raise UserError(
                f"clip {entry.name!r} has label {items[entry.name].label} where it is tested and "
                f"{entry.label} in the training list of fold {fold}; the lists belong to different "
                "versions"
            )

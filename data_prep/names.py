"""Names of classes, splits and groups as people write them, and what they mean."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from data_prep.listing import readable, some
from mmadfer_jax.errors import UserError

# Soft hyphen, zero-width space, marks of direction, word joiner, byte order mark.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
_NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)  # spreadsheets make 3.0 of 3
_SPLITS = {
    "train": "train|training|trn",
    "val": "val|valid|validation|dev|devel|development",
    "test": "test|testing|tst",
}
_PART = re.compile(r"(?:part|fold)[ _-]?0*(\d+)", re.ASCII)


def key(name: str) -> str:
    """What names that look alike have in common.

    Those differ in case, in white space, in how accents are put together, in full-width letters, in
    characters that nobody sees, or as numbers in leading zeros.
    """
    text = unicodedata.normalize("NFKC", name)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFKC", " ".join(text.split()).casefold())
    number = _NUMBER.fullmatch(text)
    return str(int(number[1])) if number else text


class Classes(NamedTuple):
    """The classes of a dataset.

    Attributes:
        names: In the order of the labels.
        indices: Index by label as it was found; those that are no class are absent.
        notes: What the report should say.
    """

    names: tuple[str, ...]
    indices: dict[str, int]
    notes: tuple[str, ...]


def find_classes(
    labels: Sequence[str], asked: Sequence[str] | None = None, base: int | None = None
) -> Classes:
    """The classes that labels name; labels that look alike name one.

    Args:
        labels: A clip's each, as found.
        asked: Names in the order of the labels; sorted if None.
        base: What labels that are numbers count from where `asked` has no such names.

    Raises:
        UserError: Two of the names asked for look alike, or numbers may count from 0 or from 1.
    """
    spelt: dict[str, Counter[str]] = defaultdict(Counter)
    for label in labels:
        spelt[key(label)][_UNSEEN.sub("", " ".join(label.split()))] += 1
    if asked:
        places = {key(name): place for place, name in enumerate(asked)}
        if len(places) < len(asked):
            keys = Counter(map(key, asked))
            twice = [name for name in asked if keys[key(name)] > 1]
            raise UserError(f"--classes has names that look like one another: {some(twice)}")
        names = tuple(asked)
        places |= _numbered([label for label in spelt if label not in places], names, base)
    else:
        order = sorted(spelt, key=_by_number_then_name)
        places = {label: place for place, label in enumerate(order)}
        names = tuple(_usual(spelt[label]) for label in order)
    notes = [
        f"one class: {', '.join(f'{name!r} ({n} clips)' for name, n in sorted(found.items()))}"
        for found in spelt.values()
        if len(found) > 1
    ]
    indices = {label: places[key(label)] for label in set(labels) if key(label) in places}
    return Classes(names, indices, tuple(notes))


def _usual(spellings: Counter[str]) -> str:
    return readable(min(spellings, key=lambda name: (-spellings[name], name)))


def _by_number_then_name(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if _NUMBER.fullmatch(label) else (1, 0, label)


def _numbered(labels: Iterable[str], names: Sequence[str], base: int | None) -> dict[str, int]:
    """The classes that numbers stand for."""
    numbers = sorted(int(label) for label in labels if _NUMBER.fullmatch(label))
    if not numbers:
        if base is not None:
            raise UserError(f"--label_base={base} has no use, no label is a number")
        return {}
    least, most = numbers[0], numbers[-1]
    found = f"labels are numbers from {least} to {most}, and there are {len(names)} classes"
    if base is None and least > 0 and most <= len(names):
        zero = f", or --label_base=0 if it means {names[least]}" if most < len(names) else ""
        raise UserError(f"{found}: give --label_base=1 if {least} means {names[least - 1]}{zero}")
    base = base or 0
    if least < base or most >= base + len(names):
        raise UserError(
            f"{found}, which would be {base} to {base + len(names) - 1}: {some(names, len(names))}"
        )
    return {str(n): n - base for n in numbers}


class Splits(NamedTuple):
    """The splits of a dataset: the name of each by what it was called, and notes."""

    names: dict[str, str]
    notes: tuple[str, ...]


def find_splits(found: Iterable[str]) -> Splits:
    """What splits are called here: `train`, `val`, `test`, `part1` and so on, others as they are.

    Results are reported on `val` where there is no test, as with AFEW, whose test labels were never
    given out: it becomes `test` then.

    Args:
        found: What they are called.
    """
    names = {name: split_name(name) or name for name in sorted(set(found))}
    called = {name: split for name, split in names.items() if split != name}
    notes = [f"splits: {', '.join(f'{n!r} is {s}' for n, s in called.items())}"] if called else []
    if {"train", "val"} <= set(names.values()) and "test" not in names.values():
        names = {name: "test" if split == "val" else split for name, split in names.items()}
        notes.append("split test: the clips of val, for there is no test")
    return Splits(names, tuple(notes))


def split_name(name: str) -> str | None:
    """`train`, `val`, `test` or `part1` and so on where a name means that."""
    text = key(name)
    if part := _PART.fullmatch(text):
        return f"part{part[1]}"
    for split, words in _SPLITS.items():
        if re.fullmatch(rf"(?:{words})(?:[ _-]?(?:set|split))?", text):
            return split
    return None

"""What is to be prepared: clips with labels and splits, whatever dataset they come from."""

import dataclasses
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmadfer_jax.data.splits import fold_parts
from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to prepare.

    Attributes:
        id: Its name, unique in the dataset, and `readable`.
        path: The video.
        label: Index into the classes.
        split: Such as `part1`.
        source: Where it came from, for the record: a path inside the source folder.
        audio_path: Where the sound is if not in the video.
        missing: What is missing, for a clip that is listed but not there.
        is_frames: `path` is a folder of pictures, face crops that are used as they are.
        listed_frames: Number of frames that the dataset's own list gives.
    """

    id: str
    path: Path
    label: int
    split: str
    source: str
    audio_path: Path | None = None
    missing: str | None = None
    is_frames: bool = False
    listed_frames: int | None = None


@dataclasses.dataclass(frozen=True)
class Known:
    """What a dataset's publication, or its lists, say it holds.

    Attributes:
        clips: All of them.
        splits: Clips of each split, where known.
        classes: Clips of each class, in the order of the labels, where known.
        num_classes: How many classes there are, where that does not go without saying.
        sample_rate: Of the sound as it was released, Hz, where known; 0 without sound.
    """

    clips: int
    splits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    classes: tuple[int, ...] = ()
    num_classes: int | None = None
    sample_rate: int | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """A dataset's clips.

    Attributes:
        name: Of the dataset; shards are called by it.
        classes: Names in the order of the labels.
        clips: In the order of the dataset's own list.
        known: What should be there.
        notes: What the report should say besides, such as which of several layouts was taken.
        folds: How many parts were to be made of it, where it came without any.
    """

    name: str
    classes: tuple[str, ...]
    clips: Sequence[Clip]
    known: Known | None = None
    notes: tuple[str, ...] = ()
    folds: int | None = None

    @property
    def splits(self) -> dict[str, list[Clip]]:
        """The clips of each split, splits in the order of their names."""
        splits: dict[str, list[Clip]] = {clip.split: [] for clip in self.clips}
        for clip in self.clips:
            splits[clip.split].append(clip)
        return dict(sorted(splits.items()))


def check(listing: Listing) -> None:
    """Refuses what cannot even be looked at.

    Raises:
        UserError: No clips, none of them there, or two with one name.
    """
    if not listing.clips:
        raise UserError(f"dataset {listing.name!r} lists no clips")
    twice = [name for name, n in Counter(clip.id for clip in listing.clips).items() if n > 1]
    if twice:
        raise UserError(
            f"{len(twice)} clip names stand more than once: {some(twice)} (names are paths without "
            "extension); list each clip once, rename files that differ in the extension only"
        )
    missing = [clip for clip in listing.clips if clip.missing]
    if len(missing) == len(listing.clips):
        raise UserError(
            f"none of the {len(missing)} clips listed is there: {some(c.missing for c in missing)}"
        )


def unfit(listing: Listing) -> list[str]:
    """Why it cannot be prepared and trained on, as it may be with a part of a dataset."""
    reasons = []
    if len(listing.classes) < 2:
        reasons.append(f"only one class, {listing.classes[0]!r}; at least two are needed")
    splits = listing.splits
    if listing.folds and len(splits) < listing.folds:
        reasons.append(
            f"{listing.folds} folds need at least {listing.folds} clips, or people to keep apart, "
            f"found {len(splits)}; add clips"
        )
    else:
        try:
            fold_parts(listing.name, splits)
        except UserError as error:
            reasons.append(str(error))
    reasons += [
        f"split {split!r} would be empty, none of its {len(clips)} clips is there: "
        f"{some(clip.missing for clip in clips)}"
        for split, clips in splits.items()
        if all(clip.missing for clip in clips)
    ]
    return reasons


def readable(name: str) -> str:
    """A file's name that can be written anywhere: bytes that are no UTF-8 become `%E9`.

    So do control characters such as a newline.
    """
    # Python has a byte that is no UTF-8 as a surrogate.
    return re.sub(r"[\x00-\x1f\x7f\udc80-\udcff]", lambda m: f"%{ord(m[0]) % 256:02X}", name)


def some(names, count: int = 3) -> str:
    """The first few of many, for a message."""
    names = [str(name) for name in names]
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def assign_folds(
    labels: Mapping[str, int], groups: Mapping[str, str], folds: int
) -> dict[str, str]:
    """Deals clips to `part1`..`partK` so that each has its share of every class.

    Clips of one group (a speaker, a film) stay together. Largest groups first, each to the part
    where it disturbs the class shares least; ties are broken by size and by a hash of the
    name, so the result depends on the names, labels and groups alone, not on their order.

    Args:
        labels: Class index by clip name.
        groups: Group by clip name; a clip without one is a group of its own.
        folds: K.

    Returns:
        Part by clip name; some parts have none where there are fewer groups than folds.
    """
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in labels:
        group = groups.get(name)
        members[("group", group) if group else ("clip", name)].append(name)
    totals = np.bincount(list(labels.values())).astype(np.float64)
    weights = 1 / np.maximum(totals, 1) ** 2
    counts = np.zeros((folds, len(totals)))
    parts = {}

    def rank(key: tuple[str, str]) -> tuple[int, int, bytes]:
        # Class by class among equals, so that single clips end up in parts of equal size.
        return -len(members[key]), min(labels[name] for name in members[key]), _hash(key[1])

    for key in sorted(members, key=rank):
        mine = np.bincount([labels[name] for name in members[key]], minlength=len(totals))
        disturbance = ((2 * counts + mine) * mine * weights).sum(axis=1)
        size = counts.sum(axis=1)
        fold = min(range(folds), key=lambda f: (round(disturbance[f], 12), size[f], f))
        counts[fold] += mine
        parts.update(dict.fromkeys(members[key], f"part{fold + 1}"))
    return parts


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def shuffled(clips: Sequence[Clip]) -> list[Clip]:
    """A fixed shuffle, the same for the same names, so that every shard has all classes."""
    return sorted(clips, key=lambda clip: _hash(clip.id))

"""FERV39k (Wang et al., 2022): 38,935 clips of faces, 7 classes, fixed train and test, no sound.

Lists: `4_setups/All_scenes/{train,test}_All.csv`, lines `Action/Sad/0010 Sad`; frames in
`2_ClipsforFaceCrop/Action/Sad/0010/`.
"""

import argparse
from pathlib import Path

from data_prep.datasets.lists import read_text
from data_prep.datasets.media_tree import Item, Place, check_source, locate
from data_prep.listing import Known, Listing, some
from mmadfer_jax.errors import UserError

FLAGS = ("source", "labels")
CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
KNOWN = Known(clips=38935, splits={"train": 31088, "test": 7847})
MEDIA = (
    Place("2_ClipsforFaceCrop/{id}", is_frames=True),
    Place("{id}", is_frames=True),
)
LISTS = ("4_setups/All_scenes/{split}_All.csv", "All_scenes/{split}_All.csv", "{split}_All.csv")


def from_flags(flags: argparse.Namespace) -> Listing:
    """The clips of FERV39k; `--labels` is the folder of the lists where that is not the source.

    Raises:
        UserError: Lists or clips are not there.
    """
    check_source(flags.source)
    root = flags.labels or flags.source
    items = [item for split in KNOWN.splits for item in _read(_find(root, split), split)]
    clips, notes = locate(flags.source, items, MEDIA)
    return Listing("ferv39k", CLASSES, clips, KNOWN, notes)


def _find(root: Path, split: str) -> Path:
    paths = [root / pattern.format(split=split) for pattern in LISTS]
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"no {split} list; looked for {some(paths)}; name its folder with --labels")


def _read(path: Path, split: str) -> list[Item]:
    items = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        label = fields[1].lower() if len(fields) == 2 else ""
        if label not in CLASSES:
            raise UserError(
                f"{path}: line {number} is {line!r}, expected `Action/Sad/0010 Sad` with one of "
                f"{some(CLASSES, len(CLASSES))}"
            )
        items.append(Item(fields[0].strip("/"), CLASSES.index(label), split))
    return items

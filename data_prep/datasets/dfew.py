"""DFEW (Jiang et al., 2020): 11,697 single-labelled film clips, 7 classes, five folds.

Lists: the official `EmoLabel_DataSplit/{train,test}(single-labeled)/set_{1..5}.csv`, labels from 1,
or those of the authors of MMA-DFER, `DFEW_set_{1..5}_{train,test}.txt`, labels from 0.
"""

import re
from pathlib import Path

from data_prep.datasets import lists
from data_prep.datasets.media_tree import check_source
from data_prep.datasets.places import Place, locate
from data_prep.datasets.tables import read_table
from data_prep.listing import Known, Listing, some
from data_prep.names import key
from mmadfer_jax.errors import UserError

CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
KNOWN = Known(
    clips=11697,
    splits={"part1": 2341, "part2": 2341, "part3": 2340, "part4": 2339, "part5": 2336},
    classes=(2445, 1894, 2669, 2173, 1469, 145, 902),
)
MEDIA = (
    Place("Clip/clip_224x224/{number:05d}", is_frames=True),
    Place("clip_224x224/{number:05d}", is_frames=True),
    Place("clip_jpg_256/{number:05d}", is_frames=True),
    Place("Clip/original/{number}.*"),
    Place("original/{number}.*"),
    # 16 frames of each clip, interpolated: where there is nothing else.
    Place("Clip/clip_224x224_16f/{number:05d}", is_frames=True),
    Place("clip_224x224_16f/{number:05d}", is_frames=True),
)
# The originals first: they have the sound at its own rate, which the published weights expect.
SOUNDS = (
    Place("Clip/original/{number}.*"),
    Place("original/{number}.*"),
    Place("raw_wav/{number}.wav"),
    Place("raw_wav/{number:05d}.wav"),
    Place("audio_16k/{number}.wav"),
    Place("audio_16k/{number:05d}.wav"),
)
OFFICIAL = (
    "EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv",
    "{part}(single-labeled)/set_{fold}.csv",
)
AUTHORS = ("DFEW_set_{fold}_{part}.txt", "annotation/DFEW_set_{fold}_{part}.txt")


def list_clips(source: Path, labels: Path | None = None, media: str | None = None) -> Listing:
    """The clips of DFEW.

    Args:
        source: The dataset's folder.
        labels: Folder of the lists where that is another.
        media: `frames` or `video` to take no other; what is there if None.

    Raises:
        UserError: Lists or clips are not there, or the lists contradict themselves.
    """
    check_source(source)
    root = labels or source
    paths = lists.find_lists(root, OFFICIAL + AUTHORS)
    items = lists.five_folds({key: _read(path) for key, path in paths.items()})
    clips, notes = locate(source, items, MEDIA, SOUNDS, media)
    return Listing("dfew", CLASSES, clips, KNOWN, (lists.note(root, paths), *notes))


def _read(path: Path) -> list[lists.Entry]:
    if path.suffix == ".txt":
        entries = lists.read_authors_list(path, CLASSES)
        return [entry._replace(name=_name(path, entry.name)) for entry in entries]
    entries = []
    for _, row in read_table(path, ("video_name", "label"), chinese=True):
        name, label = row["video_name"], key(row["label"])
        if label not in map(str, range(1, len(CLASSES) + 1)):
            raise UserError(
                f"{path}: clip {name} has label {row['label']!r}, expected 1 to {len(CLASSES)} in "
                f"an official list ({some(CLASSES, 7)})"
            )
        entries.append(lists.Entry(_name(path, name), int(label) - 1))
    return entries


def _name(path: Path, name: str) -> str:
    """The clip's number with five digits; copies of the lists have it with zeros or without."""
    stem = re.sub(r"\.mp4$|\.0+$", "", name, flags=re.IGNORECASE)  # spreadsheets make 3.0 of 3
    if not stem.isdecimal():
        raise UserError(f"{path}: clip {name!r}, expected a number")
    return f"{int(stem):05d}"

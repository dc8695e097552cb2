"""MAFW (Liu et al., 2022): 9,172 single-labelled clips, 11 classes, five folds.

Lists: the official `Train & Test Set/single/{no_caption,with_caption}/set_{1..5}/{train,test}.txt`,
labels by name, or those of the authors of MMA-DFER, `MAFW_set_{1..5}_{train,test}_faces.txt`,
labels from 0 in the order that the released checkpoints have, which is the order here.
"""

import itertools
from pathlib import Path

from data_prep.datasets import lists
from data_prep.datasets.media_tree import check_source
from data_prep.datasets.places import Place, locate
from data_prep.datasets.tables import read_lines
from data_prep.listing import Known, Listing, some
from data_prep.names import key
from mmadfer_jax.errors import UserError

CLASSES = (
    "happiness",
    "sadness",
    "neutral",
    "anger",
    "surprise",
    "disgust",
    "fear",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
KNOWN = Known(
    clips=9172,
    splits={"part1": 1839, "part2": 1837, "part3": 1833, "part4": 1832, "part5": 1831},
    classes=(1242, 1470, 1138, 1390, 1072, 639, 625, 236, 916, 262, 182),
)
# Faces cut out by the authors' way, then the clips, in which faces are looked for likewise, and
# last the face frames of the set itself.
MEDIA = (
    Place("clips_faces/{id}", is_frames=True),
    Place("data/clips/{id}.*"),
    Place("clips/{id}.*"),
    Place("data/frames/{id}", is_frames=True),
    Place("frames/{id}", is_frames=True),
)
SOUNDS = (
    Place("data/clips/{id}.*"),
    Place("clips/{id}.*"),
    Place("raw_wav/{id}.wav"),
    Place("audio_16k/{id}.wav"),
)
AUTHORS = ("MAFW_set_{fold}_{part}_faces.txt", "annotation/MAFW_set_{fold}_{part}_faces.txt")


def list_clips(source: Path, labels: Path | None = None, media: str | None = None) -> Listing:
    """The clips of MAFW.

    Args:
        source: The dataset's folder.
        labels: Folder of the lists where that is another.
        media: `frames` or `video` to take no other; what is there if None.

    Raises:
        UserError: Lists or clips are not there, or the lists contradict themselves.
    """
    check_source(source)
    root = labels or source
    paths = lists.find_lists(root, (*official("single"), *AUTHORS))
    items = lists.five_folds({key: _read(path) for key, path in paths.items()})
    clips, notes = locate(source, items, MEDIA, SOUNDS, media)
    return Listing("mafw", CLASSES, clips, KNOWN, (lists.note(root, paths), *notes))


def official(kind: str) -> tuple[str, ...]:
    """Where the set's own lists may lie; `kind` is `single` or `compound`."""
    tops, captions = ("Train & Test Set/", ""), ("no_caption", "with_caption")
    return tuple(
        f"{top}{kind}/{caption}/set_{{fold}}/{{part}}.txt"
        for top, caption in itertools.product(tops, captions)
    )


def read_names(path: Path) -> list[tuple[str, str]]:
    """Clip and class name of each line `00025.mp4 anger`, captions and all else left out.

    Raises:
        UserError: A line is not of this form.
    """
    pairs = []
    for number, line in read_lines(path):
        fields = line.split(maxsplit=2)
        if len(fields) < 2 or not fields[0].lower().endswith(".mp4"):
            raise UserError(f"{path}: line {number} is {line[:60]!r}, expected `00025.mp4 anger`")
        pairs.append((fields[0][: -len(".mp4")], key(fields[1])))
    return pairs


def _read(path: Path) -> list[lists.Entry]:
    if path.name.endswith("_faces.txt"):
        entries = lists.read_authors_list(path, CLASSES)
        # Their counts are one short of the folders they were made from.
        return [entry._replace(frames=entry.frames + 1) for entry in entries]
    entries = []
    for name, label in read_names(path):
        if label not in CLASSES:
            raise UserError(
                f"{path}: clip {name} has label {label!r}, not one of {some(CLASSES, len(CLASSES))}"
            )
        entries.append(lists.Entry(name, CLASSES.index(label)))
    return entries

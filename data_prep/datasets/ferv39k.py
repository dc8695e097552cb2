"""FERV39k (Wang et al., 2022): 38,935 clips of faces, 7 classes, fixed train and test, no sound.

Lists: `4_setups/All_scenes/{train,test}_All.csv`, lines `Action/Sad/0010 Sad`; frames in
`2_ClipsforFaceCrop/Action/Sad/0010/`.
"""

from pathlib import Path

from data_prep.datasets.media_tree import check_source
from data_prep.datasets.places import Item, Place, locate
from data_prep.datasets.tables import read_lines
from data_prep.listing import Known, Listing, some
from data_prep.names import key
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
KNOWN = Known(clips=38935, splits={"train": 31088, "test": 7847}, sample_rate=0)
MEDIA = (
    Place("2_ClipsforFaceCrop/{id}", is_frames=True),
    Place("{id}", is_frames=True),
)
LISTS = ("4_setups/All_scenes/{split}_All.csv", "All_scenes/{split}_All.csv", "{split}_All.csv")


def list_clips(source: Path, labels: Path | None = None) -> Listing:
    """The clips of FERV39k.

    Args:
        source: The dataset's folder.
        labels: Folder of the lists where that is another.

    Raises:
        UserError: Lists or clips are not there.
    """
    check_source(source)
    root = labels or source
    paths = {split: _find(root, split) for split in KNOWN.splits}
    items = [item for split, path in paths.items() for item in _read(path, split)]
    clips, notes = locate(source, items, MEDIA)
    found = ", ".join(str(path.relative_to(root)) for path in paths.values())
    return Listing("ferv39k", CLASSES, clips, KNOWN, (f"lists: {found}", *notes))


def _find(root: Path, split: str) -> Path:
    paths = [root / pattern.format(split=split) for pattern in LISTS]
    for path in paths:
        if files.is_file(path):
            return path
    raise UserError(f"no {split} list; looked for {some(paths)}; name its folder with --labels")


def _read(path: Path, split: str) -> list[Item]:
    items = []
    for number, line in read_lines(path):
        fields = line.replace(",", " ").split()
        label = key(fields[1]) if len(fields) == 2 else ""
        if label not in CLASSES:
            raise UserError(
                f"{path}: line {number} is {line!r}, expected `Action/Sad/0010 Sad` with one of "
                f"{some(CLASSES, len(CLASSES))}"
            )
        items.append(Item(fields[0].strip("/"), CLASSES.index(label), split))
    return items

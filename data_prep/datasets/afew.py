"""AFEW 8.0 (Dhall et al., EmotiW): 773 training and 383 validation clips of films, 7 classes.

The test labels were never given out; results are reported on the validation clips, which are
the split `test` here. Classes are folders: `train/Angry/000046280.avi`.
"""

from pathlib import Path

from data_prep.datasets.media_tree import by_class_folder, find_media
from data_prep.listing import Known, Listing
from mmadfer_jax.errors import UserError

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
KNOWN = Known(clips=1156, splits={"train": 773, "test": 383})
TEST = "split test: the validation clips of AFEW"
SPLITS = {
    "train": "train",
    "train_afew": "train",
    "val": "test",
    "val_afew": "test",
    "validation": "test",
}


def list_clips(source: Path) -> Listing:
    """The clips of AFEW.

    Args:
        source: The dataset's folder.

    Raises:
        UserError: No folder, or no video in a folder of a split and a class.
    """
    folders = {name: label for label, name in enumerate(CLASSES)}
    clips, notes = by_class_folder(find_media(source), folders, SPLITS)
    if not clips:
        raise UserError(f"--source={source} holds no clip such as train/Angry/000046280.avi")
    return Listing("afew", CLASSES, clips, KNOWN, (TEST, *notes))

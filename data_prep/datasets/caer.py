"""CAER (Lee et al., 2019): 13,201 clips of television series, 7 classes, fixed splits.

Classes are folders: `train/Anger/0001.avi`. The pictures are full frames; the split `val` is
prepared and used by no fold.
"""

from pathlib import Path

from data_prep.datasets.media_tree import by_class_folder, find_media
from data_prep.listing import Known, Listing
from mmadfer_jax.errors import UserError

CLASSES = ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise")
KNOWN = Known(clips=13201)
SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def list_clips(source: Path) -> Listing:
    """The clips of CAER.

    Args:
        source: The dataset's folder.

    Raises:
        UserError: No folder, or no video in a folder of a split and a class.
    """
    folders = {name: label for label, name in enumerate(CLASSES)}
    clips, notes = by_class_folder(find_media(source), folders, SPLITS)
    if not clips:
        raise UserError(f"--source={source} holds no clip such as train/Anger/0001.avi")
    return Listing("caer", CLASSES, clips, KNOWN, notes)

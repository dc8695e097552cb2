"""MAFW with compound labels: 8,996 clips, 11 single classes and 32 of several, five folds.

Lists: `Train & Test Set/compound/{no_caption,with_caption}/set_{1..5}/{train,test}.txt`, labels
such as `anger_disgust`. The single classes come first, in the order of `mafw`, then the others by
name.
"""

from pathlib import Path

from data_prep.datasets import lists, mafw
from data_prep.datasets.media_tree import check_source
from data_prep.datasets.places import locate
from data_prep.listing import Known, Listing, some
from mmadfer_jax.errors import UserError

KNOWN = Known(
    clips=8996,
    splits={"part1": 1818, "part2": 1809, "part3": 1798, "part4": 1788, "part5": 1783},
    num_classes=43,
)


def list_clips(source: Path, labels: Path | None = None, media: str | None = None) -> Listing:
    """The clips of MAFW by compound class.

    Args:
        source: The dataset's folder.
        labels: Folder of the lists where that is another.
        media: `frames` or `video` to take no other; what is there if None.

    Raises:
        UserError: Lists or clips are not there, or the lists contradict themselves.
    """
    check_source(source)
    root = labels or source
    paths = lists.find_lists(root, mafw.official("compound"))
    pairs = {key: mafw.read_names(path) for key, path in paths.items()}
    names = {label for list_ in pairs.values() for _, label in list_}
    odd = sorted(n for n in names if not set(n.split("_")) <= set(mafw.CLASSES))
    if odd:
        raise UserError(f"{paths['test', 1]}: labels that are no emotions of MAFW: {some(odd)}")
    classes = (*mafw.CLASSES, *sorted(names - set(mafw.CLASSES)))
    items = lists.five_folds(
        {
            key: [lists.Entry(name, classes.index(label)) for name, label in list_]
            for key, list_ in pairs.items()
        }
    )
    clips, notes = locate(source, items, mafw.MEDIA, mafw.SOUNDS, media)
    return Listing("mafw_compound", classes, clips, KNOWN, (lists.note(root, paths), *notes))

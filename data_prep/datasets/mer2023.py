"""MER2023 (Lian et al., 2023): 3,373 labelled clips of Chinese films, 6 classes, five folds.

`train-label.csv` has `name,discrete,valence`; clips lie in `train/`. The challenge's tests have no
published labels, so the training clips are dealt to five parts here.
"""

from pathlib import Path

from data_prep.datasets.media_tree import check_source
from data_prep.datasets.places import Item, Place, locate
from data_prep.datasets.tables import read_table
from data_prep.listing import Known, Listing, assign_folds, some
from data_prep.names import key
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")
KNOWN = Known(clips=3373)
FOLDS = 5
MEDIA = (Place("train/{id}.*"), Place("video/{id}.*"), Place("{id}.*"))


def list_clips(source: Path, labels: Path | None = None) -> Listing:
    """The labelled clips of MER2023.

    Args:
        source: The dataset's folder.
        labels: The table `train-label.csv` where it is not there.

    Raises:
        UserError: Table or clips are not there.
    """
    check_source(source)
    table = labels or source / "train-label.csv"
    if not files.is_file(table):
        raise UserError(f"{table}: no such file; name it with --labels=.../train-label.csv")
    classes = {}
    for _, row in read_table(table, ("name", "discrete"), chinese=True):
        name, label = row["name"], row["discrete"]
        if key(label) not in CLASSES:
            raise UserError(
                f"{table}: clip {name} has label {label!r}, not one of "
                f"{some(CLASSES, len(CLASSES))}"
            )
        if name in classes:
            raise UserError(f"{table}: clip {name} stands more than once")
        classes[name] = CLASSES.index(key(label))
    parts = assign_folds(classes, {}, FOLDS)
    items = [Item(name, label, parts[name]) for name, label in classes.items()]
    clips, notes = locate(source, items, MEDIA)
    return Listing("mer2023", CLASSES, clips, KNOWN, notes, FOLDS)

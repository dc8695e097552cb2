"""eNTERFACE'05 (Martin et al., 2006): acted sentences of 44 subjects, 6 classes, five folds.

Clips lie in `subject 1/anger/sentence 1/s1_an_1.avi`. File names are irregular (`s_3_an_1.avi`,
subject 6 without sentence folders), so subject and class are read from the folders. The release has
no folds; subjects are dealt to five parts here.
"""

import re
from pathlib import Path

from data_prep.datasets.media_tree import find_media
from data_prep.listing import Listing, assign_folds, some
from data_prep.names import key
from mmadfer_jax.errors import UserError

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECTS, FOLDS = 44, 5
_SUBJECT = re.compile(r"subject[ _-]?(\d+)", re.IGNORECASE)


def list_clips(source: Path) -> Listing:
    """The clips of eNTERFACE'05.

    Args:
        source: The dataset's folder.

    Raises:
        UserError: No folder, or no video in a folder of a subject and an emotion.
    """
    lying = find_media(source)
    found, odd = [], []
    for media in lying.videos:
        above = [key(part) for part in media.parts[:-1]]
        subject = next((m[1] for part in above if (m := _SUBJECT.fullmatch(part))), None)
        label = next((CLASSES.index(part) for part in above if part in CLASSES), None)
        if subject is None or label is None:
            odd.append(media.name)
        else:
            found.append((media, str(int(subject)), label))
    if not found:
        raise UserError(
            f"--source={source} holds no clip such as 'subject 1/anger/sentence 1/s1_an_1.avi'"
        )
    labels = {media.name: label for media, _, label in found}
    subjects = {media.name: subject for media, subject, _ in found}
    parts = assign_folds(labels, subjects, FOLDS)
    clips = [media.clip(label=label, split=parts[media.name]) for media, _, label in found]
    notes = [f"{len(set(subjects.values()))} subjects of {SUBJECTS}", *lying.notes]
    if odd:
        notes.append(f"left out, in no folder of a subject and an emotion: {some(odd)}")
    return Listing("enterface05", CLASSES, clips, notes=tuple(notes), folds=FOLDS)

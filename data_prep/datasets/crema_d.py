"""CREMA-D (Cao et al., 2014): 7,442 acted sentences, 91 actors, 6 classes, five folds by actor.

The label stands in the name, `1001_DFA_ANG_XX`: actor, sentence, emotion, level. The release has no
folds; actors are dealt to five parts here, each with its share of every class.
"""

import re
from collections import defaultdict
from pathlib import Path

from data_prep.datasets.media_tree import Media, find_media
from data_prep.listing import Clip, Known, Listing, assign_folds, some
from mmadfer_jax.errors import UserError

CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
CLASSES = ("anger", "disgust", "fear", "happy", "neutral", "sad")
# The names in the release say how many clips each class has.
KNOWN = Known(clips=7442, classes=(1271, 1271, 1271, 1271, 1087, 1271), sample_rate=16000)
FOLDS = 5
# What the release itself says is wrong with it.
BAD = {
    "1064_IEO_DIS_MD": "a minute with all emotions",
    "1064_TIE_SAD_XX": "no length",
    "1076_MTI_NEU_XX": "very short",
    "1076_MTI_SAD_XX": "very short, silent, pictures broken",
}
_NAME = re.compile(rf"(?P<actor>\d{{4}})_[A-Z]{{3}}_(?P<emotion>{'|'.join(CODES)})_[A-Z]{{1,2}}")


def list_clips(source: Path) -> Listing:
    """The clips of CREMA-D: videos anywhere below the source, sound in `AudioWAV` if there.

    Args:
        source: The dataset's folder.

    Raises:
        UserError: No folder, or no video with such a name in it.
    """
    found = find_media(source)
    videos: dict[str, list[Media]] = defaultdict(list)
    for media in found.videos:
        videos[media.path.stem].append(media)
    sounds = {media.path.stem: media for media in found.sounds}
    names = sorted(name for name in {**videos, **sounds} if _NAME.fullmatch(name))
    if not any(name in videos for name in names):
        raise UserError(f"--source={source} holds no video such as VideoFlash/1001_DFA_ANG_XX.flv")
    actors = {name: _NAME.fullmatch(name)["actor"] for name in names}
    labels = {name: CODES.index(_NAME.fullmatch(name)["emotion"]) for name in names}
    parts = assign_folds(labels, actors, FOLDS)
    clips = []
    for name in names:
        sound = sounds.get(name)
        fields = {
            "id": name,
            "label": labels[name],
            "split": parts[name],
            "audio_path": sound and sound.path,
        }
        if name in videos:
            clips.append(videos[name][0].clip(**fields))
        else:
            heard = "/".join(sound.parts)
            gone = f"{name}: no video in {source}, only {heard}"
            clips.append(Clip(path=sound.path, source=heard, missing=gone, **fields))
    notes = [*found.notes]
    if heard := sum(clip.audio_path is not None for clip in clips):
        notes.append(f"sound: own files for {heard} of {len(clips)} clips")
    if twice := [name for name in names if len(videos[name]) > 1]:
        notes.append(f"{len(twice)} clips are there in several folders, the first is taken")
    if bad := [f"{name} ({why})" for name, why in BAD.items() if name in videos]:
        notes.append(f"known to be bad in the release: {some(bad, len(BAD))}")
    return Listing("crema_d", CLASSES, clips, KNOWN, tuple(notes), FOLDS)

"""RAVDESS (Livingstone and Russo, 2018): 1,440 spoken clips, 24 actors, 8 classes, six folds.

The label stands in the name, `01-01-03-01-01-01-01.mp4`: modality (01 sound and pictures, 02
pictures, 03 sound), channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor.
Part k has the actors 4k - 3 to 4k.
"""

import re
from pathlib import Path

from data_prep.datasets.media_tree import Found, find_media
from data_prep.listing import Known, Listing
from mmadfer_jax.errors import UserError

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
ACTORS, ACTORS_PER_PART = 24, 4
KNOWN = Known(
    clips=1440,
    splits={f"part{k}": 240 for k in range(1, ACTORS // ACTORS_PER_PART + 1)},
    classes=(96, 192, 192, 192, 192, 192, 192, 192),
)
_NAME = re.compile(
    r"(?P<modality>0[123])-(?P<rest>(?P<channel>0[12])-(?P<emotion>0[1-8])-\d\d-\d\d-\d\d-(?P<actor>\d\d))"
)


def list_clips(source: Path) -> Listing:
    """The spoken clips of RAVDESS, wherever they lie below the source; songs are left out.

    Args:
        source: The dataset's folder.

    Raises:
        UserError: No folder, or no video with such a name in it.
    """
    found = find_media(source)
    videos, songs = {}, 0
    for media in found.videos:
        match = _NAME.fullmatch(media.path.stem)
        if not match or match["modality"] == "03" or int(match["actor"]) not in _actors():
            continue
        if match["channel"] == "02":
            songs += 1
            continue
        # 01 sorts before 02, the same pictures without sound, which serve where 01 is not there.
        kept = videos.setdefault(match["rest"], (match, media))
        if match["modality"] < kept[0]["modality"]:
            videos[match["rest"]] = (match, media)
    if not videos:
        raise UserError(
            f"--source={source} holds no spoken clip such as Actor_01/01-01-03-01-01-01-01.mp4"
        )
    sounds = _sounds(found)
    clips = [
        media.clip(
            id=media.path.stem,
            label=int(match["emotion"]) - 1,
            split=f"part{(int(match['actor']) - 1) // ACTORS_PER_PART + 1}",
            audio_path=sounds.get(rest) if match["modality"] == "02" else None,
        )
        for rest, (match, media) in sorted(videos.items(), key=lambda pair: pair[1][1].parts)
    ]
    notes = [*found.notes]
    if songs:
        notes.append(f"{songs} songs left out, speech only")
    if silent := sum(match["modality"] == "02" for match, _ in videos.values()):
        notes.append(f"{silent} clips are there as 02, pictures only; sound from the 03 files")
    return Listing("ravdess", CLASSES, clips, KNOWN, tuple(notes))


def _actors() -> range:
    return range(1, ACTORS + 1)


def _sounds(found: Found) -> dict[str, Path]:
    matches = ((_NAME.fullmatch(media.path.stem), media.path) for media in found.sounds)
    return {match["rest"]: path for match, path in matches if match and match["modality"] == "03"}

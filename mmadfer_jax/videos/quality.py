"""What makes the answer for a window doubtful."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mmadfer_jax.videos.people import overlap
from mmadfer_jax.videos.seen import Sight
from mmadfer_jax.videos.sound import Heard

# Beside each threshold why it is where it is; how they were measured stands in docs/timeline.md.
LEAST_SHARE = 0.5  # of the frames with the face; with less, half of the window is not spoken of
LEAST_SCORE = 0.9  # of a find, in the mean; those of clear faces are above 0.99
LEAST_SIZE = 48.0  # pixels; in smaller heads expressions are hardly told any more (Tian, 2004)
LEAST_BLUR = 25.0  # of a sharp photo 350 and more; of one blurred by 2 % of the face about 25
TURNED = 0.5  # of 1; about 30 degrees, from where training data have few faces
MOST_TURNED = 0.5  # share of the finds
MOST_COVERED = 0.25  # share of the frames in which another face lies over it
COVERED = 0.3  # intersection over union
STILL = 1.5  # grey levels; a photo on a wall changes by the noise of the video alone
LEAST_LEVEL = -60.0  # dBFS; below it there is hardly more than the noise of 16 bits

NO_FACE = "no face"
NO_PICTURES = "no pictures"
OTHERS = "the person is not seen"
RARELY_SEEN = "face in less than half of the frames"
FEW_FRAMES = "fewer frames with the face than the model sees"
UNSURE = "unsure that it is a face"
SMALL = "small face"
BLURRED = "blurred face"
TURNED_AWAY = "face turned away"
OTHER_FACE = "another face lies over it"
UNMOVED = "does not move, perhaps a picture of a face"
NO_SOUND = "no sound"
SILENT = "silent sound"


class Quality(NamedTuple):
    """How well a person is seen in a window; see `timeline.Windows`."""

    face_share: float
    score: float
    face_size: float
    blur: float
    turned: float
    notes: tuple[str, ...]


HEARD_ALONE = Quality(0.0, math.nan, math.nan, math.nan, math.nan, ())


def unseen(frames: int, others: int) -> Quality:
    """Of a window in which nobody is seen, or only others than the one who is wanted."""
    note = OTHERS if others else NO_FACE if frames else NO_PICTURES
    return HEARD_ALONE._replace(notes=(note,))


def judge(sight: Sight, frames: int, others: Iterable[Sight], wanted: int) -> Quality:
    """How well a person is seen.

    Args:
        sight: The person in the window.
        frames: Of the window.
        others: Those who are there too.
        wanted: Frames that the model sees, T.
    """
    finds = sight.detections
    share = len(sight.frames) / frames
    size = float(np.median((sight.boxes[:, 2:] - sight.boxes[:, :2]).max(axis=1)))
    score = float(np.mean([d.score for d in finds])) if finds else math.nan
    blur = float(np.median([d.blur for d in finds])) if finds else math.nan
    seen_turned = [d.turned > TURNED for d in finds if not math.isnan(d.turned)]
    turned = float(np.mean(seen_turned)) if seen_turned else math.nan
    moved = [d.moved for d in finds if math.isfinite(d.moved)]
    doubts = {
        RARELY_SEEN: share < LEAST_SHARE,
        FEW_FRAMES: len(sight.frames) < wanted,
        UNSURE: score < LEAST_SCORE,
        SMALL: size < LEAST_SIZE,
        BLURRED: blur < LEAST_BLUR,
        TURNED_AWAY: turned > MOST_TURNED,
        OTHER_FACE: _covered(sight, others) > MOST_COVERED,
        UNMOVED: bool(moved) and max(moved) < STILL,
    }
    notes = tuple(note for note, is_so in doubts.items() if is_so)
    return Quality(share, score, size, blur, turned, notes)


def judge_sound(heard: Heard) -> tuple[str, ...]:
    """What makes the sound of a window doubtful."""
    if math.isnan(heard.level):
        return (NO_SOUND,)
    return (SILENT,) if heard.level < LEAST_LEVEL else ()


def _covered(sight: Sight, others: Iterable[Sight]) -> float:
    """Share of the frames in which another face lies over it, or it over the other."""
    covered = set()
    for other in others:
        boxes = dict(zip(other.frames.tolist(), other.boxes, strict=True))
        covered |= {
            frame
            for frame, box in zip(sight.frames.tolist(), sight.boxes, strict=True)
            if frame in boxes and overlap(box, boxes[frame]) > COVERED
        }
    return len(covered) / len(sight.frames)

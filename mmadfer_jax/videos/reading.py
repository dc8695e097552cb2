"""The pictures of a video one after the other, and where scenes are cut."""

import statistics
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmadfer_jax.clips.media import VideoFrame
from mmadfer_jax.clips.timed import Header, read_pictures

# A cut: grey levels change by more than this in the mean, and by so many times as much as usual.
# The first is above the noise of a dark film, the second above a pan of the camera.
CUT_LEVELS = 12.0
CUT_SUDDEN = 3.0
_USUAL_OVER = 12  # frames
_SMALL = (32, 18)  # pixels, of the pictures that are compared
_WIDE = 320  # pixels, enough to make them from


class Picture(NamedTuple):
    """A picture as it is shown: uint8 [H, W, 3] RGB.

    `number` counts from 0, `time` is in seconds after the first one and rises, `cut` says that a
    scene starts with it.
    """

    number: int
    time: float
    rgb: np.ndarray
    cut: bool


def pictures(path: str | Path, header: Header, problems: list[str]) -> Iterator[Picture]:
    """Decodes a video once; see `timed.read_pictures`."""
    frames = _marked(read_pictures(path, header, problems))
    for number, (frame, cut) in enumerate(frames):
        yield Picture(number, frame.time, frame.rgb, cut)


def _marked(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, bool]]:
    """Frames, and whether a scene starts with them.

    A cut is a change that is much larger than those before it and the one after it.
    """
    before, held, change = None, None, 0.0
    usual = deque([0.0], maxlen=_USUAL_OVER)
    for frame in frames:
        step = max(1, frame.rgb.shape[1] // _WIDE)
        small = cv2.resize(frame.rgb[::step, ::step], _SMALL, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        if held is not None:
            is_cut = change > CUT_SUDDEN * _change(held[1], small)
            yield held[0], is_cut
            usual.append(change)
            # What is as before after one picture was a flash.
            if is_cut or _change(before, small) > change / CUT_SUDDEN:
                before = held[1]
            held = None
        if before is not None:
            change = _change(before, small)
            if change > CUT_LEVELS and change > CUT_SUDDEN * statistics.median(usual):
                held = frame, small  # the next one will tell
                continue
            usual.append(change)
        yield frame, False
        before = small
    if held is not None:
        yield held[0], True


def _change(small: np.ndarray, other: np.ndarray) -> float:
    """Grey levels by which two small pictures differ in the mean."""
    return float(np.abs(small - other).mean())

"""The pictures of a video one after the other, from time 0 on, and where the scene is cut."""

import statistics
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from mmadfer_jax.clips import container as containers
from mmadfer_jax.clips import media
from mmadfer_jax.errors import UserError

LATE_PICTURES = "the pictures start late in the file"

# A cut: grey levels change by more than this in the mean, and by so many times as much as usual.
# The first is above the noise of a dark film, the second above a pan of the camera.
CUT_LEVELS = 12.0
CUT_SUDDEN = 3.0
_USUAL_OVER = 12  # frames
_SMALL = (32, 18)  # pixels, of the pictures that are compared

_RATES = (1.0, 240.0)  # frames a second that a header is believed
_JUMP = 10.0  # seconds, from which on times start anew, where a container allows it
_BACK = 1.0  # seconds, by which times go back where they start anew
_LEAST_STEP = 1e-3  # seconds between two frames
_LATE = 0.1  # seconds that nobody notices


class Header(NamedTuple):
    """What a file says of itself.

    Attributes:
        duration: Seconds, 0 where it does not say.
        rate: Pictures a second, on average.
        pictures: Whether it has moving pictures.
        sound: Whether it has sound.
        late: Seconds from the start of the file to the first picture.
        times_jump: Whether its kind of container lets times start anew.
    """

    duration: float
    rate: float
    pictures: bool
    sound: bool
    late: float
    times_jump: bool


class Picture(NamedTuple):
    """A picture as it is shown: uint8 [H, W, 3] RGB.

    `number` counts from 0, `time` is in seconds after the first one and rises, `cut` says that a
    scene starts with it.
    """

    number: int
    time: float
    rgb: np.ndarray
    cut: bool


def read_header(path: str | Path) -> Header:
    """Opens a file.

    Raises:
        UserError: It holds neither pictures nor sound that can be decoded.
    """
    with containers.open_media(path) as container:
        has_pictures = bool(containers.videos(container))
        has_sound = containers.sound_stream(path, container) is not None
        rate = 25.0
        if has_pictures:
            found = containers.video_stream(path, container).average_rate
            if found and _RATES[0] <= found <= _RATES[1]:
                rate = float(found)
        elif not has_sound:
            raise UserError(f"{path}: holds neither pictures nor sound")
        start = (container.start_time or 0) / av.time_base
        return Header(
            duration=max(0.0, (container.duration or 0) / av.time_base),
            rate=rate,
            pictures=has_pictures,
            sound=has_sound,
            late=(containers.pictures_start(container) or start) - start,
            times_jump=bool(container.format.flags & av.format.Flags.ts_discont.value),
        )


def pictures(path: str | Path, header: Header, problems: list[str]) -> Iterator[Picture]:
    """Decodes a video once.

    Args:
        path: The file.
        header: Of it.
        problems: Gets what a user should know, after the last picture. A file that is cut off or
            mostly broken is such a problem where there are pictures.

    Raises:
        UserError: There is no picture.
    """
    if header.late > _LATE:
        problems.append(f"{LATE_PICTURES}, by {header.late:.2f} s; times count from the first one")
    number = 0
    for number, (frame, cut) in enumerate(_marked(_read(path, header, problems)), 1):
        yield Picture(number - 1, frame.time, frame.rgb, cut)
    if not number:
        raise UserError(problems[-1] if problems else f"{path}: its video stream holds no frame")


def _read(path: str | Path, header: Header, problems: list[str]) -> Iterator[media.VideoFrame]:
    """The frames, their times from 0 and rising."""
    first, last = None, 0.0
    try:
        for frame in media.read_video(path, problems=problems):
            time = 0.0
            if first is None:
                first = frame.time
            else:
                time = frame.time - first
                jump = time - last
                if jump < -_BACK or (header.times_jump and jump > _JUMP):
                    first = frame.time - last - 1 / header.rate  # goes on where it was
                    time = frame.time - first
                time = max(time, last + _LEAST_STEP)
            last = time
            yield media.VideoFrame(frame.rgb, time)
    except UserError as error:
        problems.append(str(error))


def _marked(frames: Iterator[media.VideoFrame]) -> Iterator[tuple[media.VideoFrame, bool]]:
    """Frames, and whether a scene starts with them.

    What looks like a cut is one if the picture after it is as different: a flash is not.
    """
    before, held, usual = None, None, deque([0.0], maxlen=_USUAL_OVER)

    def is_sudden(small: np.ndarray) -> bool:
        change = np.abs(small - before).mean()
        return change > CUT_LEVELS and change > CUT_SUDDEN * statistics.median(usual)

    for frame in frames:
        small = cv2.resize(frame.rgb, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        if held is not None:
            is_cut = is_sudden(small)
            yield held[0], is_cut
            before, held = (held[1] if is_cut else before), None
        if before is not None and is_sudden(small):
            held = frame, small
            continue
        if before is not None:
            usual.append(float(np.abs(small - before).mean()))
        yield frame, False
        before = small
    if held is not None:
        yield held[0], True

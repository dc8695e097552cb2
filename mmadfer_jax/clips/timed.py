"""The pictures of a whole video by times that start at 0 and rise, as far as there are any."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av

from mmadfer_jax.clips import container as containers
from mmadfer_jax.clips import media
from mmadfer_jax.errors import UserError

LATE_PICTURES = "the pictures start late in the file"

_RATES = (1.0, 240.0)  # frames a second that a header is believed
_JUMP = 10.0  # seconds, from which on times start anew, where a container allows it
_BACK = 0.2  # seconds, by which times go back where they start anew
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


def read_pictures(
    path: str | Path, header: Header, problems: list[str]
) -> Iterator[media.VideoFrame]:
    """Decodes a video frame by frame, as `media.read_video`.

    Args:
        path: The file.
        header: Of it.
        problems: Gets what a user should know, after the last frame. A file that is cut off or
            mostly broken is such a problem, once there was a frame.

    Yields:
        The frames, their times in seconds after the first one.

    Raises:
        UserError: There is no frame.
    """
    if header.late > _LATE:
        problems.append(f"{LATE_PICTURES}, by {header.late:.2f} s; times count from the first one")
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
        if first is None:
            raise
        problems.append(str(error))

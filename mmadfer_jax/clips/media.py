"""Video and sound files -> arrays, by PyAV (FFmpeg inside the wheel)."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from mmadfer_jax.clips import container as containers
from mmadfer_jax.clips import damage
from mmadfer_jax.clips.pictures import Pictures
from mmadfer_jax.clips.sound_track import SoundTrack
from mmadfer_jax.errors import UserError

BROKEN_PICTURES = "broken pictures"
# Of FFmpeg's; the first are preferred where a clip is there in several. Any file may be named with
# its ending in a table.
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".flv", ".m4v", ".mpg", ".wmv", ".3gp"),
    *(".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".ts", ".mts", ".m2ts", ".m2t", ".vob", ".ogv"),
    *(".ogm", ".3g2", ".asf", ".divx", ".xvid", ".f4v", ".mxf", ".qt", ".mj2", ".rm", ".rmvb"),
    *(".dv", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".nut", ".y4m"),
    *(".amv", ".wtv", ".tod", ".gif"),
)
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma", ".aif", ".aiff")


class VideoFrame(NamedTuple):
    """A picture as it is shown: uint8 [H, W, 3] RGB, and its time in seconds."""

    rgb: np.ndarray
    time: float


def read_video(
    path: str | Path, every: int = 1, problems: list[str] | None = None
) -> Iterator[VideoFrame]:
    """Decodes a video frame by frame, as a player shows it.

    That is: turned and mirrored as its display matrix says, with square pixels, HDR brought to the
    standard range. Frames have the size of the first one. What cannot be decoded is left out, and
    so are pictures that FFmpeg says are damaged.

    Args:
        path: Any container and codec FFmpeg knows.
        every: Only every so-many-th frame; the others are decoded, but no pictures made of them.
        problems: Gets what a user should know, after the last frame.

    Yields:
        The frames in order of time.

    Raises:
        UserError: Not a video, without frames, mostly broken, or cut off. It may come after some
            frames.
    """
    with containers.open_media(path) as container:
        stream = containers.video_stream(path, container)
        ending = containers.Ending(path, container)
        shown = Pictures(stream)
        found = containers.which(stream, containers.videos(container), containers.SEVERAL_VIDEOS)
        rate = float(stream.average_rate or 25)
        count, lost = 0, _Lost()
        for packet in containers.packets(container):
            ending.saw(packet)
            if packet is not None and packet.stream is not stream:
                continue
            for frame in lost.decoded(packet):
                if count % every == 0:
                    time = count / rate if frame.time is None else frame.time
                    yield VideoFrame(shown(frame), time)
                count += 1
        found += ending.problems()
    if not count and not lost.count:
        raise UserError(f"{path}: its video stream holds no frame")
    if lost.count > count:
        said = f" ({lost.said})" if lost.said else ""
        raise UserError(
            f"{path}: broken, {lost.count} of {lost.count + count} pictures cannot be decoded{said}"
        )
    if lost.count:
        found.append(
            f"{BROKEN_PICTURES}: {lost.count} of {lost.count + count} left out, those behind them "
            "may be smeared"
        )
    if problems is not None:
        problems += found + shown.problems


class _Lost:
    """Decodes packets, and leaves out what is not worth showing.

    Attributes:
        count: Of pictures, or of packets in their place.
        said: FFmpeg's last words on one.
    """

    def __init__(self):
        self.count, self.said = 0, ""
        self._key_wanted = False

    def decoded(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """The pictures that come out with a packet; None is a packet that could not be read."""
        try:
            frames = packet.decode() if packet is not None else None
        except av.FFmpegError as error:
            frames, self.said = None, error.strerror
            # Without it, some decoders put later pictures together from grey.
            self._key_wanted |= packet.is_keyframe
        if frames is None:
            self.count += 1
            return []
        good = []
        for frame in frames:
            self._key_wanted &= not frame.key_frame
            if not self._key_wanted and not frame.is_corrupt:
                good.append(frame)
        self.count += len(frames) - len(good)
        return good


def read_sound(path: str | Path) -> tuple[np.ndarray, int] | None:
    """Decodes the best sound track, in FFmpeg's opinion, of a video or sound file.

    Samples pass through 16 bits, as the reference's wav files hold them. Sound is kept in step with
    the pictures of the file: silence stands where it starts later or has gaps, and what comes
    before the pictures is left out.

    Returns:
        (float32 [channels, samples] in [-1, 1), rate in Hz), or None where there is no sound.

    Raises:
        UserError: Not a media file, or most of the sound is broken.
    """
    sound = read_sound_start(path, math.inf)
    return None if sound is None else (sound.wave, sound.rate)


class Sound(NamedTuple):
    """The start of a sound, float32 [channels, samples], its rate in Hz, and of the whole the mean.

    `problems` are what a user should know of the whole.
    """

    wave: np.ndarray
    rate: int
    mean: float
    problems: list[str]


def read_sound_start(path: str | Path, seconds: float) -> Sound | None:
    """As `read_sound`, but keeps only the first seconds, whatever the length.

    The mean is over all channels and samples of the whole sound.
    """
    with containers.open_media(path) as container:
        stream = containers.sound_stream(path, container)
        if stream is None:
            return None
        track = SoundTrack(path, container, stream)
        pieces, kept, total, count = [], 0, 0, 0
        for samples in track.pieces():  # int16 [channels, n]
            total += int(samples.sum(dtype=np.int64))
            count += samples.size
            if kept < seconds * track.rate:
                pieces.append(samples)
                kept += samples.shape[1]
        problems = track.problems
        if not containers.videos(container) and (damage.extent(path) or 0) > container.size:
            problems.append(containers.CUT)
    if not pieces:
        return None
    wave = np.concatenate(pieces, axis=1).astype(np.float32) / 32768.0
    return Sound(wave, track.rate, total / (32768.0 * count), problems)


class Header(NamedTuple):
    """What a video says of itself, without decoding.

    Attributes:
        declared_frames: Number of frames its header declares; None where it does not say.
        frames: Number of packets of pictures there really are; None if not counted.
    """

    declared_frames: int | None
    frames: int | None


def read_header(path: str | Path, count: bool = False) -> Header:
    """Reads a video's header and, to count its pictures, all its packets.

    Raises:
        UserError: Not a video.
    """
    with containers.open_media(path) as container:
        stream = containers.video_stream(path, container)
        if not count:
            return Header(stream.frames or None, None)
        read = containers.packets(container, stream)
        found = sum(packet is not None and packet.size > 0 for packet in read)
        if not found:
            raise UserError(f"{path}: its video stream holds no frame")
        return Header(stream.frames or None, found)


def read_sound_rate(path: str | Path) -> int:
    """The rate in Hz of a file's best sound track by its header, 0 without one.

    Raises:
        UserError: Not a media file.
    """
    with containers.open_media(path) as container:
        try:
            stream = containers.sound_stream(path, container)
        except UserError:  # sound in an unknown format
            return 0
        return 0 if stream is None else stream.codec_context.sample_rate

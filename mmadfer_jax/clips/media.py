"""Video and sound files -> arrays, by PyAV (FFmpeg inside the wheel)."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from mmadfer_jax.errors import UserError

# FFmpeg takes any .txt file for a film of text-mode art.
_TEXT_CODECS = {"ansi", "bintext", "idf", "xbin"}


class VideoFrame(NamedTuple):
    """A picture as it is shown: uint8 [H, W, 3] RGB, and its time in seconds."""

    rgb: np.ndarray
    time: float


def read_video(path: str | Path, every: int = 1) -> Iterator[VideoFrame]:
    """Decodes a video frame by frame, turned and mirrored as its display matrix says.

    Frames have the size of the first one; pixels are taken as square.

    Args:
        path: Any container and codec FFmpeg knows.
        every: Only every so-many-th frame; the others are decoded, but no pictures made of them.

    Yields:
        The frames in order of time.

    Raises:
        UserError: Not a video, without frames, broken, or cut off. It may come after some frames.
    """
    count, ends = 0, 0.0
    with _open(path) as container:
        stream = _video_stream(path, container)
        rate = float(stream.average_rate or 25)
        for packet in container.demux():
            ends = max(ends, _end_of(packet))
            if packet.stream is not stream:
                continue
            for frame in packet.decode():
                if count == 0:
                    width, height = frame.width, frame.height
                if count % every == 0:
                    rgb = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
                    time = count / rate if frame.time is None else frame.time
                    yield VideoFrame(_as_shown(rgb, frame), time)
                count += 1
        start, declared = container.start_time or 0, container.duration or 0
        ends, declared = ends - start / av.time_base, declared / av.time_base
    if not count:
        raise UserError(f"{path}: its video stream holds no frame")
    # FFmpeg ends quietly where many a cut-off file ends. No stream reaching the declared end tells
    # that from a sound track that outlasts the pictures.
    if ends < min(0.9 * declared, declared - 0.5):
        raise UserError(
            f"{path}: cut off, it ends at {ends:.1f} s of the {declared:.1f} s its header declares;"
            " copy it again (or, if it is whole, rewrite it with `ffmpeg -i OLD -c copy NEW`)"
        )


def read_sound(path: str | Path) -> tuple[np.ndarray, int] | None:
    """Decodes the first sound track of a video or sound file.

    Samples pass through 16 bits, as the reference's wav files hold them.

    Returns:
        (float32 [channels, samples] in [-1, 1), rate in Hz), or None where there is no sound.

    Raises:
        UserError: Not a media file, or the sound is broken.
    """
    sound = read_sound_start(path, math.inf)
    return None if sound is None else (sound.wave, sound.rate)


class Sound(NamedTuple):
    """The start of a sound, float32 [channels, samples], its rate in Hz, and the whole's mean."""

    wave: np.ndarray
    rate: int
    mean: float


def read_sound_start(path: str | Path, seconds: float) -> Sound | None:
    """As `read_sound`, but keeps only the first seconds, whatever the length.

    The mean is over all channels and samples of the whole sound.
    """
    with _open(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise UserError(f"{path}: sound in a format that FFmpeg does not know")
        resampler = av.AudioResampler(format="s16p")  # keeps rate and channels
        pieces, kept, total, count = [], 0, 0, 0
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()  # int16 [channels, n]
                total += int(samples.sum(dtype=np.int64))
                count += samples.size
                if kept < seconds * frame.sample_rate:
                    pieces.append(samples)
                    kept += samples.shape[1]
        rate = stream.codec_context.sample_rate
    if not pieces:
        return None
    wave = np.concatenate(pieces, axis=1).astype(np.float32) / 32768.0
    return Sound(wave, rate, total / (32768.0 * count))


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
        UserError: Not a video, or broken so that FFmpeg notices without decoding.
    """
    with _open(path) as container:
        stream = _video_stream(path, container)
        packets = sum(packet.size > 0 for packet in container.demux(stream)) if count else None
        if packets == 0:
            raise UserError(f"{path}: its video stream holds no frame")
        return Header(stream.frames or None, packets)


def read_sound_rate(path: str | Path) -> int:
    """The rate in Hz of a file's first sound track by its header, 0 without one.

    Raises:
        UserError: Not a media file.
    """
    with _open(path) as container:
        codec = container.streams.audio[0].codec_context if container.streams.audio else None
        return codec.sample_rate if codec else 0


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Opens a file, and turns what FFmpeg has to say about it into a `UserError`."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: empty, 0 bytes")
    opened = False
    try:
        # Absolute, or FFmpeg takes `one:two.mp4` for a protocol. Tags in odd encodings are common
        # and of no interest.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            opened = True
            yield container
    except (av.FFmpegError, ValueError) as error:  # the latter where a sound track changes rate
        what = "broken" if opened else "not a video or sound file"
        said = error.strerror if isinstance(error, av.FFmpegError) else str(error)
        raise UserError(f"{path}: {what} ({said})") from error


def _video_stream(path: str | Path, container: av.container.InputContainer):
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic  # the cover of a song
    ]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UserError(f"{path}: holds no video, only: {kinds}")
    codec = streams[0].codec_context
    if codec is None:
        raise UserError(f"{path}: video in a format that FFmpeg does not know")
    if codec.name in _TEXT_CODECS:
        raise UserError(f"{path}: a text file, not a video")
    return streams[0]


def _end_of(packet: av.Packet) -> float:
    """When what a packet holds is over, in seconds; 0 where it does not say."""
    start = packet.pts if packet.pts is not None else packet.dts
    if start is None or packet.time_base is None:
        return 0.0
    return float((start + (packet.duration or 0)) * packet.time_base)


def _as_shown(rgb: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Applies the display matrix: (x, y) goes to (a x + c y, b x + d y), in quarter turns."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(a) >= abs(b):
        flip_x, flip_y = a < 0, d < 0
    else:
        rgb = rgb.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

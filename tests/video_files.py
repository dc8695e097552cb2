"""Small media files for tests."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

RATE = 25
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def corners(count: int = 10, width: int = 96, height: int = 64) -> Iterable[np.ndarray]:
    """Frames with a red, a green, a blue and a grey quarter; the grey one gets brighter."""
    for number in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[: height // 2, : width // 2] = (220, 30, 30)
        frame[: height // 2, width // 2 :] = (30, 200, 30)
        frame[height // 2 :, : width // 2] = (30, 30, 220)
        frame[height // 2 :, width // 2 :] = min(255, 20 + 10 * number)
        yield frame


def tone(seconds: float, sample_rate: int, channels: int = 1, hertz: float = 440) -> np.ndarray:
    """int16 [channels, samples] sine, channel c half as loud as the one before."""
    wave = np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)
    return np.stack([wave * 16000 / 2**c for c in range(channels)]).astype(np.int16)


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    *,
    sound: np.ndarray | None = None,
    sample_rate: int = 16000,
    sound_codec: str = "aac",
    rate: int = RATE,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes frames (if any) and an int16 sound [channels, samples] (if any)."""
    with av.open(str(path), "w", options=options or {}) as file:
        video = audio = None
        frames = list(frames)
        if frames:
            quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            video = file.add_stream(codec, rate=rate, options=quiet)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.bit_rate = 2_000_000
        if sound is not None:
            layout = _LAYOUTS[len(sound)]
            audio = file.add_stream(sound_codec, rate=sample_rate, layout=layout)
        for frame in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if video:
            file.mux(video.encode(None))
        if audio:
            packed = np.ascontiguousarray(sound.T).reshape(1, -1)
            samples = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            samples.sample_rate = sample_rate
            file.mux(audio.encode(samples))
            file.mux(audio.encode(None))
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Writes (a, b, c, d) into the header of the first track of an mp4 file.

    A player shows the pixel (x, y) at (a x + c y, b x + d y).
    """
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16  # past version, times and ids, and layer
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 14]) * 65536
    data[start : start + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(data)


class Track(NamedTuple):
    """A sound track: int16 [channels, samples], when it starts, and a part that is lacking."""

    wave: np.ndarray
    rate: int = 16000
    codec: str = "aac"
    start: float = 0.0
    gap: tuple[float, float] = (0.0, 0.0)
    default: bool = True


def write_tracks(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    *,
    start: float = 0.0,
    tracks: Iterable[Track] = (),
    aspect: Fraction | None = None,
    kind: str | None = None,
) -> Path:
    """Writes frames from a time on, with pixels of an aspect, and any number of sound tracks."""
    with av.open(str(path), "w", format=kind) as file:
        video = file.add_stream(codec, rate=RATE)
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, RATE)
        video.codec_context.sample_aspect_ratio = aspect or Fraction(1)
        sounds = [
            (file.add_stream(t.codec, rate=t.rate, layout=_LAYOUTS[len(t.wave)]), t) for t in tracks
        ]
        for stream, track in sounds:
            if track.default:
                stream.disposition = av.stream.Disposition.default
        for number, rgb in enumerate(frames):
            if not number:
                video.height, video.width = rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = round(start * RATE) + number, Fraction(1, RATE)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for stream, track in sounds:
            stream.codec_context.time_base = Fraction(1, track.rate)
            _write_sound(file, stream, track)
    return path


def _write_sound(file, stream, track: Track) -> None:
    stream.codec_context.open(strict=False)
    step = stream.codec_context.frame_size or 1024
    for first in range(0, track.wave.shape[1], step):
        if track.gap[0] <= first / track.rate < track.gap[1]:
            continue
        samples = np.ascontiguousarray(track.wave[:, first : first + step].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=_LAYOUTS[len(track.wave)])
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        frame.pts = round(track.start * track.rate) + first
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def write_colour(
    path: Path,
    *colours: tuple[int, int, int],
    width: int = 64,
    height: int = 48,
    codec: str = "ffv1",
    pixels: str = "yuv420p",
    **tags: int,
) -> Path:
    """Writes frames of one colour (Y, U, V) each; tags are colorspace, color_range, ..."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        kind = np.uint16 if "10" in pixels else np.uint8
        for number, colour in enumerate(colours):
            frame = av.VideoFrame(width, height, pixels)
            for plane, value in zip(frame.planes, colour, strict=True):
                count = plane.buffer_size // np.dtype(kind).itemsize
                plane.update(np.full(count, value, kind).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            for name, value in tags.items():
                setattr(frame, name, value)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def break_packets(path: Path, kind: str, numbers: Iterable[int]) -> None:
    """Fills some packets of the first stream of a kind, audio or video, with ones."""
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(**{kind: 0}) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        position, size = places[number]
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)


def cut(path: Path, share: float) -> Path:
    """Leaves the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path

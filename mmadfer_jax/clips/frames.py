"""Which frames of a clip are seen, and frames to and from JPEG."""

import hashlib

import cv2
import numpy as np
import simplejpeg

FRAME_ORDERS = ("time", "text", "shuffled")


def test_indices(num_frames: int, wanted: int) -> np.ndarray:
    """The frames seen at test time: the middle of each of `wanted` equal segments.

    Where there are no more than `wanted`, all in order and the last one repeated.

    Args:
        num_frames: Frames of the clip, n.
        wanted: T.

    Returns:
        int64 [T], rising, each below `num_frames`.
    """
    _check(num_frames, wanted)
    if num_frames <= wanted:
        return np.minimum(np.arange(wanted), num_frames - 1)
    # In float64 and in this order of operations, as the reference: rounding decides some frames.
    tick = num_frames / wanted
    return (tick / 2.0 + tick * np.arange(wanted)).astype(np.int64)


# pytest takes an imported name with this prefix for a test.
test_indices.__test__ = False


def train_indices(num_frames: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """The frames seen in training: a random one of each of `wanted` segments, n // T wide.

    The segments start at the first frame, so up to T - 1 frames at the end are never seen, and
    where T < n < 2 T it is the first T, as in the reference. Where n <= T it is `test_indices`.

    Args:
        num_frames: Frames of the clip, n.
        wanted: T.
        rng: Source of the draw; not touched where there is nothing to draw.

    Returns:
        int64 [T], rising, each below `num_frames`.
    """
    _check(num_frames, wanted)
    width = num_frames // wanted
    if num_frames <= wanted:
        return test_indices(num_frames, wanted)
    if width == 1:
        return np.arange(wanted)
    return np.arange(wanted) * width + rng.integers(width, size=wanted)


def in_order(num_frames: int, frame_order: str) -> np.ndarray:
    """The clip's frames in an order, as indices into the frames in order of time.

    Args:
        num_frames: Frames of the clip, n.
        frame_order: "time"; or "text", the order into which the names 0.jpg, 1.jpg, ..., 10.jpg
            sort as text, in which the reference reads MAFW. What is to be "shuffled" is picked in
            order of time.

    Returns:
        int64 [n].
    """
    if frame_order == "text":
        return np.array(sorted(range(num_frames), key=str), np.int64)
    return np.arange(num_frames)


def shuffled(wanted: int, clip: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """A random order of the frames that were picked of a clip.

    Args:
        wanted: T.
        clip: Its name, from which the order at test time follows.
        rng: Draws the order in training, anew whenever the clip is seen.

    Returns:
        int64 [T], each of 0 to T - 1 once.
    """
    if rng is not None:
        return rng.permutation(wanted)
    # Raw bits are the one stream that NumPy promises never to change.
    seed = hashlib.sha256(clip.encode(errors="surrogateescape")).digest()
    bits = np.random.PCG64(int.from_bytes(seed, "big")).random_raw(wanted)
    return np.argsort(bits, kind="stable")


def _check(num_frames: int, wanted: int) -> None:
    if num_frames < 1 or wanted < 1:
        raise ValueError(f"cannot pick {wanted} of {num_frames} frames")


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """An RGB picture, uint8 [H, W, 3], as a JPEG file."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {rgb.dtype} {rgb.shape}")
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """Height and width of a JPEG file's picture, and 3.

    Raises:
        ValueError: The bytes are no JPEG file.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        raise ValueError(_no_jpeg(data)) from None
    return height, width, 3


def decode_jpeg(data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """The RGB picture of a JPEG file, uint8 [H, W, 3].

    Args:
        data: The file.
        out: Where to put it, of that shape, to save a copy.

    Raises:
        ValueError: The bytes are no JPEG file, or a broken one.
    """
    try:
        return simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except ValueError as error:
        raise ValueError(f"{_no_jpeg(data)} ({error})") from None


def _no_jpeg(data: bytes) -> str:
    return f"{len(data)} bytes that are no JPEG picture, beginning {data[:8]!r}"

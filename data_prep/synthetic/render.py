"""From the parameters of a picture to its frames."""

import functools
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from data_prep.synthetic.drawing import Layer
from data_prep.synthetic.face import draw_face
from data_prep.synthetic.head import DEFORMING, REGION, Head, build_head
from data_prep.synthetic.looks import CANVAS, CENTRE, Looks
from data_prep.synthetic.sample import Picture
from data_prep.synthetic.scene import draw_body, draw_room
from data_prep.synthetic.script import TRACK

SIDE = 192  # pixels of a frame; drawn at twice that, on the canvas
Window = tuple[slice, slice]  # rows and columns
_YAW, _PITCH = 13.0, 11.0  # canvas pixels the tip of the nose moves for a turn or nod of 1
_NECK = (CENTRE, 300.0)  # what the head turns about
_GRID = np.stack(np.meshgrid(*[np.arange(CANVAS, dtype=np.float32)] * 2), axis=2)
# Centres of the frame's pixels on the canvas.
_PIXELS = np.ascontiguousarray(_GRID[:SIDE, :SIDE] * (CANVAS / SIDE) + 0.5)


def render_frames(picture: Picture) -> Iterator[np.ndarray]:
    """Yields the frames of a clip in order, read-only RGB uint8 [SIDE, SIDE, 3]."""
    stage = _stage(picture.looks)
    for row in picture.track:
        yield stage.frame(tuple(row.tolist()))


class _Stage:
    """A person and a scene, whose frames are functions of muscles and pose alone.

    Clips of a person share frames: Fear those of Surprise, Neutral those of Happy. Each is drawn
    once.
    """

    def __init__(self, looks: Looks):
        self._looks, self._drawn = looks, {}
        self._head = build_head(looks)
        room = cv2.resize(draw_room(looks), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        still = cv2.transform(_PIXELS, cv2.invertAffineTransform(_pose_matrix(looks.zoom, {})))
        self._body = _sample_layer(draw_body(looks), (still, None))
        self._backdrop = room
        if self._head.hair_behind is None:
            _put(room, self._body, _box(self._body))
        depth = cv2.remap(self._head.depth, still, None, cv2.INTER_LINEAR)
        none = np.zeros_like(depth)
        self._turn = cv2.merge([-_YAW * depth, none])
        self._nod = cv2.merge([none, -_PITCH * depth])

    def frame(self, row: tuple[float, ...]) -> np.ndarray:
        """The frame of a track's row."""
        if row not in self._drawn:
            frame = self._draw(dict(zip(TRACK, row, strict=True)))
            frame.setflags(write=False)  # it is handed out again
            self._drawn[row] = frame
        return self._drawn[row]

    def _draw(self, moves: dict[str, float]) -> np.ndarray:
        head, frame = self._head, self._backdrop.copy()
        skin, alpha = _deform(head, moves)
        draw_face(skin, self._looks, moves)
        pose = _pose_matrix(self._looks.zoom, moves)
        where = cv2.transform(_PIXELS, cv2.invertAffineTransform(pose))
        cv2.scaleAdd(self._turn, moves["yaw"], where, dst=where)
        cv2.scaleAdd(self._nod, moves["pitch"], where, dst=where)
        where = cv2.convertMaps(where, None, cv2.CV_16SC2)

        def put(layer: Layer) -> None:
            window = _window(_box(layer), pose, moves)
            _put(frame, _sample_layer(layer, [part[window] for part in where]), window)

        if head.hair_behind is not None:
            put(head.hair_behind)
            _put(frame, self._body, _box(self._body))
        put((skin, alpha))
        if head.hair is not None:
            put(head.hair)
        return frame


_stage = functools.lru_cache(maxsize=1)(_Stage)  # clips of one person are rendered in a row


def _deform(head: Head, moves: dict[str, float]) -> Layer:
    """Skin pulled by the muscles, on the canvas."""
    left, top, right, bottom = REGION
    where = _GRID[top:bottom, left:right].copy()
    for name, field in zip(DEFORMING, head.fields, strict=True):
        amount = moves[name]
        if name == "jaw_drop":
            amount = min(amount + 0.35 * moves["talk"], 1.15)
        if amount:
            cv2.scaleAdd(field, amount, where, dst=where)
    maps = cv2.convertMaps(where, None, cv2.CV_16SC2)
    rgb, alpha = (part.copy() for part in head.skin)
    rgb[top:bottom, left:right] = _sample(head.skin[0], *maps)
    if moves["jaw_drop"] or moves["talk"]:
        alpha[top:bottom, left:right] = _sample(head.skin[1], *maps)
    return rgb, alpha


def _sample(image: np.ndarray, where: np.ndarray, more: np.ndarray | None = None) -> np.ndarray:
    return cv2.remap(image, where, more, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sample_layer(layer: Layer, where: Sequence[np.ndarray | None]) -> Layer:
    colours, alpha = layer
    return _sample(colours, *where), _sample(alpha, *where)


def _box(layer: Layer) -> Window:
    """The part outside of which a layer is transparent."""
    left, top, width, height = cv2.boundingRect(layer[1])
    return slice(top, top + height), slice(left, left + width)


def _window(box: Window, pose: np.ndarray, moves: dict[str, float]) -> Window:
    """The part of the frame on which a part of the canvas may show."""
    (rows, columns), (x, y) = box, (abs(_YAW * moves["yaw"]), abs(_PITCH * moves["pitch"]))
    corners = np.stack(np.meshgrid(_reach(columns, x), _reach(rows, y)), axis=2)
    seen = cv2.transform(corners, pose).reshape(-1, 2) * (SIDE / CANVAS)
    # At least a pixel, for OpenCV takes no empty picture.
    left, top = np.clip(seen.min(0) - 1, 0, SIDE - 1).astype(int)
    right, bottom = np.clip(seen.max(0) + 2, 1, SIDE).astype(int)
    return slice(top, bottom), slice(left, right)


def _reach(part: slice, more: float) -> tuple[float, float]:
    """Start and stop of a part of the canvas, whose edge pixels go on outside of it."""
    start = -CANVAS if part.start == 0 else part.start - more
    return start, 2 * CANVAS if part.stop == CANVAS else part.stop + more


def _put(frame: np.ndarray, layer: Layer, window: Window) -> None:
    """Puts a layer on a window of an RGB picture, in place."""
    colours, alpha = layer
    if alpha.shape == frame.shape[:2]:
        colours, alpha = colours[window], alpha[window]
    share = alpha * np.float32(1 / 255)
    frame[window] = cv2.blendLinear(colours, frame[window], share, 1 - share)


def _pose_matrix(zoom: float, moves: dict[str, float]) -> np.ndarray:
    """2x3 matrix from the head at rest to the frame (in canvas pixels)."""
    matrix = cv2.getRotationMatrix2D(_NECK, moves.get("roll", 0.0), zoom)
    matrix[:, 2] += moves.get("shift_x", 0.0), moves.get("shift_y", 0.0)
    return matrix

"""From the parameters of a picture to its frames."""

from collections.abc import Iterator

import cv2
import numpy as np

from data_prep.synthetic.drawing import Layer
from data_prep.synthetic.face import draw_face
from data_prep.synthetic.head import DEFORMING, REGION, Head, build_head
from data_prep.synthetic.looks import CANVAS, CENTRE
from data_prep.synthetic.sample import Picture
from data_prep.synthetic.scene import draw_body, draw_room
from data_prep.synthetic.script import TRACK

SIDE = 192  # pixels of a frame; drawn at twice that, on the canvas
_YAW, _PITCH = 13.0, 11.0  # canvas pixels the tip of the nose moves for a turn or nod of 1
_NECK = (CENTRE, 300.0)  # what the head turns about
_GRID = np.stack(np.meshgrid(*[np.arange(CANVAS, dtype=np.float32)] * 2), axis=2)
# Centres of the frame's pixels on the canvas.
_PIXELS = np.ascontiguousarray(_GRID[:SIDE, :SIDE] * (CANVAS / SIDE) + 0.5)


def render_frames(picture: Picture) -> Iterator[np.ndarray]:
    """Yields the frames of a clip in order, RGB uint8 [SIDE, SIDE, 3]."""
    looks = picture.looks
    head = build_head(looks)
    room = cv2.resize(draw_room(looks), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    still = cv2.transform(_PIXELS, _pose_matrix(looks.zoom, {}))
    body = _sample(cv2.merge(draw_body(looks)), still)
    behind, hair = (layer and cv2.merge(layer) for layer in (head.hair_behind, head.hair))
    backdrop = _over(body, room) if behind is None else room
    depth = cv2.remap(head.depth, still, None, cv2.INTER_LINEAR)
    none = np.zeros_like(depth)
    turn, nod = cv2.merge([-_YAW * depth, none]), cv2.merge([none, -_PITCH * depth])
    for row in picture.track:
        moves = dict(zip(TRACK, row.tolist(), strict=True))
        skin, alpha = _deform(head, moves)
        draw_face(skin, looks, moves)
        where = cv2.transform(_PIXELS, _pose_matrix(looks.zoom, moves))
        cv2.scaleAdd(turn, moves["yaw"], where, dst=where)
        cv2.scaleAdd(nod, moves["pitch"], where, dst=where)
        where = cv2.convertMaps(where, None, cv2.CV_16SC2)
        frame = backdrop
        if behind is not None:
            frame = _over(body, _over(_sample(behind, *where), frame))
        frame = _over(_sample(cv2.merge([skin, alpha]), *where), frame)
        if hair is not None:
            frame = _over(_sample(hair, *where), frame)
        yield frame


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


def _over(layer: np.ndarray, under: np.ndarray) -> np.ndarray:
    """An RGBA layer over an RGB picture."""
    share = cv2.extractChannel(layer, 3) * np.float32(1 / 255)
    return cv2.blendLinear(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), under, share, 1 - share)


def _pose_matrix(zoom: float, moves: dict[str, float]) -> np.ndarray:
    """2x3 matrix from the frame (in canvas pixels) back to the head at rest."""
    matrix = cv2.getRotationMatrix2D(_NECK, moves.get("roll", 0.0), zoom)
    matrix[:, 2] += moves.get("shift_x", 0.0), moves.get("shift_y", 0.0)
    return cv2.invertAffineTransform(matrix)

"""A head at rest: skin lit over a height map, and the fields that deform it."""

import dataclasses

import cv2
import numpy as np

from data_prep.synthetic.drawing import (
    Layer,
    bump,
    darken,
    disc,
    fill,
    grown,
    lambert,
    mask_of,
    mirrored,
    paint,
    shifted,
    spline,
    stroke,
)
from data_prep.synthetic.hair import hair_layers, hair_outline
from data_prep.synthetic.looks import CANVAS, CENTRE, Looks

_X = np.arange(CANVAS, dtype=np.float32)
_HALF = _X[::2] + 0.5  # shading is smooth: it is worked out at half size
JAW_DROP = 28.0  # canvas pixels the chin sinks when the jaw is wide open

# Muscles that move skin, in the order of `Head.fields`.
DEFORMING = ("jaw_drop", "corner_pull", "nose_wrinkle", "brow_lower")
# Part of the canvas they move: left, top, right, bottom.
REGION = (84, 112, 300, CANVAS)


@dataclasses.dataclass(frozen=True)
class Head:
    """Layers and fields of one person, all on the canvas.

    Attributes:
        skin: Face and ears without eyes, brows and mouth.
        hair: Before the face, None when bald.
        hair_behind: Behind the neck, None where it is short.
        depth: Float32, how far each pixel comes towards the camera, 0 to 1 at the tip of the nose.
        fields: For each of `DEFORMING`, offsets to where skin is pulled from, float32 [H, W, 2] in
            `REGION`.
    """

    skin: Layer
    hair: Layer | None
    hair_behind: Layer | None
    depth: np.ndarray
    fields: tuple[np.ndarray, ...]


def build_head(looks: Looks) -> Head:
    """Draws everything of a head that is the same in all frames."""
    outline = face_outline(looks)
    mask = mask_of(outline, CANVAS)
    height = _height_map(looks, mask)
    skin = _draw_skin(looks, height)
    alpha = mask.copy()
    for side in (-1, 1):
        _draw_ear(skin, alpha, mask, looks, side)
    hair, hair_behind = hair_layers(looks)
    if hair is not None:
        _drop_hair_shadow(skin, looks)
    dome = bump(_X, _X, (CENTRE, 185), 95, 120)
    nose = bump(_X, _X, (CENTRE, looks.nose_y - 8), 26, 32)
    return Head(
        skin=(skin, alpha),
        hair=hair,
        hair_behind=hair_behind,
        depth=0.75 * dome + 0.25 * nose,
        fields=_deformations(looks),
    )


def face_outline(looks: Looks) -> np.ndarray:
    """The edge of the face, [n, 2]."""
    w, low = looks.half_width, looks.chin_y
    left = [(0.0, low), (-looks.chin * w, low - 7), (-looks.jaw * w, 262), (-0.95 * w, 222)]
    left += [(-w, 174), (-0.91 * w, 124), (-0.60 * w, 84), (0.0, 68)]
    return spline(shifted(mirrored(left)[:-1], CENTRE), closed=True)


def _height_map(looks: Looks, mask: np.ndarray) -> np.ndarray:
    """The relief of a face in canvas pixels, at half size, float32."""
    grown_mask = cv2.dilate(cv2.resize(mask, None, fx=0.5, fy=0.5), np.ones((5, 5), np.uint8))
    inside = 2 * cv2.distanceTransform(grown_mask, cv2.DIST_L2, 5)
    reach = np.clip(inside / 72, 0, 1)
    height = cv2.GaussianBlur(58 * np.sqrt(1 - (1 - reach) ** 2), (0, 0), 3.5)
    eye, gap, nose, mouth = looks.eye_y, looks.eye_gap, looks.nose_y, looks.mouth_y
    # (x, y, width, height of the hill, how high); pairs are mirrored.
    paired = [
        (gap, eye - 2, 22, 13, -8),
        (gap - 18, eye - 6, 9, 12, -4),
        (gap, eye - 30, 26, 8, 4),
        (52, 222, 24, 20, 7),
        (62, 268, 18, 20, -3),
        (looks.nose_width * 0.72, nose - 3, 6.5, 6, 6),
        (30, 244, 7, 14, -2.5),
    ]
    single = [
        (0, eye - 2, 8, 24, 7),
        (0, eye + 24, 8.5, 17, 10),
        (0, nose - 7, looks.nose_width * 0.55, 9.5, 13),
        (0, mouth, 31, 17, 7),
        (0, mouth - 15, 4, 7, -2),
        (0, mouth + 19, 20, 6, -4),
        (0, looks.chin_y - 18, 19, 13, 8),
        (0, 122, 50, 26, 4),
    ]
    for x, y, wide, tall, high in single + [
        (side * x, *rest) for x, *rest in paired for side in (-1, 1)
    ]:
        height += high * bump(_HALF, _HALF, (CENTRE + x, y), wide, tall)
    return height


def _draw_skin(looks: Looks, height: np.ndarray) -> np.ndarray:
    """Skin with blush, freckles, beard and nostrils under the lamp, RGB uint8."""
    base = np.empty((CANVAS, CANVAS, 3), np.float32)
    base[:] = looks.skin
    rng = np.random.default_rng(looks.texture_seed + 2)
    if looks.freckles:
        for x, y in rng.normal((0, 216), (36, 10), (46, 2)):
            spot = paint(np.array(looks.skin) * (0.84, 0.74, 0.66))
            disc(base, (CENTRE + x, y), rng.uniform(0.8, 1.7), spot)
    if looks.beard:
        base += (_beard(looks) * looks.beard)[..., None] * (np.float32(looks.hair) * 0.75 - base)
    blush = bump(_HALF, _HALF, (CENTRE, looks.nose_y - 6), 13, 11) * 0.5
    for side in (-1, 1):
        blush += bump(_HALF, _HALF, (CENTRE + side * 52, 226), 23, 16)
    diffuse, shine = lambert(height, looks.light, 2.0)
    light = looks.ambient + (1.11 - looks.ambient) * diffuse
    tint = 1 + looks.warmth * np.array((0.045, 0.0, -0.055))
    # Light that went through skin is red: shadows lose less of it.
    tone = [
        t * cv2.pow(light, power) * (1 - share * blush)
        for t, power, share in zip(tint, (0.86, 1.04, 1.12), (0.02, 0.13, 0.10), strict=True)
    ]
    gloss = 30 * cv2.pow(shine, 28)
    cv2.multiply(base, grown(cv2.merge([t.astype(np.float32) for t in tone])), dst=base)
    cv2.add(base, grown(cv2.merge([gloss] * 3)), dst=base)
    skin = cv2.convertScaleAbs(base)
    _draw_nostrils(skin, looks)
    return skin


def _beard(looks: Looks) -> np.ndarray:
    """Where a beard grows, [CANVAS, CANVAS] in [0, 1]."""
    w, mouth = looks.half_width, looks.mouth_y
    upper = mirrored([(-1.02 * w, 205), (-0.86 * w, 232), (-46, 252), (-24, 240), (0, 242)])
    area = np.concatenate([upper, [(w, 330), (-w, 330)]])
    mask = mask_of(shifted(area, CENTRE), CANVAS)
    hole = shifted([(-33, mouth), (0, mouth - 9), (33, mouth), (0, mouth + 15)], CENTRE)
    hole = spline(hole, closed=True)
    fill(mask, hole, 0)
    return cv2.GaussianBlur(mask, (0, 0), 4).astype(np.float32) * (0.72 / 255)


def _draw_nostrils(skin: np.ndarray, looks: Looks) -> None:
    """Darkens nostrils and the edges of the nose's wings, in place."""
    shadow = np.zeros((CANVAS, CANVAS), np.uint8)
    wide, y = looks.nose_width, looks.nose_y
    hole = np.array([(0.18, 1.5), (0.32, -1.5), (0.60, -0.5), (0.70, 1.5), (0.50, 3.2), (0.30, 3)])
    wing = np.array([(0.86, -11), (1.08, -5), (1.04, 0), (0.84, 3)])
    for side in (-1, 1):
        scale = np.array((side * wide, 1))
        fill(shadow, spline(shifted(hole * scale, CENTRE, y), closed=True), 215)
        stroke(shadow, spline(shifted(wing * scale, CENTRE, y)), 95, 2)
    darken(skin, cv2.GaussianBlur(shadow, (0, 0), 1.5), (0.62, 0.76, 0.76))


def _draw_ear(
    skin: np.ndarray, alpha: np.ndarray, face: np.ndarray, looks: Looks, side: int
) -> None:
    """Adds an ear beside the face, in place."""
    shape = np.array([(-6, -24), (6, -28), (13, -20), (12, -4), (7, 12), (1, 22), (-6, 18)])
    middle = np.array((CENTRE + side * looks.half_width * 0.99, looks.eye_y + 14))
    outline = spline(shape * looks.ear * (side, 1) + middle, closed=True)
    mask = mask_of(outline, CANVAS)
    lit = 0.80 + 0.16 * side * looks.light[0]
    colour = np.array(looks.skin) * (lit * 1.02, lit * 0.92, lit * 0.88)
    ear = skin.copy()
    fill(ear, outline, paint(colour))
    inner = spline(shape * 0.58 * looks.ear * (side, 1) + middle + (side * 2, -1), closed=True)
    fill(ear, inner, paint(colour * 0.80))
    if looks.earrings:
        disc(ear, tuple(middle + np.array((side * 4, 21)) * looks.ear), 3.4, (232, 206, 128))
    only = (mask > 0) & (face == 0)
    skin[only] = ear[only]
    np.maximum(alpha, mask, out=alpha)


def _drop_hair_shadow(skin: np.ndarray, looks: Looks) -> None:
    outer, line = hair_outline(looks)
    shape = np.concatenate([spline(outer), spline(line)[::-1]])
    shape = shifted(shape, -7 * looks.light[0], 9)
    darken(skin, cv2.GaussianBlur(mask_of(shape, CANVAS), (0, 0), 6), (0.30, 0.36, 0.36))


def _deformations(looks: Looks) -> tuple[np.ndarray, ...]:
    """For each of `DEFORMING`, the offset to where an output pixel's skin comes from."""
    fields = [np.zeros((CANVAS, CANVAS, 2), np.float32) for _ in DEFORMING]
    jaw, smile, wrinkle, frown = fields
    share = np.clip((_X - looks.mouth_y + 6) / (looks.chin_y - looks.mouth_y + 8), 0, 1)
    sink = share * share * (3 - 2 * share)
    middle = np.exp(-((np.abs(_X - CENTRE) / (1.12 * looks.half_width)) ** 8))
    jaw[..., 1] = -JAW_DROP * np.outer(sink, middle)
    for side in (-1, 1):
        cheek = bump(_X, _X, (CENTRE + side * 50, 226), 22, 22)
        smile[..., 1] += 7 * cheek
        smile[..., 0] -= side * 5 * cheek
        wrinkle[..., 1] += 4 * bump(_X, _X, (CENTRE + side * 36, 224), 16, 18)
        brow = bump(_X, _X, (CENTRE + side * 26, looks.brow_y), 24, 12)
        frown[..., 1] -= 7 * brow
        frown[..., 0] += side * 3 * brow
    wrinkle[..., 1] += 8 * bump(_X, _X, (CENTRE, looks.nose_y - 2), 18, 16)
    left, top, right, bottom = REGION
    return tuple(np.ascontiguousarray(f[top:bottom, left:right]) for f in fields)

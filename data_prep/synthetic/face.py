"""The moving parts of a face, drawn on skin: eyes, brows, mouth, wrinkles, glasses."""

from collections.abc import Mapping

import cv2
import numpy as np

from data_prep.synthetic.drawing import darken, disc, fill, paint, ribbon, shifted, spline, stroke
from data_prep.synthetic.looks import CENTRE, Looks
from data_prep.synthetic.mouth import draw_mouth

# Part of the canvas that features may cover: left, top, right, bottom.
REGION = (92, 96, 292, 352)

# A lid from the inner (-1) to the outer corner (1), and its arcs: the upper is highest a little
# inside of the middle, the lower lowest a little outside.
_LID = np.linspace(-1, 1, 11)
_ABOVE = (1 - _LID**2) ** 0.7 * (1 - 0.12 * _LID)
_BELOW = (1 - _LID**2) ** 0.8 * (1 + 0.12 * _LID)
_LASH = np.linspace(0.55, 1.0, 11)
_EYEBALL = np.clip(np.linspace(196, 250, 46), 0, 240).astype(np.uint8)  # in the lid's shadow
_SIDES = np.array(((-1.0, 1), (1, 1)))[:, None]  # the left and the right half of a face
_BROW = np.interp(np.linspace(0, 1, 13), (0, 0.15, 0.55, 1), (0.7, 1.1, 0.95, 0.25))

Muscles = Mapping[str, float]


def draw_face(image: np.ndarray, looks: Looks, muscles: Muscles) -> None:
    """Draws all features for one frame's muscles on RGB uint8 [CANVAS, CANVAS, 3], in place."""
    _shade_wrinkles(image, looks, muscles)
    for side in (-1, 1):
        _draw_eye(image, looks, muscles, side)
        _draw_brow(image, looks, muscles, side)
    draw_mouth(image, looks, muscles)
    if looks.glasses:
        _draw_glasses(image, looks)


def _lids(looks: Looks, a: Muscles, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Curves of the upper and lower lid, inner to outer corner, each [n, 2]."""
    wide = 1 + 0.55 * a["lid_raise"] - 0.30 * a["lid_tighten"] - 0.42 * a["lid_drop"]
    upper = looks.eye_height * max(wide - 0.20 * a["cheek_raise"], 0.3) * (1 - a["blink"])
    lower = 0.55 * looks.eye_height * (1 + 0.3 * a["lid_raise"] - 0.25 * a["blink"])
    lower *= 1 - 0.75 * a["lid_tighten"] - 0.55 * a["cheek_raise"] * (1 - a["lid_tighten"])
    upper = max(upper, -lower + 0.6) if a["blink"] < 0.5 else upper - lower * a["blink"]
    slant = looks.eye_tilt + 2 * a["brow_lower"] - 3.5 * a["lid_drop"]
    x = CENTRE + side * (looks.eye_gap + _LID * looks.eye_width)
    corners = looks.eye_y - slant * _LID
    above = corners - upper * _ABOVE
    below = corners + lower * _BELOW
    return np.stack([x, above], axis=1), np.stack([x, below], axis=1)


def _draw_eye(image: np.ndarray, looks: Looks, a: Muscles, side: int) -> None:
    upper, lower = _lids(looks, a, side)
    x = CENTRE + side * looks.eye_gap
    left, top = int(x - looks.eye_width) - 3, int(looks.eye_y) - 26
    wide, tall = 2 * int(looks.eye_width) + 8, len(_EYEBALL)
    origin = np.array((left, top))
    ball = np.empty((tall, wide, 3), np.uint8)
    ball[:] = _EYEBALL[:, None, None]
    pupil = (
        x - left + 5.5 * a["gaze_x"],
        looks.eye_y - top - 1.5 + 4 * a["gaze_y"] + 1.5 * a["lid_drop"],
    )
    radius = 0.49 * looks.eye_width
    iris = np.array(looks.iris, float)
    disc(ball, pupil, radius, paint(iris * 0.45))
    disc(ball, pupil, radius - 1.6, tuple(iris.tolist()))
    disc(ball, (pupil[0], pupil[1] + 2.4), radius - 4.2, paint(iris * 1.3 + 12))
    disc(ball, pupil, radius * 0.47, (14, 10, 10))
    glint = 3.4 if looks.light[0] > 0 else -3.4
    disc(ball, (pupil[0] + glint, pupil[1] - 3.6), 2.5, (255, 255, 255))
    disc(ball, (pupil[0] - glint, pupil[1] + 4), 1.2, (225, 225, 228))
    # The upper lid's shadow on the ball.
    stroke(ball, upper - origin + (0, 2.5), paint(ball[8, 2] * 0.62), 3)
    mask = np.zeros((tall, wide), np.uint8)
    fill(mask, np.concatenate([upper, lower[::-1]]) - origin, 255)
    _paste(image[top : top + tall, left : left + wide], ball, mask)

    lash = paint(np.array(looks.hair) * 0.25 + 8)
    widths = (2.2 + 2.6 * looks.lashes) * _LASH
    fill(image, ribbon(upper - (0, 0.6), widths), lash)
    if looks.lashes > 0.6:
        for k, length in ((10, 5.5), (9, 6.5), (8, 6.0)):
            start = upper[k]
            tip = start + np.array((side * length * 0.85, -length * 0.75))
            stroke(image, np.stack([start, tip]), lash, 1)
    rim = paint(np.array(looks.skin) * (0.60, 0.46, 0.42))
    stroke(image, lower[2:], rim, 1)


def _draw_brow(image: np.ndarray, looks: Looks, a: Muscles, side: int) -> None:
    x = looks.eye_gap + np.array((-20.0, -7, 9, 26))
    y = looks.brow_y + np.array((0, -3, -1 - looks.brow_arch, 4.0))
    y += a["inner_brow_raise"] * np.array((-15, -10, -3, 1))
    y += a["outer_brow_raise"] * np.array((-3, -7, -14, -12))
    y += a["brow_lower"] * np.array((14, 10, 2, -2))
    y += a["nose_wrinkle"] * np.array((4, 3, 2, 1))
    x += (a["brow_lower"] + 0.3 * a["inner_brow_raise"]) * np.array((-6, -4, -1, 0))
    line = spline(np.stack([CENTRE + side * x, y], axis=1), 4)
    widths = looks.brow_thick * _BROW
    colour = np.minimum(np.array(looks.hair) * 0.62, 96.0)
    left, top = np.floor(line.min(0)).astype(int) - 6
    right, bottom = np.ceil(line.max(0)).astype(int) + 6
    mask = np.zeros((bottom - top, right - left), np.uint8)
    fill(mask, ribbon(line, widths) - (left, top), 225)
    # Hairs lean outwards and up, so the edges are not those of a sticker.
    roots = line[1:-2] - (left, top)
    tips = roots + np.stack([side * 3.5 * np.ones(len(roots)), -0.75 * widths[1:-2]], axis=1)
    stroke(mask, np.stack([roots, tips], axis=1), 170)
    mask = cv2.GaussianBlur(mask, (3, 3), 0.8)
    window = image[top:bottom, left:right]
    _paste(window, np.broadcast_to(colour.astype(np.uint8), window.shape), mask)


def _wrinkles(looks: Looks, a: Muscles) -> list[tuple[np.ndarray, float, int]]:
    """Lines on the right half of a face: (points relative to `CENTRE`, darkness, thickness)."""
    brow, eye, nose, mouth = looks.brow_y, looks.eye_y, looks.nose_y, looks.mouth_y
    raised = 0.5 * (a["inner_brow_raise"] + a["outer_brow_raise"])
    lift = -8 * a["inner_brow_raise"]
    drop = 7 * a["brow_lower"]
    outer = looks.eye_gap + looks.eye_width
    crease = 8 + 3 * a["lid_raise"] - 3 * a["brow_lower"]
    reach = looks.mouth_width + 9 + 7 * a["corner_pull"] - 4 * a["lip_round"]
    fold = 0.16 + 0.55 * a["corner_pull"] + 0.85 * a["upper_lip_raise"] + 0.2 * a["corner_drop"]
    corner = mouth - 9 * a["corner_pull"] + 9 * a["corner_drop"]
    bag = 0.25 + 0.5 * max(a["cheek_raise"], a["lid_tighten"])
    return [
        ([(6.5, brow - 10 + drop), (5.5, brow + drop), (8, brow + 10 + drop)], a["brow_lower"], 3),
        ([(0, brow - 23 + lift), (30, brow - 27 + lift), (54, brow - 20)], 0.65 * raised, 2),
        ([(0, brow - 33 + lift), (28, brow - 36 + lift), (46, brow - 31)], 0.55 * raised, 2),
        ([(0, eye - 9), (7, eye - 6)], 0.55 * a["nose_wrinkle"], 3),
        ([(3, eye + 6), (11, eye + 1)], 0.7 * a["nose_wrinkle"], 3),
        ([(5, eye + 18), (14, eye + 9)], 0.7 * a["nose_wrinkle"], 3),
        ([(8, eye + 29), (17, eye + 19)], 0.5 * a["nose_wrinkle"], 3),
        ([(looks.eye_gap - 17, eye - crease + 1), (looks.eye_gap - 2, eye - crease - 8),
          (outer - 4, eye - crease + 3), (outer + 1, eye - 4)], 0.55, 2),
        ([(looks.eye_gap - 16, eye + 11), (looks.eye_gap + 3, eye + 15), (outer, eye + 8)], bag, 2),
        ([(outer + 4, eye - 3), (outer + 13, eye - 8)], 0.7 * a["cheek_raise"], 2),
        ([(outer + 5, eye + 1), (outer + 15, eye + 2)], 0.7 * a["cheek_raise"], 2),
        ([(outer + 4, eye + 5), (outer + 13, eye + 11)], 0.6 * a["cheek_raise"], 2),
        ([(looks.nose_width + 4, nose - 8 - 5 * a["nose_wrinkle"]), (reach - 6, mouth - 18),
          (reach + 1, corner - 2), (reach - 1, corner + 9)], fold, 3),
        ([(0, mouth + 24), (9, mouth + 25), (17, mouth + 28)], 0.3 + 0.5 * a["lip_press"], 3),
    ]  # fmt: skip


def _shade_wrinkles(image: np.ndarray, looks: Looks, a: Muscles) -> None:
    left, top, right, bottom = REGION
    shade = np.zeros((bottom - top, right - left), np.uint8)
    for points, darkness, thickness in _wrinkles(looks, a):
        if darkness < 0.03:
            continue
        curve = spline(np.array(points, float), 4)
        lines = shifted(curve * _SIDES, CENTRE - left, -top)
        stroke(shade, lines, min(int(150 * darkness), 190), thickness)
    shade = cv2.GaussianBlur(shade, (7, 7), 1.7)
    darken(image[top:bottom, left:right], shade, (0.75, 0.92, 0.92))


def _draw_glasses(image: np.ndarray, looks: Looks) -> None:
    frame = (38, 32, 36)
    y = looks.eye_y + 3
    for side in (-1, 1):
        x = CENTRE + side * looks.eye_gap
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.7
        down = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.8
        ring = np.stack([x + 33 * across, y + 25 * down], axis=1)
        stroke(image, ring, frame, 2, closed=True)
        arm = np.array([(x + side * 33, y - 6), (CENTRE + side * looks.half_width, y - 10)])
        stroke(image, arm, frame, 2)
    gap = looks.eye_gap - 33
    bridge = shifted([(-gap, y - 3), (0, y - 8), (gap, y - 3)], CENTRE)
    stroke(image, spline(bridge, 4), frame, 2)


def _paste(window: np.ndarray, patch: np.ndarray, mask: np.ndarray) -> None:
    """Puts a patch on a window of an image where the mask says so, in place."""
    share = mask * np.float32(1 / 255)
    window[:] = cv2.blendLinear(np.ascontiguousarray(window), patch.copy(), 1 - share, share)

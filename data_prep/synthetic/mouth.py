"""The mouth of a synthetic face: lips, teeth and tongue from the muscles around it."""

from collections.abc import Mapping

import cv2
import numpy as np

from data_prep.synthetic.drawing import fill, paint, shifted, spline, stroke
from data_prep.synthetic.looks import CENTRE, Looks


def draw_mouth(image: np.ndarray, looks: Looks, muscles: Mapping[str, float]) -> None:
    """Draws the mouth on RGB uint8 [CANVAS, CANVAS, 3], in place."""
    top, seam_up, seam_low, bottom = _lip_curves(looks, muscles)
    lips = np.array(looks.lips, float) * (0.86 + 0.2 * looks.ambient)
    upper = paint(lips * 0.80)
    lower = paint(lips * 1.04)
    if np.max(seam_low[:, 1] - seam_up[:, 1]) > 1.2:
        _draw_inside(image, seam_up, seam_low, muscles)
    fill(image, np.concatenate([seam_low, bottom[::-1]]), lower)
    fill(image, np.concatenate([top, seam_up[::-1]]), upper)
    _shine(image, looks, seam_low, bottom)
    dark = paint(lips * (0.42, 0.30, 0.30))
    stroke(image, seam_up, dark, 2)
    stroke(image, bottom[3:-3], paint(lips * 0.78), 1)


def _lip_curves(looks: Looks, a: Mapping[str, float]) -> tuple[np.ndarray, ...]:
    """Upper lip's top, the two edges of the opening, lower lip's bottom; left to right."""
    pull, drop, press = a["corner_pull"], a["corner_drop"], a["lip_press"]
    wide = 1 + 0.36 * pull + 0.10 * a["upper_lip_raise"] - 0.36 * a["lip_round"]
    w = looks.mouth_width * (wide - 0.06 * a["talk"] + 0.05 * press)
    talk = 10 * a["talk"] * (1 - 0.35 * press)
    corner = looks.mouth_y - 11 * pull + 9 * drop + 9 * a["jaw_drop"] + 0.25 * talk
    high = looks.mouth_y - 3 * pull - 3 * drop - 6 * a["upper_lip_raise"] - 2 * a["jaw_drop"]
    gap = 29 * a["jaw_drop"] + 10 * pull * a["teeth"] + 8 * a["upper_lip_raise"] + talk
    low = high + gap
    thick_up = 6.5 * looks.lip_full * (1 - 0.55 * press - 0.22 * pull)
    thick_low = 9.0 * looks.lip_full * (1 - 0.50 * press - 0.15 * pull)
    peak, base = high - thick_up, low + thick_low
    raised = 3 * a["upper_lip_raise"]

    def mix(middle: float, share: float) -> float:
        return corner + (middle - corner) * share

    top = [(1, corner), (0.58, mix(peak, 0.66) - raised), (0.20, peak - 0.8 - raised / 2)]
    top = _mirror(top, (0, peak + 1.6))
    seam_up = _mirror([(0.97, corner), (0.55, mix(high, 0.72) - raised)], (0, high))
    seam_low = _mirror([(0.97, corner), (0.55, mix(low, 0.80))], (0, low))
    bottom = _mirror([(1, corner), (0.60, mix(base, 0.72)), (0.26, mix(base, 0.98))], (0, base))
    return tuple(
        spline(shifted(curve * (w, 1), CENTRE), 5) for curve in (top, seam_up, seam_low, bottom)
    )


def _mirror(left: list[tuple[float, float]], middle: tuple[float, float]) -> np.ndarray:
    """A curve from its left half (with x counted to the left) and its middle."""
    return np.array([(-x, y) for x, y in left] + [middle] + left[::-1])


def _draw_inside(
    image: np.ndarray, seam_up: np.ndarray, seam_low: np.ndarray, a: Mapping[str, float]
) -> None:
    """Cavity, tongue and upper teeth, seen through the opening."""
    edges = np.concatenate([seam_up, seam_low])
    left, top = np.floor(edges.min(0)).astype(int) - 3
    right, bottom = np.ceil(edges.max(0)).astype(int) + 3
    inside = np.empty((bottom - top, right - left, 3), np.uint8)
    inside[:] = (62, 18, 22)
    origin = np.array((left, top))
    middle = len(seam_up) // 2
    gap = seam_low[middle, 1] - seam_up[middle, 1]
    half = (right - left) / 2
    tongue = (round(half), round(bottom - top - 1 - 0.16 * gap))
    cv2.ellipse(
        inside, tongue, (round(0.56 * half), round(0.34 * gap)), 0, 0, 360, (186, 84, 84), -1
    )
    teeth = np.clip(0.36 * gap, 3.0, 9) + 5 * a["teeth"] * (gap > 4)
    row = np.concatenate([seam_up, shifted(seam_up, 0, teeth)[::-1]]) - origin
    fill(inside, row, (238, 234, 224))
    mask = np.zeros(inside.shape[:2], np.uint8)
    fill(mask, np.concatenate([seam_up, seam_low[::-1]]) - origin, 255)
    share = mask * np.float32(1 / 255)
    window = image[top:bottom, left:right]
    window[:] = cv2.blendLinear(np.ascontiguousarray(window), inside, 1 - share, share)


def _shine(image: np.ndarray, looks: Looks, seam_low: np.ndarray, bottom: np.ndarray) -> None:
    """A soft highlight on the lower lip."""
    x = CENTRE + 7 * np.sign(looks.light[0])
    middle = len(seam_low) // 2, len(bottom) // 2
    y = 0.5 * (seam_low[middle[0], 1] + bottom[middle[1], 1])
    left, top = int(x) - 14, int(y) - 7
    glow = np.zeros((14, 28), np.uint8)
    cv2.ellipse(glow, (14, 7), (7, 2), 0, 0, 360, 70, -1, cv2.LINE_AA)
    glow = cv2.GaussianBlur(glow, (0, 0), 1.6)
    window = image[top : top + 14, left : left + 28]
    cv2.add(window, cv2.merge([glow] * 3), dst=window)

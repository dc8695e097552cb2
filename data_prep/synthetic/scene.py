"""What stays still in a clip: the room, and neck, shoulders and clothes before it."""

import cv2
import numpy as np

from data_prep.synthetic.drawing import (
    Layer,
    blend,
    bump,
    disc,
    fill,
    mask_of,
    mirrored,
    paint,
    shifted,
    spline,
    stroke,
)
from data_prep.synthetic.looks import CANVAS, CENTRE, Looks

_X = np.arange(CANVAS, dtype=np.float32)
_TOP = 232  # the row of the canvas where bodies begin
_BODY_Y = _X[_TOP:]


def draw_room(looks: Looks) -> np.ndarray:
    """A room out of focus, RGB uint8 [CANVAS, CANVAS, 3]."""
    rng = np.random.default_rng(looks.texture_seed + 1)
    base = np.array(looks.room, np.float32)
    # Drawn small: everything is blurred.
    side = CANVAS // 4
    steps = np.linspace(1.12, 0.82, side)[:, None, None]
    room = np.clip(base * np.broadcast_to(steps, (side, side, 1)), 0, 255).astype(np.uint8)
    _DRAW_THINGS[looks.background](room, base, rng)
    room = cv2.GaussianBlur(room, (0, 0), 2.6)
    room = cv2.resize(room, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    glow = bump(_X, _X, (CENTRE + 260 * looks.light[0], 60), 170, 170)
    vignette = bump(_X, _X, (CENTRE, 180), 300, 300)
    lit = room * (0.72 + 0.3 * vignette + 0.14 * glow)[..., None]
    return np.clip(lit, 0, 255).astype(np.uint8)


def _draw_wall(room: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> None:
    side = len(room)
    cv2.rectangle(room, (0, int(0.78 * side)), (side, side), paint(base * 0.72), -1)
    x, y = rng.integers(0, side // 4, 2).tolist()
    if rng.uniform() < 0.5:
        x = side - 24 - x // 2
    cv2.rectangle(room, (x, y), (x + 24, y + 32), paint(base * 0.6), -1)
    cv2.rectangle(room, (x + 3, y + 3), (x + 21, y + 29), paint(base * 1.15 + (14, 6, -8)), -1)


def _draw_lights(room: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> None:
    room[:] = (room * 0.62).astype(np.uint8)
    for _ in range(22):
        glow = base * rng.uniform(0.8, 1.25) + rng.uniform(-10, 45, 3) * (1, 0.7, 0.3)
        spot = room.copy()
        disc(spot, rng.uniform(0, len(room), 2), rng.uniform(2.5, 7.5), paint(glow))
        cv2.addWeighted(spot, 0.65, room, 0.35, 0, dst=room)


def _draw_window(room: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> None:
    left = int(rng.choice((4, 56)) + rng.integers(-6, 6))
    sky = paint(base * 0.35 + (150, 158, 162))
    cv2.rectangle(room, (left, 6), (left + 38, 62), sky, -1)
    cv2.rectangle(room, (left, 46), (left + 38, 62), paint(base * (0.62, 0.78, 0.58)), -1)
    for x in (left, left + 19, left + 38):
        cv2.line(room, (x, 6), (x, 62), paint(base * 1.18), 2)


def _draw_shelves(room: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> None:
    room[:] = (room * 0.8).astype(np.uint8)
    for shelf in range(3, len(room), 26):
        x = int(rng.integers(-4, 4))
        while x < len(room):
            thick, tall = int(rng.integers(3, 8)), int(rng.integers(13, 21))
            book = base * rng.uniform(0.55, 1.2) + rng.uniform(-26, 26, 3)
            corners = ((x, shelf + 22 - tall), (x + thick, shelf + 22))
            cv2.rectangle(room, *corners, paint(book), -1)
            x += thick + int(rng.integers(0, 3))
        cv2.rectangle(room, (0, shelf + 23), (len(room), shelf + 25), paint(base * 0.5), -1)


_DRAW_THINGS = {
    "wall": _draw_wall,
    "lights": _draw_lights,
    "window": _draw_window,
    "shelves": _draw_shelves,
}


def draw_body(looks: Looks) -> Layer:
    """Neck, shoulders and clothes on the canvas."""
    neck = 0.52 * looks.half_width
    lamp = looks.light[0]
    round_off = np.sqrt(np.clip(1 - ((_X - CENTRE) / (1.12 * neck)) ** 2, 0.05, 1))
    neck_light = looks.ambient + 0.5 * round_off * (1 + 0.5 * lamp * (_X - CENTRE) / neck)
    chin_shadow = bump(_X, _BODY_Y, (CENTRE - 12 * lamp, looks.chin_y - 4), 80, 26)
    light = (neck_light[None] * (1 - 0.5 * chin_shadow)).astype(np.float32)
    tones = [
        shade * cv2.pow(light, power)
        for shade, power in zip(looks.skin, (0.88, 1.05, 1.1), strict=True)
    ]
    skin = cv2.convertScaleAbs(cv2.merge(tones))
    low_left = [(-3.5 * neck, 420), (-3.1 * neck, 372), (-2.1 * neck, 354), (-1.3 * neck, 338)]
    edge = mirrored([*low_left, (-neck, 318), (-neck, 240), (0, 240)])
    image = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    image[_TOP:] = blend(skin, *_draw_cloth(looks, neck))
    return image, mask_of(spline(shifted(edge, CENTRE), closed=True), CANVAS)


def _draw_cloth(looks: Looks, neck: float) -> Layer:
    """Clothes below the row `_TOP` of the canvas."""
    low = {"crew": 352, "v": 388, "shirt": 380}[looks.collar]
    edge = mirrored([(-1.22 * neck, 326), (-0.98 * neck, 344), (0, low)])
    edge = shifted(spline(edge) if looks.collar == "crew" else edge, CENTRE, -_TOP)
    below = [(CANVAS + 9, 326 - _TOP), (CANVAS + 9, 400), (-9, 400), (-9, 326 - _TOP)]
    mask = mask_of(np.concatenate([edge, below]), CANVAS)[: CANVAS - _TOP]
    base = np.array(looks.clothes, np.float32)
    across = (_X - CENTRE) / CENTRE
    light = looks.ambient + 0.42 + 0.28 * looks.light[0] * across
    light = light[None] * (1 - 0.3 * bump(_X, _BODY_Y, (CENTRE, 330), 90, 26))
    cloth = np.clip(base * light[..., None], 0, 255).astype(np.uint8)
    rim = paint(base * 0.62)
    if looks.collar == "shirt":
        for side in (-1, 1):
            wing = [(1.26 * neck, 322), (0.98 * neck, 344), (0.1 * neck, low)]
            wing += [(0.75 * neck, low + 6), (1.5 * neck, 352)]
            outline = shifted(np.array(wing) * (side, 1), CENTRE, -_TOP)
            fill(cloth, outline, paint(base * 1.08 + 8))
            stroke(cloth, outline[1:], rim, 2)
    else:
        stroke(cloth, shifted(edge, 0, 5), rim, 2)
    return cloth, mask

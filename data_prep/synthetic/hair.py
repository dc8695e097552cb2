"""Hair: masks of the styles, and a texture of strands."""

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
    ribbon,
    shifted,
    spline,
    stroke,
)
from data_prep.synthetic.looks import CANVAS, CENTRE, Looks

_HALF = np.arange(0.5, CANVAS, 2, dtype=np.float32)


def hair_layers(looks: Looks) -> tuple[Layer | None, Layer | None]:
    """Hair in front of and behind the head on the canvas, None where there is none."""
    if looks.hair_style == "bald":
        return None, None
    rng = np.random.default_rng(looks.texture_seed)
    front = _cap(looks, rng)
    back = np.zeros_like(front)
    if looks.hair_style in ("bob", "long"):
        _add_locks(front, back, looks)
    elif looks.hair_style == "bun":
        disc(back, (CENTRE + 12 * looks.parting, 46), 27 * looks.volume, 255)
    elif looks.hair_style == "curly":
        _add_curls(front, looks, rng)
    texture = _texture(looks, rng)
    if not back.any():
        return (texture, front), None
    # Locks and buns lie in the shadow of the head.
    behind = cv2.convertScaleAbs(texture, alpha=0.72)
    darken(behind, grown(cv2.GaussianBlur(front[::2, ::2], (0, 0), 7)), (0.35, 0.35, 0.35))
    return (texture, front), (behind, back)


def hair_outline(looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """The hair's outer edge and the hairline, each [n, 2] from the left ear to the right."""
    w, v, style = looks.half_width, 8 * looks.volume, looks.hair_style
    if style == "buzz":
        v = 1.5
    left = [(-w - 1 - v / 3, 192), (-w - v * 0.7, 152), (-0.86 * w - v, 106)]
    left += [(-0.48 * w - v * 0.6, 70 - v), (0, 60 - 1.2 * v)]
    outer = mirrored(left)
    if style == "swept":
        outer[3:6, 1] -= 10 * looks.volume * np.array((1 - looks.parting, 1.6, 1 + looks.parting))
    if style in ("crop", "buzz", "curly"):
        line = [(-0.95 * w, 190), (-0.92 * w, 160), (-0.87 * w, 136), (-0.70 * w, 119)]
        line = mirrored([*line, (-0.38 * w, 108), (0, 111)])
    else:
        # The hairline is highest at the parting and comes down to both sides.
        part = 0.5 * w * looks.parting if style != "swept" else 0.0
        x = np.linspace(-0.9, 0.9, 11) * w
        y = 96 + 46 * (np.abs(x - part) / (0.9 * w + np.sign(part - x) * part)) ** 1.7
        ends = np.array(((-0.95 * w, 190), (0.95 * w, 190)))
        line = np.concatenate([ends[:1], np.stack([x, y], axis=1), ends[1:]])
    return shifted(outer, CENTRE), shifted(line, CENTRE)


def _cap(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    outer, line = (spline(edge) for edge in hair_outline(looks))
    cap = mask_of(np.concatenate([outer, line[::-1]]), CANVAS)
    if looks.hair_style == "buzz":
        skull = mask_of(outer, CANVAS)
        return np.minimum(cv2.GaussianBlur(cap // 4 * 3, (0, 0), 3), skull)
    # Ends of strands, so that the edges are not cut with scissors from paper.
    start = np.array((CENTRE + 0.5 * looks.parting * looks.half_width, 60.0))
    long = {"crop": 7, "swept": 6, "side_part": 6}.get(looks.hair_style, 3.5)
    for point in line[rng.integers(9, len(line) - 9, 46)]:
        _add_tuft(cap, point, point - start, rng.uniform(0.4, 1) * long)
    for point in outer[rng.integers(8, len(outer) - 8, 26)]:
        side = np.array((np.sign(point[0] - CENTRE), 0.35))
        _add_tuft(cap, point, side + rng.normal(0, 0.2, 2), rng.uniform(0.4, 1) * 1.4 * long)
    return cap


def _add_tuft(mask: np.ndarray, root: np.ndarray, way: np.ndarray, length: float) -> None:
    step = way / np.linalg.norm(way) * length
    line = np.stack([root - step, root, root + 0.6 * step, root + step + (0, 0.2 * length)])
    fill(mask, ribbon(line, np.array((6.0, 5.0, 2.5, 0.5))), 255)


def _add_locks(front: np.ndarray, back: np.ndarray, looks: Looks) -> None:
    w, v = looks.half_width, 9 * looks.volume
    ends = (292, 0.88) if looks.hair_style == "bob" else (392, 1.0)
    lock = [(0.70 * w, 100), (0.92 * w + v, 112), (w + 1.5 * v, 170), (w + 1.9 * v, 230)]
    lock += [(w * ends[1] + 2.0 * v, ends[0] - 12), (w * ends[1] + 0.4 * v, ends[0])]
    lock += [(w + 0.1 * v, 240), (0.96 * w, 196), (0.90 * w, 150), (0.80 * w, 122)]
    for side in (-1, 1):
        fill(front, spline(shifted(np.array(lock) * (side, 1), CENTRE), closed=True), 255)
    low = ends[0] - 8
    behind = [(0, low + 4), (-w * ends[1] - 1.9 * v, low), (-w - 1.9 * v, 220), (-w - v, 120)]
    behind = mirrored([*behind, (0, 60)])[:-1]
    fill(back, spline(shifted(behind, CENTRE), closed=True), 255)


def _add_curls(front: np.ndarray, looks: Looks, rng: np.random.Generator) -> None:
    outer, line = (spline(edge, 4) for edge in hair_outline(looks))
    for edge, count in ((outer, 44), (line[5:-5], 26)):
        for x, y in edge[rng.integers(len(edge), size=count)]:
            disc(front, (x + rng.normal(0, 2), y + rng.normal(0, 2)), rng.uniform(7, 13), 255)


def _texture(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Strands that run from the parting, shaded as a ball, RGB uint8 [CANVAS, CANVAS, 3]."""
    strands = np.full((CANVAS, CANVAS), 128, np.uint8)
    if looks.hair_style == "curly":
        for _ in range(260):
            middle, radius = rng.uniform((60, 10), (324, 230)), rng.uniform(4, 9)
            angle = rng.uniform(0, 6.3) + np.linspace(0, 3.6, 8)
            ring = middle + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            stroke(strands, ring, int(rng.choice((70, 95, 165, 190))), 2)
    else:
        start = np.array((CENTRE + 0.45 * looks.parting * looks.half_width, 44.0))
        for share in rng.uniform(-1, 1, 110):
            reach = looks.half_width + 26
            # A quarter of an ellipse, from the parting over the skull and down.
            angle = np.linspace(0, np.pi / 2, 9)
            x = start[0] + (CENTRE + share * reach - start[0]) * np.sin(angle)
            drop = 40 + 110 * abs(share) ** 0.7
            y = start[1] - 18 + 40 * (1 - abs(share)) + drop * (1 - np.cos(angle))
            line = np.stack([x, y], axis=1)
            tail = line[-1] + np.array(((0, 40), (-3 * np.sign(share), 260)))
            line = np.concatenate([line, tail])
            stroke(strands, line, int(rng.choice((80, 100, 155, 175))), int(rng.integers(1, 4)))
    strands = cv2.GaussianBlur(strands, (5, 5), 1.2) * np.float32(1 / 128)
    # A band of gloss around the skull.
    radius = np.hypot(*np.meshgrid((_HALF - CENTRE) / 92, (_HALF - 190) / 122))
    band = np.exp(-(((radius - 0.86) / 0.07) ** 2)).astype(np.float32)
    ball = 90 * np.sqrt(bump(_HALF, _HALF, (CENTRE, 175), 85, 95))
    diffuse, shine = lambert(ball, looks.light, 2.0)
    gloss = (45 * cv2.pow(shine, 12) + 26 * band * diffuse) * (
        0.4 + 0.4 * np.mean(looks.hair) / 255
    )
    light = 0.50 + 0.62 * grown(diffuse) * strands
    gloss = grown(gloss) * strands**2
    return cv2.convertScaleAbs(cv2.merge([shade * light + gloss for shade in looks.hair]))

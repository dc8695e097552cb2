"""Smooth shapes on arrays: splines, anti-aliased polygons, soft masks, shading by normals."""

import functools

import cv2
import numpy as np

_SUBPIXEL_BITS = 4

Colour = tuple[int, int, int]
Layer = tuple[np.ndarray, np.ndarray]  # RGB uint8 [H, W, 3] and alpha uint8 [H, W]


def spline(points: np.ndarray | list, steps: int = 6, closed: bool = False) -> np.ndarray:
    """A Catmull-Rom curve through points [n, 2]: [m, 2]."""
    points = np.asarray(points, np.float64)
    around = (points[-1:], points, points[:2]) if closed else (points[:1], points, points[-1:])
    padded = np.concatenate(around)
    curve = np.matmul(_catmull_rom(steps), padded[_neighbours(len(padded) - 3)]).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


@functools.cache
def _catmull_rom(steps: int) -> np.ndarray:
    """Weights of four neighbours along a segment, [steps, 4]."""
    u = np.arange(steps) / steps
    cubic = ((0, 2, 0, 0), (-1, 0, 1, 0), (2, -5, 4, -1), (-1, 3, -3, 1))
    return 0.5 * np.stack([u**0, u, u**2, u**3], axis=1) @ np.array(cubic)


@functools.cache
def _neighbours(segments: int) -> np.ndarray:
    return np.arange(segments)[:, None] + np.arange(4)


def mirrored(left: np.ndarray | list) -> np.ndarray:
    """A curve from its left half, whose last point is on the axis x = 0."""
    left = np.asarray(left, np.float64)
    return np.concatenate([left, left[-2::-1] * (-1, 1)])


def shifted(points: np.ndarray | list, x: float, y: float = 0.0) -> np.ndarray:
    """Points [n, 2] moved by (x, y)."""
    return np.asarray(points, np.float64) + np.array((x, y))


def ribbon(centre_line: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The outline of a stroke along [n, 2] with the given full widths [n]."""
    padded = np.concatenate([centre_line[:1], centre_line, centre_line[-1:]])
    along = padded[2:] - padded[:-2]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    across = along[:, ::-1] * np.array((-1, 1)) * (widths / (2 * length))[:, None]
    return np.concatenate([centre_line + across, (centre_line - across)[::-1]])


def fill(image: np.ndarray, outline: np.ndarray, colour: tuple | int) -> None:
    """Fills a polygon [n, 2] (x, y), anti-aliased, in place."""
    cv2.fillPoly(image, [_fixed(outline)], colour, cv2.LINE_AA, _SUBPIXEL_BITS)


def stroke(
    image: np.ndarray, line: np.ndarray, colour: tuple | int, thickness: int = 1, closed=False
) -> None:
    """Draws a polyline [n, 2] (x, y), or several [k, n, 2], anti-aliased, in place."""
    lines = _fixed(line).reshape(-1, *np.shape(line)[-2:])
    cv2.polylines(image, list(lines), closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def disc(image: np.ndarray, centre: tuple[float, float], radius: float, colour) -> None:
    """Fills a circle, anti-aliased, in place."""
    scale = 1 << _SUBPIXEL_BITS
    place = (round(centre[0] * scale), round(centre[1] * scale))
    cv2.circle(image, place, round(radius * scale), colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def mask_of(outline: np.ndarray, side: int) -> np.ndarray:
    """A square uint8 mask, 255 inside the outline."""
    mask = np.zeros((side, side), np.uint8)
    fill(mask, outline, 255)
    return mask


def blend(under: np.ndarray, over: np.ndarray | Colour, mask: np.ndarray) -> np.ndarray:
    """`under` with `over` where the mask (uint8 or share in [0, 1], [H, W]) says so; uint8."""
    share = mask.astype(np.float32) / 255 if mask.dtype == np.uint8 else mask
    return np.clip(
        under + (np.asarray(over, np.float32) - under) * share[..., None] + 0.5, 0, 255
    ).astype(np.uint8)


def darken(image: np.ndarray, shadow: np.ndarray, shares: tuple[float, float, float]) -> None:
    """Takes shares of red, green and blue away where the uint8 shadow [H, W] is 255, in place."""
    keep = 255 - np.outer(np.arange(256), shares).astype(np.uint8)
    cv2.multiply(image, cv2.LUT(cv2.merge([shadow] * 3), keep[:, None]), dst=image, scale=1 / 255)


def bump(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], width: float, height: float
) -> np.ndarray:
    """A Gaussian hill of height 1 on the grid x [W], y [H]: [H, W], float32."""
    return np.outer(
        np.exp(-0.5 * ((y - centre[1]) / height) ** 2),
        np.exp(-0.5 * ((x - centre[0]) / width) ** 2),
    ).astype(np.float32)


def lambert(height: np.ndarray, light: tuple[float, float, float], pixel: float):
    """Light on a height map [H, W] whose grid step is `pixel`, in the heights' unit.

    Returns:
        Diffuse light and shine, both in [0, 1], [H, W].
    """
    slopes = [
        cv2.Sobel(height, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / (8 * pixel)) for dx in (1, 0)
    ]
    lamp = np.asarray(light, np.float32) / np.float32(np.linalg.norm(light))
    halfway = lamp + np.array((0, 0, 1), np.float32)
    halfway /= np.linalg.norm(halfway)
    norm = 1 / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    diffuse, shine = (
        (way[2] - way[0] * slopes[0] - way[1] * slopes[1]) * norm for way in (lamp, halfway)
    )
    # Wrapped a little around the edge, as light is inside skin.
    return np.maximum(diffuse + 0.15, 0) / 1.15, np.maximum(shine, 0)


def grown(image: np.ndarray) -> np.ndarray:
    """A half-size image at full size."""
    return cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(points) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def paint(rgb: np.ndarray) -> Colour:
    """Rounds and clips a colour for drawing."""
    red, green, blue = np.clip(np.rint(rgb), 0, 255).astype(int).tolist()
    return red, green, blue

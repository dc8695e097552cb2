"""Frames as they are stored, uint8, to frames as the model takes them, on the device.

A crop with its resize and its flip is two small matrix products a frame, whose matrices are
Pillow's filter weights. Results are rounded where Pillow rounds, so that the model sees the grey
levels which the authors' program feeds it.
"""

import jax
import jax.numpy as jnp


def resize(
    frames: jax.Array,
    size: int,
    boxes: jax.Array | None = None,
    flips: jax.Array | None = None,
) -> jax.Array:
    """Crops, resizes and flips as Pillow does with BILINEAR, which is antialiased.

    Args:
        frames: [B, T, H, W, 3], uint8, or float of the same range 0 to 255.
        size: Side S of the result in pixels; the aspect is not kept.
        boxes: int32 [B, 4], top, left, height and width of each clip's crop; None for all of it.
        flips: bool [B], which clips are flipped left-right; None for none.

    Returns:
        float32 [B, T, S, S, 3] in [0, 1].
    """
    b, _, h, w, _ = frames.shape
    frames = frames.astype(jnp.float32)
    if boxes is None:
        if flips is None and (h, w) == (size, size):
            return frames / 255.0
        boxes = jnp.broadcast_to(jnp.array([0, 0, h, w], jnp.int32), (b, 4))
    top, left, height, width = boxes.T
    rows = _weights(top, height, h, size)
    columns = _weights(left, width, w, size)
    if flips is not None:
        columns = jnp.where(flips[:, None, None], columns[:, ::-1], columns)
    # TPUs and GPUs would round the weights to 8 or 10 bits by default: whole grey levels.
    exact = jax.lax.Precision.HIGHEST
    frames = _round(jnp.einsum("bvw,bthwc->bthvc", columns, frames, precision=exact))
    return _round(jnp.einsum("bsh,bthvc->btsvc", rows, frames, precision=exact)) / 255.0


def _round(levels: jax.Array) -> jax.Array:
    return jnp.floor(levels + 0.5)


def _weights(start: jax.Array, extent: jax.Array, pixels: int, size: int) -> jax.Array:
    """Pillow's triangle filter along one axis, as matrices from pixels to output pixels.

    Pillow crops before it resizes, so no pixel outside the crop has a weight.

    Args:
        start: int32 [B], first pixel of each crop.
        extent: int32 [B], pixels of each crop.
        pixels: Pixels of the picture.
        size: Pixels of the result.

    Returns:
        float32 [B, size, pixels], rows summing to 1.
    """
    scale = (extent.astype(jnp.float32) / size)[:, None, None]
    support = jnp.maximum(scale, 1.0)  # a wider filter where the picture shrinks: antialiasing
    centre = (jnp.arange(size, dtype=jnp.float32)[None, :, None] + 0.5) * scale
    pixel = jnp.arange(pixels)[None, None, :] - start[:, None, None]
    weights = jnp.maximum(1.0 - jnp.abs(pixel + 0.5 - centre) / support, 0.0)
    weights = jnp.where((pixel >= 0) & (pixel < extent[:, None, None]), weights, 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)

"""Augmentation of training clips on the device, inside the jitted step; one draw a clip."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.pixels import resize


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How clips are augmented in training; `configs/default.py` has the published values.

    Attributes:
        brightness: Range of the factor on the pixels; (1, 1) leaves them alone.
        area: Range of the crop's share of the picture; None or () keeps the whole picture.
        aspect: Range of the crop's width / height.
        swap: Probability that a crop's width and height change places.
        flip: Probability of a left-right flip.
        drop_sound: Share of the clips that come without their sound, as a silent clip.
        drop_picture: Share of the clips that come with black frames; none lacks both.
    """

    brightness: tuple[float, float]
    area: tuple[float, float] | None
    aspect: tuple[float, float]
    swap: float
    flip: float
    drop_sound: float = 0.0
    drop_picture: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "area", "aspect"):
            given = getattr(self, name)
            if name == "area" and not given:
                continue
            numbers = [x for x in given or () if type(x) in (int, float)]
            if len(numbers) != 2 or len(given) != 2 or not 0 < numbers[0] <= numbers[1]:
                raise UserError(
                    f"config.augment.{name} is {given}; expected the two ends of a range above 0"
                    + (", or () for the whole picture" if name == "area" else "")
                )
        if min(self.drop_sound, self.drop_picture) < 0 or self.drop_sound + self.drop_picture > 1:
            raise UserError(
                f"config.augment.drop_sound is {self.drop_sound} and drop_picture "
                f"{self.drop_picture}; expected shares of the clips, together at most 1"
            )


_TRIES = 10  # crops drawn until one fits into the picture; a square where none does


class Draw(NamedTuple):
    """What is done to a clip, or with a leading axis B to each of B clips.

    Attributes:
        brightness: float32 factor.
        box: int32 [4], the crop's top, left, height and width in pixels.
        flip: bool.
    """

    brightness: jax.Array
    box: jax.Array
    flip: jax.Array


def draw(key: jax.Array, config: Augmentation, height: int, width: int) -> Draw:
    """Draws the augmentation of one clip of frames `height` by `width`."""
    # One call for all numbers: every call of a generator adds a second to the step's compilation.
    numbers = jax.random.uniform(key, (4 + 3 * _TRIES,))
    brightness, flip, top, left = numbers[:4]
    return Draw(
        brightness=_between(brightness, config.brightness),
        box=_box(numbers[4:].reshape(3, -1), top, left, config, height, width),
        flip=flip < config.flip,
    )


def _between(number: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    return bounds[0] + number * (bounds[1] - bounds[0])


def _box(
    numbers: jax.Array,
    top: jax.Array,
    left: jax.Array,
    config: Augmentation,
    height: int,
    width: int,
) -> jax.Array:
    """The first crop that fits, int32 [4], from numbers [3, tries] and two for its place."""
    if not config.area:
        return jnp.array([0, 0, height, width], jnp.int32)
    area = _between(numbers[0], config.area) * (height * width)
    aspect = _between(numbers[1], config.aspect)
    w, h = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    swap = numbers[2] < config.swap
    w, h = jnp.where(swap, h, w), jnp.where(swap, w, h)
    fits = (w <= width) & (h <= height)
    first = jnp.argmax(fits)
    square = min(height, width)
    h = jnp.where(fits[first], jnp.maximum(h[first], 1), square)
    w = jnp.where(fits[first], jnp.maximum(w[first], 1), square)
    top, left = jnp.floor(top * (height - h + 1)), jnp.floor(left * (width - w + 1))
    return jnp.stack([top, left, h, w]).astype(jnp.int32)


def augment(frames: jax.Array, key: jax.Array, size: int, config: Augmentation) -> jax.Array:
    """Augments clips for training, one draw a clip (MMA-DFER, the authors' training transforms).

    A clip's draw depends on `key` and its row alone, so it is the same on any number of devices.

    Args:
        frames: uint8 [B, T, H, W, 3].
        key: The step's key.
        size: Side S of the result in pixels.
        config: What is drawn; static under jit.

    Returns:
        float32 [B, T, S, S, 3] in [0, 1].
    """
    b, _, h, w, _ = frames.shape
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(b))
    draws = jax.vmap(lambda clip_key: draw(clip_key, config, h, w))(keys)
    factor = draws.brightness[:, None, None, None, None]
    # Pillow's brightness, as the authors apply it before the crop, cuts to whole numbers.
    frames = jnp.floor(jnp.minimum(frames.astype(jnp.float32) * factor, 255.0))
    return resize(frames, size, draws.box, draws.flip)


def drop(
    frames: jax.Array,
    spectrogram: jax.Array,
    key: jax.Array,
    silence: float,
    config: Augmentation,
) -> tuple[jax.Array, jax.Array]:
    """Takes the sound or the picture of some clips away, so that a model learns to do without.

    Args:
        frames: float32 [B, T, S, S, 3], as `augment` gives them.
        spectrogram: float32 [B, L, M].
        key: The step's key, another than that of `augment`.
        silence: What stands for the log-mel of a clip without sound.
        config: How often; static under jit. Where never, nothing is drawn.

    Returns:
        Both, of the same shapes.
    """
    if not config.drop_sound and not config.drop_picture:
        return frames, spectrogram
    number = jax.random.uniform(key, (len(frames),))
    silent, black = number < config.drop_sound, number >= 1 - config.drop_picture
    frames = jnp.where(black[:, None, None, None, None], 0.0, frames)
    return frames, jnp.where(silent[:, None, None], silence, spectrogram)

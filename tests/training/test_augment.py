import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import default
from mmadfer_jax.errors import UserError
from mmadfer_jax.models import pixels
from mmadfer_jax.training import augment
from mmadfer_jax.training.augment import Augmentation

LEVEL = 1 / 255 + 1e-6
PUBLISHED = Augmentation(**default.get_config().augment)
KEEP = dataclasses.replace(PUBLISHED, brightness=(1.0, 1.0), area=None, flip=0.0)
GOLDEN = np.load(Path(__file__).parent / "golden_resize.npz")

drop_from = jax.jit(augment.drop, static_argnums=(3, 4))
augment_clips = jax.jit(augment.augment, static_argnums=(2, 3))
resize = jax.jit(pixels.resize, static_argnums=1)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def draw_many(keys, config, height, width):
    return jax.vmap(lambda key: augment.draw(key, config, height, width))(keys)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def draws(config: Augmentation, height: int, width: int) -> augment.Draw:
    keys = jax.random.split(jax.random.key(3), 20_000)
    return jax.tree.map(np.asarray, draw_many(keys, config, height, width))


def test_resize_gives_the_pixels_of_the_authors_program():
    resized = np.asarray(resize(GOLDEN["image"][None, None], 224))[0, 0]
    expected = GOLDEN["resized"] / 255
    assert np.abs(resized - expected).max() <= LEVEL
    # Pillow's weights are fixed-point: only a value halfway between two levels may differ.
    assert (np.abs(resized - expected) > 1e-4).mean() < 1e-3


@pytest.mark.parametrize("size", [16, 64])
def test_crops_are_those_of_pillow(size):
    frames = noise(6, 1, 60, 83, 3)
    boxes = np.array(
        [
            [0, 0, 60, 83],
            [3, 5, 20, 41],
            [59, 82, 1, 1],
            [10, 0, 50, 83],
            [7, 9, 16, 64],
            [0, 8, 7, 75],
        ]
    )
    resized = np.asarray(resize(frames, size, jnp.asarray(boxes)))
    for clip, (top, left, height, width), found in zip(frames, boxes, resized, strict=True):
        crop = Image.fromarray(clip[0]).crop((left, top, left + width, top + height))
        expected = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)) / 255
        assert np.abs(found[0] - expected).max() <= LEVEL
        assert abs((found[0] - expected).mean()) < 0.1 / 255


def test_no_pixel_outside_the_crop_has_any_influence():
    frames = noise(1, 1, 40, 40, 3)
    box = jnp.array([[10, 12, 9, 17]])
    inside = np.asarray(resize(frames, 32, box))
    blanked = np.zeros_like(frames)
    blanked[:, :, 10:19, 12:29] = frames[:, :, 10:19, 12:29]
    np.testing.assert_array_equal(resize(blanked, 32, box), inside)


def test_a_picture_of_the_right_size_stays_as_it_is():
    frames = noise(2, 2, 24, 24, 3)
    whole = jnp.broadcast_to(jnp.array([0, 0, 24, 24]), (2, 4))
    for resized in (resize(frames, 24), resize(frames, 24, whole)):
        assert resized.dtype == jnp.float32
        np.testing.assert_allclose(resized, frames / np.float32(255), rtol=2e-7)


def test_a_flip_mirrors_left_and_right_of_its_clip_alone():
    frames = noise(2, 2, 30, 41, 3)
    plain = np.asarray(resize(frames, 16))
    flipped = np.asarray(resize(frames, 16, flips=jnp.array([True, False])))
    np.testing.assert_array_equal(flipped[0], plain[0, :, :, ::-1])
    np.testing.assert_array_equal(flipped[1], plain[1])


def test_brightness_is_that_of_pillow():
    frames = noise(3, 1, 20, 20, 3)
    config = dataclasses.replace(PUBLISHED, area=None, flip=0.0)
    key = jax.random.key(5)
    found = np.asarray(augment_clips(frames, key, 20, config))
    for row in range(3):
        factor = augment.draw(jax.random.fold_in(key, row), config, 20, 20).brightness
        table = [min(int(np.float32(level) * np.float32(factor)), 255) for level in range(256)]
        expected = np.asarray(Image.fromarray(frames[row, 0]).point(table * 3)) / 255
        assert np.abs(found[row, 0] - expected).max() <= 1e-6


def test_nothing_drawn_leaves_the_clip_alone():
    frames = noise(2, 1, 30, 24, 3)
    found = augment_clips(frames, jax.random.key(0), 16, KEEP)
    np.testing.assert_array_equal(found, resize(frames, 16))


def test_a_draw_depends_on_the_key_and_the_row_alone():
    frames = noise(4, 2, 32, 32, 3)
    key = jax.random.key(11)
    whole = np.asarray(augment_clips(frames, key, 16, PUBLISHED))
    np.testing.assert_array_equal(augment_clips(frames, key, 16, PUBLISHED), whole)
    np.testing.assert_array_equal(augment_clips(frames[:2], key, 16, PUBLISHED), whole[:2])
    other = np.asarray(augment_clips(frames, jax.random.key(12), 16, PUBLISHED))
    assert all((other[row] != whole[row]).any() for row in range(4))
    same = np.repeat(frames[:1], 4, axis=0)
    rows = np.asarray(augment_clips(same, key, 16, PUBLISHED))
    assert all((rows[row] != rows[0]).any() for row in range(1, 4))


def test_one_draw_holds_for_all_frames_of_a_clip():
    frames = np.repeat(noise(4, 1, 32, 32, 3), 2, axis=1)
    found = np.asarray(augment_clips(frames, jax.random.key(2), 16, PUBLISHED))
    assert (found == found[:, :1]).all()


def test_values_stay_between_0_and_1():
    frames = np.where(noise(4, 1, 32, 32, 3) > 127, 255, 0).astype(np.uint8)
    found = augment_clips(
        frames, jax.random.key(2), 24, dataclasses.replace(PUBLISHED, brightness=(1.5, 3.0))
    )
    assert found.dtype == jnp.float32
    assert found.min() >= 0
    assert found.max() <= 1


def reference_box(rng, height, width):
    """The published procedure, one crop at a time."""
    for _ in range(10):
        area, aspect = rng.uniform(0.08, 1) * height * width, rng.uniform(3 / 4, 4 / 3)
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if rng.random() < 0.5:
            w, h = h, w
        if w <= width and h <= height:
            break
    else:
        h = w = min(height, width)
    return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w


@pytest.mark.parametrize(("height", "width"), [(112, 112), (60, 120)])
def test_crops_are_distributed_as_published(height, width):
    rng = np.random.default_rng(0)
    expected = np.array([reference_box(rng, height, width) for _ in range(20_000)]).T
    found = draws(PUBLISHED, height, width).box.T
    top, left, h, w = found
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    steps = np.linspace(0.02, 0.98, 25)
    for measure in (
        lambda top, left, h, w: h * w / (height * width),
        lambda top, left, h, w: np.log(w / h),
        lambda top, left, h, w: (top + h / 2) / height,
        lambda top, left, h, w: (left + w / 2) / width,
    ):
        values, targets = measure(*found), measure(*expected)
        gap = np.abs(np.quantile(values, steps) - np.quantile(targets, steps))
        assert gap.max() < 0.02  # two runs of the reference itself differ by up to 0.013


def test_a_square_stands_in_where_no_crop_fits():
    box = draws(dataclasses.replace(PUBLISHED, area=(1.0, 1.0), aspect=(3.0, 4.0)), 60, 90).box
    assert (box[:, 0] == 0).all()
    assert (box[:, 2:] == 60).all()
    assert set(box[:, 1]) == set(range(31))


def test_brightness_and_flips_are_distributed_as_published():
    found = draws(PUBLISHED, 112, 112)
    quantiles = np.quantile(found.brightness, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(quantiles, [0.5, 0.75, 1.0, 1.25, 1.5], atol=0.02)
    assert abs(found.flip.mean() - 0.5) < 0.015  # four standard deviations
    # The parts of a draw have nothing to do with each other.
    assert abs(np.corrcoef(found.brightness, found.flip)[0, 1]) < 0.03
    assert abs(np.corrcoef(found.brightness, found.box[:, 2])[0, 1]) < 0.03


def test_clips_lose_their_sound_or_their_picture_as_often_as_said_and_never_both():
    n = 20_000
    frames, sound = np.full((n, 1, 2, 2, 3), 0.5, np.float32), np.ones((n, 2, 3), np.float32)
    config = dataclasses.replace(PUBLISHED, drop_sound=0.3, drop_picture=0.5)
    seen, heard = jax.device_get(drop_from(frames, sound, jax.random.key(0), -4.0, config))
    black, silent = seen[:, 0, 0, 0, 0] == 0, heard[:, 0, 0] == -4
    np.testing.assert_array_equal(seen, np.where(black[:, None, None, None, None], 0, frames))
    np.testing.assert_array_equal(heard, np.where(silent[:, None, None], -4, sound))
    assert not (black & silent).any()
    assert abs(silent.mean() - 0.3) < 0.013  # four standard deviations
    assert abs(black.mean() - 0.5) < 0.015
    same = drop_from(frames, sound, jax.random.key(0), -4.0, PUBLISHED)
    assert all(np.array_equal(a, b) for a, b in zip(same, (frames, sound), strict=True))
    with pytest.raises(UserError, match=r"drop_sound is 0.6 and drop_picture 0.5; .* at most 1"):
        dataclasses.replace(PUBLISHED, drop_sound=0.6, drop_picture=0.5)


@pytest.mark.parametrize("range_", [(None,), (0.5,), (0.9, 0.5), (-1.0, 1.0), (0.1, 0.2, 0.3)])
def test_ranges_that_cannot_be_meant_are_refused(range_):
    for name in ("area", "aspect", "brightness"):
        with pytest.raises(
            UserError, match=rf"config\.augment\.{name} is .*; expected the two ends"
        ):
            dataclasses.replace(PUBLISHED, **{name: range_})
    with pytest.raises(UserError, match=r"brightness is None; expected the two ends"):
        dataclasses.replace(PUBLISHED, brightness=None)


def test_augmentation_is_off_at_its_neutral_values():
    frames = noise(2, 2, 8, 8, 3)
    for area in (None, ()):
        config = dataclasses.replace(KEEP, area=area)
        found = augment_clips(frames, jax.random.key(0), 8, config)
        np.testing.assert_array_equal(found, resize(frames, 8))

import jax
import numpy as np
import pytest
import torch

from mmadfer_jax.errors import UserError
from mmadfer_jax.weights.positions import crop_time, cut, resize
from tests.golden_weights import formula, golden


def torch_resize(grid, size, mode):
    tensor = torch.from_numpy(grid).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(tensor, size, mode=mode, align_corners=False)
    return resized[0].permute(1, 2, 0).numpy()


def random_grid(rows, columns):
    return np.random.default_rng(0).standard_normal((rows, columns, 16), np.float32)


@pytest.mark.parametrize("side", [224, 160, 112, 96, 384])
def test_image_grids_are_resized_as_torch_does(side):
    grid, size = random_grid(14, 14), (side // 16, side // 16)
    expected = torch_resize(grid, size, "bicubic")
    np.testing.assert_allclose(resize(grid, size), expected, rtol=0, atol=5e-6)  # measured 1.9e-6


@pytest.mark.parametrize(
    ("grid", "size"),
    [
        ((64, 8), (32, 8)),
        ((64, 8), (7, 13)),
        ((1, 1), (3, 2)),
        ((5, 2), (5, 1)),
        ((14, 14), (40,) * 2),
    ],
)
def test_any_grid_is_resized_as_torch_does(grid, size):
    grid = random_grid(*grid)
    expected = torch_resize(grid, size, "bicubic")
    np.testing.assert_allclose(resize(grid, size), expected, rtol=0, atol=5e-6)  # measured 2.4e-6


def test_grids_are_resized_on_the_cpu_in_full_precision(monkeypatch):
    """What a GPU or TPU would do by default, it would do in fewer bits."""
    calls, ours = [], jax.image.resize

    def spy(*args, **settings):
        calls.append((jax.config.jax_default_device.platform, settings["precision"]))
        return ours(*args, **settings)

    monkeypatch.setattr(jax.image, "resize", spy)
    found = resize(random_grid(14, 14).astype(np.float16), (7, 10))
    assert calls == [("cpu", jax.lax.Precision.HIGHEST)]
    assert found.dtype == np.float32


def test_loaded_positions_are_those_of_the_authors_program():
    expected = golden("loaded_positions")  # every 16th, every 8th channel
    image = formula("pos_embed", (1, 197, 768), "mae_face/")
    np.testing.assert_array_equal(image[..., ::16], expected["image"])  # S = 224: as in the file
    audio = formula("pos_embed", (1, 513, 768), "audiomae/")[0]
    grid = resize(audio[1:].reshape(64, 8, 768), (32, 8)).reshape(256, 768)
    found = np.concatenate([audio[:1], grid])[None, :, ::8]
    np.testing.assert_allclose(found, expected["audio"], rtol=0, atol=1e-6)  # measured 1.2e-7


def test_a_grid_of_the_right_size_stays_bit_for_bit():
    grid = random_grid(14, 14)
    np.testing.assert_array_equal(resize(grid, (14, 14)), grid)


def test_cut_keeps_the_first_time_steps():
    grid = random_grid(64, 8)
    np.testing.assert_array_equal(cut(grid, (32, 8), source="x"), grid[:32])
    for size in ((65, 8), (32, 4)):
        with pytest.raises(UserError, match="64x8 cannot be cut to"):
            cut(grid, size, source="x")


@pytest.mark.parametrize(("frames", "first"), [(50, 25), (49, 26), (51, 25), (101, 0), (1, 50)])
def test_ast_crops_time_in_the_middle(frames, first):
    grid = random_grid(12, 101)
    np.testing.assert_array_equal(crop_time(grid, (12, frames)), grid[:, first : first + frames])


@pytest.mark.parametrize(
    ("bands", "frames", "size"),
    [(12, 101, (12, 120)), (12, 50, (12, 99)), (5, 2, (9, 7)), (12, 50, (24, 50))],
)
def test_ast_stretches_what_is_too_short(bands, frames, size):
    grid = random_grid(bands, frames)
    found = crop_time(grid, size)
    expected = torch_resize(grid, size, "bilinear")
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)  # measured 4.8e-7


@pytest.mark.parametrize("frames", [74, 58, 66])
def test_ast_stretches_as_exactly_as_torch(frames):
    """Of 88 sizes tried the three that lie farthest from torch, which rounds other numbers."""
    grid = random_grid(12, 50)
    exact = torch_resize(grid.astype(np.float64), (12, frames), "bilinear")
    theirs = np.abs(torch_resize(grid, (12, frames), "bilinear") - exact).max()
    ours = np.abs(crop_time(grid, (12, frames)) - exact).max()
    assert ours <= 1.1 * theirs  # measured 1.02
    assert ours < 2e-5  # measured 1.2e-5

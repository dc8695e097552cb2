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
    np.testing.assert_allclose(resize(grid, size), expected, rtol=0, atol=5e-6)  # measured 2e-6


@pytest.mark.parametrize(
    ("grid", "size"), [((64, 8), (32, 8)), ((64, 8), (7, 13)), ((1, 1), (3, 2)), ((5, 2), (5, 1))]
)
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_any_grid_is_resized_as_torch_does(grid, size, kernel):
    grid = random_grid(*grid)
    expected = torch_resize(grid, size, kernel)
    np.testing.assert_allclose(resize(grid, size, kernel), expected, rtol=0, atol=5e-6)  # 2e-6


def test_loaded_positions_are_those_of_the_authors_program():
    expected = golden("loaded_positions")  # every 16th, every 8th channel
    image = formula("pos_embed", (1, 197, 768), "mae_face/")
    np.testing.assert_array_equal(image[..., ::16], expected["image"])  # S = 224: as in the file
    audio = formula("pos_embed", (1, 513, 768), "audiomae/")[0]
    grid = resize(audio[1:].reshape(64, 8, 768), (32, 8)).reshape(256, 768)
    found = np.concatenate([audio[:1], grid])[None, :, ::8]
    np.testing.assert_allclose(found, expected["audio"], rtol=0, atol=1e-6)  # measured 2.4e-7


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


def test_ast_stretches_what_is_too_short():
    grid = random_grid(12, 101)
    expected = torch_resize(grid, (12, 120), "bilinear")
    np.testing.assert_allclose(crop_time(grid, (12, 120)), expected, rtol=0, atol=5e-6)

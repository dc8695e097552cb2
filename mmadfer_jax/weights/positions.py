"""Position embeddings of a pre-trained grid, brought to the grid of this model's input."""

import jax
import numpy as np

from mmadfer_jax.errors import UserError

Grid = tuple[int, int]


def resize(grid: np.ndarray, size: Grid) -> np.ndarray:
    """Resizes a grid of embeddings as PyTorch's bicubic `interpolate` does.

    That is with `align_corners=False`, without antialiasing and with a = -0.75.

    Args:
        grid: [rows, columns, D].
        size: Rows and columns wanted.

    Returns:
        [*size, D], float32; the same numbers where the size is already right.
    """
    return _resize(grid, size, "cubic-pytorch")


def _resize(grid: np.ndarray, size: Grid, method: str) -> np.ndarray:
    """Resizes [rows, columns, D] on the CPU in full float32, whatever the run computes with."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        device = None
    with jax.default_device(device):
        resized = jax.image.resize(
            grid.astype(np.float32),
            (*size, grid.shape[2]),
            method,
            antialias=False,
            precision=jax.lax.Precision.HIGHEST,
        )
    return np.asarray(resized)


def cut(grid: np.ndarray, size: Grid, *, source: str) -> np.ndarray:
    """Keeps the first rows (time steps) of a time-major grid: its codes stay as pre-trained.

    Raises:
        UserError: Where the grid is too small, or has other columns (frequency bands).
    """
    if grid.shape[0] < size[0] or grid.shape[1] != size[1]:
        raise UserError(
            f"{source}: its position grid of {grid.shape[0]}x{grid.shape[1]} cannot be cut to "
            f"{size[0]}x{size[1]} (time x frequency); use audio_positions='interpolate'"
        )
    return grid[: size[0]]


def crop_time(grid: np.ndarray, size: Grid) -> np.ndarray:
    """AST's way, for a frequency-major grid: crops an axis centrally, stretches it bilinearly.

    Gong et al., "AST: Audio Spectrogram Transformer", 2021, section 2.2, as its program does it.
    """
    for axis, wanted in ((1, size[1]), (0, size[0])):
        found = grid.shape[axis]
        if wanted < found:
            first = found // 2 - wanted // 2
            grid = np.take(grid, range(first, first + wanted), axis=axis)
        elif wanted > found:
            goal = (grid.shape[0], wanted) if axis else (wanted, grid.shape[1])
            grid = _resize(grid, goal, "bilinear")
    return grid

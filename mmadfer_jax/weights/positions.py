"""Position embeddings of a pre-trained grid, brought to the grid of this model's input."""

import numpy as np

from mmadfer_jax.errors import UserError

Grid = tuple[int, int]


def resize(grid: np.ndarray, size: Grid, kernel: str = "bicubic") -> np.ndarray:
    """Resizes a grid of embeddings as `torch.nn.functional.interpolate` does.

    That is with `align_corners=False` and without antialiasing; bicubic has a = -0.75.

    Args:
      grid: [rows, columns, D].
      size: rows and columns wanted.
      kernel: "bicubic" or "bilinear".

    Returns:
      [*size, D], float32; the grid itself where the size is already right.
    """
    weights = {"bicubic": _bicubic, "bilinear": _bilinear}[kernel]
    if size[0] != grid.shape[0]:
        grid = np.einsum("oi,icd->ocd", weights(grid.shape[0], size[0]), grid)
    if size[1] != grid.shape[1]:
        grid = np.einsum("oi,rid->rod", weights(grid.shape[1], size[1]), grid)
    return grid.astype(np.float32, copy=False)


def _sources(inputs: int, outputs: int) -> np.ndarray:
    """Where the centre of each output lies among the inputs, rounded as torch rounds it."""
    scale = np.float64(np.float32(inputs) / np.float32(outputs))
    return (scale * (np.arange(outputs) + 0.5) - 0.5).astype(np.float32)


def _bicubic(inputs: int, outputs: int) -> np.ndarray:
    """Interpolation weights [outputs, inputs] of Keys' kernel; taps outside repeat the border."""
    a = np.float32(-0.75)
    centre = _sources(inputs, outputs)
    first = np.floor(centre)
    weights = np.zeros((outputs, inputs), np.float32)
    for tap in range(-1, 3):
        x = np.abs(centre - first - np.float32(tap))
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        source = np.clip(first.astype(int) + tap, 0, inputs - 1)
        np.add.at(weights, (np.arange(outputs), source), np.where(x <= 1, near, far))
    return weights


def _bilinear(inputs: int, outputs: int) -> np.ndarray:
    """Interpolation weights [outputs, inputs]; positions before the first are the first."""
    centre = np.maximum(_sources(inputs, outputs), 0)
    first = np.floor(centre)
    weights, rows = np.zeros((outputs, inputs), np.float32), np.arange(outputs)
    for source, weight in ((first, 1 - (centre - first)), (first + 1, centre - first)):
        np.add.at(weights, (rows, np.minimum(source.astype(int), inputs - 1)), weight)
    return weights


def cut(grid: np.ndarray, size: Grid, *, source: str) -> np.ndarray:
    """Keeps the first rows (time steps) of a time-major grid: its codes stay as pre-trained.

    Raises:
      UserError: where the grid is too small, or has other columns (frequency bands).
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
            grid = resize(grid, goal, "bilinear")
    return grid

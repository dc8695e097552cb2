"""Weights from a formula instead of a file, and the authors' tensor list."""

import csv
import math
import zlib
from pathlib import Path

import numpy as np

from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a golden file."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def formula(name: str, shape: tuple[int, ...], prefix: str = "") -> np.ndarray:
    """The tensor that the golden values were computed with."""
    seed = zlib.crc32((prefix + name).encode())
    n = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)
    if name.endswith("weight"):
        if len(shape) > 1:
            return n / np.float32(math.sqrt(math.prod(shape[1:])))
        return 1 + np.float32(0.1) * n
    return np.float32(0.1) * n if name.endswith("bias") else np.float32(0.5) * n


def listed_tensors() -> dict[str, tuple[tuple[int, ...], bool]]:
    """Name -> (shape, trained) of every tensor of a released checkpoint at S = 224, 7 classes."""
    with (GOLDEN / "state_dict.tsv").open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {
            row["name"]: (tuple(map(int, row["shape"].split("x"))), row["trainable"] == "yes")
            for row in rows
        }


def released_tensors() -> dict[str, np.ndarray]:
    """All tensors of a released checkpoint, from the formula."""
    return {name: formula(name, shape) for name, (shape, _) in listed_tensors().items()}


def inputs(seed: int, image_size: int, clips: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, T, H, W, 3] and spectrogram [B, 512, 128] of a golden run."""
    rng = np.random.Generator(np.random.PCG64(seed))
    frames = rng.random((clips, 16, 3, image_size, image_size), np.float32)
    spectrogram = rng.standard_normal((clips, 1, 512, 128), np.float32)
    return frames.transpose(0, 1, 3, 4, 2), spectrogram[:, 0]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value."""
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def random_params(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters without the cost of the model's own initialisation."""
    rng = np.random.default_rng(seed)
    params = {}
    for path, p in abstract_params(config).items():
        n = rng.standard_normal(p.shape, np.float32)
        if path.endswith(".kernel"):
            params[path] = n / np.float32(math.sqrt(math.prod(p.shape[:-1])))
        else:
            params[path] = 1 + np.float32(0.1) * n if path.endswith(".scale") else n / 2
    return params

"""Programs of small and of golden models, without data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from configs import default
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.settings import plain
from mmadfer_jax.training.sharding import make_mesh


def program_of(
    model: ModelConfig,
    mesh: Mesh | None = None,
    *,
    epochs: Epochs = Epochs(2, 2),  # noqa: B008  frozen
    change: Callable[[dict[str, Any]], None] = lambda settings: None,
) -> Program:
    """The program of a model by the paper's recipe; on one device unless a mesh is given.

    `change` may change the settings in place.
    """
    settings = plain(default.get_config())
    settings["model"] = model.to_dict()
    settings["train"] |= dataclasses.asdict(epochs)
    change(settings)
    return Program(settings, mesh or make_mesh(devices=jax.devices()[:1]))

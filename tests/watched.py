"""A small model and a rendered face, for the tests of timelines."""

import functools
from pathlib import Path

import jax
import numpy as np
from conftest import SMALL
from scenes import Actor, Scene, still, write

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.models.params import init_params
from mmadfer_jax.trained import TrainedModel

CLASSES = ("happy", "sad", "angry")
FACE = Scene(3, (Actor(3, still(160, 95, 150)),), size=(320, 180))


@functools.cache
def _params() -> dict[str, np.ndarray]:
    params = {k: np.asarray(v) for k, v in jax.device_get(init_params(SMALL, 0)).items()}
    # A fresh head hardly tells one clip from another.
    shape = params["classifier.kernel"].shape
    params["classifier.kernel"] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return params


def make_model(**preparation) -> TrainedModel:
    """One whose clips were prepared in some way; all have the same weights."""
    settings = PrepareSettings(**{"image_size": 32, "min_face": 40, **preparation})
    card = ModelCard(SMALL, CLASSES, preparation=settings.to_dict())
    return TrainedModel(card, _params(), path="small")


def write_face(folder: Path) -> Path:
    """Three seconds of one person, in 320 x 180 pixels, with a voice."""
    return write(folder / "face.mp4", [FACE])

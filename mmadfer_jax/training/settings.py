"""A config as it was given, and as it is once data and weights have filled it in."""

import dataclasses
import json
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.clips.frames import FRAME_ORDERS
from mmadfer_jax.clips.reading import MISSING_SOUND
from mmadfer_jax.data.fold import Fold
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.input import batches_per_epoch

Settings = dict[str, Any]

_AT_LEAST = {
    "seed": 0,
    "train.batch_size": 1,
    "train.epochs": 1,
    "train.warmup_steps": 0,
    "eval.batch_size": 1,
    "eval.every_epochs": 1,
    "checkpoint.every_steps": 1,
    "checkpoint.keep": 1,
    "log_every_steps": 1,
    "data.num_workers": 0,
}
_WORKDIR_URL = "gs"  # Orbax refuses s3:// when it saves: "Checkpoint path should be absolute"
_CHOICES = {"frame_order": FRAME_ORDERS, "missing_sound": MISSING_SOUND}


def plain(config: ConfigDict) -> Settings:
    """The config as JSON reads it back (tuples are lists)."""
    return json.loads(config.to_json())


def open_workdir(workdir: str | Path | UPath) -> Path | UPath:
    """The work directory: a folder of the disk, or behind a URL that Orbax can write to.

    Raises:
        UserError: It is a file, or another URL.
    """
    protocol, colon, _ = str(workdir).partition(":/")
    if colon and protocol != _WORKDIR_URL and "/" not in protocol:
        raise UserError(
            f"--workdir={workdir}: checkpoints can lie on a disk, or behind {_WORKDIR_URL}://, to "
            "which alone Orbax writes; mount another bucket as a folder"
        )
    if colon and not str(workdir).startswith(f"{protocol}://"):
        raise UserError(f"--workdir={workdir}: expected {protocol}://BUCKET/FOLDER")
    workdir = files.as_path(workdir)
    if files.is_file(workdir):
        raise UserError(f"--workdir={workdir} is a file; give a folder")
    return workdir


def check_settings(config: ConfigDict) -> None:
    """Refuses settings that no data or model can make good.

    Raises:
        UserError: That names the setting.
    """
    for name, least in _AT_LEAST.items():
        value = operator.attrgetter(name)(config)
        if value < least:
            raise UserError(f"config.{name} is {value}; expected {least} or more")
    for name, values in _CHOICES.items():
        if config.data[name] not in values:
            raise UserError(
                f"config.data.{name} is {config.data[name]!r}; expected one of {values}"
            )
    if not config.data.dir:
        raise UserError("config.data.dir is empty; give --config.data.dir=DIR of a dataset")
    given = [name for name in ("image_weights", "audio_weights") if config[name]]
    if config.init_from and given:
        raise UserError(
            f"config.init_from and config.{given[0]} are both given; a whole model brings its "
            "encoders"
        )


def sides_of(config: Mapping[str, Any]) -> list[str]:
    """Of "image" and "audio" those whose encoder the model has; the other's file is not read."""
    other = {"image": "audio", "audio": "image"}
    return [side for side in other if config["model"]["modalities"] != other[side]]


def resolve(
    config: ConfigDict, fold: Fold, fill: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Settings:
    """The settings with what data and weights decide filled in.

    Args:
        config: As it was given.
        fold: The data: they decide the number of classes and of steps an epoch.
        fill: Given `config.model`, returns it with what weights decide in place of None.

    Raises:
        UserError: For a setting of the model that cannot be meant, or data too few for a batch.
    """
    settings = plain(config)
    values = {**fill(settings["model"]), "num_classes": len(fold.info.classes)}
    settings["model"] = ModelConfig.from_dict(values).to_dict()
    recipe = settings["train"]
    steps = batches_per_epoch(fold.train, recipe["batch_size"])
    recipe |= dataclasses.asdict(Epochs(recipe["epochs"], steps))
    return settings


def fill_from(model: ModelConfig) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """For `resolve`: takes what is open from a model's config."""
    return lambda values: _filled(values, model.to_dict())


def _filled(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(other)
    for name, value in values.items():
        if isinstance(value, Mapping):
            filled[name] = _filled(value, other.get(name) or {})
        elif value is not None:
            filled[name] = value
    return filled

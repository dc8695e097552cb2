"""A config with its model and its data: what training and evaluation share.

Everything that can be refused is refused on construction, before weights are read.
"""

import dataclasses
import functools
import json
import operator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmadfer_jax.clips.audio import MEL_BINS, MISSING_SOUND
from mmadfer_jax.clips.frames import FRAME_ORDERS
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.metrics import confusion_matrix
from mmadfer_jax.models.params import Params
from mmadfer_jax.models.pixels import resize
from mmadfer_jax.training import sharding
from mmadfer_jax.training.augment import Augmentation, augment
from mmadfer_jax.training.input import eval_batches, fold_splits, to_global
from mmadfer_jax.training.provenance import plain
from mmadfer_jax.training.setup import ModelSetup
from mmadfer_jax.training.state import make_eval_step

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

_CHOICES = {"frame_order": FRAME_ORDERS, "missing_sound": MISSING_SOUND}


class Experiment:
    """Model, data and mesh of a config.

    Attributes:
      config: the ConfigDict.
      setup: the model's.
      settings: the config as JSON has it, with the model's settings that came from weight files.
      info: the dataset's.
      train_splits, test_splits: names of the splits of the fold.
    """

    def __init__(self, config: ConfigDict):
        """Reads and checks everything but the weights.

        Raises:
          UserError: for settings or data that do not fit.
        """
        self.config = config
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
        self.info = DatasetInfo.load(config.data.dir)
        self.train_splits, self.test_splits = fold_splits(self.info, config.data.fold)
        RecordSource(config.data.dir, self.test_splits)  # refuses missing or empty splits now
        self.setup = ModelSetup(plain(config))
        model = self.setup.model
        self.settings = {
            **plain(config),
            "model": json.loads(json.dumps(dataclasses.asdict(model))),
        }
        if len(self.info.classes) != model.num_classes:
            raise UserError(
                f"config.model.num_classes is {model.num_classes}, but the dataset "
                f"{config.data.dir} has {len(self.info.classes)}: {', '.join(self.info.classes)}"
            )
        if model.spectrogram_shape[1] != MEL_BINS:
            raise UserError(
                f"config.model.spectrogram_shape is {model.spectrogram_shape}; prepared "
                f"spectrograms have {MEL_BINS} mel bins"
            )
        shards = self.setup.mesh.shape["data"] * self.setup.mesh.shape["fsdp"]
        for name in ("train", "eval"):
            if config[name].batch_size % shards:
                raise UserError(
                    f"config.{name}.batch_size is {config[name].batch_size}; expected a multiple "
                    f"of {shards}, over which the mesh splits clips"
                )

    def augment(self, frames: jax.Array, key: jax.Array) -> jax.Array:
        """Training frames: uint8 [B, T, H, W, 3] to augmented float32 [B, T, S, S, 3]."""
        settings = plain(self.config.augment)
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return augment(frames, key, self.setup.model.image_size, Augmentation(**settings))

    def resize(self, frames: jax.Array) -> jax.Array:
        """Evaluation frames: uint8 [B, T, H, W, 3] to float32 [B, T, S, S, 3]."""
        return resize(frames, self.setup.model.image_size)

    @functools.cached_property
    def _eval_step(self):
        count = functools.partial(confusion_matrix, num_classes=self.setup.model.num_classes)
        step = make_eval_step(self.setup.model, self.resize, count)
        return jax.jit(step, donate_argnums=0, out_shardings=sharding.replicated(self.setup.mesh))

    def evaluate(self, params: Params) -> np.ndarray:
        """The confusion matrix [K, K] of the test splits (rows are true classes)."""
        batches = eval_batches(
            self.config.data.dir,
            self.test_splits,
            batch_size=self.config.eval.batch_size,
            **self.batch_shape(),
        )
        empty = np.zeros((self.setup.model.num_classes,) * 2, np.int32)
        matrix = jax.device_put(empty, sharding.replicated(self.setup.mesh))
        where = sharding.batch_sharding(self.setup.mesh)
        for batch in batches:
            matrix = self._eval_step(matrix, params, to_global(batch, where))
        return np.asarray(jax.device_get(matrix))

    def batch_shape(self) -> dict[str, Any]:
        """Arguments that training and evaluation batches share."""
        return {
            "num_frames": self.setup.model.num_frames,
            "spectrogram_length": self.setup.model.spectrogram_shape[0],
            "frame_order": self.config.data.frame_order,
            "missing_sound": self.config.data.missing_sound,
            "num_workers": self.config.data.num_workers,
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
        }

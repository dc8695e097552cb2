"""The model of a config with its weights: what trains, what is frozen, where each array lies."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import Params, abstract_params
from mmadfer_jax.training import sharding
from mmadfer_jax.training.checkpoints import Checkpoints, weights_sha256
from mmadfer_jax.training.optimizer import FROZEN, assign, split
from mmadfer_jax.training.provenance import Provenance
from mmadfer_jax.weights import fit_config, initial_params, load_encoders

# Settings that say where the encoders' weights come from.
_WEIGHTS = ("image_weights", "audio_weights", "image_sha256", "audio_sha256", "audio_positions")


class ModelSetup:
    """A model's parameters, labelled and laid out on a mesh.

    Attributes:
      model: the sizes.
      mesh: of the devices.
      shapes, labels, shardings: of every parameter by its path.
    """

    def __init__(self, config: Mapping[str, Any], devices: Sequence[jax.Device] | None = None):
        """Checks the settings; loads nothing.

        Args:
          config: as `plain` gives it; model settings that are None are taken from the files.
          devices: to use only these, each with a whole copy; all, laid out as the config says,
            unless given.

        Raises:
          UserError: for settings that do not fit the model or the devices.
        """
        self._weights = {name: config[name] for name in _WEIGHTS}
        self._seed = config["seed"]
        values, files = config["model"], (config["image_weights"], config["audio_weights"])
        if any(value is None for value in values.values()):
            self.model = fit_config(values, image_weights=files[0], audio_weights=files[1])
        else:
            self.model = ModelConfig.from_dict(values)
        if self.model.dtype == "float32":
            # GPUs and TPUs would otherwise multiply in fewer bits.
            jax.config.update("jax_default_matmul_precision", "highest")
        self.shapes = abstract_params(self.model)
        self.labels = assign(self.shapes, [tuple(rule) for rule in config["freeze"]])
        if devices is None:
            self.mesh = sharding.make_mesh(**config["mesh"])
            rules = config["sharding"]
        else:
            self.mesh = sharding.make_mesh(devices=devices)
            rules = ((".*", ()),)
        self.shardings = sharding.param_shardings(self.mesh, self.shapes, rules)

    def start(self) -> tuple[dict[str, np.ndarray], Params, str, dict[str, Any]]:
        """Loads or draws the weights a run starts from.

        Returns:
          The trainable ones on the host in float32; the frozen ones on the mesh in the compute
          type; the SHA-256 of the frozen ones in float32; where they come from.
        """
        params, sources = initial_params(self.model, seed=self._seed, **self._weights)
        trainable, frozen = split(params, self.labels)
        return trainable, self._store(frozen), weights_sha256(frozen), sources

    def _store(self, frozen: Mapping[str, np.ndarray]) -> Params:
        """Puts frozen weights onto the mesh in the compute type."""
        dtype = jnp.dtype(self.model.dtype)
        stored = {path: np.asarray(array).astype(dtype) for path, array in frozen.items()}
        return sharding.place(stored, self.shardings)

    def restore(self, checkpoints: Checkpoints, provenance: Provenance) -> Params:
        """All parameters of the newest checkpoint, the frozen ones from their own files.

        Raises:
          UserError: where the frozen weights are not those it was trained with.
        """
        trained, _ = split(self.shapes, self.labels)
        abstract = {
            path: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self.shardings[path])
            for path, s in trained.items()
        }
        trainable = checkpoints.trainable(abstract)
        wanted = {path for path, label in self.labels.items() if label == FROZEN}
        if not wanted:
            return trainable
        loaded, _ = load_encoders(self.model, **self._weights)
        if wanted <= loaded.keys():
            frozen = {path: loaded[path] for path in wanted}
            check_frozen(weights_sha256(frozen), provenance)
            return {**self._store(frozen), **trainable}
        # Some of it was drawn from the seed; drawing all of it again takes longer.
        _, frozen, sha256, _ = self.start()
        check_frozen(sha256, provenance)
        return {**frozen, **trainable}


def check_frozen(found: str, provenance: Provenance) -> None:
    """Refuses frozen weights other than those a checkpoint was trained with.

    Raises:
      UserError: that gives both SHA-256.
    """
    if found != provenance.frozen_sha256:
        raise UserError(
            f"the frozen weights have SHA-256 {found}, but the checkpoint was trained with "
            f"{provenance.frozen_sha256} ({provenance.sources}); give the same "
            "--config.image_weights and --config.audio_weights"
        )

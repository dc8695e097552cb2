"""What a config computes on a mesh: the steps of training and evaluation, without data or weights.

The same object is trained, timed, and compiled ahead of time for devices that are not there.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mmadfer_jax.clips.audio import MEL_BINS
from mmadfer_jax.clips.reading import silence
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import Params, abstract_params, apply_fn, bind, stored_dtype
from mmadfer_jax.models.pixels import resize
from mmadfer_jax.training import sharding
from mmadfer_jax.training.augment import Augmentation, augment, drop
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import (
    FROZEN,
    TRAINED,
    adamw,
    epoch_cosine,
    freeze_labels,
    split,
)

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """All that a step changes; frozen weights are not part of it."""

    step: jax.Array
    trainable: Params
    opt_state: optax.OptState


class Program:
    """The steps of a config on a mesh, and where every array of them lies.

    Attributes:
        config: The settings, as `plain` gives them, with the model's sizes filled in.
        mesh: Of devices, which may be those of a topology description.
        model: The model's sizes.
        compute: How it is computed on the mesh.
        shapes: Shape and type of every parameter by its path.
        labels: "frozen" or "trained" for each.
        shardings: Of each.
        augmentation: Of training clips, where there are training steps.
        batch_sharding: Of every array of a batch: clips are split over the mesh.
        replicated: A whole copy on every device.
    """

    def __init__(self, config: Mapping[str, Any], mesh: Mesh):
        """Checks the settings; computes nothing.

        Args:
            config: Of `model`, `compute`, `freeze` and `sharding`; of `augment`, `data` and `train`
                too where training steps are wanted; in `train` also the fields of `Epochs`, which
                the data give.
            mesh: As `sharding.make_mesh` makes it.

        Raises:
            UserError: For settings that do not fit the model or the mesh.
        """
        self.config, self.mesh = config, mesh
        self.model = ModelConfig.from_dict(config["model"])
        if self.model.audio.shape[1] != MEL_BINS:
            raise UserError(
                f"config.model.audio.shape is {self.model.audio.shape}; prepared spectrograms have "
                f"{MEL_BINS} mel bins"
            )
        platform = mesh.devices.flat[0].platform
        self.compute = Compute.from_dict(config["compute"]).on(platform, self.model)
        self.shapes = abstract_params(self.model)
        rules = [tuple(rule) for rule in config["freeze"]]
        self.labels = freeze_labels(self.shapes, rules)
        if "train" in config:
            self.augmentation = Augmentation(**config["augment"])
            if TRAINED not in self.labels.values():
                raise UserError("config.freeze leaves nothing to train")
        rules = [tuple(rule) for rule in config["sharding"]]
        self.shardings = sharding.param_shardings(mesh, self.shapes, rules)
        sharding.check_heads(self.model, self.shardings)
        self.batch_sharding = sharding.batch_sharding(mesh)
        self.replicated = sharding.replicated(mesh)
        self.compute = dataclasses.replace(self.compute, tokens=self.batch_sharding)

    @classmethod
    def for_evaluation(cls, model: ModelConfig, mesh: Mesh) -> "Program":
        """The program of a trained model: no training step, everything frozen."""
        rules = {"freeze": [(".*", FROZEN)], "sharding": [(".*", ())]}
        return cls({"model": model.to_dict(), "compute": {}, **rules}, mesh)

    @functools.cached_property
    def epochs(self) -> Epochs:
        """The run's steps and epochs."""
        names = (field.name for field in dataclasses.fields(Epochs))
        return Epochs(**{name: self.config["train"][name] for name in names})

    @functools.cached_property
    def schedule(self):
        """The learning rate by the number of steps taken, see `epoch_cosine`."""
        recipe = self.config["train"]
        return epoch_cosine(recipe["learning_rate"], self.epochs, recipe["warmup_steps"])

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW by the recipe of the config."""
        settings = {
            name: self.config["train"][name] for name in ("weight_decay", "b1", "b2", "eps")
        }
        return adamw(self.schedule, **settings)

    # Arrays.

    def place_frozen(self, params: Mapping[str, np.ndarray]) -> Params:
        """Frozen parameters of the host onto the mesh, in the types they are used in."""
        stored = {
            path: np.asarray(array).astype(stored_dtype(self.model, path))
            for path, array in params.items()
        }
        return sharding.place(stored, self.shardings)

    def init_state(self, trainable: Mapping[str, np.ndarray]) -> TrainState:
        """The state before the first step, on the mesh."""
        placed = sharding.place(trainable, self.shardings)
        shardings = jax.tree.map(lambda x: x.sharding, self.abstract_state())
        return jax.jit(self._new_state, out_shardings=shardings)(placed)

    def _new_state(self, trainable: Params) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), trainable, self.optimizer.init(trainable))

    def key(self, seed: int) -> jax.Array:
        """The run's PRNG key, into which each step folds its own number."""
        return jax.jit(lambda: jax.random.key(seed), out_shardings=self.replicated)()

    # Shapes, types and shardings of the steps' arguments.

    def abstract_trainable(self) -> Params:
        """Of the parameters that train, in float32."""
        trained, _ = split(self.shapes, self.labels)
        return {path: self._abstract(x.shape, x.dtype, path) for path, x in trained.items()}

    def abstract_frozen(self) -> Params:
        """Of the parameters that do not, in the types they are used in."""
        _, frozen = split(self.shapes, self.labels)
        return {
            path: self._abstract(x.shape, stored_dtype(self.model, path), path)
            for path, x in frozen.items()
        }

    def abstract_state(self) -> TrainState:
        """Of what a training step changes."""
        shapes = jax.eval_shape(self._new_state, self.abstract_trainable())
        shardings = sharding.state_shardings(shapes, self.mesh, self.shardings)
        return jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            shapes,
            shardings,
        )

    def abstract_batch(self, size: int, side: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Of a global batch.

        Args:
            size: Clips, B.
            side: Of the stored frames in pixels; the model's if not given.
        """
        side = side or self.model.image_size
        shapes = {
            "frames": ((self.model.num_frames, side, side, 3), jnp.uint8),
            "spectrogram": (self.model.audio.shape, jnp.float32),
            "label": ((), jnp.int32),
            "mask": ((), jnp.bool_),
        }
        return {
            name: jax.ShapeDtypeStruct((size, *shape), dtype, sharding=self.batch_sharding)
            for name, (shape, dtype) in shapes.items()
        }

    def _abstract(self, shape: tuple[int, ...], dtype: Any, path: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.shardings[path])

    # Steps.

    @functools.cached_property
    def train_step(self):
        """The jitted `step(state, frozen, batch, key) -> (state, metrics)`; it donates the state.

        Metrics are replicated: "loss" (mean cross-entropy), "accuracy" and "grad_norm".
        """
        state = jax.tree.map(lambda x: x.sharding, self.abstract_state())
        frozen = {path: x.sharding for path, x in self.abstract_frozen().items()}
        return jax.jit(
            self._train_step,
            donate_argnums=0,
            in_shardings=(state, frozen, self.batch_sharding, self.replicated),
            out_shardings=(state, self.replicated),
        )

    def _train_step(
        self, state: TrainState, frozen: Params, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        apply = apply_fn(self.model, self.compute)
        augment_key, drop_path_key = jax.random.split(jax.random.fold_in(key, state.step))
        frames = augment(batch["frames"], augment_key, self.model.image_size, self.augmentation)
        frames, sound = drop(
            frames,
            batch["spectrogram"],
            jax.random.fold_in(augment_key, len(frames)),  # whose rows have the numbers below
            silence(self.config["data"]["missing_sound"], self.model.audio.mean),
            self.augmentation,
        )

        def loss_fn(trainable: Params) -> tuple[jax.Array, jax.Array]:
            logits = apply({**frozen, **trainable}, frames, sound, drop_path_key)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.trainable)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.trainable)
        metrics = {
            "loss": loss,
            "accuracy": jnp.mean(logits.argmax(-1) == batch["label"]),
            "grad_norm": optax.tree.norm(grads),
        }
        trainable = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, opt_state), metrics

    @functools.cached_property
    def eval_step(self):
        """The jitted `step(trainable, frozen, batch) -> logits`, float32 [B, K], replicated."""
        trainable = {path: x.sharding for path, x in self.abstract_trainable().items()}
        frozen = {path: x.sharding for path, x in self.abstract_frozen().items()}
        return jax.jit(
            self._eval_step,
            in_shardings=(trainable, frozen, self.batch_sharding),
            out_shardings=self.replicated,
        )

    def _eval_step(self, trainable: Params, frozen: Params, batch: Batch) -> jax.Array:
        frames = resize(batch["frames"], self.model.image_size)
        apply = apply_fn(self.model, self.compute)
        return apply({**frozen, **trainable}, frames, batch["spectrogram"])

    @functools.cached_property
    def inspection_step(self):
        """As `eval_step`, but gives "logits" and all that `MmaDfer` tells `on_head`, by name."""
        trainable = {path: x.sharding for path, x in self.abstract_trainable().items()}
        frozen = {path: x.sharding for path, x in self.abstract_frozen().items()}
        return jax.jit(
            self._inspection_step,
            in_shardings=(trainable, frozen, self.batch_sharding),
            out_shardings=self.replicated,
        )

    def _inspection_step(
        self, trainable: Params, frozen: Params, batch: Batch
    ) -> dict[str, jax.Array]:
        frames = resize(batch["frames"], self.model.image_size)
        seen: dict[str, jax.Array] = {}
        logits = bind(self.model, {**frozen, **trainable})(
            frames, batch["spectrogram"], compute=self.compute, on_head=seen.__setitem__
        )
        return {"logits": logits, **seen}

    def lower_train(self, batch_size: int, side: int | None = None) -> jax.stages.Lowered:
        """The training step, lowered for this mesh; `.compile()` it, and look at what it costs."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated)
        batch = self.abstract_batch(batch_size, side)
        return self.train_step.lower(self.abstract_state(), self.abstract_frozen(), batch, key)

    def lower_eval(self, batch_size: int, side: int | None = None) -> jax.stages.Lowered:
        """The evaluation step, lowered for this mesh."""
        batch = self.abstract_batch(batch_size, side)
        return self.eval_step.lower(self.abstract_trainable(), self.abstract_frozen(), batch)

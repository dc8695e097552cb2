"""The training step: a function of (state, frozen weights, batch, key) and nothing else."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import Params, apply_fn

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """All that a step changes; frozen weights are not part of it."""

    step: jax.Array
    trainable: Params
    opt_state: optax.OptState


def new_state(trainable: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), trainable, optimizer.init(trainable))


def make_train_step(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    prepare: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[TrainState, Params, Batch, jax.Array], tuple[TrainState, Metrics]]:
    """Builds the step; jit it with the state donated.

    Args:
      config: the model's sizes.
      optimizer: of the trainable parameters.
      prepare: `prepare(frames uint8 [B, T, H, W, 3], key) -> float32 [B, T, S, S, 3]`, the
        augmentation.

    Returns:
      `step(state, frozen, batch, key) -> (state, metrics)`. `key` is the run's key; the step folds
      its own number into it. Metrics: "loss" (mean cross-entropy), "accuracy", "grad_norm".
    """
    apply = apply_fn(config)

    def step(
        state: TrainState, frozen: Params, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        augment_key, drop_path_key = jax.random.split(jax.random.fold_in(key, state.step))
        frames = prepare(batch["frames"], augment_key)

        def loss_fn(trainable: Params) -> tuple[jax.Array, jax.Array]:
            logits = apply({**frozen, **trainable}, frames, batch["spectrogram"], drop_path_key)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.trainable)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
        metrics = {
            "loss": loss,
            "accuracy": jnp.mean(logits.argmax(-1) == batch["label"]),
            "grad_norm": optax.tree.norm(grads),
        }
        trainable = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, opt_state), metrics

    return step


def make_eval_step(
    config: ModelConfig,
    prepare: Callable[[jax.Array], jax.Array],
    count: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array, Params, Batch], jax.Array]:
    """Builds `step(matrix, params, batch) -> matrix`, which adds a batch to a confusion matrix.

    Args:
      config: the model's sizes.
      prepare: `prepare(frames uint8) -> float32 [B, T, S, S, 3]`, without randomness.
      count: `count(logits, labels, mask) -> int32 [K, K]`, of the unmasked clips.
    """
    apply = apply_fn(config)

    def step(matrix: jax.Array, params: Params, batch: Batch) -> jax.Array:
        logits = apply(params, prepare(batch["frames"]), batch["spectrogram"])
        return matrix + count(logits, batch["label"], batch["mask"])

    return step

"""What trains and what stays frozen, and how it is optimised."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmadfer_jax.errors import UserError
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.rules import first_match

FROZEN, TRAINED = "frozen", "trained"

# Declared for exchange with the authors' program but never applied, see `TemporalLayer`: PyTorch
# leaves a parameter without a gradient alone, weight decay included.
UNUSED = r"temporal\.layers\.\d+\.(attn|mlp)_norm2\..*"

Step = TypeVar("Step", int, jax.Array)


def freeze_labels(paths: Iterable[str], rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Says of every parameter whether it is "frozen" or "trained".

    Args:
        paths: Parameter paths.
        rules: (regex, "frozen" | "trained"); the first that fully matches a path decides.

    Raises:
        UserError: A rule says something else, or as `first_match`.
    """
    for pattern, label in rules:
        if label not in (FROZEN, TRAINED):
            raise UserError(
                f"config.freeze says {label!r} for {pattern!r}; expected 'frozen' or 'trained'"
            )
    return first_match(paths, rules, "config.freeze")


def split(params: Mapping[str, jax.Array], labels: Mapping[str, str]) -> tuple[dict, dict]:
    """Splits parameters into (trainable, frozen)."""
    trainable = {p: x for p, x in params.items() if labels[p] == TRAINED}
    return trainable, {p: x for p, x in params.items() if labels[p] == FROZEN}


def count(params: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> int:
    """Number of values in all arrays together."""
    return sum(math.prod(p.shape) for p in params.values())


def epoch_cosine(
    learning_rate: float, epochs: Epochs, warmup_steps: int = 0
) -> Callable[[Step], np.float32 | jax.Array]:
    """The reference's schedule: a cosine to 0 whose rate changes once an epoch.

    `lr(e) = lr / 2 * (1 + cos(pi * e / epochs))`, e the number of finished epochs; with
    `warmup_steps` the first steps rise linearly to it (the paper has none).

    Returns:
        A function of the number of steps taken: of a Python number on the host, without asking the
        device, or of a traced one inside the step. Both give the same float32.
    """
    finished = np.arange(epochs.epochs)
    cosine = learning_rate / 2 * (1 + np.cos(np.pi * finished / epochs.epochs))
    rates = cosine.astype(np.float32)
    warm = (np.arange(1, warmup_steps + 1) / max(warmup_steps, 1)).astype(np.float32)

    def schedule(step: Step) -> np.float32 | jax.Array:
        epoch, _ = epochs.finished(step)
        if isinstance(step, int):
            rate = rates[min(epoch, epochs.epochs - 1)]
            return rate * warm[step] if step < warmup_steps else rate
        rate = jnp.asarray(rates)[jnp.minimum(epoch, epochs.epochs - 1)]
        if not warmup_steps:
            return rate
        warmth = jnp.asarray(warm)[jnp.minimum(step, warmup_steps - 1)]
        return jnp.where(step < warmup_steps, rate * warmth, rate)

    return schedule


def adamw(
    schedule: Callable[[jax.Array], jax.Array],
    *,
    weight_decay: float,
    b1: float,
    b2: float,
    eps: float,
) -> optax.GradientTransformation:
    """AdamW as PyTorch computes it, decaying every trained tensor that is used."""

    def decayed(params: Mapping[str, jax.Array]) -> dict[str, bool]:
        return {path: re.fullmatch(UNUSED, path) is None for path in params}

    return optax.adamw(schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decayed)

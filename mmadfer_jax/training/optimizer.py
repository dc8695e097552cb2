"""What trains and what stays frozen, and how it is optimised."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from mmadfer_jax.errors import UserError

FROZEN, TRAINED = "frozen", "trained"

# Declared for exchange with the authors' program but never applied, see `TemporalLayer`: PyTorch
# leaves a parameter without a gradient alone, weight decay included.
UNUSED = r"temporal\.layers\.\d+\.(attn|mlp)_norm2\..*"


def assign(paths: Iterable[str], rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Says of every parameter whether it is "frozen" or "trained".

    Args:
      paths: parameter paths.
      rules: (regex, "frozen" | "trained"); the first that fully matches a path decides.

    Raises:
      UserError: where a path matches no rule, a rule matches no path, or nothing is trained.
    """
    for pattern, label in rules:
        if label not in (FROZEN, TRAINED):
            raise UserError(
                f"config.freeze says {label!r} for {pattern!r}; expected 'frozen' or 'trained'"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"config.freeze: {pattern!r} is not a regular expression: {error}"
            ) from None
    labels, matched = {}, set()
    for path in paths:
        rule = next((r for r in rules if re.fullmatch(r[0], path)), None)
        if rule is None:
            raise UserError(
                f"no rule of config.freeze speaks of parameter {path}; end the rules with "
                "('.*', 'trained') or ('.*', 'frozen')"
            )
        labels[path] = rule[1]
        matched.add(rule[0])
    if idle := [pattern for pattern, _ in rules if pattern not in matched and pattern != ".*"]:
        raise UserError(f"rules of config.freeze decide no parameter: {idle}")
    if TRAINED not in labels.values():
        raise UserError("config.freeze leaves nothing to train")
    return labels


def split(params: Mapping[str, jax.Array], labels: Mapping[str, str]) -> tuple[dict, dict]:
    """Splits parameters into (trainable, frozen)."""
    trainable = {p: x for p, x in params.items() if labels[p] == TRAINED}
    return trainable, {p: x for p, x in params.items() if labels[p] == FROZEN}


def count(params: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> int:
    """Number of values in all arrays together."""
    return sum(math.prod(p.shape) for p in params.values())


def epoch_cosine(
    learning_rate: float, epochs: int, steps_per_epoch: int, warmup_steps: int = 0
) -> Callable[[jax.Array], jax.Array]:
    """The reference's schedule: a cosine to 0 whose rate changes once an epoch.

    `lr(e) = lr / 2 * (1 + cos(pi * e / epochs))`, e the number of finished epochs; with
    `warmup_steps` the first steps rise linearly to it (the paper has none).
    """

    def schedule(step: jax.Array) -> jax.Array:
        epoch = step // steps_per_epoch
        rate = learning_rate / 2 * (1 + jnp.cos(jnp.pi * epoch / epochs))
        return rate * jnp.minimum(1.0, (step + 1) / max(warmup_steps, 1))

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

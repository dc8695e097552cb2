"""Matrix products in bfloat16, in the way that is fastest on the device at hand."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

_WIDE = contextvars.ContextVar("products of bfloat16 are asked for in float32", default=False)


@contextlib.contextmanager
def asked_in(dtype: str) -> Iterator[None]:
    """What is traced inside asks XLA for products of bfloat16 in this type, see `Compute`."""
    token = _WIDE.set(dtype == "float32")
    try:
        yield
    finally:
        _WIDE.reset(token)


def dot_general(
    x: jax.Array,
    y: jax.Array,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> jax.Array:
    """As `jax.lax.dot_general`; of two bfloat16 arrays bfloat16, whatever XLA is asked for."""
    if _WIDE.get() and x.dtype == y.dtype == jnp.bfloat16:
        wide = jax.lax.dot_general(
            x,
            y,
            dimension_numbers,
            # Without it, gradients would multiply float32 with bfloat16.
            precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32,
            preferred_element_type=jnp.float32,
        )
        return wide.astype(jnp.bfloat16)
    return jax.lax.dot_general(
        x,
        y,
        dimension_numbers,
        precision=precision,
        preferred_element_type=preferred_element_type,
        **options,
    )


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """Of x [..., n, k] with y [..., k, m]: [..., n, m]; leading axes are y's, or y has none."""
    batch = tuple(range(y.ndim - 2))
    return dot_general(x, y, (((x.ndim - 1,), (len(batch),)), (batch, batch)))

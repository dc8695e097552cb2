"""Matrix products in bfloat16, in the way that is fastest on the device at hand."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

_WIDE = contextvars.ContextVar("products of bfloat16 are asked for in float32", default=False)

_Kept = tuple[jax.Array | None, jax.Array | None]


@contextlib.contextmanager
def asked_in(dtype: str) -> Iterator[None]:
    """What is traced inside asks XLA for products of bfloat16 in this type, see `Compute`."""
    token = _WIDE.set(dtype == "float32")
    try:
        yield
    finally:
        _WIDE.reset(token)


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """The product of matrices, bfloat16 of bfloat16 whatever XLA is asked for.

    Args:
        x: [..., n, k].
        y: [k, m], or [..., k, m] with the leading axes of x.

    Returns:
        [..., n, m].
    """
    if _WIDE.get() and x.dtype == y.dtype == jnp.bfloat16:
        return _wide(x, y, y.ndim - 2)
    return x @ y


def dot_general(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
    """As `matmul`, to be that of an `nnx.Linear`, whose arguments are `jax.lax.dot_general`'s."""
    if _WIDE.get():
        return matmul(x, kernel)
    return jax.lax.dot_general(x, kernel, *arguments, **options)


# Leading axes that both have are the first `shared` ones.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _wide(x: jax.Array, y: jax.Array, shared: int) -> jax.Array:
    return _product(x, y, [x.ndim - 1], [shared], shared)


def _forward(x: Any, y: Any, shared: int) -> tuple[jax.Array, _Kept]:
    # What is frozen has no gradient, and the other need not be kept for it.
    kept = x.value if y.perturbed else None, y.value if x.perturbed else None
    return _wide(x.value, y.value, shared), kept


def _backward(shared: int, kept: _Kept, gradient: Any) -> _Kept:
    # jax's own rule would multiply float32, as which the gradient comes, with bfloat16.
    if isinstance(gradient, jax.custom_derivatives.SymbolicZero):
        return None, None
    (x, y), last = kept, gradient.ndim - 1
    rows = list(range(shared, last))
    of_x = None if y is None else _product(gradient, y, [last], [y.ndim - 1], shared)
    of_y = None if x is None else _product(x, gradient, rows, rows, shared)
    return of_x, of_y


_wide.defvjp(_forward, _backward, symbolic_zeros=True)


def _product(
    x: jax.Array, y: jax.Array, of_x: list[int], of_y: list[int], shared: int
) -> jax.Array:
    """Sums over the axes `of_x` and `of_y`, in float32, and rounds."""
    batch = list(range(shared))
    numbers = ((of_x, of_y), (batch, batch))
    found = jax.lax.dot_general(x, y, numbers, preferred_element_type=jnp.float32)
    return found.astype(jnp.bfloat16)

"""Products of bfloat16, whatever XLA is asked for."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmadfer_jax.models.products import asked_in, dot_general, matmul

SHAPES = [((2, 5, 8), (8, 3)), ((2, 4, 5, 8), (2, 4, 8, 3))]
_PRODUCT = re.compile(r"dot_general .* : \(tensor<[^>]*x(\w+)>, tensor<[^>]*x(\w+)>\)")


def _lowered(shapes, dtype, asked, argnums):
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)

    def loss(x, y):
        with asked_in(asked):
            found = matmul(x, y)
        return (found.astype(jnp.float32) ** 2).sum(), found

    return jax.jit(jax.grad(loss, argnums, has_aux=True)).lower(x, y), (x, y)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
def test_values_and_gradients_do_not_depend_on_what_xla_is_asked_for(shapes, argnums):
    options = {"xla_allow_excess_precision": False}
    found = {}
    for asked in ("bfloat16", "float32"):
        lowered, arguments = _lowered(shapes, jnp.bfloat16, asked, argnums)
        found[asked] = lowered.compile(compiler_options=options)(*arguments)
    x, y = (np.asarray(a, np.float32) for a in arguments)
    assert found["float32"][1].dtype == jnp.bfloat16
    np.testing.assert_allclose(found["float32"][1].astype(np.float32), x @ y, rtol=2**-8)
    for one, other in zip(*map(jax.tree.leaves, found.values()), strict=True):
        assert one.dtype == other.dtype == jnp.bfloat16
        one, other = (np.asarray(a, np.float32) for a in (one, other))
        np.testing.assert_allclose(one, other, rtol=2**-7, atol=2**-7)  # a step of bfloat16


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
def test_no_product_has_another_type_and_none_is_of_what_is_frozen(shapes, argnums):
    text = _lowered(shapes, jnp.bfloat16, "float32", argnums)[0].as_text()
    types = _PRODUCT.findall(text)
    assert set(types) == {("bf16", "bf16")}
    assert len(types) == 1 + len(np.atleast_1d(argnums))


def test_float32_stays_as_it_is():
    text = {a: _lowered(SHAPES[0], jnp.float32, a, 0)[0].as_text() for a in ("bfloat16", "float32")}
    assert text["bfloat16"] == text["float32"]
    assert set(_PRODUCT.findall(text["float32"])) == {("f32", "f32")}


def test_a_linear_layer_is_asked_for_in_the_same_way():
    x, y = (jnp.ones(shape, jnp.bfloat16) for shape in SHAPES[0])
    numbers = (((2,), (0,)), ((), ()))
    with asked_in("float32"):
        assert dot_general(x, y, numbers, precision=None).dtype == jnp.bfloat16
    np.testing.assert_array_equal(dot_general(x, y, numbers), matmul(x, y))

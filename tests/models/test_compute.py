"""Ways to compute the same."""

import re

import jax
import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.attention import softmax_attention
from mmadfer_jax.models.compute import ATTENTIONS, PRODUCTS, REMATS, Compute
from mmadfer_jax.models.params import apply_fn
from mmadfer_jax.training.optimizer import freeze_labels, split
from tests.conftest import SMALL
from tests.golden_weights import random_params
from tests.programs import program_of
from tests.sizes import changed

MODEL = changed(SMALL, temporal_depth=1, drop_path=0.3)
REMATTED = tuple(Compute(remat=remat) for remat in REMATS)
SCANNED = (Compute(layers="scan"), Compute(layers="scan", remat="attention"))
RULES = [(r".*_encoder\.blocks\..*", "frozen"), (".*", "trained")]


def lowered(compute: Compute, dtype: str):
    """Loss and gradients of what trains where the encoders' layers are frozen."""
    config = changed(MODEL, dtype=dtype)
    params = random_params(config)
    trainable, frozen = split(params, freeze_labels(params, RULES))
    rng = np.random.default_rng(0)
    frames = rng.random((2, config.num_frames, *config.image.shape, 3), np.float32)
    sound = rng.standard_normal((2, *config.audio.shape), np.float32)

    def loss(trainable, frozen):
        apply = apply_fn(config, compute)
        logits = apply({**frozen, **trainable}, frames, sound, jax.random.key(0))
        return jax.nn.log_softmax(logits)[:, 0].sum()

    return jax.jit(jax.value_and_grad(loss)).lower(trainable, frozen), (trainable, frozen)


@pytest.mark.parametrize(
    ("dtype", "ways"),
    [
        ("float32", (*REMATTED, *SCANNED)),
        ("bfloat16", (*REMATTED, Compute(products="bfloat16"))),
    ],
    ids=["float32", "bfloat16"],
)
def test_every_way_to_compute_gives_the_same_loss_and_gradients(dtype, ways):
    options, found = {"xla_allow_excess_precision": False}, {}
    for compute in ways:
        step, arguments = lowered(compute, dtype)
        found[compute] = step.compile(compiler_options=options)(*arguments)
    loss, gradients = found.pop(ways[0])
    for other, others in found.values():
        np.testing.assert_allclose(other, loss, rtol=1e-6)
        for path, gradient in gradients.items():
            error = np.abs(others[path] - gradient).max()
            assert error <= 1e-5 * max(np.abs(gradient).max(), 1e-3), path


def test_what_is_computed_again_is_counted_in_products():
    """A CPU computes it early, so bytes would show nothing; docs/tpu.md has those of TPUs."""
    none, attention, mlp, layers = (
        lowered(Compute(remat=remat), "float32")[0].as_text().count("stablehlo.dot_general")
        for remat in REMATS
    )
    # Of both attentions of a layer the product of queries with keys, and down and up of fusion.
    assert attention == none + 6 * MODEL.depth
    assert mlp == attention + 2 * MODEL.depth  # fc1 of both
    assert layers == mlp + 12 * MODEL.depth  # q, k, v, the product with the values, proj, fc2


def test_attention_is_softmax_of_products():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 5, 3, 4), np.float32)
    logits = np.einsum("nthd,nshd->nhts", q, k) / 2  # sqrt(4)
    weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.einsum("nhts,nshd->nthd", weights, v)
    np.testing.assert_allclose(softmax_attention(q, k, v), expected, rtol=1e-5, atol=1e-6)


def test_the_attention_is_chosen_by_platform_and_type():
    half = changed(SMALL, dtype="bfloat16")
    assert Compute().on("gpu", half).attention == "cudnn"
    for platform, model in (("gpu", SMALL), ("tpu", half), ("cpu", half)):
        assert Compute().on(platform, model).attention == "xla"
        with pytest.raises(UserError, match=rf"'cudnn' with {model.dtype} on {platform}.*'auto'"):
            Compute(attention="cudnn").on(platform, model)
    for name in ATTENTIONS[1:]:
        assert Compute(attention=name).on("gpu", half).attention == name


def test_a_cpu_is_asked_for_products_in_float32():
    half = changed(SMALL, dtype="bfloat16")
    chosen = {platform: Compute().on(platform, half).products for platform in ("cpu", "gpu", "tpu")}
    assert chosen == {"cpu": "float32", "gpu": "bfloat16", "tpu": "bfloat16"}
    assert Compute(products="bfloat16").on("cpu", half).products == "bfloat16"
    # All those of the encoders and the fusion, and their gradients.
    product = re.compile(r"stablehlo\.dot_general.*-> tensor<.*xbf16>")
    text = {name: lowered(Compute(products=name), "bfloat16")[0].as_text() for name in PRODUCTS[1:]}
    assert product.search(text["bfloat16"])
    assert not product.search(text["float32"])


def test_a_program_refuses_what_it_does_not_know():
    for values, message in (
        ({"remat": "all"}, f"config.compute.remat is 'all'; expected one of {REMATS}"),
        ({"attention": "flash"}, f"compute.attention is 'flash'; expected one of {ATTENTIONS}"),
        ({"products": "int8"}, f"compute.products is 'int8'; expected one of {PRODUCTS}"),
        ({"rematerialise": "none"}, "unknown settings config.compute.rematerialise; known are"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            program_of(
                SMALL, change=lambda settings, values=values: settings.update(compute=values)
            )

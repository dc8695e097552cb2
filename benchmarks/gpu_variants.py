"""What single changes do to a step, one at a time; a part of `gpu.py`.

Settings of the config are changed there. What is no setting is changed in the model as it is
traced: `changed_model` hands it to a function that exchanges layers.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from flax import nnx
from flops import flops_a_clip, tokens_of
from gpu_parts import DEPTH, Items, Line, batches
from ml_collections import ConfigDict
from train_step import recipe

from mmadfer_jax.costing.timing import Inference, Training, program_of, random_params, timed
from mmadfer_jax.models import params as model_params
from mmadfer_jax.models.mma_dfer import MmaDfer
from mmadfer_jax.models.params import Params
from mmadfer_jax.training.program import Program

_MOST = float(ml_dtypes.finfo(jnp.float8_e4m3fn).max)  # 448; beyond it is NaN
_MOST_GRADIENT = float(ml_dtypes.finfo(jnp.float8_e5m2).max)
_SCALE = "_scale"  # after a quantised kernel's path


@contextlib.contextmanager
def changed_model(change: Callable[[MmaDfer, Mapping[str, jax.Array]], None]) -> Iterator[None]:
    """Models that are traced inside are handed to `change(model, scales)` first.

    `scales` are those of quantised kernels by the kernels' paths, see `Float8Program`.
    """
    bind = model_params.bind

    def changed(config: Any, values: Params) -> MmaDfer:
        own = {path: x for path, x in values.items() if not path.endswith("kernel" + _SCALE)}
        scales = {path.removesuffix(_SCALE): x for path, x in values.items() if path not in own}
        model = bind(config, own)
        change(model, scales)
        return model

    with mock.patch.object(model_params, "bind", changed):
        yield


def _encoders(model: MmaDfer) -> Iterator[tuple[str, nnx.Module]]:
    for name in ("image_encoder", "audio_encoder"):
        for i, block in enumerate(getattr(model, name).blocks):
            yield f"{name}.blocks.{i}", block


# Layout.


class _Folded(nnx.Module):
    """A layer on [n * tokens, D] instead of [n, tokens, D]."""

    def __init__(self, layer: nnx.Module):
        self.layer = layer

    def __call__(self, x: jax.Array) -> Any:
        out = self.layer(x.reshape(1, -1, x.shape[-1]))
        return jax.tree.map(lambda y: y.reshape(*x.shape[:-1], y.shape[-1]), out)


def fold(model: MmaDfer, _: Mapping[str, jax.Array]) -> None:
    """Folds frames and tokens into one dimension wherever an encoder multiplies with weights."""
    for _, block in _encoders(model):
        block.attn.qkv, block.attn.proj = _Folded(block.attn.qkv), _Folded(block.attn.proj)
        block.mlp.fc1, block.mlp.fc2 = _Folded(block.mlp.fc1), _Folded(block.mlp.fc2)


class _Joined(nnx.Module):
    """q, k and v by one product with [D, 3 D]."""

    def __init__(self, qkv: nnx.Module):
        self.qkv = qkv

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        dtype, kernel, bias = self.qkv.dtype, self.qkv.kernel[...], self.qkv.bias[...]
        kernel = kernel.astype(dtype).swapaxes(0, 1).reshape(x.shape[-1], -1)
        y = x.astype(dtype) @ kernel + bias.astype(dtype).reshape(1, 1, -1)
        return jnp.split(y, 3, axis=-1)


def join(model: MmaDfer, _: Mapping[str, jax.Array]) -> None:
    """Computes q, k and v by one product."""
    for _, block in _encoders(model):
        block.attn.qkv = _Joined(block.attn.qkv)


# Eight bits for the frozen matrices.


class Float8Program(Program):
    """A program whose encoders' matrices are stored in float8, a scale for each output channel."""

    def _quantised(self, path: str) -> bool:
        return ".blocks." in path and path.endswith(".kernel")

    def abstract_frozen(self) -> Params:
        """As of `Program`, with the scales."""
        found = super().abstract_frozen()
        for path in filter(self._quantised, list(found)):
            shape = found[path].shape
            sharding = found[path].sharding
            found[path] = jax.ShapeDtypeStruct(shape, jnp.float8_e4m3fn, sharding=sharding)
            scales = (*shape[:-2], shape[-1])
            found[path + _SCALE] = jax.ShapeDtypeStruct(
                scales, jnp.float32, sharding=self.replicated
            )
        return found

    def place_frozen(self, params: Mapping[str, np.ndarray]) -> Params:
        """Quantises once, on the host, and places."""
        plain = {path: x for path, x in params.items() if not self._quantised(path)}
        placed = super().place_frozen(plain)
        for path in filter(self._quantised, params):
            scales = np.abs(params[path]).max(axis=-2) / _MOST
            small = (params[path] / scales[..., None, :]).astype(ml_dtypes.float8_e4m3fn)
            placed[path] = jax.device_put(small, self.shardings[path])
            placed[path + _SCALE] = jax.device_put(scales.astype(np.float32), self.replicated)
        return placed


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def float8_linear(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, small_gradient: bool
) -> jax.Array:
    """Multiplies with a quantised kernel, by a product of 8 bits where the device has one.

    Inputs are cut to +-448 and not scaled: after a LayerNorm or a GELU they are of size 1. The
    product is written as one in bfloat16 of values converted from float8, in which XLA recognises
    cuBLAS's. No gradient goes to the kernel.

    Args:
        x: bfloat16 [n, tokens, D].
        kernel: float8_e4m3fn [D, F].
        scale: float32 [F], by which each output is to be multiplied.
        bias: bfloat16 [F].
        small_gradient: The gradient's product too is one of 8 bits, of float8_e5m2 scaled to its
            greatest value.

    Returns:
        bfloat16 [n, tokens, F].
    """
    small = jnp.clip(x, -_MOST, _MOST).astype(kernel.dtype)
    y = small.astype(jnp.bfloat16) @ kernel.astype(jnp.bfloat16)
    return (y * scale[None, None]).astype(jnp.bfloat16) + bias[None, None]


def _forward(x, kernel, scale, bias, small_gradient):
    return float8_linear(x, kernel, scale, bias, small_gradient), (kernel, scale)


def _backward(small_gradient, kept, gradient):
    kernel, scale = kept
    gradient, wide = gradient * scale[None, None], kernel.astype(jnp.bfloat16).T
    if not small_gradient:
        return gradient.astype(jnp.bfloat16) @ wide, None, None, None
    unit = jnp.maximum(jnp.abs(gradient).max(), 1e-30) / _MOST_GRADIENT
    small = (gradient / unit).astype(jnp.float8_e5m2)
    return ((small.astype(jnp.bfloat16) @ wide) * unit).astype(jnp.bfloat16), None, None, None


float8_linear.defvjp(_forward, _backward)


class _Float8(nnx.Module):
    """Stands for a Linear, or for the three of q, k and v."""

    def __init__(self, layer: nnx.Module, scale: jax.Array, small_gradient: bool):
        self.layer, self.scale = layer, nnx.Param(scale)
        self.small_gradient = small_gradient

    def __call__(self, x: jax.Array) -> Any:
        x, kernel = x.astype(jnp.bfloat16), self.layer.kernel[...]
        scale, bias = self.scale[...], self.layer.bias[...].astype(jnp.bfloat16)
        if kernel.ndim == 2:
            return float8_linear(x, kernel, scale, bias, self.small_gradient)
        return [
            float8_linear(x, kernel[i], scale[i], bias[i], self.small_gradient) for i in range(3)
        ]


def float8(
    model: MmaDfer, scales: Mapping[str, jax.Array], *, small_gradient: bool = False
) -> None:
    """Lets the encoders multiply with their quantised matrices."""
    for path, block in _encoders(model):
        for holder, name in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
            place = getattr(block, holder)
            scale = scales[f"{path}.{holder}.{name}.kernel"]
            setattr(place, name, _Float8(getattr(place, name), scale, small_gradient))


float8_both = functools.partial(float8, small_gradient=True)


def relative(found: jax.Array, wanted: jax.Array) -> float:
    """|found - wanted| / |wanted|."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def float8_error(config: ConfigDict, batch: int) -> Line:
    """How far answers and gradients lie from those in bfloat16, and answers from float32.

    Weights are random, so this says what the arithmetic does, not what it does to a trained model.
    """
    config, params = config.copy_and_resolve_references(), None
    logits: dict[str, np.ndarray] = {}
    gradients: dict[str, np.ndarray] = {}
    for name, change in (
        ("float32", None),
        ("bfloat16", None),
        ("float8", float8),
        ("float8, gradients too", float8_both),
    ):
        config.model.dtype = "float32" if name == "float32" else "bfloat16"
        program = program_of(config, Float8Program if change else Program)
        params = params or random_params(program)
        with changed_model(change) if change else contextlib.nullcontext():
            if change is not float8_both:  # it answers as the other
                logits[name] = np.asarray(Inference(program, batch, params).step())
            if name == "float32":
                continue
            work = Training(program, batch, params)
            work.step()
        moments = optax.tree.get(work.state.opt_state, "mu")  # a tenth of the first gradient
        gradients[name] = np.concatenate([np.ravel(moments[path]) for path in sorted(moments)])
    half = "bfloat16"
    return {
        "batch": batch,
        "depth": program.model.depth,
        "logits of bfloat16 against float32": relative(logits[half], logits["float32"]),
        "logits of float8 against float32": relative(logits["float8"], logits["float32"]),
        "logits of float8 against bfloat16": relative(logits["float8"], logits[half]),
        **{
            f"gradients of {name} against bfloat16": relative(gradient, gradients[half])
            for name, gradient in gradients.items()
            if name != half
        },
    }


# The part.


def variants(toy: bool) -> Items:
    """Steps of fewer layers with one change each, beside the step without it."""
    batch, steps = batches(toy)[1], 5 if toy else 15
    kept: dict[str, float] = {}

    def config_of(settings: Mapping[str, Any], compute: Mapping[str, Any]) -> ConfigDict:
        config = recipe(toy=True) if toy else recipe(depth=DEPTH)
        config.model.update(settings)
        config.compute.update(compute)
        return config

    def run(
        work: type,
        change: Callable | None = None,
        kind: type[Program] = Program,
        compute: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Line:
        program = program_of(config_of(settings, compute or {}), kind)
        with changed_model(change) if change else contextlib.nullcontext():
            done = work(program, batch, random_params(program))
            line = timed(done, batch, steps=steps, warmup=3)
        kept.setdefault(work.__name__, line["median_ms"])
        training = work is Training
        return line | {
            "depth": program.model.depth,
            "attention": program.compute.attention,
            "time_of_the_baseline": line["median_ms"] / kept[work.__name__],
            "tokens": tokens_of(program.model, "image"),
            "tflops": flops_a_clip(program.model, training=training)
            * line["clips_per_second"]
            / 1e12,
            "float8_products": done.compiled.as_text().count("cublas$lt$matmul$f8"),
        }

    def step(*arguments: Any, **settings: Any) -> Callable[[], Line]:
        return functools.partial(run, *arguments, **settings)

    remat = {name: {"remat": name} for name in ("attention", "layers")}
    # More prompts in place of padding: the same products, without a mask.
    prompts = {length: length - 197 for length in (208, 256)} if not toy else {16: 11}
    items: Items = {
        "baseline": step(Training),
        "attention xla": step(Training, compute={"attention": "xla"}),
        "attention cudnn": step(Training, compute={"attention": "cudnn"}),
        "products asked for in float32": step(Training, compute={"products": "float32"}),
        "float8": step(Training, float8, Float8Program),
        "float8, gradients too": step(Training, float8_both, Float8Program),
        **{
            f"{length} image tokens": step(Training, stages=1, prompts=count)
            for length, count in prompts.items()
        },
        "q, k and v by one product": step(Training, join),
        "frames and tokens folded": step(Training, fold),
        **{f"remat {name}": step(Training, compute=value) for name, value in remat.items()},
        "layers scanned": step(Training, compute={"layers": "scan"}),
        "no drop path": step(Training, drop_path=0.0),
        "inference, baseline": step(Inference),
        "inference, attention xla": step(Inference, compute={"attention": "xla"}),
        "inference, float8": step(Inference, float8, Float8Program),
        "float32": step(Training, dtype="float32"),
        "baseline again": step(Training),
        "error of float8": lambda: float8_error(config_of({}, {}), batches(toy)[0]),
    }
    # A rehearsal need not compile what is a setting that tests of training know.
    settings = ("remat attention", "no drop path", "products asked for in float32", "float32")
    known = settings if toy else ()
    return {name: item for name, item in items.items() if name not in known}

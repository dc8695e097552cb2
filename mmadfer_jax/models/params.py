"""The model's parameters as one flat dict, `{"fusion.0.image_gate": array, ...}`.

A flat dict by dotted path is what freeze rules, sharding rules, checkpoints and weight tables all
speak of; the NNX module is only met inside a trace.
"""

import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.mma_dfer import MmaDfer

Params = dict[str, jax.Array]

# What the encoders turn into the compute type wherever they use it: kept in that type it gives the
# same answers in half the memory. Tokens, LayerNorms, gates and the head are float32.
_CAST = re.compile(
    r"(image|audio)_encoder\.(patch_embed\.proj\.\w+|blocks\.\d+\.(attn|mlp)\..+)"
    r"|fusion\.\d+\.(image|audio)_(down|up)\.kernel"
)


@functools.cache
def _definition(config: ModelConfig) -> tuple[nnx.GraphDef, dict[str, tuple], Params]:
    """The model's graph, each parameter's path in it, and the abstract parameters."""
    model = nnx.eval_shape(lambda: MmaDfer(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model, nnx.Param)
    flat = dict(nnx.to_flat_state(state))
    paths = {".".join(map(str, path)): path for path in flat}
    shapes = {
        name: jax.ShapeDtypeStruct(flat[path].shape, flat[path].dtype)
        for name, path in paths.items()
    }
    return graph, paths, shapes


def abstract_params(config: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of every parameter, without computing one."""
    return dict(_definition(config)[2])


def stored_dtype(config: ModelConfig, path: str) -> jnp.dtype:
    """In which a parameter that does not train is kept: the smallest that leaves answers equal."""
    return jnp.dtype(config.dtype if _CAST.fullmatch(path) else jnp.float32)


def init_params(config: ModelConfig, seed: int) -> Params:
    """Fresh parameters: the paper's initial values for what trains, MAE's for the encoders.

    Args:
        config: The model's sizes.
        seed: The same seed gives the same parameters on every machine.
    """
    # Not jitted: one program of some 500 draws takes a minute to compile, most draws are alike.
    state = nnx.state(MmaDfer(config, rngs=nnx.Rngs(seed)), nnx.Param)
    return {".".join(map(str, path)): p[...] for path, p in nnx.to_flat_state(state)}


def bind(config: ModelConfig, params: Params) -> MmaDfer:
    """The model with these parameters in it; call it inside a trace."""
    graph, paths, _ = _definition(config)
    state = nnx.from_flat_state({paths[name]: nnx.Param(value) for name, value in params.items()})
    return nnx.merge(graph, state)


def apply_fn(config: ModelConfig, compute: Compute | None = None) -> Callable[..., jax.Array]:
    """`apply(params, frames, spectrogram, key=None) -> logits`, pure, to be jitted.

    See `MmaDfer.__call__`.
    """

    def apply(params: Params, frames: jax.Array, spectrogram: jax.Array, key=None) -> jax.Array:
        return bind(config, params)(frames, spectrogram, key=key, compute=compute)

    return apply

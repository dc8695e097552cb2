"""The plain pre-norm Vision Transformer that both encoders are (Dosovitskiy et al., 2021)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from mmadfer_jax.models.attention import softmax_attention
from mmadfer_jax.models.compute import keep
from mmadfer_jax.models.config import EncoderConfig
from mmadfer_jax.models.products import dot_general, matmul

# Encoder weights are normally replaced by pre-trained ones; from scratch they start as MAE's do.
_encoder_linear = {
    "kernel_init": nnx.initializers.xavier_uniform(),
    "bias_init": nnx.initializers.zeros_init(),
    "dot_general": dot_general,
}


def _patch_kernel(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32, **_):
    """Initial values of a patch projection: those of the Linear layer over pixels that it is."""
    *pixels, width = shape
    return nnx.initializers.xavier_uniform()(key, (math.prod(pixels), width), dtype).reshape(shape)


def layer_norm(width: int, eps: float, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A LayerNorm in float32, whose statistics are two-pass as PyTorch's.

    What follows casts to its own type: NNX would cast tokens, scale and bias before it computes.
    """
    return nnx.LayerNorm(width, epsilon=eps, use_fast_variance=False, dtype=jnp.float32, rngs=rngs)


def drop_path(x: jax.Array, rate: float | jax.Array, key: jax.Array | None) -> jax.Array:
    """Drops the residual branch of whole samples (Huang et al., 2016, "stochastic depth").

    Args:
        x: Branch output [n, tokens, D]; each of the n rows is dropped or kept as a whole.
        rate: Probability of dropping a row.
        key: PRNG key; None means evaluation, where nothing is dropped.

    Returns:
        The branch with dropped rows zero and the survivors scaled by 1 / (1 - rate).
    """
    if key is None or (isinstance(rate, float) and rate == 0.0):
        return x
    keep = 1.0 - rate
    mask = jax.random.bernoulli(key, keep, (x.shape[0], 1, 1))
    return jnp.where(mask, x / keep, jnp.zeros((), x.dtype))


class PatchEmbed(nnx.Module):
    """Cuts a picture into patches and projects each: [n, H, W, C] -> [n, h*w, D], row-major."""

    def __init__(
        self,
        channels: int,
        width: int,
        patch: tuple[int, int],
        stride: tuple[int, int],
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.proj = nnx.Conv(
            channels,
            width,
            kernel_size=patch,
            strides=stride,
            padding="VALID",
            dtype=dtype,
            kernel_init=_patch_kernel,
            bias_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Returns patch tokens [n, N, D] of pictures [n, H, W, C]."""
        tokens = self.proj(pictures)  # [n, h, w, D]
        return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])


def sincos_positions(rows: int, columns: int, width: int) -> jax.Array:
    """Fixed two-dimensional sine-cosine codes of a grid, row-major (He et al., 2022, MAE).

    Returns:
        float32 [rows * columns, width]: the first half of the width codes the row, the second the
        column.
    """
    quarter = -(-width // 4)
    frequencies = 10000.0 ** (-jnp.arange(quarter) / quarter)

    def code(places: int) -> jax.Array:
        angles = jnp.arange(places)[:, None] * frequencies[None]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)

    by_row, by_column = jnp.repeat(code(rows), columns, axis=0), jnp.tile(code(columns), (rows, 1))
    return jnp.concatenate([by_row, by_column], axis=1)[:, :width]


class Qkv(nnx.Module):
    """The three linear layers to q, k and v, in one kernel [3, D, D] and one bias [3, D].

    Columns of each are the heads one after the other: split over a mesh axis, heads stay whole.
    """

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dtype = dtype
        # From scratch they start as the one layer that they are in timm and in MAE.
        joined = _encoder_linear["kernel_init"](rngs.params(), (width, 3 * width))
        self.kernel = nnx.Param(joined.reshape(width, 3, width).swapaxes(0, 1))
        self.bias = nnx.Param(jnp.zeros((3, width)))

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Maps tokens [n, N, D] to three of [n, N, D]."""
        x, kernel, bias = (x.astype(self.dtype) for x in (x, self.kernel[...], self.bias[...]))
        # Three products: on a CPU faster than one whose result is taken apart.
        return [keep(matmul(x, kernel[i]) + bias[i, None, None], "qkv") for i in range(3)]


class Attention(nnx.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Qkv(width, dtype=dtype, rngs=rngs)
        self.proj = nnx.Linear(width, width, dtype=dtype, rngs=rngs, **_encoder_linear)

    def __call__(self, x: jax.Array, implementation: str = "xla") -> jax.Array:
        """Maps tokens [n, N, D] to [n, N, D] by one of the implementations of `attention`."""
        q, k, v = (x.reshape(*x.shape[:2], self.heads, -1) for x in self.qkv(x))
        out = softmax_attention(q, k, v, implementation)
        return keep(self.proj(out.reshape(x.shape)), "projected")


class Mlp(nnx.Module):
    """Linear, exact (erf) GELU, Linear."""

    def __init__(self, width: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(width, hidden, dtype=dtype, rngs=rngs, **_encoder_linear)
        self.fc2 = nnx.Linear(hidden, width, dtype=dtype, rngs=rngs, **_encoder_linear)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens [n, N, D] to [n, N, D]."""
        hidden = keep(self.fc1(x), "hidden")
        return keep(self.fc2(jax.nn.gelu(hidden, approximate=False)), "mlp")


class Block(nnx.Module):
    """One pre-norm transformer layer with drop path on both residual branches."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_dim: int,
        drop_path_rate: float,
        norm_eps: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.drop_path_rate = drop_path_rate
        self.norm1 = layer_norm(width, norm_eps, rngs=rngs)
        self.attn = Attention(width, heads, dtype=dtype, rngs=rngs)
        self.norm2 = layer_norm(width, norm_eps, rngs=rngs)
        self.mlp = Mlp(width, mlp_dim, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        key: jax.Array | None = None,
        attention: str = "xla",
        drop_path_rate: float | jax.Array | None = None,
    ) -> jax.Array:
        """Maps tokens [n, N, D] to [n, N, D].

        Args:
            x: The tokens.
            key: Draws the drop paths; None drops nothing.
            attention: Its implementation.
            drop_path_rate: In place of the layer's own.
        """
        rate = self.drop_path_rate if drop_path_rate is None else drop_path_rate
        attn_key, mlp_key = (None, None) if key is None else jax.random.split(key)
        x = x + drop_path(self.attn(self.norm1(x), attention), rate, attn_key)
        return x + drop_path(self.mlp(self.norm2(x)), rate, mlp_key)


class Encoder(nnx.Module):
    """A ViT whose token sequence ends in prompts: `[specials, patches, prompts] + pos_embed`.

    It has no forward pass of its own: `MmaDfer` drives the layers of two encoders side by side.
    Prompts stand at the end of the sequence and are renewed once a stage (paper, section 3.2).
    With `prompts` 0 there are none, with `stages` 0 they are never renewed.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        prompts: int,
        stages: int,
        drop_path_rate: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.config = config
        width, all_prompts = config.width, prompts * max(stages, 1)
        self.cls_token = nnx.Param(0.02 * rngs.params.normal((1, 1, width)))
        if config.special_tokens == 2:
            self.dist_token = nnx.Param(0.02 * rngs.params.normal((1, 1, width)))
        # Normally the patches' positions come from a pre-trained file; from scratch they start as
        # MAE's. The prompts' start as N(0, 1).
        self.pos_embed = nnx.Param(
            jnp.concatenate(
                [
                    jnp.zeros((1, config.special_tokens, width)),
                    sincos_positions(*config.grid, width)[None],
                    rngs.params.normal((1, all_prompts, width)),
                ],
                axis=1,
            )
        )
        prompt_scale = width**-0.5
        if prompts:
            self.prompts = nnx.Param(prompt_scale * rngs.params.normal((all_prompts, width)))
        self.progressive_prompts = nnx.List(
            nnx.Param(prompt_scale * rngs.params.normal((prompts, width)))
            for _ in range(stages if prompts else 0)
        )
        patch, stride = config.patch, config.stride
        if config.patch_order == "columns":
            patch, stride = patch[::-1], stride[::-1]
        self.patch_embed = PatchEmbed(config.channels, width, patch, stride, dtype=dtype, rngs=rngs)
        rates = [drop_path_rate * i / max(config.depth - 1, 1) for i in range(config.depth)]
        self.blocks = nnx.List(
            Block(
                width, config.heads, config.mlp_dim, rate, config.norm_eps, dtype=dtype, rngs=rngs
            )
            for rate in rates
        )
        self.norm = layer_norm(width, config.norm_eps, rngs=rngs)

    def embed(self, pictures: jax.Array) -> jax.Array:
        """Turns pictures into the first layer's tokens.

        Args:
            pictures: float32 [n, H, W, C], as the config's mean and std take them.

        Returns:
            float32 [n, specials + N + P*G, D], of an encoder without prompts [n, specials + N, D].
        """
        mean, std = (jnp.array(x).reshape(1, 1, 1, -1) for x in (self.config.mean, self.config.std))
        pictures = (pictures - mean) / std
        if self.config.patch_order == "columns":
            pictures = pictures.swapaxes(1, 2)
        n, patches = pictures.shape[0], self.patch_embed(pictures)
        before, after = [self.cls_token[...]], []
        if self.config.special_tokens == 2:
            before.append(self.dist_token[...])
        if hasattr(self, "prompts"):
            after.append(self.prompts[...][None])
        before, after = (
            [jnp.broadcast_to(x, (n, *x.shape[1:])) for x in parts] for parts in (before, after)
        )
        # Float32, to which the layers add. In bfloat16 a gate of 1e-4 leaves 99.6 % of the
        # values as they are; in the golden runs, gates' gradients are 19 % off where they are 1 %
        # off in float32, and CLS tokens 1.2 % instead of 0.7 %.
        tokens = jnp.concatenate([*before, patches, *after], axis=1)
        return tokens + self.pos_embed[...]

    def feature(self, tokens: jax.Array) -> jax.Array:
        """The normed special token of the last layer's tokens, [n, N, D] -> [n, 1, D].

        Of two special tokens it is the mean.
        """
        specials = self.norm(tokens[:, : self.config.special_tokens])
        return jnp.mean(specials, axis=1, keepdims=True)

    def add_stage_prompts(self, tokens: jax.Array, stage: int) -> jax.Array:
        """Adds the progressive prompts of `stage` to that stage's prompt tokens, if any."""
        if not self.progressive_prompts:
            return tokens
        stages, (prompts, _) = len(self.progressive_prompts), self.progressive_prompts[stage].shape
        first = tokens.shape[1] - (stages - stage) * prompts
        return tokens.at[:, first : first + prompts].add(self.progressive_prompts[stage][...])

    def stage_prompts(self, depth: int, starts: tuple[int, ...]) -> jax.Array:
        """What is added to all prompt tokens after each layer: [layers, P*G, D].

        Args:
            depth: Number of layers.
            starts: The layer after which each stage's prompts are renewed.
        """
        every = self.progressive_prompts
        prompts = every[0].shape[0] if every else 0
        added = jnp.zeros((depth, len(every) * prompts, self.config.width))
        for layer, (stage, own) in zip(starts, enumerate(every), strict=False):
            place = slice(stage * prompts, (stage + 1) * prompts)
            added = added.at[layer, place].set(own[...])
        return added

"""The multimodal temporal transformer over the fused frame features (paper, section 3.4)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from mmadfer_jax.models.attention import attention_weights, softmax_attention
from mmadfer_jax.models.fusion import NORM_EPS, linear
from mmadfer_jax.models.vit import layer_norm


class TemporalAttention(nnx.Module):
    """Self-attention with q, k and v without bias, k and v in one matrix, and an output layer."""

    def __init__(self, width: int, heads: int, head_dim: int, *, rngs: nnx.Rngs):
        self.heads = heads
        inner = heads * head_dim
        self.to_q = linear(width, inner, use_bias=False, rngs=rngs)
        self.to_kv = linear(width, 2 * inner, use_bias=False, rngs=rngs)
        self.to_out = linear(inner, width, rngs=rngs)

    def __call__(
        self, x: jax.Array, on_attention: Callable[[jax.Array], None] | None = None
    ) -> jax.Array:
        """Maps tokens [B, 1 + T, D] to [B, 1 + T, D].

        `on_attention` is called with the weights [B, heads, 1 + T] of the first token, the clip's.
        """
        n, tokens, _ = x.shape
        q = self.to_q(x).reshape(n, tokens, self.heads, -1)
        kv = self.to_kv(x).reshape(n, tokens, 2, self.heads, -1)
        if on_attention is not None:
            on_attention(attention_weights(q, kv[:, :, 0])[:, :, 0])
        out = softmax_attention(q, kv[:, :, 0], kv[:, :, 1])
        return self.to_out(out.reshape(n, tokens, -1))


class TemporalLayer(nnx.Module):
    """One pre-norm layer: attention, then an MLP with the tanh form of GELU.

    `attn_norm2` and `mlp_norm2` are never applied: the authors' program declares them, so that a
    checkpoint can be exchanged with it strictly they are declared here too. They get no gradient
    and no weight decay.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_dim: int,
        mlp_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.attn_norm = layer_norm(width, NORM_EPS, rngs=rngs)
        self.attn_norm2 = layer_norm(width, NORM_EPS, rngs=rngs)
        self.attn = TemporalAttention(width, heads, head_dim, rngs=rngs)
        self.mlp_norm = layer_norm(width, NORM_EPS, rngs=rngs)
        self.mlp_norm2 = layer_norm(width, NORM_EPS, rngs=rngs)
        self.fc1 = linear(width, mlp_dim, rngs=rngs)
        self.fc2 = linear(mlp_dim, width, rngs=rngs)

    def __call__(
        self, x: jax.Array, on_attention: Callable[[jax.Array], None] | None = None
    ) -> jax.Array:
        """Maps tokens [B, 1 + T, D] to [B, 1 + T, D]; `on_attention` as of its attention."""
        x = x + self.attn(self.attn_norm(x), on_attention)
        return x + self.fc2(jax.nn.gelu(self.fc1(self.mlp_norm(x)), approximate=True))


class TemporalTransformer(nnx.Module):
    """Reads the frame features of a clip in order and gives one feature for the clip."""

    def __init__(
        self,
        num_frames: int,
        width: int,
        depth: int,
        heads: int,
        head_dim: int,
        mlp_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.cls_token = nnx.Param(rngs.params.normal((1, 1, width)))
        self.pos_embedding = nnx.Param(rngs.params.normal((1, 1 + num_frames, width)))
        self.layers = nnx.List(
            TemporalLayer(width, heads, head_dim, mlp_dim, rngs=rngs) for _ in range(depth)
        )

    def __call__(
        self, features: jax.Array, on_head: Callable[[str, jax.Array], None] | None = None
    ) -> jax.Array:
        """Maps frame features [B, T, D] to the clip's feature [B, D] (no norm at the end).

        `on_head` as of `MmaDfer`.
        """
        cls = jnp.broadcast_to(self.cls_token[...], (features.shape[0], 1, features.shape[-1]))
        x = jnp.concatenate([cls, features], axis=1)  # [B, 1 + T, D]
        x = x + self.pos_embedding[...]
        for i, layer in enumerate(self.layers):
            x = layer(x, on_head and functools.partial(on_head, f"attention.{i}"))
        return x[:, 0]

"""The fusion bottleneck between the two encoders, and the linear layers that train from scratch."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from mmadfer_jax.models.products import dot_general
from mmadfer_jax.models.vit import layer_norm

NORM_EPS = 1e-5


def linear(
    inputs: int,
    outputs: int,
    *,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
) -> nnx.Linear:
    """A Linear layer whose weight and bias start as U(-1/sqrt(inputs), 1/sqrt(inputs)).

    It multiplies in `dtype` and gives float32.
    """
    bound = inputs**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32, **_):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(
        inputs,
        outputs,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=init,
        bias_init=init,
        promote_dtype=_cast,
        dot_general=dot_general,
        rngs=rngs,
    )


def _cast(
    values: tuple[jax.Array, jax.Array, jax.Array | None], *, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Casts inputs and kernel, not the bias: its gradient, a sum over all tokens, was 26 % off."""
    inputs, kernel, bias = values
    return inputs.astype(dtype), kernel.astype(dtype), bias


class FusionBottleneck(nnx.Module):
    """Exchanges what each encoder knows after one layer (paper, section 3.3).

    Both sequences go down to the bottleneck width; each gets the other's mean over tokens, is
    brought up again and added behind a gate. Gates start at 0, so fusion starts as the identity.

    `direction` "to_image" or "to_audio" adds to that side alone. Of `pooling` "attention" the mean
    is weighted by a softmax over the tokens' products with a query, which starts as 0: as the mean.
    """

    def __init__(
        self,
        image_width: int,
        audio_width: int,
        bottleneck: int,
        *,
        direction: str = "both",
        pooling: str = "mean",
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.to_image, self.to_audio = (direction in ("both", d) for d in ("to_image", "to_audio"))
        self.pooling = pooling
        self.image_down = linear(image_width, bottleneck, dtype=dtype, rngs=rngs)
        self.image_norm = layer_norm(bottleneck, NORM_EPS, rngs=rngs)
        if self.to_image:
            self.image_up = linear(bottleneck, image_width, dtype=dtype, rngs=rngs)
            self.image_gate = nnx.Param(jnp.zeros((1,)))
        self.audio_down = linear(audio_width, bottleneck, dtype=dtype, rngs=rngs)
        self.audio_norm = layer_norm(bottleneck, NORM_EPS, rngs=rngs)
        if self.to_audio:
            self.audio_up = linear(bottleneck, audio_width, dtype=dtype, rngs=rngs)
            self.audio_gate = nnx.Param(jnp.zeros((1,)))
        if pooling == "attention":  # a query pools its own side's tokens, for the other side
            if self.to_image:
                self.audio_query = nnx.Param(jnp.zeros((bottleneck,)))
            if self.to_audio:
                self.image_query = nnx.Param(jnp.zeros((bottleneck,)))

    def __call__(
        self, image: jax.Array, audio: jax.Array, num_frames: int
    ) -> tuple[jax.Array, jax.Array]:
        """Fuses the two token sequences of one layer.

        Args:
            image: Tokens of every frame [B*T, N, D].
            audio: Tokens of every clip [B, M, D].
            num_frames: T.

        Returns:
            The two sequences, shapes unchanged. All frames of a clip get the same audio mean; the
            audio gets the mean over frames and tokens of the image side before its own addition.
        """
        zv = self.image_norm(self.image_down(image))  # [B*T, N, R]
        za = self.audio_norm(self.audio_down(audio))  # [B, M, R]
        if self.to_image:
            told = jnp.repeat(self._pooled(za, "audio"), num_frames, axis=0)  # [B*T, R]
            image = self._add(image, "image", zv, told)
        if self.to_audio:
            told = self._pooled(zv.reshape(za.shape[0], -1, zv.shape[-1]), "image")  # [B, R]
            audio = self._add(audio, "audio", za, told)
        return image, audio

    def _add(self, tokens: jax.Array, side: str, z: jax.Array, told: jax.Array) -> jax.Array:
        up, gate = getattr(self, f"{side}_up"), getattr(self, f"{side}_gate")
        update = jax.nn.gelu(up(z + told[:, None]), approximate=False)
        return tokens + jnp.tanh(gate[...])[:, None, None] * update

    def _pooled(self, z: jax.Array, side: str) -> jax.Array:
        """One vector of a side's tokens [B, N, R], as the other side gets it: [B, R]."""
        if self.pooling == "mean":
            return z.mean(axis=1)
        query = getattr(self, f"{side}_query")[...][None, None]
        products = (z * query).sum(axis=-1) * z.shape[-1] ** -0.5
        return (jax.nn.softmax(products, axis=1)[..., None] * z).sum(axis=1)

"""MMA-DFER: two prompted encoders fused layer by layer, then a temporal transformer.

Chumachenko, Iosifidis and Gabbouj, "MMA-DFER: MultiModal Adaptation of unimodal models for
Dynamic Facial Expression Recognition in-the-wild", CVPRW 2024, arXiv 2404.09010, figure 2.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.fusion import FusionBottleneck, linear
from mmadfer_jax.models.temporal import TemporalTransformer
from mmadfer_jax.models.vit import Encoder


class MmaDfer(nnx.Module):
    """The model: frames and a spectrogram in, class logits out.

    The encoders are fused after every layer of the shallower one; of the deeper one, several layers
    pass in between (of ViT-L beside ViT-B two). In the paper both have twelve.

    `project` maps the sum of the encoders' features; where their widths differ, `project_audio`
    maps the spectrogram's by itself and the results are added.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, image, audio = jnp.dtype(config.dtype), config.image, config.audio
        shared = {
            "prompts": config.prompts,
            "stages": config.stages,
            "drop_path_rate": config.drop_path,
            "dtype": dtype,
            "rngs": rngs,
        }
        self.image_encoder = Encoder(image, **shared)
        self.audio_encoder = Encoder(audio, **shared)
        self.fusion = nnx.List(
            FusionBottleneck(image.width, audio.width, config.bottleneck, dtype=dtype, rngs=rngs)
            for _ in range(config.depth)
        )
        # The head computes in float32: a thousandth of the work, and logits of 8 bits would tie.
        self.project = linear(image.width, config.temporal_width, rngs=rngs)
        if audio.width != image.width:
            self.project_audio = linear(
                audio.width, config.temporal_width, use_bias=False, rngs=rngs
            )
        self.temporal = TemporalTransformer(
            config.num_frames,
            config.temporal_width,
            config.temporal_depth,
            config.temporal_heads,
            config.temporal_head_dim,
            config.temporal_mlp_dim,
            rngs=rngs,
        )
        self.classifier = linear(config.temporal_width, config.num_classes, rngs=rngs)

    def __call__(
        self,
        frames: jax.Array,
        spectrogram: jax.Array,
        *,
        key: jax.Array | None = None,
        compute: Compute | None = None,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None = None,
        on_head: Callable[[str, jax.Array], None] | None = None,
    ) -> jax.Array:
        """Computes class logits.

        Args:
            frames: [B, T, S, S, 3], RGB in [0, 1].
            spectrogram: [B, 512, 128] (time, mel), log-mel padded with zeros.
            key: PRNG key of the drop paths (training); None is evaluation, which is deterministic.
            compute: How it is computed; by default as on jax's first device.
            on_layer: Called as `on_layer(i, image_tokens, audio_tokens)` after each layer, and once
                more with i = depth for the two features after the final norms; for inspection.
            on_head: Called as `on_head(name, value)` with "frames" [B, T, W], the features of the
                frames; "attention.I" [B, heads, 1 + T], how much temporal layer I takes from the
                clip's own token and from each frame; and "clip" [B, W], what the classifier sees.

        Returns:
            Logits [B, K] in float32.

        Raises:
            ValueError: An input's shape is not the configured one.
        """
        config, batch = self.config, frames.shape[0]
        compute = (compute or Compute()).on(jax.default_backend(), config.dtype)
        _check_shape("frames", frames, (batch, config.num_frames, *config.image.shape, 3))
        _check_shape("spectrogram", spectrogram, (batch, *config.audio.shape))
        # GPUs and TPUs would otherwise multiply float32 in fewer bits.
        exact = jax.default_matmul_precision("highest")
        with exact if config.dtype == "float32" else contextlib.nullcontext():
            image, audio = self._encode(frames, spectrogram, key, compute, on_layer)
        with jax.default_matmul_precision("highest"):
            image = image.reshape(batch, config.num_frames, -1)  # [B, T, D]
            if config.image.width == config.audio.width:
                features = self.project(image + audio)
            else:
                features = self.project(image) + self.project_audio(audio)
            clip = self.temporal(features, on_head)
            if on_head is not None:
                on_head("frames", features)
                on_head("clip", clip)
            return self.classifier(clip)

    def _encode(
        self,
        frames: jax.Array,
        spectrogram: jax.Array,
        key: jax.Array | None,
        compute: Compute,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None,
    ) -> tuple[jax.Array, jax.Array]:
        """The encoders' features, float32 [B*T, 1, D] of every frame and [B, 1, D] of the sound."""
        config = self.config
        image = self.image_encoder.embed(frames.reshape(-1, *frames.shape[2:]))
        audio = self.audio_encoder.embed(spectrogram[..., None])
        if compute.layers == "scan" and on_layer is None:
            image, audio = self._scan(image, audio, key, compute)
        else:
            image, audio = self._loop(image, audio, key, compute, on_layer)
        image, audio = self.image_encoder.feature(image), self.audio_encoder.feature(audio)
        if on_layer is not None:
            on_layer(config.depth, image, audio)
        return image, audio

    def _loop(
        self,
        image: jax.Array,
        audio: jax.Array,
        key: jax.Array | None,
        compute: Compute,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None,
    ) -> tuple[jax.Array, jax.Array]:
        """The tokens after all layers, one after the other."""
        stages = dict(map(reversed, enumerate(self.config.stage_starts)))
        for i in range(self.config.depth):
            layer = functools.partial(self._layer, self._modules(i), i, key, compute)
            image, audio = compute.layer(layer)(image, audio)
            if i in stages:
                image = self.image_encoder.add_stage_prompts(image, stages[i])
                audio = self.audio_encoder.add_stage_prompts(audio, stages[i])
            if on_layer is not None:
                on_layer(i, image, audio)
        return image, audio

    def _scan(
        self, image: jax.Array, audio: jax.Array, key: jax.Array | None, compute: Compute
    ) -> tuple[jax.Array, jax.Array]:
        """As `_loop`, by one layer that is repeated with the parameters of each."""
        config = self.config
        states = [nnx.split(self._modules(i)) for i in range(config.depth)]
        graph, _ = states[0]
        parameters = jax.tree.map(lambda *x: jnp.stack(x), *(state for _, state in states))
        encoders = self.image_encoder, self.audio_encoder
        rates = [
            jnp.array([block.drop_path_rate for block in e.blocks]).reshape(config.depth, -1)
            for e in encoders
        ]
        prompts = [e.stage_prompts(config.depth, config.stage_starts) for e in encoders]

        def layer(tokens, of_layer):
            i, parameters, rates, prompts = of_layer
            modules = nnx.merge(graph, parameters)
            tokens = self._layer(modules, i, key, compute, *tokens, drop_path_rates=rates)
            both = zip(tokens, prompts, strict=True)
            return tuple(x.at[:, x.shape[1] - len(p) :].add(p) for x, p in both), None

        layers = (jnp.arange(config.depth), parameters, rates, prompts)
        tokens, _ = jax.lax.scan(compute.layer(layer), (image, audio), layers)
        return tokens

    def _modules(self, layer: int) -> nnx.List:
        """Each encoder's blocks between two fusions, several of a deeper one, and what fuses."""
        blocks = []
        for encoder in (self.image_encoder, self.audio_encoder):
            each = len(encoder.blocks) // self.config.depth
            own = range(layer * each, (layer + 1) * each)
            blocks.append(nnx.List(encoder.blocks[i] for i in own))
        return nnx.List([*blocks, self.fusion[layer]])

    def _layer(
        self,
        modules: nnx.List,
        layer: int | jax.Array,
        key: jax.Array | None,
        compute: Compute,
        image: jax.Array,
        audio: jax.Array,
        drop_path_rates: Sequence[jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The tokens [B*T, N, D] and [B, M, D] after a layer of both encoders and their fusion."""
        *blocks, fusion = modules
        tokens = [compute.laid_out(image), compute.laid_out(audio)]
        for side in (1, 0):
            for i, block in enumerate(blocks[side]):
                own_key = _layer_keys(key, layer * len(blocks[side]) + i)[side]
                rate = None if drop_path_rates is None else drop_path_rates[side][i]
                tokens[side] = block(tokens[side], own_key, compute.attention, rate)
        return fusion(*tokens, self.config.num_frames)


def _check_shape(name: str, array: jax.Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{name}: shape {array.shape}; expected {expected}")


def _layer_keys(
    key: jax.Array | None, layer: int | jax.Array
) -> tuple[jax.Array, jax.Array] | tuple[None, None]:
    if key is None:
        return None, None
    image_key, audio_key = jax.random.split(jax.random.fold_in(key, layer))
    return image_key, audio_key

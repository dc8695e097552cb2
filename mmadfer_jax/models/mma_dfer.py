"""MMA-DFER: two prompted encoders fused layer by layer, then a temporal transformer.

Chumachenko, Iosifidis and Gabbouj, "MMA-DFER: MultiModal Adaptation of unimodal models for
Dynamic Facial Expression Recognition in-the-wild", CVPRW 2024, arXiv 2404.09010, figure 2.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.fusion import FusionBottleneck, linear
from mmadfer_jax.models.products import asked_in
from mmadfer_jax.models.temporal import TemporalTransformer
from mmadfer_jax.models.vit import Encoder

# Of each encoder that the model has: "image" [B*T, N, D], "audio" [B, M, D].
Tokens = dict[str, jax.Array]


class MmaDfer(nnx.Module):
    """The model: frames and a spectrogram in, class logits out.

    The encoders are fused after every layer of the shallower one; of the deeper one, several layers
    pass in between (of ViT-L beside ViT-B two). In the paper both have twelve.

    `project` maps the sum of the encoders' features; where their widths differ, `project_audio`
    maps the spectrogram's by itself and the results are added. Of one encoder alone `project` maps
    its features; those of a spectrogram stand at every frame, as in the sum.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, image, audio = jnp.dtype(config.dtype), config.image, config.audio
        for side, encoder in config.encoders.items():
            built = Encoder(
                encoder,
                prompts=config.prompts_of(side),
                stages=config.stages,
                drop_path_rate=config.drop_path,
                dtype=dtype,
                rngs=rngs,
            )
            setattr(self, f"{side}_encoder", built)
        self.fusion = nnx.List(
            FusionBottleneck(
                image.width,
                audio.width,
                config.bottleneck,
                direction=config.fusion,
                pooling=config.fusion_pooling,
                dtype=dtype,
                rngs=rngs,
            )
            if i in config.fused
            else None
            for i in range(config.depth)
        )
        # The head computes in float32: a thousandth of the work, and logits of 8 bits would tie.
        first, *others = config.encoders.values()
        self.project = linear(first.width, config.temporal_width, rngs=rngs)
        if any(other.width != first.width for other in others):
            self.project_audio = linear(
                audio.width, config.temporal_width, use_bias=False, rngs=rngs
            )
        if config.temporal_depth:
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
            frames: [B, T, S, S, 3], RGB in [0, 1]; ignored where there is no encoder of them.
            spectrogram: [B, 512, 128] (time, mel), log-mel padded with zeros; the same.
            key: PRNG key of the drop paths (training); None is evaluation, which is deterministic.
            compute: How it is computed; by default as on jax's first device.
            on_layer: Called as `on_layer(i, image_tokens, audio_tokens)` after each layer, and once
                more with i = depth for the two features after the final norms; for inspection. None
                stands for what the model does not have.
            on_head: Called as `on_head(name, value)` with "frames" [B, T, W], the features of the
                frames; "attention.I" [B, heads, 1 + T], how much temporal layer I takes from the
                clip's own token and from each frame; and "clip" [B, W], what the classifier sees.

        Returns:
            Logits [B, K] in float32.

        Raises:
            ValueError: An input's shape is not the configured one.
        """
        config, batch = self.config, frames.shape[0]
        compute = (compute or Compute()).on(jax.default_backend(), config)
        _check_shape("frames", frames, (batch, config.num_frames, *config.image.shape, 3))
        _check_shape("spectrogram", spectrogram, (batch, *config.audio.shape))
        # GPUs and TPUs would otherwise multiply float32 in fewer bits.
        exact = jax.default_matmul_precision("highest")
        ways = exact if config.dtype == "float32" else asked_in(compute.products)
        with ways:
            features = self._encode(frames, spectrogram, key, compute, on_layer)
        with jax.default_matmul_precision("highest"), jax.named_scope("head"):
            return self.classifier(self._clip_feature(features, on_head))

    def _clip_feature(
        self, features: Tokens, on_head: Callable[[str, jax.Array], None] | None
    ) -> jax.Array:
        """One feature a clip [B, W] of the encoders' features."""
        count, image = self.config.num_frames, features.get("image")
        if image is not None:
            features["image"] = image.reshape(-1, count, image.shape[-1])  # [B, T, D]
        if hasattr(self, "project_audio"):
            frames = self.project(features["image"]) + self.project_audio(features["audio"])
        else:
            frames = self.project(functools.reduce(jnp.add, features.values()))
        # Of sound alone all frames have its feature.
        frames = jnp.broadcast_to(frames, (len(frames), count, frames.shape[-1]))
        if self.config.temporal_depth:
            with jax.named_scope("temporal"):
                clip = self.temporal(frames, on_head)
        else:
            clip = frames.mean(axis=1)
        if on_head is not None:
            on_head("frames", frames)
            on_head("clip", clip)
        return clip

    def _encode(
        self,
        frames: jax.Array,
        spectrogram: jax.Array,
        key: jax.Array | None,
        compute: Compute,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None,
    ) -> Tokens:
        """The encoders' features, float32 [B*T, 1, D] of every frame and [B, 1, D] of the sound."""
        encoders = self._encoders()
        inputs = {"image": frames.reshape(-1, *frames.shape[2:]), "audio": spectrogram[..., None]}
        tokens = {}
        for side, encoder in encoders.items():
            with jax.named_scope(f"{side}_encoder"):
                tokens[side] = encoder.embed(inputs[side])
        if compute.layers == "scan" and on_layer is None:
            tokens = self._scan(tokens, key, compute)
        else:
            tokens = self._loop(tokens, key, compute, on_layer)
        features = {side: encoder.feature(tokens[side]) for side, encoder in encoders.items()}
        if on_layer is not None:
            on_layer(self.config.depth, features.get("image"), features.get("audio"))
        return features

    def _encoders(self) -> dict[str, Encoder]:
        return {side: getattr(self, f"{side}_encoder") for side in self.config.encoders}

    def _loop(
        self,
        tokens: Tokens,
        key: jax.Array | None,
        compute: Compute,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None,
    ) -> Tokens:
        """The tokens after all layers, one after the other."""
        stages = dict(map(reversed, enumerate(self.config.stage_starts)))
        for i in range(self.config.depth):
            layer = functools.partial(self._layer, self._modules(i), i, key, compute)
            tokens = compute.layer(layer)(tokens)
            if i in stages:
                tokens = {
                    side: encoder.add_stage_prompts(tokens[side], stages[i])
                    for side, encoder in self._encoders().items()
                }
            if on_layer is not None:
                on_layer(i, tokens.get("image"), tokens.get("audio"))
        return tokens

    def _scan(self, tokens: Tokens, key: jax.Array | None, compute: Compute) -> Tokens:
        """As `_loop`, by one layer that is repeated with the parameters of each."""
        config = self.config
        states = [nnx.split(self._modules(i)) for i in range(config.depth)]
        graph, _ = states[0]
        parameters = jax.tree.map(lambda *x: jnp.stack(x), *(state for _, state in states))
        rates, prompts = {}, {}
        for side, encoder in self._encoders().items():
            of_blocks = jnp.array([block.drop_path_rate for block in encoder.blocks])
            rates[side] = of_blocks.reshape(config.depth, -1)
            prompts[side] = encoder.stage_prompts(config.depth, config.stage_starts)

        def layer(tokens, of_layer):
            i, parameters, rates, prompts = of_layer
            modules = nnx.merge(graph, parameters)
            tokens = self._layer(modules, i, key, compute, tokens, drop_path_rates=rates)
            return {
                side: x.at[:, x.shape[1] - len(prompts[side]) :].add(prompts[side])
                for side, x in tokens.items()
            }, None

        layers = (jnp.arange(config.depth), parameters, rates, prompts)
        tokens, _ = jax.lax.scan(compute.layer(layer), tokens, layers)
        return tokens

    def _modules(self, layer: int) -> nnx.Dict:
        """Each encoder's blocks between two fusions, several of a deeper one, and what fuses."""
        modules = {"fusion": self.fusion[layer]}
        for side, encoder in self._encoders().items():
            each = len(encoder.blocks) // self.config.depth
            own = range(layer * each, (layer + 1) * each)
            modules[side] = nnx.List(encoder.blocks[i] for i in own)
        return nnx.Dict(modules)

    def _layer(
        self,
        modules: nnx.Dict,
        layer: int | jax.Array,
        key: jax.Array | None,
        compute: Compute,
        tokens: Tokens,
        drop_path_rates: Mapping[str, jax.Array] | None = None,
    ) -> Tokens:
        """The tokens after a layer of the encoders and, where there is one, their fusion."""
        tokens = {side: compute.laid_out(x) for side, x in tokens.items()}
        for side in reversed(self.config.encoders):
            blocks = modules[side]
            for i, block in enumerate(blocks):
                own_key = _layer_keys(key, layer * len(blocks) + i)[side]
                rate = None if drop_path_rates is None else drop_path_rates[side][i]
                with jax.named_scope(f"{side}_encoder"):
                    tokens[side] = block(tokens[side], own_key, compute.attention, rate)
        if modules["fusion"] is None:
            return tokens
        both = tokens["image"], tokens["audio"]
        with jax.named_scope("fusion"):
            image, audio = modules["fusion"](*both, self.config.num_frames)
        return {"image": image, "audio": audio}


def _check_shape(name: str, array: jax.Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{name}: shape {array.shape}; expected {expected}")


def _layer_keys(
    key: jax.Array | None, layer: int | jax.Array
) -> dict[str, jax.Array] | dict[str, None]:
    if key is None:
        return dict.fromkeys(("image", "audio"))
    image_key, audio_key = jax.random.split(jax.random.fold_in(key, layer))
    return {"image": image_key, "audio": audio_key}

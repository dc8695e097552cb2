"""MMA-DFER: two prompted encoders fused layer by layer, then a temporal transformer.

Chumachenko, Iosifidis and Gabbouj, "MMA-DFER: MultiModal Adaptation of unimodal models for
Dynamic Facial Expression Recognition in-the-wild", CVPRW 2024, arXiv 2404.09010, figure 2.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.fusion import FusionBottleneck, linear
from mmadfer_jax.models.temporal import TemporalTransformer
from mmadfer_jax.models.vit import Encoder

# What `ModelConfig.audio_encoder` may be, and the stride of its patches.
AUDIO_STRIDE = {"audiomae": 16, "ast": 10}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Every size of the model; the defaults are the paper's on DFEW.

    `prompts` is the number of prompt tokens a stage and `stages` the number of stages, so each
    encoder's sequence ends in `prompts * stages` prompt tokens. `dtype` is the compute type;
    parameters are float32 unless stored otherwise.

    Shapes, patches and strides of the spectrogram are (time, frequency). `audio_encoder` "ast" has
    two special tokens, frequency-major patches and, unless `audio_stride` says otherwise, a stride
    of 10. The model itself normalises frames in [0, 1] as `(frames - image_mean) / image_std`.
    """

    num_classes: int = 7
    num_frames: int = 16
    image_size: int = 224
    image_patch: int = 16
    image_stride: int = 16
    image_mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    image_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    image_norm_eps: float = 1e-6
    audio_encoder: str = "audiomae"
    spectrogram_shape: tuple[int, int] = (512, 128)
    audio_patch: tuple[int, int] = (16, 16)
    audio_stride: tuple[int, int] | None = None  # see `audio_patch_stride`
    audio_norm_eps: float = 1e-6
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    prompts: int = 3
    stages: int = 2
    bottleneck: int = 128
    temporal_width: int = 512
    temporal_depth: int = 1
    temporal_heads: int = 8
    temporal_head_dim: int = 64
    temporal_mlp_dim: int = 1024
    drop_path: float = 0.1
    dtype: str = "float32"

    def __post_init__(self):
        if self.audio_encoder not in AUDIO_STRIDE:
            raise UserError(
                f"model.audio_encoder is {self.audio_encoder!r}; expected one of "
                f"{sorted(AUDIO_STRIDE)}"
            )
        self._check_numbers()
        if self.width % self.heads:
            raise UserError(f"model.width {self.width} is not a multiple of heads {self.heads}")
        if self.depth % self.stages:
            raise UserError(
                f"model.depth {self.depth} is not a multiple of model.stages {self.stages}"
            )
        if not 0 <= self.drop_path < 1:
            raise UserError(f"model.drop_path is {self.drop_path}; expected 0 <= rate < 1")
        if self.image_patch > self.image_size:
            raise UserError(
                f"model.image_patch {self.image_patch} exceeds image_size {self.image_size}"
            )
        if any(p > s for p, s in zip(self.audio_patch, self.spectrogram_shape, strict=True)):
            raise UserError(
                f"model.audio_patch {self.audio_patch} exceeds spectrogram_shape "
                f"{self.spectrogram_shape}"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"model.dtype is {self.dtype!r}; expected 'float32' or 'bfloat16'")

    @property
    def audio_patch_stride(self) -> tuple[int, int]:
        """`audio_stride`, or what its encoder has where that is None: 16, for AST 10."""
        return self.audio_stride or (AUDIO_STRIDE[self.audio_encoder],) * 2

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            name, value, default = field.name, getattr(self, field.name), field.default
            if isinstance(default, str):
                continue
            values = value if isinstance(value, tuple) else (value,)
            expected = len(default) if isinstance(default, tuple) else 1
            if name == "audio_stride":
                if value is None:
                    continue
                expected = 2
            if len(values) != expected:
                raise UserError(f"model.{name} is {value!r}; expected {expected} number(s)")
            if _holds_float(default):
                if any(not isinstance(v, int | float) for v in values):
                    raise UserError(f"model.{name} is {value!r}; expected numbers")
            elif any(not isinstance(v, int) or v < 1 for v in values):
                raise UserError(f"model.{name} is {value!r}; expected whole numbers above 0")
        for name in ("image_std", "image_norm_eps", "audio_norm_eps"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) <= 0:
                raise UserError(f"model.{name} is {value!r}; expected numbers above 0")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Builds it from `config.model`; an unknown name is a `UserError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(f"unknown model settings {unknown}; known are {sorted(known)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _holds_float(default: object) -> bool:
    return isinstance(default[0] if isinstance(default, tuple) else default, float)


class MmaDfer(nnx.Module):
    """The model: frames and a spectrogram in, class logits out."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype = jnp.dtype(config.dtype)
        shared = {
            "width": config.width,
            "depth": config.depth,
            "heads": config.heads,
            "mlp_dim": config.mlp_dim,
            "prompts": config.prompts,
            "stages": config.stages,
            "drop_path_rate": config.drop_path,
            "dtype": dtype,
            "rngs": rngs,
        }
        self.image_encoder = Encoder(
            shape=(config.image_size, config.image_size),
            channels=3,
            patch=(config.image_patch, config.image_patch),
            stride=(config.image_stride, config.image_stride),
            norm_eps=config.image_norm_eps,
            **shared,
        )
        self.audio_encoder = Encoder(
            shape=config.spectrogram_shape,
            channels=1,
            patch=config.audio_patch,
            stride=config.audio_patch_stride,
            norm_eps=config.audio_norm_eps,
            distilled=config.audio_encoder == "ast",
            transposed=config.audio_encoder == "ast",
            **shared,
        )
        self.fusion = nnx.List(
            FusionBottleneck(config.width, config.bottleneck, dtype=dtype, rngs=rngs)
            for _ in range(config.depth)
        )
        self.project = linear(config.width, config.temporal_width, dtype=dtype, rngs=rngs)
        self.temporal = TemporalTransformer(
            config.num_frames,
            config.temporal_width,
            config.temporal_depth,
            config.temporal_heads,
            config.temporal_head_dim,
            config.temporal_mlp_dim,
            dtype=dtype,
            rngs=rngs,
        )
        self.classifier = linear(config.temporal_width, config.num_classes, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        frames: jax.Array,
        spectrogram: jax.Array,
        *,
        key: jax.Array | None = None,
        on_layer: Callable[[int, jax.Array, jax.Array], None] | None = None,
    ) -> jax.Array:
        """Computes class logits.

        Args:
          frames: [B, T, H, W, 3], RGB in [0, 1].
          spectrogram: [B, 512, 128] (time, mel), normalised.
          key: PRNG key of the drop paths (training); None is evaluation, which is deterministic.
          on_layer: called as `on_layer(i, image_tokens, audio_tokens)` after each layer, and once
            more with i = depth for the two CLS tokens after the final norms (AST: the mean of
            both special tokens); for inspection.

        Returns:
          Logits [B, K] in float32.

        Raises:
          ValueError: where an input's shape is not the configured one.
        """
        config = self.config
        batch = frames.shape[0]
        expected = (batch, config.num_frames, config.image_size, config.image_size, 3)
        if frames.shape != expected:
            raise ValueError(f"frames have shape {frames.shape}; expected {expected}")
        if spectrogram.shape != (batch, *config.spectrogram_shape):
            raise ValueError(
                f"spectrogram has shape {spectrogram.shape}; "
                f"expected {(batch, *config.spectrogram_shape)}"
            )
        dtype = jnp.dtype(config.dtype)
        if any(config.image_mean) or config.image_std != (1.0, 1.0, 1.0):
            frames = (frames - jnp.array(config.image_mean)) / jnp.array(config.image_std)
        image = self.image_encoder.embed(frames.reshape(-1, *frames.shape[2:]).astype(dtype))
        audio = self.audio_encoder.embed(spectrogram[..., None].astype(dtype))
        layers_per_stage = config.depth // config.stages
        for i in range(config.depth):
            image_key, audio_key = _layer_keys(key, i)
            audio = self.audio_encoder.blocks[i](audio, audio_key)  # [B, M, D]
            image = self.image_encoder.blocks[i](image, image_key)  # [B*T, N, D]
            image, audio = self.fusion[i](image, audio, config.num_frames)
            if i % layers_per_stage == 0:
                image = self.image_encoder.add_stage_prompts(image, i // layers_per_stage)
                audio = self.audio_encoder.add_stage_prompts(audio, i // layers_per_stage)
            if on_layer is not None:
                on_layer(i, image, audio)
        image = self.image_encoder.feature(image)  # [B*T, 1, D]
        audio = self.audio_encoder.feature(audio)  # [B, 1, D]
        if on_layer is not None:
            on_layer(config.depth, image, audio)
        features = image.reshape(batch, config.num_frames, -1) + audio
        clip = self.temporal(self.project(features))  # [B, temporal_width]
        return self.classifier(clip).astype(jnp.float32)


def _layer_keys(
    key: jax.Array | None, layer: int
) -> tuple[jax.Array, jax.Array] | tuple[None, None]:
    if key is None:
        return None, None
    image_key, audio_key = jax.random.split(jax.random.fold_in(key, layer))
    return image_key, audio_key

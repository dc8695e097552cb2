"""Every size of the model: one config for each of the two encoders, and one for the whole.

The defaults are the paper's on DFEW (Chumachenko, Iosifidis and Gabbouj, arXiv 2404.09010, sections
3 and 4.2): a ViT-B/16 on frames of 224 x 224 and a ViT-B/16 on spectrograms of 512 x 128.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from mmadfer_jax.errors import UserError

PATCH_ORDERS = ("rows", "columns")
DTYPES = ("float32", "bfloat16")
MODALITIES = PROMPTED = ("both", "image", "audio")
FUSIONS = ("both", "none", "to_image", "to_audio")
POOLINGS = ("mean", "attention")

# Settings of an encoder that its pre-trained file decides where the config leaves them open.
FROM_FILE = (
    *("patch", "stride", "width", "depth", "heads", "mlp_dim"),
    *("special_tokens", "patch_order", "norm_eps", "mean", "std"),
)

# Whole numbers that may be 0; the others are sizes.
_FROM_0 = ("prompts", "stages", "fusion_layers", "temporal_depth")

# Of AudioSet's log-mels: AudioMAE and AST see (x - mean) / (2 std).
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974


def _check_numbers(config: object, prefix: str) -> None:
    """Refuses values of another type than their field's; whole numbers are above 0, a few from 0.

    Raises:
        UserError: That names the field.
    """
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        parts, length = ((kind,), 1)
        if isinstance(kind, types.GenericAlias):  # tuple[int, int] or tuple[float, ...]
            parts = typing.get_args(kind)
            length = None if parts[-1] is Ellipsis else len(parts)
        values = value if isinstance(value, tuple) else (value,)
        if length is not None and len(values) != length:
            raise UserError(f"{prefix}{name} is {value!r}; expected {length} number(s)")
        least = 0 if name in _FROM_0 else 1
        if parts[0] is int and any(type(v) is not int or v < least for v in values):
            expected = "above 0" if least else "from 0 on"
            raise UserError(f"{prefix}{name} is {value!r}; expected whole numbers {expected}")
        if parts[0] is float and any(type(v) not in (int, float) for v in values):
            raise UserError(f"{prefix}{name} is {value!r}; expected numbers")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """One encoder, a plain pre-norm Vision Transformer.

    Attributes:
        shape: Rows and columns of its input: pixels of a frame, or (time, mel) of a spectrogram.
        channels: Of its input; 3 for frames, 1 for spectrograms.
        patch: Rows and columns of a patch.
        stride: From one patch to the next; smaller than a patch where patches overlap.
        width: D, of its tokens.
        depth: Number of its layers.
        heads: Attention heads of a layer; they divide the width.
        mlp_dim: Hidden width of a layer's MLP.
        special_tokens: 1 is a CLS token; 2 are CLS and distillation token, whose mean is the
            feature (AST, Gong et al., 2021).
        patch_order: In which patches stand in the sequence: "rows" one row after the other (for a
            spectrogram: time-major), "columns" one column after the other (frequency-major, AST).
        norm_eps: Of its LayerNorms.
        mean: For each channel; the encoder sees (input - mean) / std.
        std: For each channel.
    """

    shape: tuple[int, int] = (224, 224)
    channels: int = 3
    patch: tuple[int, int] = (16, 16)
    stride: tuple[int, int] = (16, 16)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    special_tokens: int = 1
    patch_order: str = "rows"
    norm_eps: float = 1e-6
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        _check_numbers(self, "an encoder's ")
        if self.special_tokens not in (1, 2):
            raise UserError(f"special_tokens is {self.special_tokens}; expected 1 (CLS) or 2")
        if self.patch_order not in PATCH_ORDERS:
            raise UserError(f"patch_order is {self.patch_order!r}; expected one of {PATCH_ORDERS}")
        if self.width % self.heads:
            raise UserError(f"width {self.width} is not a multiple of heads {self.heads}")
        if any(p > s for p, s in zip(self.patch, self.shape, strict=True)):
            raise UserError(f"patch {self.patch} exceeds the input's shape {self.shape}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise UserError(
                    f"{name} is {getattr(self, name)}; expected {self.channels} number(s), one a "
                    "channel"
                )
        if min(*self.std, self.norm_eps) <= 0:
            raise UserError(
                f"std {self.std} and norm_eps {self.norm_eps}: expected numbers above 0"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in the order of the sequence: (rows, columns), swapped where columns come first.

        So a position embedding's rows, reshaped to it, lie as the patches do.
        """
        rows, columns = (
            (size - patch) // stride + 1
            for size, patch, stride in zip(self.shape, self.patch, self.stride, strict=True)
        )
        return (rows, columns) if self.patch_order == "rows" else (columns, rows)

    @property
    def num_patches(self) -> int:
        """N (frames) or M (spectrogram)."""
        return self.grid[0] * self.grid[1]


VIT_B_FRAMES = EncoderConfig()
VIT_B_SPECTROGRAM = EncoderConfig(
    shape=(512, 128), channels=1, mean=(AUDIOSET_MEAN,), std=(2 * AUDIOSET_STD,)
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The whole model. What a setting takes away is not among the parameters.

    Attributes:
        num_classes: K.
        num_frames: T, frames the model sees of a clip.
        image: The encoder of the frames.
        audio: The encoder of the spectrogram. The encoders meet after every layer of the shallower
            one (`depth`), of which the deeper one has a multiple.
        modalities: "both"; or "image" or "audio" for that encoder alone: the other one's input is
            ignored, nothing is fused, and the encoder meets nobody after each of its layers.
        prompts: P, prompt tokens a stage; 0 for none.
        stages: G: a prompted encoder's sequence ends in P * G prompt tokens, and those of stage g
            are renewed after meeting `g * depth // stages` (paper, section 3.2). 0 for P tokens
            that are given at the input and never renewed.
        prompted: Which encoders get prompts: "both", "image" or "audio".
        fusion: "both"; "to_image" for sound that is told to the frames alone, "to_audio" for the
            converse; "none" leaves the sum of the encoders' features alone.
        fusion_layers: The meetings at which encoders are fused, counted from 0; () for every one.
        fusion_pooling: How an encoder's tokens become what the other is told: their "mean", or
            "attention", a mean weighted by a softmax over products with a learned query.
        bottleneck: R, width of the fusion bottleneck.
        temporal_width: Of the temporal transformer's tokens.
        temporal_depth: Its layers; 0 for the mean of the frames' features, whatever their order.
        temporal_heads: Its attention heads.
        temporal_head_dim: Width of a head.
        temporal_mlp_dim: Hidden width of its MLPs.
        drop_path: Rate of the last layer's drop paths; it rises linearly from 0.
        dtype: In which the encoders and the fusion multiply. Tokens, LayerNorms, softmax, means,
            gates, the head and the loss are float32; so are parameters unless stored otherwise.
    """

    num_classes: int = 7
    num_frames: int = 16
    image: EncoderConfig = VIT_B_FRAMES
    audio: EncoderConfig = VIT_B_SPECTROGRAM
    modalities: str = "both"
    prompts: int = 3
    stages: int = 2
    prompted: str = "both"
    fusion: str = "both"
    fusion_layers: tuple[int, ...] = ()
    fusion_pooling: str = "mean"
    bottleneck: int = 128
    temporal_width: int = 512
    temporal_depth: int = 1
    temporal_heads: int = 8
    temporal_head_dim: int = 64
    temporal_mlp_dim: int = 1024
    drop_path: float = 0.1
    dtype: str = "float32"

    def __post_init__(self):
        _check_numbers(self, "model.")
        if self.image.channels != 3 or self.audio.channels != 1:
            raise UserError(
                f"model.image.channels is {self.image.channels} and model.audio.channels "
                f"{self.audio.channels}; expected 3 and 1"
            )
        if self.image.shape[0] != self.image.shape[1]:
            raise UserError(f"model.image.shape is {self.image.shape}; expected a square")
        choices = {"modalities": MODALITIES, "prompted": PROMPTED, "fusion": FUSIONS}
        for name, known in (choices | {"fusion_pooling": POOLINGS, "dtype": DTYPES}).items():
            if getattr(self, name) not in known:
                raise UserError(f"model.{name} is {getattr(self, name)!r}; expected one of {known}")
        if max(e.depth for e in self.encoders.values()) % self.depth:
            raise UserError(
                f"model.image.depth is {self.image.depth} and model.audio.depth "
                f"{self.audio.depth}; expected one to be a multiple of the other, because they "
                "meet after every layer of the shallower encoder"
            )
        if self.stages > self.depth:
            raise UserError(
                f"model.stages is {self.stages}, more than the {self.depth} layers after "
                "which the encoders meet"
            )
        if not 0 <= self.drop_path < 1:
            raise UserError(f"model.drop_path is {self.drop_path}; expected 0 <= rate < 1")
        self._check_parts()

    def _check_parts(self) -> None:
        """Refuses what is asked of an encoder or of a fusion that the model does not have."""
        layers, alone = self.fusion_layers, self.modalities != "both"
        if list(layers) != sorted(set(layers)) or any(i >= self.depth for i in layers):
            raise UserError(
                f"model.fusion_layers is {layers}; expected rising numbers of meetings, each once, "
                f"of 0 to {self.depth - 1}"
            )
        if alone and self.prompted not in ("both", self.modalities):
            raise UserError(
                f"model.prompted is {self.prompted!r}, but model.modalities {self.modalities!r} "
                f"leaves that encoder out; expected 'both' or {self.modalities!r}"
            )
        if alone and (self.fusion not in ("both", "none") or layers):
            raise UserError(
                f"model.fusion is {self.fusion!r} and model.fusion_layers {layers}, but one "
                f"encoder (model.modalities {self.modalities!r}) has nothing to be fused with; "
                "leave them as they are by default"
            )
        if self.fusion == "none" and layers:
            raise UserError(
                f"model.fusion is 'none', but model.fusion_layers {layers} fuses; expected ()"
            )

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """Those that the model has, by "image" and "audio"."""
        both = {"image": self.image, "audio": self.audio}
        return {side: e for side, e in both.items() if self.modalities in ("both", side)}

    @property
    def depth(self) -> int:
        """L, how often the encoders meet: after each layer of the shallower one."""
        return min(encoder.depth for encoder in self.encoders.values())

    @property
    def fused(self) -> tuple[int, ...]:
        """The meetings at which the encoders are fused."""
        if self.modalities != "both" or self.fusion == "none":
            return ()
        return self.fusion_layers or tuple(range(self.depth))

    def prompts_of(self, side: str) -> int:
        """Prompt tokens a stage of the encoder "image" or "audio"."""
        return self.prompts if self.prompted in ("both", side) else 0

    @property
    def image_size(self) -> int:
        """S, side of the frames in pixels."""
        return self.image.shape[0]

    @property
    def stage_starts(self) -> tuple[int, ...]:
        """The meetings after which the prompts of stage 0, 1, ... are renewed."""
        return tuple(stage * self.depth // self.stages for stage in range(self.stages))

    def to_dict(self) -> dict[str, Any]:
        """As JSON reads it back: tuples are lists."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Builds it from `config.model` or from what `to_dict` gave.

        What is absent or None has its default.

        Raises:
            UserError: For an unknown name or a bad value.
        """
        values = dict(values)
        for name, default in (("image", VIT_B_FRAMES), ("audio", VIT_B_SPECTROGRAM)):
            if not isinstance(values.get(name), EncoderConfig):
                given = _known(EncoderConfig, values.get(name) or {}, f"model.{name}.")
                try:
                    values[name] = dataclasses.replace(default, **given)
                except UserError as error:
                    raise UserError(f"model.{name}: {error}") from None
        return cls(**_known(cls, values, "model."))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, such as "image.width"."""
    found = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


def _known(cls: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values that are given, lists as tuples."""
    names = [field.name for field in dataclasses.fields(cls)]
    if unknown := sorted(set(values) - set(names)):
        raise UserError(
            f"unknown settings {', '.join(prefix + name for name in unknown)}; known are "
            + ", ".join(prefix + name for name in names)
        )
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value

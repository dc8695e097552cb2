"""The families of encoder files, and an encoder that was read from one."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmadfer_jax.models.config import AUDIOSET_MEAN, AUDIOSET_STD


@dataclasses.dataclass(frozen=True)
class Kind:
    """A family of encoder files.

    Attributes:
        name: Of the family, on a model's card and in our own files.
        title: Of the family, in messages.
        channels: Of its input; 3 is an image encoder, 1 an audio encoder.
        norm_eps: Of its LayerNorms.
        mean: What its pre-training took off each channel.
        std: By what its pre-training divided each channel.
        special_tokens: Before the patches.
        patch_order: As in `EncoderConfig`.
        stride: From patch to patch; None where patches do not overlap.
    """

    name: str
    title: str
    channels: int
    norm_eps: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    special_tokens: int = 1
    patch_order: str = "rows"
    stride: int | None = None

    @property
    def side(self) -> str:
        """Which encoder it can be, "image" or "audio"."""
        return "image" if self.channels == 3 else "audio"


# MAE-Face as the authors' program feeds it: RGB in [0, 1] as it is. The ViTs saw [-1, 1].
_AS_IS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_AUDIOSET = {"mean": (AUDIOSET_MEAN,), "std": (2 * AUDIOSET_STD,)}
_AST = {**_AUDIOSET, "special_tokens": 2, "patch_order": "columns", "stride": 10}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("mae", "MAE ViT (MAE-Face or another: their keys are the same)", 3, 1e-6, **_AS_IS),
        Kind("vit-timm", "timm ViT", 3, 1e-6, **_HALF),
        Kind("vit-hf", "Hugging Face ViT", 3, 1e-12, **_HALF),
        Kind("vit-npz", "original JAX ViT", 3, 1e-6, **_HALF),
        Kind("vit-big-vision", "big_vision ViT", 3, 1e-6, **_HALF),
        Kind("audiomae", "AudioMAE", 1, 1e-6, **_AUDIOSET),
        Kind("ast", "AST (original)", 1, 1e-6, **_AST),
        Kind("ast-hf", "AST (Hugging Face)", 1, 1e-12, **_AST),
    )
}

_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """An encoder file, read.

    Attributes:
        kind: The family.
        params: Encoder-relative path ("blocks.0.attn.qkv.kernel") -> array in our axes, float32;
            `pos_embed` is [1, specials + patches, D] as in the file, not yet resized.
        heads: As the file says, or as is usual for its width.
        heads_known: Whether the file says.
    """

    kind: Kind
    params: dict[str, np.ndarray]
    heads: int
    heads_known: bool

    @property
    def num_patches(self) -> int:
        """Patches of the input it was pre-trained on."""
        return self.params["pos_embed"].shape[1] - self.kind.special_tokens

    def config(self) -> dict[str, Any]:
        """The settings of `EncoderConfig` that go with it: all but the input's shape."""
        patch = self.params["patch_embed.proj.kernel"].shape[:2]
        if self.kind.patch_order == "columns":
            patch = patch[::-1]
        return {
            "channels": self.kind.channels,
            "patch": patch,
            "stride": (self.kind.stride,) * 2 if self.kind.stride else patch,
            "width": self.params["cls_token"].shape[-1],
            "depth": count_layers(self.params, r"blocks\.(\d+)\."),
            "heads": self.heads,
            "mlp_dim": self.params["blocks.0.mlp.fc1.kernel"].shape[1],
            "special_tokens": self.kind.special_tokens,
            "patch_order": self.kind.patch_order,
            "norm_eps": self.kind.norm_eps,
            "mean": self.kind.mean,
            "std": self.kind.std,
        }

    def describe(self) -> dict[str, Any]:
        """What it is, for a card and for messages, as JSON takes it."""
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in self.config().items()}
        return {
            "kind": self.kind.name,
            "title": self.kind.title,
            "positions": self.num_patches,
            **config,
        }


def usual_heads(width: int) -> int:
    """Heads of the published ViTs of a width, which most formats do not tell."""
    return _HEADS.get(width, max(1, width // 64))


def count_layers(names: Mapping[str, Any], pattern: str) -> int:
    """One more than the greatest layer number that `pattern` finds, 0 where there is none.

    A number beyond twice the layers that are there is no layer's: it would make billions of them.
    """
    numbers = {int(m[1]) for name in names if (m := re.search(pattern, name))}
    return max((n + 1 for n in numbers if n < 2 * len(numbers)), default=len(numbers))

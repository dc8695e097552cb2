"""The families of encoder files, and an encoder that was read from one."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A family of encoder files.

    Attributes:
      name: of the family, in provenance and in our own files.
      title: of the family, in messages.
      channels: of its input; 3 is an image encoder, 1 an audio encoder.
      norm_eps: of its LayerNorms.
      image_mean, image_std: how its pre-training normalised RGB in [0, 1]; None for sound.
    """

    name: str
    title: str
    channels: int
    norm_eps: float
    image_mean: Triple | None = None
    image_std: Triple | None = None

    @property
    def audio_encoder(self) -> str | None:
        """The `ModelConfig.audio_encoder` that it is, None for an image encoder."""
        if self.channels == 3:
            return None
        return "ast" if self.name.startswith("ast") else "audiomae"


# MAE-Face as the authors' program feeds it: RGB in [0, 1] as it is. The ViTs saw [-1, 1].
_AS_IS = {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("mae", "MAE ViT (MAE-Face or another: their keys are the same)", 3, 1e-6, **_AS_IS),
        Kind("vit-timm", "timm ViT", 3, 1e-6, **_HALF),
        Kind("vit-hf", "Hugging Face ViT", 3, 1e-12, **_HALF),
        Kind("vit-npz", "original JAX ViT", 3, 1e-6, **_HALF),
        Kind("vit-big-vision", "big_vision ViT", 3, 1e-6, **_HALF),
        Kind("audiomae", "AudioMAE", 1, 1e-6),
        Kind("ast", "AST (original)", 1, 1e-6),
        Kind("ast-hf", "AST (Hugging Face)", 1, 1e-12),
    )
}

_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """An encoder file, read.

    Attributes:
      kind: the family.
      params: encoder-relative path ("blocks.0.attn.qkv.kernel") -> array in our axes, float32;
        `pos_embed` is [1, specials + patches, D] as in the file, not yet resized.
      heads: as the file says, or as is usual for its width.
      heads_known: whether the file says.
    """

    kind: Kind
    params: dict[str, np.ndarray]
    heads: int
    heads_known: bool

    @property
    def width(self) -> int:
        """D."""
        return self.params["cls_token"].shape[-1]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return count_layers(self.params, r"blocks\.(\d+)\.")

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLPs."""
        return self.params["blocks.0.mlp.fc1.kernel"].shape[1]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch as the encoder cuts it."""
        return self.params["patch_embed.proj.kernel"].shape[:2]

    @property
    def specials(self) -> int:
        """Special tokens before the patches: CLS, and AST's second one."""
        return 2 if "dist_token" in self.params else 1

    @property
    def patches(self) -> int:
        """Patches of the input it was pre-trained on."""
        return self.params["pos_embed"].shape[1] - self.specials

    def describe(self) -> dict[str, Any]:
        """What it is, for provenance and messages, as JSON takes it."""
        return {
            "kind": self.kind.name,
            "title": self.kind.title,
            "width": self.width,
            "depth": self.depth,
            "heads": self.heads,
            "mlp_dim": self.mlp_dim,
            "patch": list(self.patch),
            "positions": self.patches,
            "norm_eps": self.kind.norm_eps,
            "image_mean": self.kind.image_mean and list(self.kind.image_mean),
            "image_std": self.kind.image_std and list(self.kind.image_std),
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

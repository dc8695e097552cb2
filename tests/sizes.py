"""Model configs by a flat list of sizes, where tests have both encoders alike."""

import dataclasses

from mmadfer_jax.models.config import VIT_B_SPECTROGRAM, ModelConfig

_BOTH = ("width", "depth", "heads", "mlp_dim")
AST = {"audio_special_tokens": 2, "audio_patch_order": "columns", "audio_stride": 10}


def changed(config: ModelConfig, **sizes) -> ModelConfig:
    """The config with other sizes.

    Names are those of `ModelConfig`; `image_NAME` and `audio_NAME` are of one encoder, and of both
    are `width`, `depth`, `heads` and `mlp_dim`. One number for a shape or a patch is a square.
    """
    both = {name: sizes.pop(name) for name in _BOTH if name in sizes}
    for side in ("image", "audio"):
        own = {name: sizes.pop(name) for name in list(sizes) if name.startswith(f"{side}_")}
        own = {name.removeprefix(f"{side}_"): value for name, value in own.items()}
        for name in ("shape", "patch", "stride"):
            if isinstance(own.get(name), int):
                own[name] = (own[name], own[name])
        sizes[side] = dataclasses.replace(getattr(config, side), **both, **own)
    return dataclasses.replace(config, **sizes)


def sizes(**values) -> ModelConfig:
    """A config whose spectrogram is taken as it is: tests make their own."""
    as_it_is = dataclasses.replace(VIT_B_SPECTROGRAM, mean=(0.0,), std=(1.0,))
    return changed(ModelConfig(audio=as_it_is), **values)

"""The tensor names of the authors' released MMA-DFER checkpoints."""

from collections.abc import Mapping

import numpy as np

from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.weights.layout import foreign_names, rules, take, to_torch_axes

# Flax says kernel and scale where PyTorch says weight; both are spelled out in the endings below.
_LAYER = r"\.(?:kernel|scale)"
_TEMPORAL = r"temporal\.layers\.(\d+)\."
_THEIRS = r"temporal_net.temporal_transformer.layers.\1."


def _layer(path: str, name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two rules of a layer with a weight and a bias."""
    return (path + _LAYER, name + ".weight"), (path + r"\.bias", name + ".bias")


def _encoder(ours: str, theirs: str) -> tuple[tuple[str, str], ...]:
    return (
        (rf"{ours}\.(cls_token|pos_embed)", rf"{theirs}.\1"),
        (rf"{ours}\.prompts", rf"{theirs}.learnable_prompts_init"),
        (rf"{ours}\.progressive_prompts\.(\d+)", rf"{theirs}.learnable_prompts_progr.\1"),
        *_layer(rf"{ours}\.(patch_embed\.proj|blocks\..*|norm)", rf"{theirs}.\1"),
    )


LAYOUT = rules(
    (
        *_encoder("image_encoder", "image_encoder"),
        *_encoder("audio_encoder", "audio_model"),
        *_layer(r"fusion\.(\d+)\.image_down", r"image_encoder.temporal_pre.\1"),
        *_layer(r"fusion\.(\d+)\.image_norm", r"image_encoder.temporal_pre_norm.\1"),
        *_layer(r"fusion\.(\d+)\.image_up", r"image_encoder.temporal_att_post.\1.0"),
        (r"fusion\.(\d+)\.image_gate", r"image_encoder.all_gate.\1"),
        *_layer(r"fusion\.(\d+)\.audio_down", r"image_encoder.audio_proj_pre.\1.0"),
        *_layer(r"fusion\.(\d+)\.audio_norm", r"image_encoder.audio_proj_pre.\1.1"),
        *_layer(r"fusion\.(\d+)\.audio_up", r"audio_model.temporal_att_post.\1.0"),
        (r"fusion\.(\d+)\.audio_gate", r"audio_model.all_gate.\1"),
        *_layer("project", "vision_proj"),
        *_layer("classifier", "our_classifier"),
        (r"temporal\.(cls_token|pos_embedding)", r"temporal_net.\1"),
        *_layer(_TEMPORAL + r"attn_norm(2?)", _THEIRS + r"0.fn.norm\2"),
        *_layer(_TEMPORAL + r"attn\.(to_q|to_kv)", _THEIRS + r"0.fn.fn.\2"),
        *_layer(_TEMPORAL + r"attn\.to_out", _THEIRS + "0.fn.fn.to_out.0"),
        *_layer(_TEMPORAL + r"mlp_norm(2?)", _THEIRS + r"1.fn.norm\2"),
        *_layer(_TEMPORAL + r"fc1", _THEIRS + "1.fn.fn.net.0"),
        *_layer(_TEMPORAL + r"fc2", _THEIRS + "1.fn.fn.net.3"),
    )
)

# Classifier heads left over from the encoders' own pre-training; no forward pass reads them.
LEFTOVERS = r"(image_encoder|audio_model)\.head\.(weight|bias)"


def torch_names(config: ModelConfig) -> dict[str, str]:
    """Our parameter path -> the tensor's name in a released checkpoint, without `module.`."""
    return foreign_names(LAYOUT, abstract_params(config))


def from_torch(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, np.ndarray]:
    """Reads the tensors of a released checkpoint (names without `module.`) into our parameters.

    Raises:
      UserError: that names every missing, unexpected and mis-shaped tensor.
    """
    shapes = {path: p.shape for path, p in abstract_params(config).items()}
    return take(
        tensors,
        torch_names(config),
        shapes,
        leftovers=LEFTOVERS,
        source="the MMA-DFER checkpoint",
    )


def to_torch(params: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`; the leftover heads are not among the result."""
    return {
        name: to_torch_axes(path, np.asarray(params[path]))
        for path, name in torch_names(config).items()
    }

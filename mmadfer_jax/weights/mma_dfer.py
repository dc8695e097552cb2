"""The tensor names of the authors' released MMA-DFER checkpoints."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import VIT_B_FRAMES, VIT_B_SPECTROGRAM, ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.weights.encoder_kinds import count_layers, usual_heads
from mmadfer_jax.weights.files import TensorFile
from mmadfer_jax.weights.layout import (
    TORCH,
    foreign_names,
    plain_names,
    rules,
    square_side,
    take,
    to_torch_axes,
)

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

# How the names of a released checkpoint begin.
ROOT = r"(?:image_encoder|audio_model|temporal_net)\."

_WHOLE = ModelConfig()

# Classifier heads left over from the encoders' own pre-training; no forward pass reads them.
LEFTOVERS = r"(image_encoder|audio_model)\.head\.(weight|bias)"


def torch_names(config: ModelConfig) -> dict[str, str]:
    """Our parameter path -> the tensor's name in a released checkpoint, without `module.`."""
    return {path: name for path, (name,) in foreign_names(LAYOUT, abstract_params(config)).items()}


def is_mma_dfer(file: TensorFile) -> bool:
    """Whether the file holds a whole model, of the authors' names or of ours."""
    own = file.own
    if own is not None:
        return own.get("content") == "model"
    return plain_names(file.tensors, ROOT, str(file.path)).found


def read_config(tensors: Mapping[str, np.ndarray], source: str) -> ModelConfig:
    """Reads every size off the tensors of a released checkpoint (names without `module.`).

    What tensors cannot tell is as published: heads of 64 channels, 128 mel bands, strides equal to
    patches. A size whose tensor is missing keeps the published value: the load that follows names
    the tensor.

    Raises:
        UserError: Where a number of positions makes no grid.
    """

    def shape(name: str, published: tuple[int, ...]) -> tuple[int, ...]:
        tensor = tensors.get(name)
        return tensor.shape if tensor is not None and tensor.ndim == len(published) else published

    def layers(pattern: str, published: int) -> int:
        return count_layers(tensors, pattern) or published

    image, audio = "image_encoder.", "audio_model."
    temporal = "temporal_net.temporal_transformer.layers."
    width = shape(image + "cls_token", (1, 1, 768))[2]
    patch = shape(image + "patch_embed.proj.weight", (width, 3, 16, 16))[2:]
    audio_patch = shape(audio + "patch_embed.proj.weight", (width, 1, 16, 16))[2:]
    stages = layers(r"^image_encoder\.learnable_prompts_progr\.(\d+)", 2)
    prompts = shape(image + "learnable_prompts_progr.0", (3, width))[0]
    others = 1 + prompts * stages
    image_patches = shape(image + "pos_embed", (1, 196 + others, width))[1] - others
    audio_patches = shape(audio + "pos_embed", (1, 256 + others, width))[1] - others
    side, bands = square_side(image_patches), 128 // audio_patch[1]
    if side is None or bands < 1 or audio_patches < 1 or audio_patches % bands:
        raise UserError(
            f"{source}: {image_patches} image and {audio_patches} audio patch positions make no "
            f"square and no grid of {bands} frequency bands"
        )
    layers_of = {
        "width": width,
        "depth": layers(r"^image_encoder\.blocks\.(\d+)\.", 12),
        "heads": usual_heads(width),
        "mlp_dim": shape(image + "blocks.0.mlp.fc1.weight", (4 * width, width))[0],
    }
    temporal_width = shape("vision_proj.weight", (512, width))[0]
    inner = shape(temporal + "0.0.fn.fn.to_q.weight", (512, temporal_width))[0]
    return ModelConfig(
        num_classes=shape("our_classifier.weight", (7, temporal_width))[0],
        num_frames=shape("temporal_net.pos_embedding", (1, 17, temporal_width))[1] - 1,
        image=dataclasses.replace(
            VIT_B_FRAMES, shape=(side * patch[0],) * 2, patch=patch, stride=patch, **layers_of
        ),
        audio=dataclasses.replace(
            VIT_B_SPECTROGRAM,
            shape=(audio_patches // bands * audio_patch[0], bands * audio_patch[1]),
            patch=audio_patch,
            stride=audio_patch,
            **layers_of,
        ),
        prompts=prompts,
        stages=stages,
        bottleneck=shape(image + "temporal_pre.0.weight", (128, width))[0],
        temporal_width=temporal_width,
        temporal_depth=layers(r"^temporal_net\.temporal_transformer\.layers\.(\d+)\.", 1),
        temporal_heads=max(1, inner // 64),
        temporal_head_dim=min(64, inner),
        temporal_mlp_dim=shape(temporal + "0.1.fn.fn.net.0.weight", (1024, temporal_width))[0],
    )


def from_torch(
    tensors: Mapping[str, np.ndarray],
    config: ModelConfig,
    source: str = "the MMA-DFER checkpoint",
) -> dict[str, np.ndarray]:
    """Reads the tensors of a released checkpoint (names without `module.`) into our parameters.

    Raises:
        UserError: That names every missing, unexpected and mis-shaped tensor.
    """
    shapes = {path: p.shape for path, p in abstract_params(config).items()}
    names = {path: (name,) for path, name in torch_names(config).items()}
    return take(tensors, names, shapes, TORCH, leftovers=LEFTOVERS, source=source)


def to_torch(params: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`; the leftover heads are not among the result."""
    return {
        name: to_torch_axes(path, np.asarray(params[path]))
        for path, name in torch_names(config).items()
    }


def leftovers(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The unused heads of a released checkpoint, kept so that it goes out as it came in."""
    return {name: x for name, x in tensors.items() if re.fullmatch(LEFTOVERS, name)}


def fresh_leftovers(config: ModelConfig) -> dict[str, np.ndarray]:
    """Zeros for the unused heads of a model that did not come from a released checkpoint."""
    heads = {"image_encoder": 12, "audio_model": 1000}
    return {
        f"{encoder}.head.{name}": np.zeros(shape, np.float32)
        for encoder, classes in heads.items()
        for name, shape in (("weight", (classes, config.image.width)), ("bias", (classes,)))
    }


def check_authors_program(config: ModelConfig) -> None:
    """Refuses a model whose weights would load in the authors' program and mean something else.

    Raises:
        UserError: That names every setting which that program does not have.
    """
    names = ("special_tokens", "patch_order", "norm_eps", "mean", "std")
    wrong = [
        f"model.{side}.{name} is {getattr(found, name)!r}, there it is {getattr(theirs, name)!r}"
        for side, found, theirs in (
            ("image", config.image, VIT_B_FRAMES),
            ("audio", config.audio, VIT_B_SPECTROGRAM),
        )
        for name in names
        if getattr(found, name) != getattr(theirs, name)
    ]
    parts = ("modalities", "prompted", "fusion", "fusion_pooling")
    wrong += [
        f"model.{name} is {getattr(config, name)!r}, there it is {getattr(_WHOLE, name)!r}"
        for name in parts
        if getattr(config, name) != getattr(_WHOLE, name)
    ]
    wrong += [
        f"model.{name} is 0, there 1 or more"
        for name in ("prompts", "stages", "temporal_depth")
        if not getattr(config, name)
    ]
    if config.fusion_layers and len(config.fusion_layers) < config.depth:
        wrong.append(f"model.fusion_layers is {config.fusion_layers}, there every layer is fused")
    wrong += [
        f"model.{side}.stride is {encoder.stride}, there patches of {encoder.patch} do not overlap"
        for side, encoder in (("image", config.image), ("audio", config.audio))
        if encoder.stride != encoder.patch
    ]
    if config.image.width != config.audio.width:
        wrong.append(
            f"the encoders' widths are {config.image.width} and {config.audio.width}, there equal"
        )
    if config.image.depth != config.audio.depth:
        wrong.append(
            f"the encoders have {config.image.depth} and {config.audio.depth} layers, there equal"
        )
    if config.stages and config.depth % config.stages:
        wrong.append(f"{config.stages} stages do not divide {config.depth} layers")
    if wrong:
        raise UserError(
            f"the authors' program cannot compute this model: {'; '.join(wrong)}. "
            "Export it in our own layout (--layout=own)"
        )

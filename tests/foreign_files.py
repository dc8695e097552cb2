"""One small random encoder, written the way each family of files would hold it."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

WIDTH, DEPTH, HEADS, MLP = 48, 2, 3, 96


def timm(
    *,
    channels: int = 3,
    patches: int = 9,
    specials: int = 1,
    patch: int = 4,
    depth: int = DEPTH,
    width: int = WIDTH,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Random tensors of a ViT by timm's names and in PyTorch's axes."""
    rng = np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, specials + patches, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if specials == 2:
        shapes["dist_token"] = (1, 1, width)
    layer = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (MLP, width),
        "mlp.fc1.bias": (MLP,),
        "mlp.fc2.weight": (width, MLP),
        "mlp.fc2.bias": (width,),
    }
    for i in range(depth):
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in layer.items()}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def hugging_face(tensors: Mapping[str, np.ndarray], modules: bool = False):
    """The same tensors by Hugging Face's names: on the hub, or of the modules since version 5."""
    layer, query, out, fc1, fc2 = (
        ("layers", "attention.{}_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2")
        if modules
        else (
            *("encoder.layer", "attention.attention.{}", "attention.output.dense"),
            *("intermediate.dense", "output.dense"),
        )
    )
    renamed = {
        "cls_token": "embeddings.cls_token",
        "dist_token": "embeddings.distillation_token",
        "pos_embed": "embeddings.position_embeddings",
    }
    parts = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": out,
        "mlp.fc1": fc1,
        "mlp.fc2": fc2,
    }
    found = {}
    for name, tensor in tensors.items():
        words = name.split(".")
        if name in renamed:
            found[renamed[name]] = tensor
        elif words[0] == "patch_embed":
            found[f"embeddings.patch_embeddings.projection.{words[-1]}"] = tensor
        elif words[0] == "norm":
            found[f"layernorm.{words[-1]}"] = tensor
        elif "qkv" in words:
            names = "qkv" if modules else ("query", "key", "value")
            for part, third in zip(names, np.split(tensor, 3), strict=True):
                found[f"{layer}.{words[1]}.{query.format(part)}.{words[-1]}"] = third
        else:
            part = parts[".".join(words[2:-1])]
            found[f"{layer}.{words[1]}.{part}.{words[-1]}"] = tensor
    return found


def jax_vit(tensors: Mapping[str, np.ndarray], big_vision: bool = False):
    """The same tensors by the names and axes of the original JAX ViT, or of big_vision."""
    attention, second_norm, mlp = (0, 1, 0) if big_vision else (1, 2, 3)
    positions = "pos_embedding" if big_vision else "Transformer/posembed_input/pos_embedding"
    found = {
        "cls": tensors["cls_token"],
        positions: tensors["pos_embed"],
        "embedding/kernel": tensors["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": tensors["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": tensors["norm.weight"],
        "Transformer/encoder_norm/bias": tensors["norm.bias"],
    }
    depth = sum(name.endswith("norm1.bias") for name in tensors)
    for i in range(depth):
        block, layer = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        heads = f"{layer}MultiHeadDotProductAttention_{attention}/"
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", f"LayerNorm_{second_norm}")):
            found[f"{layer}{theirs}/scale"] = tensors[f"{block}{ours}.weight"]
            found[f"{layer}{theirs}/bias"] = tensors[f"{block}{ours}.bias"]
        kernels = np.split(tensors[block + "attn.qkv.weight"], 3)
        biases = np.split(tensors[block + "attn.qkv.bias"], 3)
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            found[f"{heads}{part}/kernel"] = kernel.T.reshape(WIDTH, HEADS, -1)
            found[f"{heads}{part}/bias"] = bias.reshape(HEADS, -1)
        out = tensors[block + "attn.proj.weight"]
        found[heads + "out/kernel"] = out.T.reshape(HEADS, -1, WIDTH)
        found[heads + "out/bias"] = tensors[block + "attn.proj.bias"]
        for j, fc in enumerate(("fc1", "fc2")):
            dense = f"{layer}MlpBlock_{mlp}/Dense_{j}/"
            found[dense + "kernel"] = tensors[f"{block}mlp.{fc}.weight"].T
            found[dense + "bias"] = tensors[f"{block}mlp.{fc}.bias"]
    return found


def prefixed(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def save_torch(path: Path, tensors: Mapping[str, np.ndarray], container: str | None = None, **more):
    """Writes a PyTorch file, bare or with the tensors under `container`."""
    import torch

    def tensor(x):
        if x.dtype == ml_dtypes.bfloat16:  # from_numpy knows none
            return torch.from_numpy(x.astype(np.float32)).bfloat16()
        return torch.from_numpy(np.array(x))

    content = {name: tensor(x) for name, x in tensors.items()}
    torch.save(content if container is None else {container: content, **more}, path)
    return path

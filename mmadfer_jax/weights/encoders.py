"""Pre-trained encoders: recognises a file by its keys and reads it into our names and axes."""

import dataclasses
import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import EncoderConfig
from mmadfer_jax.models.vit import Encoder
from mmadfer_jax.weights.encoder_kinds import (
    KINDS,
    Kind,
    PretrainedEncoder,
    count_layers,
    usual_heads,
)
from mmadfer_jax.weights.encoder_layouts import (
    AST_ROOT,
    BIG_VISION,
    HF_HUB,
    HF_LEFTOVERS,
    HF_MODULES,
    HF_PREFIXES,
    HF_ROOT,
    JAX_LEFTOVERS,
    JAX_ROOT,
    JAX_VIT,
    OWN,
    TIMM,
    TIMM_LEFTOVERS,
    TIMM_ROOT,
)
from mmadfer_jax.weights.files import TensorFile
from mmadfer_jax.weights.layout import (
    OURS,
    TORCH,
    Axes,
    Rule,
    flax_attention,
    foreign_names,
    plain_names,
    square_side,
    take,
)

_LAYER_NUMBER = r"(?:^blocks\.|^(?:encoder\.)?layers?\.|Transformer/encoderblock_)(\d+)"


@dataclasses.dataclass(frozen=True)
class _Recognised:
    kind: Kind
    tensors: dict[str, np.ndarray]  # by the family's own names
    removed: tuple[str, ...]  # from the names in the file
    layout: tuple[Rule, ...]
    leftovers: str
    axes: Axes = TORCH
    heads: int = 0  # 0 where the file does not tell


def recognise(file: TensorFile) -> _Recognised | None:
    """Tells the family of an encoder file by its keys; None where it is no encoder.

    Raises:
        UserError: Where it holds several encoders and nothing tells which is meant.
    """
    own = file.own
    if own is not None:
        if own.get("content") != "encoder":
            return None
        if own.get("kind") not in KINDS:
            raise UserError(f"{file.path} holds an encoder of unknown kind {own.get('kind')!r}")
        kind, heads = KINDS[own["kind"]], own.get("heads", 0)
        return _Recognised(kind, file.tensors, (), OWN, r"(?!)", OURS, heads)
    for root, family in (
        (JAX_ROOT, _jax),
        (AST_ROOT, _ast),
        (HF_ROOT, _hugging_face),
        (TIMM_ROOT, _timm),
    ):
        names = plain_names(file.tensors, root, str(file.path))
        if names.found:
            return family(names.tensors, names.removed, file.container)
    return None


_Tensors = dict[str, np.ndarray]


def _ast(tensors: _Tensors, removed: tuple[str, ...], _: str | None) -> _Recognised:
    leftovers = rf"{TIMM_LEFTOVERS}|mlp_head\.\d+\.(weight|bias)"
    return _Recognised(KINDS["ast"], _without(tensors, "v."), (*removed, "v."), TIMM, leftovers)


def _hugging_face(tensors: _Tensors, removed: tuple[str, ...], _: str | None) -> _Recognised:
    prefix = next((p for p in HF_PREFIXES if any(n.startswith(p) for n in tensors)), "")
    tensors = _without(tensors, prefix)
    ast = prefix == HF_PREFIXES[1] or "embeddings.distillation_token" in tensors
    hub = any(name.startswith("encoder.layer.") for name in tensors)
    kind = KINDS["ast-hf" if ast else "vit-hf"]
    removed = (*removed, *filter(None, [prefix]))
    return _Recognised(kind, tensors, removed, HF_HUB if hub else HF_MODULES, HF_LEFTOVERS)


def _timm(tensors: _Tensors, removed: tuple[str, ...], container: str | None) -> _Recognised:
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 1:
        name = "audiomae"
    elif "mask_token" in tensors or (container and "head.weight" not in tensors):
        name = "mae"
    else:
        name = "vit-timm"
    return _Recognised(KINDS[name], tensors, removed, TIMM, TIMM_LEFTOVERS)


def _jax(tensors: _Tensors, removed: tuple[str, ...], _: str | None) -> _Recognised:
    tensors = _unstack_layers(tensors)
    big_vision = any(re.search(r"/MlpBlock_0/|^pos_embedding$", name) for name in tensors)
    query = next((x for n, x in tensors.items() if n.endswith("query/kernel")), None)
    heads = query.shape[1] if query is not None and query.ndim == 3 else 12
    kind, layout = ("vit-big-vision", BIG_VISION) if big_vision else ("vit-npz", JAX_VIT)
    axes = flax_attention(heads)
    return _Recognised(KINDS[kind], tensors, removed, layout, JAX_LEFTOVERS, axes, heads)


def _without(tensors: _Tensors, prefix: str) -> _Tensors:
    """The tensors without `prefix`; one that would get another one's name keeps its own."""
    return {
        name if (short := name.removeprefix(prefix)) in tensors else short: tensor
        for name, tensor in tensors.items()
    }


def _unstack_layers(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes layers apart that big_vision's scan has stacked on a leading axis."""
    single = {}
    for name, tensor in tensors.items():
        stacked = "Transformer/encoderblock/"
        if name.startswith(stacked) and tensor.ndim:
            for i, layer in enumerate(tensor):
                single[f"Transformer/encoderblock_{i}/{name.removeprefix(stacked)}"] = layer
        else:
            single[name] = tensor
    return single


def read_encoder(file: TensorFile) -> PretrainedEncoder | None:
    """Reads an encoder file strictly; None where it is none.

    Raises:
        UserError: One, that names every tensor with which something is wrong (`layout.take`); or
            for a file that holds several encoders.
    """
    found = recognise(file)
    if found is None:
        return None
    tensors = found.tensors
    if found.kind.name == "vit-big-vision":
        tensors = _with_class_position(tensors)
    names = foreign_names(found.layout, encoder_shapes(found.kind, _Sizes()))
    sizes = _sizes(tensors, found, names)
    shapes = encoder_shapes(found.kind, sizes)
    source = f"{file.path}, recognised as {found.kind.title}"
    if found.removed:
        source += f" (names without {', '.join(found.removed)}),"
    params = take(
        tensors,
        foreign_names(found.layout, shapes),
        shapes,
        found.axes,
        leftovers=found.leftovers,
        source=source,
    )
    heads = found.heads or usual_heads(sizes.width)
    if params["pos_embed"].shape[1] < 2 + ("dist_token" in params):
        raise UserError(f"{source} holds positions of special tokens alone, of no patch")
    return PretrainedEncoder(found.kind, params, heads, heads_known=found.heads > 0)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    width: int = 64
    depth: int = 1
    mlp_dim: int = 64
    patch: tuple[int, int] = (16, 16)
    positions: int = 2


def _sizes(
    tensors: Mapping[str, np.ndarray], found: _Recognised, names: Mapping[str, tuple[str, ...]]
) -> _Sizes:
    """Reads the sizes off the file, as far as the tensors that tell them are there."""

    def shape(path: str, rank: int) -> tuple[int, ...] | None:
        tensor = tensors.get(names[path][0])
        return tensor.shape if tensor is not None and tensor.ndim == rank else None

    torch = found.axes is TORCH
    tell_width = (shape("cls_token", 3), shape("pos_embed", 3), shape("norm.scale", 1))
    width = next((s[-1] for s in tell_width if s), _Sizes.width)
    fc1 = shape("blocks.0.mlp.fc1.kernel", 2)
    kernel = shape("patch_embed.proj.kernel", 4)
    positions = shape("pos_embed", 3)
    return _Sizes(
        width=width,
        depth=max(1, count_layers(tensors, _LAYER_NUMBER)),
        mlp_dim=fc1[0 if torch else 1] if fc1 else 4 * width,
        patch=(kernel[2:] if torch else kernel[:2]) if kernel else _Sizes.patch,
        positions=positions[1] if positions else _Sizes.positions,
    )


def encoder_shapes(kind: Kind, sizes: _Sizes) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of a pre-trained encoder, in our axes."""
    config = EncoderConfig(
        shape=sizes.patch,
        channels=kind.channels,
        patch=sizes.patch,
        stride=sizes.patch,
        width=sizes.width,
        depth=1,
        heads=1,
        mlp_dim=sizes.mlp_dim,
        special_tokens=kind.special_tokens,
        mean=kind.mean,
        std=kind.std,
    )
    options = {"prompts": 0, "stages": 0, "drop_path_rate": 0.0, "dtype": jnp.float32}
    encoder = nnx.eval_shape(lambda: Encoder(config, **options, rngs=nnx.Rngs(0)))
    flat = nnx.to_flat_state(nnx.state(encoder, nnx.Param))
    shapes = {".".join(map(str, path)): p.shape for path, p in flat}
    for i in range(1, sizes.depth):
        first = {path: s for path, s in shapes.items() if path.startswith("blocks.0.")}
        shapes |= {path.replace(".0.", f".{i}.", 1): s for path, s in first.items()}
    return {**shapes, "pos_embed": (1, sizes.positions, sizes.width)}


def _with_class_position(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """big_vision adds positions before it adds the CLS token, whose position is thus 0."""
    positions = tensors.get("pos_embedding")
    if positions is None or positions.ndim != 3:
        return dict(tensors)
    if square_side(positions.shape[1]) is None:
        return dict(tensors)  # there is one already
    return {**tensors, "pos_embedding": np.pad(positions, ((0, 0), (1, 0), (0, 0)))}

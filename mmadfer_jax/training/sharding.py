"""The device mesh and where every array lies on it."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.rules import first_match

AXES = ("data", "fsdp", "tensor")

_QKV = re.compile(r"(image|audio)_encoder\.blocks\.\d+\.attn\.qkv\..*")

# A rule is (pattern of parameter paths, one mesh axis or None for each leading dimension).
ShardingRules = Sequence[tuple[str, Sequence[str | None]]]


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Arranges the devices as `data x fsdp x tensor`.

    Several slices of TPUs, which only a slower network joins, split the data axis: gradients pass
    between them once a step, layers never.

    Args:
        data: Size of the axis that splits clips; -1 takes what the other two leave.
        fsdp: Size of the axis that splits clips and stored parameters.
        tensor: Size of the axis that splits layers.
        devices: All of `jax.devices()` unless given.

    Raises:
        UserError: Where the product is not the number of devices, or `data` cuts through slices.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if data == -1 and fsdp > 0 and tensor > 0:
        data = count // (fsdp * tensor)
    if min(data, fsdp, tensor) < 1 or data * fsdp * tensor != count:
        raise UserError(
            f"a mesh of data={data} x fsdp={fsdp} x tensor={tensor} does not fit {count} "
            "device(s); their product must be that number (data=-1 takes what is left)"
        )
    types = (AxisType.Auto,) * 3
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices > 1 and devices[0].platform == "tpu":
        if data % slices:
            raise UserError(
                f"a mesh of data={data} x fsdp={fsdp} x tensor={tensor} on {slices} slices; data "
                f"must be a multiple of {slices}, so that fsdp and tensor stay within a slice"
            )
        inner = (data // slices, fsdp, tensor)
        grid = mesh_utils.create_hybrid_device_mesh(inner, (slices, 1, 1), devices)
        return Mesh(grid, AXES, axis_types=types)
    return jax.make_mesh((data, fsdp, tensor), AXES, axis_types=types, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Clips are split over both the data and the fsdp axis."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def param_shardings(
    mesh: Mesh, shapes: Mapping[str, jax.ShapeDtypeStruct], rules: ShardingRules
) -> dict[str, NamedSharding]:
    """The sharding of every parameter by the first rule whose pattern fully matches its path.

    Raises:
        UserError: A parameter's shape does not divide, a mesh axis splits nothing, or as
            `first_match`.
    """
    shardings = {}
    for path, spec in first_match(shapes, rules, "config.sharding").items():
        if unknown := [axis for axis in spec if axis not in (None, *AXES)]:
            raise UserError(
                f"config.sharding splits {path} over {unknown}; the mesh has the axes "
                + ", ".join(AXES)
            )
        shape = shapes[path].shape
        if len(spec) > len(shape):
            raise UserError(
                f"config.sharding gives {path} {shape} {len(spec)} axes {tuple(spec)}; expected "
                f"{len(shape)} or fewer"
            )
        for size, axis in zip(shape, spec, strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise UserError(
                    f"config.mesh.{axis} is {mesh.shape[axis]}, which does not divide {size} of "
                    f"{path} {shape}, as config.sharding wants it split; choose a size that "
                    f"divides {size}, or another rule"
                )
        shardings[path] = NamedSharding(mesh, PartitionSpec(*spec))
    used = {axis for _, spec in rules for axis in spec}
    for axis in ("fsdp", "tensor"):
        if mesh.shape[axis] > 1 and axis not in used:
            raise UserError(
                f"config.mesh.{axis} is {mesh.shape[axis]}, but no rule of config.sharding splits "
                f"anything over {axis!r}; set it to 1, or add a rule such as "
                rf"(r'.*\.(fc1|qkv)\.kernel', (None, {axis!r}))"
            )
    return shardings


def check_heads(model: ModelConfig, shardings: Mapping[str, NamedSharding]) -> None:
    """Refuses to cut through attention heads: each would then need all devices of the axis.

    Raises:
        UserError: `tensor` splits q, k and v of an encoder and does not divide its heads.
    """
    for path, sharding in shardings.items():
        match, size = _QKV.fullmatch(path), sharding.mesh.shape["tensor"]
        if match is None or "tensor" not in sharding.spec:
            continue
        heads = getattr(model, match[1]).heads
        if heads % size:
            fit = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise UserError(
                f"config.mesh.tensor is {size}, which does not divide the {heads} attention heads "
                f"of the {match[1]} encoder ({path}); heads stay whole, so choose one of {fit}"
            )


def place(arrays: Any, shardings: Any) -> Any:
    """Puts host arrays, the same in every process, onto the mesh.

    Args:
        arrays: A tree of them, such as a dict of parameters.
        shardings: A tree that has its leaves, and may have more where both are dicts.
    """
    if isinstance(arrays, Mapping):
        return {path: place(array, shardings[path]) for path, array in arrays.items()}
    return jax.tree.map(
        lambda array, sharding: jax.make_array_from_callback(
            np.shape(array), sharding, lambda index: np.asarray(array)[index]
        ),
        arrays,
        shardings,
    )


def to_host(tree: Any) -> Any:
    """Whole arrays of the mesh as NumPy arrays of their own; all processes have to ask for them."""

    def whole(x: jax.Array) -> np.ndarray:
        if not x.is_fully_addressable:
            if not x.is_fully_replicated:
                x = jax.jit(lambda x: x, out_shardings=replicated(x.sharding.mesh))(x)
            x = x.addressable_data(0)
        # A copy: a step that donates the array would write over what is still being saved.
        return np.array(x)

    return jax.tree.map(whole, tree)


def bytes_held(arrays: object) -> tuple[int, int]:
    """Bytes of a tree of arrays, of which shape, type and sharding are asked.

    Returns:
        What one device holds, and what a device would hold of whole copies.
    """
    held = whole = 0
    for x in jax.tree.leaves(arrays):
        held += math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        whole += math.prod(x.shape) * x.dtype.itemsize
    return held, whole


def state_shardings(tree: object, mesh: Mesh, params: Mapping[str, NamedSharding]) -> object:
    """Shardings of a state tree: a leaf under a parameter's path lies as that parameter does."""

    def sharding(path: Iterable, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        name = next((k.key for k in reversed(tuple(path)) if hasattr(k, "key")), None)
        if name in params and leaf.ndim:
            return params[name]
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, tree)

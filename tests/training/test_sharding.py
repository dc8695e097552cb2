import dataclasses

import jax
import numpy as np
import pytest

from configs import dfew_large
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training import sharding
from mmadfer_jax.training.settings import plain
from tests.conftest import SMALL
from tests.programs import program_of
from tests.sizes import changed


def test_a_mesh_must_use_all_devices():
    assert dict(sharding.make_mesh(fsdp=2).shape) == {"data": 2, "fsdp": 2, "tensor": 1}
    with pytest.raises(UserError, match=r"does not fit 4 device\(s\)"):
        sharding.make_mesh(data=3)
    with pytest.raises(UserError, match="tensor=8"):
        sharding.make_mesh(tensor=8)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What of a TPU the arrangement of devices looks at: two slices of 2 x 4 chips have 16."""

    id: int
    slice_index: int
    coords: tuple[int, int, int]
    process_index: int = 0
    core_on_chip: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    client: None = None


def test_slices_split_the_data_axis_alone():
    places = [(x, y, 0) for y in range(4) for x in range(2)]
    chips = [Chip(8 * k + i, k, place) for i, place in enumerate(places) for k in range(2)]
    for axes in ({}, {"fsdp": 4}, {"fsdp": 2, "tensor": 4}):
        mesh = sharding.make_mesh(**axes, devices=chips)
        slices = np.vectorize(lambda chip: chip.slice_index)(mesh.devices)
        assert slices.shape == tuple(mesh.shape.values())
        assert [set(part.flat) for part in np.split(slices, 2)] == [{0}, {1}]
        assert {chip.id for chip in mesh.devices.flat} == set(range(16))
    with pytest.raises(UserError, match=r"data=1 x fsdp=16 x tensor=1 on 2 slices; data must be a"):
        sharding.make_mesh(fsdp=16, devices=chips)


def test_rules_cover_all_and_must_divide():
    mesh = sharding.make_mesh(fsdp=4)
    shapes = {"a.kernel": jax.ShapeDtypeStruct((6, 8), np.float32)}
    shardings = sharding.param_shardings(mesh, shapes, [(r".*\.kernel", (None, "fsdp"))])
    assert shardings["a.kernel"].shard_shape((6, 8)) == (6, 2)
    with pytest.raises(UserError, match=r"no rule of config\.sharding speaks of parameter a"):
        sharding.param_shardings(mesh, shapes, [("b", ())])
    message = r"mesh\.fsdp is 4, which does not divide 6 of a\.kernel \(6, 8\)"
    with pytest.raises(UserError, match=message):
        sharding.param_shardings(mesh, shapes, [(".*", ("fsdp",))])
    with pytest.raises(UserError, match="mesh has the axes data, fsdp, tensor"):
        sharding.param_shardings(mesh, shapes, [(".*", ("model",))])


# ViT-L beside ViT-B, of half as many layers.
LARGE = ModelConfig.from_dict(plain(dfew_large.get_config())["model"])


def test_default_rules_fit_published_sizes():
    """Each of four devices holds a quarter of the layers' matrices, in two bytes a value."""
    split = 2 * 12 * (24 * 1024**2 + 12 * 768**2) * 3 // 4
    whole, same = bytes_of(program_of(LARGE, sharding.make_mesh()))
    assert whole == same
    assert bytes_of(program_of(LARGE, sharding.make_mesh(fsdp=4))) == (whole - split, whole)
    held, _ = bytes_of(program_of(LARGE, sharding.make_mesh(fsdp=2, tensor=2)))
    assert 0 < whole - split - held < 0.001 * whole  # biases are split too


def bytes_of(program):
    return sharding.bytes_held(program.abstract_frozen())


def test_attention_heads_stay_whole():
    with pytest.raises(UserError, match=r"tensor is 4, which does not divide the 3 attention head"):
        program_of(SMALL, sharding.make_mesh(tensor=4))
    with pytest.raises(UserError, match=r"the 6 .* of the audio encoder .* one of 1, 2, 3, 6$"):
        program_of(changed(SMALL, image_heads=4, audio_heads=6), sharding.make_mesh(tensor=4))


def test_an_axis_that_splits_nothing_is_refused():
    mesh, shapes = sharding.make_mesh(tensor=2), {"a": jax.ShapeDtypeStruct((4, 4), np.float32)}
    with pytest.raises(UserError, match=r"config\.mesh\.tensor is 2, but no rule"):
        sharding.param_shardings(mesh, shapes, [(".*", ())])


def test_more_axes_than_a_parameter_has_are_refused():
    mesh, shapes = sharding.make_mesh(), {"a": jax.ShapeDtypeStruct((4,), np.float32)}
    with pytest.raises(UserError, match=r"gives a \(4,\) 2 axes .* expected 1 or fewer"):
        sharding.param_shardings(mesh, shapes, [(".*", (None, "data"))])


def test_sharding_rules_are_refused_as_freeze_rules_are():
    mesh, shapes = sharding.make_mesh(), {"a": jax.ShapeDtypeStruct((4,), np.float32)}
    for rules, message in (
        ([("(", ()), (".*", ())], r"config\.sharding: '\(' is not a regular expression"),
        ([("b", ()), (".*", ())], r"rules of config\.sharding decide no parameter: \['b'\]"),
    ):
        with pytest.raises(UserError, match=message):
            sharding.param_shardings(mesh, shapes, rules)

import jax
import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import init_params
from mmadfer_jax.training import sharding
from mmadfer_jax.training.optimizer import split
from tests.conftest import SMALL
from tests.programs import program_of


def test_a_mesh_must_use_all_devices():
    assert dict(sharding.make_mesh(fsdp=2).shape) == {"data": 2, "fsdp": 2, "tensor": 1}
    with pytest.raises(UserError, match=r"does not fit 4 device\(s\)"):
        sharding.make_mesh(data=3)
    with pytest.raises(UserError, match="tensor=8"):
        sharding.make_mesh(tensor=8)


def test_rules_cover_all_and_must_divide():
    mesh = sharding.make_mesh(fsdp=4)
    shapes = {"a.kernel": jax.ShapeDtypeStruct((6, 8), np.float32)}
    shardings = sharding.param_shardings(mesh, shapes, [(r".*\.kernel", (None, "fsdp"))])
    assert shardings["a.kernel"].shard_shape((6, 8)) == (6, 2)
    with pytest.raises(UserError, match=r"no rule of config\.sharding speaks of parameter a"):
        sharding.param_shardings(mesh, shapes, [("b", ())])
    with pytest.raises(UserError, match="does not divide 6"):
        sharding.param_shardings(mesh, shapes, [(".*", ("fsdp",))])
    with pytest.raises(UserError, match="mesh has the axes data, fsdp, tensor"):
        sharding.param_shardings(mesh, shapes, [(".*", ("model",))])


def _four_steps(mesh, rules):
    """The parameters after four steps, and the metrics of each."""

    def change(settings):
        settings["sharding"] = rules
        settings["train"]["learning_rate"] = 1e-3

    program = program_of(SMALL, mesh, change=change)
    params = {path: np.asarray(x) for path, x in init_params(SMALL, 0).items()}
    trainable, frozen = split(params, program.labels)
    state, frozen, metrics = program.init_state(trainable), program.place_frozen(frozen), []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        batch = {
            "frames": rng.integers(0, 256, (8, SMALL.num_frames, 32, 32, 3), np.uint8),
            "spectrogram": rng.standard_normal((8, *SMALL.audio.shape), np.float32),
            "label": rng.integers(0, SMALL.num_classes, 8, np.int32),
        }
        batch = jax.device_put(batch, program.batch_sharding)
        state, of_step = program.train_step(state, frozen, batch, program.key(0))
        metrics.append(jax.device_get(of_step))
    shards = {path: x.sharding.shard_shape(x.shape) for path, x in frozen.items()}
    return jax.device_get(state.trainable), metrics, shards


@pytest.fixture(scope="module")
def on_one_device():
    return _four_steps(sharding.make_mesh(devices=jax.devices()[:1]), [(".*", ())])


@pytest.mark.parametrize(
    ("axes", "rules"),
    [
        ({"data": 4}, [(".*", ())]),
        (
            {"fsdp": 2, "tensor": 2},
            [
                (r".*\.fc1\.kernel", ("fsdp", "tensor")),
                (r".*\.qkv\.kernel", (None, "fsdp")),
                (".*", ()),
            ],
        ),
    ],
)
def test_one_device_equals_four(on_one_device, axes, rules):
    """Augmentation, drop path and AdamW included: their draws do not depend on the layout."""
    alone, alone_metrics, _ = on_one_device
    shared, shared_metrics, shards = _four_steps(sharding.make_mesh(**axes), rules)
    for one, four in zip(alone_metrics, shared_metrics, strict=True):
        for name in ("loss", "grad_norm"):
            np.testing.assert_allclose(four[name], one[name], rtol=1e-5)
    for path, value in alone.items():
        # Adam makes a whole step, of 1e-3, of a gradient that is rounding: its direction may turn.
        far = np.abs(shared[path] - value) > 1e-5
        assert far.mean() < 0.01, path
    if "fsdp" in axes:  # frozen weights are truly split
        kernel = "image_encoder.blocks.0.attn.qkv.kernel"
        assert shards[kernel] == (3, SMALL.image.width // 2, SMALL.image.width)


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

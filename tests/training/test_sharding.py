import jax
import numpy as np
import optax
import pytest
from conftest import SMALL

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import init_params
from mmadfer_jax.training import sharding
from mmadfer_jax.training.augment import Augmentation, augment
from mmadfer_jax.training.state import make_train_step, new_state


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


def _two_steps(model, mesh, rules):
    """The parameters after two steps of plain gradient descent, and the second step's metrics."""
    params = {path: np.asarray(x) for path, x in init_params(model, 0).items()}
    shardings = sharding.param_shardings(mesh, params, rules)
    optimizer = optax.sgd(0.1)  # Adam would turn gradients that are rounding into whole steps
    state = new_state(sharding.place(params, shardings), optimizer)
    layout = sharding.state_shardings(jax.eval_shape(lambda: state), mesh, shardings)
    state = jax.device_put(state, layout)
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.integers(0, 256, (8, model.num_frames, 32, 32, 3), np.uint8),
        "spectrogram": rng.standard_normal((8, *model.spectrogram_shape), np.float32),
        "label": rng.integers(0, model.num_classes, 8, np.int32),
    }
    batch = jax.device_put(batch, sharding.batch_sharding(mesh))
    augmentation = Augmentation()
    step = make_train_step(
        model, optimizer, lambda frames, key: augment(frames, key, model.image_size, augmentation)
    )
    step = jax.jit(step, out_shardings=(layout, None))
    for _ in range(2):
        state, metrics = step(state, {}, batch, jax.random.key(0))
    return jax.device_get(state.trainable), jax.device_get(metrics)


@pytest.fixture(scope="module")
def on_one_device():
    return _two_steps(SMALL, sharding.make_mesh(devices=jax.devices()[:1]), [(".*", ())])


@pytest.mark.parametrize(
    ("axes", "rules"),
    [
        ({"data": 4}, [(".*", ())]),
        ({"fsdp": 2, "tensor": 2}, [(r".*\.fc1\.kernel", ("fsdp", "tensor")), (".*", ())]),
    ],
)
def test_one_device_equals_four(on_one_device, axes, rules):
    """Augmentation and drop path included: their draws do not depend on the layout."""
    alone, alone_metrics = on_one_device
    shared, shared_metrics = _two_steps(SMALL, sharding.make_mesh(**axes), rules)
    np.testing.assert_allclose(shared_metrics["loss"], alone_metrics["loss"], rtol=1e-5)
    for path, value in alone.items():
        np.testing.assert_allclose(shared[path], value, rtol=1e-5, atol=1e-5, err_msg=path)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dfew
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.training.optimizer import adamw, assign, count, epoch_cosine, split

FREEZE = dfew.get_config().freeze


def test_the_paper_trains_7632415_parameters():
    shapes = abstract_params(ModelConfig())
    trained, frozen = split(shapes, assign(shapes, FREEZE))
    assert count(trained) == 7_632_415
    # 179,312,147 in a released checkpoint, which also holds two classifier heads nothing reads.
    heads = 12 * 768 + 12 + 1000 * 768 + 1000
    assert count(trained) + count(frozen) + heads == 179_312_147


def test_every_parameter_needs_a_rule():
    with pytest.raises(UserError, match=r"no rule of config\.freeze speaks of parameter project"):
        assign(["project.kernel"], [(r"fusion\..*", "frozen")])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([(".*", "melted")], "expected 'frozen' or 'trained'"),
        ([("nothing", "frozen"), (".*", "trained")], r"decide no parameter: \['nothing'\]"),
        ([(".*", "frozen")], "leaves nothing to train"),
        ([("(", "frozen"), (".*", "trained")], "not a regular expression"),
    ],
)
def test_freeze_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(UserError, match=message):
        assign(["a.b"], rules)


def test_the_rate_changes_once_an_epoch():
    schedule = epoch_cosine(1e-4, epochs=25, steps_per_epoch=10)
    rates = [float(schedule(step)) for step in range(250)]
    epochs = [1e-4 / 2 * (1 + np.cos(np.pi * (step // 10) / 25)) for step in range(250)]
    np.testing.assert_allclose(rates, epochs, rtol=2e-6, atol=1e-12)


def test_warm_up_rises_linearly():
    schedule = epoch_cosine(1.0, epochs=4, steps_per_epoch=100, warmup_steps=4)
    np.testing.assert_allclose([float(schedule(s)) for s in range(5)], [0.25, 0.5, 0.75, 1, 1])


def test_adamw_decays_every_used_parameter_and_leaves_unused_ones_alone():
    rate, decay, eps = 0.1, 0.01, 1e-8
    params = {
        "classifier.bias": jnp.array([1.0, -2.0]),
        "temporal.layers.0.attn_norm2.scale": jnp.array([1.0, 1.0]),
    }
    grads = {
        "classifier.bias": jnp.array([0.5, 0.25]),
        "temporal.layers.0.attn_norm2.scale": jnp.zeros(2),
    }
    optimizer = adamw(lambda _: rate, weight_decay=decay, b1=0.9, b2=0.999, eps=eps)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    new = jax.tree.map(jnp.add, params, updates)
    start, g = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    # The first step of Adam after its bias correction is g / (|g| + eps).
    expected = start - rate * decay * start - rate * g / (np.abs(g) + eps)
    np.testing.assert_allclose(new["classifier.bias"], expected, rtol=1e-6)
    np.testing.assert_array_equal(new["temporal.layers.0.attn_norm2.scale"], [1.0, 1.0])

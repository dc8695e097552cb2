import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dfew
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import adamw, count, epoch_cosine, freeze_labels, split

FREEZE = dfew.get_config().freeze


def test_the_paper_trains_7632415_parameters():
    shapes = abstract_params(ModelConfig())
    trained, frozen = split(shapes, freeze_labels(shapes, FREEZE))
    assert count(trained) == 7_632_415
    # 179,312,147 in a released checkpoint, which also holds two classifier heads nothing reads.
    heads = 12 * 768 + 12 + 1000 * 768 + 1000
    assert count(trained) + count(frozen) + heads == 179_312_147


def test_every_parameter_needs_a_rule():
    with pytest.raises(UserError, match=r"no rule of config\.freeze speaks of parameter project"):
        freeze_labels(["project.kernel"], [(r"fusion\..*", "frozen")])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([(".*", "melted")], "expected 'frozen' or 'trained'"),
        ([("nothing", "frozen"), (".*", "trained")], r"decide no parameter: \['nothing'\]"),
        ([("(", "frozen"), (".*", "trained")], "not a regular expression"),
    ],
)
def test_freeze_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(UserError, match=message):
        freeze_labels(["a.b"], rules)


def test_the_rate_changes_once_an_epoch():
    schedule = epoch_cosine(1e-4, Epochs(25, 10))
    rates = [float(schedule(step)) for step in range(250)]
    np.testing.assert_array_equal(jax.jit(jax.vmap(schedule))(jnp.arange(250)), rates)
    epochs = [1e-4 / 2 * (1 + np.cos(np.pi * (step // 10) / 25)) for step in range(250)]
    np.testing.assert_allclose(rates, epochs, rtol=2e-6, atol=1e-12)


def test_warm_up_rises_linearly():
    schedule = epoch_cosine(1.0, Epochs(4, 100), warmup_steps=4)
    rates = [float(schedule(step)) for step in range(5)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_array_equal(jax.jit(jax.vmap(schedule))(jnp.arange(5)), rates)


def test_steps_are_counted_on_where_the_batch_size_changed():
    epochs = Epochs(epochs=5, steps_per_epoch=3, steps_before=20, epochs_before=2)
    assert epochs.total_steps == 29
    assert [epochs.finished(step) for step in (20, 22, 23, 29)] == [(2, 0), (2, 2), (3, 0), (5, 0)]
    assert [epochs.batch(step) for step in (20, 24)] == [6, 10]


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

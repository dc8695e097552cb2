"""Gates, temporal attention and features: what is told is what the model computes."""

import io

import numpy as np
import pytest
from scipy.special import softmax

from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.insides import attention_section, features_npz, gates_section


@pytest.fixture(scope="module")
def inspected(pairs):
    source, model = pairs
    examination = Examination(model, source, batch_size=64)
    return examination, *examination.inspect(features=True)


def norm(x: np.ndarray, params: dict, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return scaled * params[f"{name}.scale"] + params[f"{name}.bias"]


def test_the_classifier_sees_the_clips_feature(inspected):
    examination, answers, seen = inspected
    params, model = examination.model.params, examination.model.card.model
    assert seen["clip"].shape == (90, model.temporal_width)
    assert seen["frames"].shape == (90, model.num_frames, model.temporal_width)
    logits = seen["clip"] @ params["classifier.kernel"] + params["classifier.bias"]
    np.testing.assert_allclose(answers.logits, logits, rtol=1e-3, atol=1e-3)


def test_attention_is_that_of_the_temporal_transformer(inspected):
    """Computed anew from the frame features, in NumPy."""
    examination, _, seen = inspected
    params, heads = examination.model.params, examination.model.card.model.temporal_heads
    frames = seen["frames"]
    cls = np.broadcast_to(params["temporal.cls_token"], (len(frames), 1, frames.shape[-1]))
    x = np.concatenate([cls, frames], axis=1) + params["temporal.pos_embedding"]
    x = norm(x, params, "temporal.layers.0.attn_norm")
    q = x[:, 0] @ params["temporal.layers.0.attn.to_q.kernel"]
    k, _ = np.split(x @ params["temporal.layers.0.attn.to_kv.kernel"], 2, axis=-1)
    q, k = (y.reshape(*y.shape[:-1], heads, -1) for y in (q, k))
    weights = softmax(np.einsum("nhd,nthd->nht", q, k) / np.sqrt(q.shape[-1]), axis=-1)
    np.testing.assert_allclose(seen["attention.0"], weights, atol=1e-4)
    np.testing.assert_allclose(seen["attention.0"].sum(axis=-1), 1, atol=1e-5)


def test_attention_is_averaged_over_heads_and_the_clips_of_a_class():
    weights = np.random.default_rng(0).random((5, 2, 4))
    answers = Answers(["x"] * 5, np.array([0, 0, 2, 2, 2]), np.zeros((5, 3)))
    section = attention_section(answers, {"attention.0": weights}, ("a", "b", "c"))
    (layer,) = section.results
    np.testing.assert_allclose(layer[2], weights[2:].mean(axis=(0, 1)))
    assert layer[1] == [None] * 4  # no clip of that class
    assert "| a       |" in section.text
    assert "| b       |" not in section.text
    many = {f"attention.{i}": weights for i in range(11)}
    assert len(attention_section(answers, many, ("a", "b", "c")).results) == 11
    assert attention_section(answers, {}, ("a", "b", "c")) is None


def test_gates_are_told_by_layer():
    params = {f"fusion.{i}.image_gate": np.array([i / 10]) for i in range(12)}
    params |= {f"fusion.{i}.audio_gate": np.array([-1.0]) for i in range(12)}
    found = gates_section(params | {"fusion.0.image_up.bias": np.ones(3)}).results
    assert list(found["picture from sound"]) == list(range(1, 13))
    values = list(found["picture from sound"].values())
    np.testing.assert_allclose(values, np.tanh(np.arange(12) / 10))
    np.testing.assert_allclose(list(found["sound from picture"].values()), np.tanh([-1.0] * 12))
    # Fused after some layers only, and told to the frames alone.
    some = gates_section({f"fusion.{i}.image_gate": np.array([0.5]) for i in (6, 0)})
    assert list(some.results["picture from sound"]) == [1, 7]
    assert "sound from picture" not in some.text
    assert gates_section({"classifier.bias": np.zeros(3)}) is None


def test_features_are_a_file_that_opens_without_pickle(inspected):
    examination, answers, seen = inspected
    data = features_npz(answers, seen, examination.classes)
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        assert found["ids"].tolist() == examination.source.ids
        assert found["classes"].tolist() == list(examination.classes)
        np.testing.assert_array_equal(found["labels"], examination.source.labels)
        np.testing.assert_array_equal(found["logits"], answers.logits)
        np.testing.assert_array_equal(found["clip_features"], seen["clip"])
        np.testing.assert_array_equal(found["frame_features"], seen["frames"])
        np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1)

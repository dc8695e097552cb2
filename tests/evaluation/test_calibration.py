import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from mmadfer_jax.evaluation.calibration import BINS, calibration, calibration_section
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.metrics import softmax


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=500)
    logits = rng.normal(size=(500, 3)) + 2 * np.eye(3)[labels] * (rng.random((500, 1)) < 0.7)
    return labels, softmax(3 * logits)


def test_bins_and_error_are_those_of_scikit_learn(clips):
    labels, shares = clips
    right, confidence = shares.argmax(axis=1) == labels, shares.max(axis=1)
    found = calibration(labels, shares)
    accuracy, means = calibration_curve(right, confidence, n_bins=BINS)
    np.testing.assert_allclose([row["accuracy"] for row in found["bins"]], accuracy)
    np.testing.assert_allclose([row["confidence"] for row in found["bins"]], means)
    clips_in = np.array([row["clips"] for row in found["bins"]])
    assert clips_in.sum() == 500
    assert found["ece"] == pytest.approx((clips_in * abs(accuracy - means)).sum() / 500)
    assert found["negative_log_likelihood"] == pytest.approx(log_loss(labels, shares))


def test_a_model_that_is_as_often_right_as_it_says_has_no_error():
    # Of ten clips at 70 % seven are right, of ten at 100 % all.
    shares = np.array([[0.7, 0.3]] * 10 + [[1.0, 0.0]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 10)
    found = calibration(labels, shares)
    assert found["ece"] == pytest.approx(0, abs=1e-12)
    assert [row["clips"] for row in found["bins"]] == [10, 10]
    assert found["bins"][-1]["to"] == 1


def test_a_sure_model_that_is_wrong_has_all_the_error():
    found = calibration(np.array([1, 1]), np.array([[1.0, 0.0]] * 2))
    assert found["ece"] == 1
    assert np.isfinite(found["negative_log_likelihood"])


def test_the_section_says_in_which_direction(clips):
    labels, shares = clips
    answers = Answers(["x"] * 500, labels, np.log(shares))
    assert "overconfident" in calibration_section(answers).text
    humble = Answers(["x"] * 500, labels, 0.05 * np.log(shares))
    assert "underconfident" in calibration_section(humble).text

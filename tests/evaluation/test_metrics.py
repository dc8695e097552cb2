import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from mmadfer_jax.evaluation import metrics

K = 7


def count(logits, labels):
    return metrics.confusion_matrix(labels, logits.argmax(1), K)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    labels = rng.choice(K, 500, p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]).astype(np.int32)
    logits = rng.normal(size=(500, K)).astype(np.float32)
    logits[np.arange(500), labels] += 1.0
    return logits, labels


def test_the_matrix_is_that_of_scikit_learn(clips):
    logits, labels = clips
    matrix = count(logits, labels)
    expected = sklearn_metrics.confusion_matrix(labels, logits.argmax(1), labels=range(K))
    np.testing.assert_array_equal(matrix, expected)


def test_rows_are_true_classes_and_columns_predictions():
    matrix = metrics.confusion_matrix(np.array([1]), np.array([4]), K)
    assert matrix[1, 4] == 1
    assert matrix.sum() == 1


def test_probabilities_are_those_of_scipy(clips):
    logits, _ = clips
    np.testing.assert_allclose(metrics.softmax(logits), softmax(logits, axis=1), rtol=1e-6)
    assert np.isfinite(metrics.softmax(np.array([[1e4, -1e4]]))).all()


def test_uar_and_war_are_balanced_accuracy_and_accuracy(clips):
    logits, labels = clips
    matrix = count(logits, labels)
    predictions = logits.argmax(1)
    recalls = sklearn_metrics.recall_score(labels, predictions, average=None)
    np.testing.assert_allclose(metrics.per_class_recall(matrix), recalls)
    expected = sklearn_metrics.balanced_accuracy_score(labels, predictions)
    assert metrics.uar(matrix) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.accuracy_score(labels, predictions)
    assert metrics.war(matrix) == pytest.approx(expected, abs=1e-12)


def test_a_class_without_clips_has_no_recall_and_no_part_in_uar():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(metrics.per_class_recall(matrix), [0.75, np.nan, 0.5])
    assert metrics.uar(matrix) == 0.625
    assert metrics.war(matrix) == pytest.approx(4 / 6)


def test_a_class_never_recognised_counts_as_nought():
    assert metrics.uar(np.array([[4, 0], [2, 0]])) == 0.5


def test_no_clips_give_nan():
    empty = np.zeros((3, 3), np.int32)
    assert np.isnan(metrics.uar(empty))
    assert np.isnan(metrics.war(empty))

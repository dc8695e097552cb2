"""Confusion matrix, UAR and WAR: the figures dynamic expression recognition is judged by."""

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts clips by true and predicted class.

    Args:
        labels: int [n], true classes.
        predictions: int [n], predicted classes.
        num_classes: K.

    Returns:
        int64 [K, K], rows the true classes, columns the predicted ones.
    """
    cells = np.asarray(labels, np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [n, K] of logits [n, K]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def per_class_recall(matrix: np.ndarray) -> np.ndarray:
    """Share of each class's clips that were recognised.

    Args:
        matrix: int [K, K], rows the true classes.

    Returns:
        float64 [K]; nan for a class without clips.
    """
    matrix = np.asarray(matrix, np.float64)
    totals = matrix.sum(axis=1)
    recalls = np.full(len(matrix), np.nan)
    np.divide(np.diagonal(matrix), totals, out=recalls, where=totals > 0)
    return recalls


def recalls_of(labels: np.ndarray, right: np.ndarray, num_classes: int) -> np.ndarray:
    """As `per_class_recall`, of clips.

    Args:
        labels: int [n], true classes.
        right: bool [n], which clips were recognised.
        num_classes: K.
    """
    hits = np.bincount(labels, right, num_classes)
    totals = np.bincount(labels, minlength=num_classes)
    return np.divide(hits, totals, out=np.full(num_classes, np.nan), where=totals > 0)


def uar(matrix: np.ndarray) -> float:
    """Unweighted average recall: the mean of the classes' recalls.

    A class without clips has no recall and is left out of the mean; nan where there are no clips.
    """
    recalls = per_class_recall(matrix)
    present = recalls[~np.isnan(recalls)]
    return float(present.mean()) if len(present) else float("nan")


def war(matrix: np.ndarray) -> float:
    """Weighted average recall, which is the accuracy; nan where there are no clips."""
    matrix = np.asarray(matrix, np.float64)
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")

"""Confusion matrix, UAR and WAR: the figures dynamic expression recognition is judged by."""

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrix(
    predictions: jax.Array, labels: jax.Array, mask: jax.Array, num_classes: int
) -> jax.Array:
    """Counts clips by true and predicted class; jit it, and add up the matrices of batches.

    Args:
        predictions: [B, K] logits, of which the largest counts, or int [B] classes.
        labels: int [B], true classes.
        mask: bool [B], False for padding, which is not counted.
        num_classes: K.

    Returns:
        int32 [K, K], rows the true classes, columns the predicted ones.
    """
    if predictions.ndim == 2:
        predictions = predictions.argmax(axis=-1)
    cells = labels * num_classes + predictions
    # One column too many takes the padding.
    cells = jnp.where(mask, cells, num_classes**2)
    counts = jnp.zeros(num_classes**2 + 1, jnp.int32).at[cells].add(1)
    return counts[:-1].reshape(num_classes, num_classes)


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

"""Whether a model is as often right as it says: confidence and accuracy side by side."""

import functools
from typing import Any

import numpy as np

from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures_answers import reliability_figure
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.evaluation.section import Section, percent

BINS = 15


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """The expected calibration error (Guo et al., 2017) and what it is made of.

    A clip's confidence is the probability of the predicted class. Confidences from 0 to 1 are cut
    into 15 equal bins; the error is the mean over clips of the distance between a bin's mean
    confidence and its accuracy.

    Args:
        labels: int [n], true classes.
        probabilities: [n, K].

    Returns:
        "ece", "confidence" and "accuracy" (means over all clips), "negative_log_likelihood" (mean,
        of the true class, in nats), and "bins": of each that has clips "from", "to", "clips",
        "confidence" and "accuracy".
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # upper edges belong
    bins = []
    for i in range(BINS):
        if (inside := place == i).any():
            edges = {"from": i / BINS, "to": (i + 1) / BINS, "clips": int(inside.sum())}
            means = {"confidence": confidence[inside].mean(), "accuracy": right[inside].mean()}
            bins.append(edges | {name: float(mean) for name, mean in means.items()})
    gaps = [row["clips"] * abs(row["confidence"] - row["accuracy"]) for row in bins]
    true = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return {
        "ece": float(sum(gaps) / len(labels)),
        "confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "negative_log_likelihood": float(-np.log(true).mean()),
        "bins": bins,
    }


def calibration_section(answers: Answers) -> Section:
    """The error and its reliability diagram."""
    found = calibration(answers.labels, softmax(answers.logits.astype(np.float64)))
    sign = "over" if found["confidence"] > found["accuracy"] else "under"
    text = (
        f"Expected calibration error {percent(found['ece'], 1)} % ({BINS} bins). The model is on "
        f"average {percent(found['confidence'], 1)} % sure and {percent(found['accuracy'], 1)} % "
        f"right, so it is {sign}confident. Mean negative log-likelihood "
        f"{found['negative_log_likelihood']:.3f}."
    )
    figures = {"reliability.png": functools.partial(reliability_figure, found)}
    return Section("calibration", "Calibration", found, text, figures)

"""Figures of a trained model: confusion matrix and training curves."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from mmadfer_jax.evaluation.drawing import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    ORANGE,
    SMALL,
    TITLE,
    new_axes,
    open_axes,
    panels,
    save,
)
from mmadfer_jax.evaluation.metrics import uar, war

# Panels of the curves: (title, unit, factor, {key of a row: (legend, colour, dash)}).
_PANELS = (
    ("loss", "cross-entropy", 1, {"train_loss": ("training", BLUE, "-")}),
    (
        "recall and accuracy",
        "percent",
        100,
        {
            "train_accuracy": ("training accuracy", BLUE, "-"),
            "test_uar": ("test UAR", ORANGE, "-"),
            "test_war": ("test WAR", GREEN, "--"),
        },
    ),
    ("learning rate", "", 1, {"learning_rate": ("learning rate", GREY, "-")}),
)


def confusion_matrix_figure(
    matrix: np.ndarray, class_names: Sequence[str], path: str | os.PathLike
) -> None:
    """Draws a confusion matrix as a PNG: percent of the true class, and numbers of clips.

    Cells without clips stay empty. Above 15 classes there is room for whole percents alone.

    Args:
        matrix: int [K, K], rows the true classes, columns the predicted ones.
        class_names: The K names.
        path: Where the picture goes.
    """
    matrix = np.asarray(matrix)
    count = len(class_names)
    if matrix.shape != (count, count):
        raise ValueError(f"a matrix of shape {matrix.shape} for {count} class names")
    totals = matrix.sum(axis=1)
    percent = 100.0 * matrix / np.maximum(totals, 1)[:, None]
    side = max(2.0, count * np.interp(count, [7, 11, 20, 43], [0.50, 0.44, 0.26, 0.19]))  # inches
    axes = new_axes(side, side)
    shown = np.ma.masked_where(matrix == 0, percent)
    image = axes.imshow(shown, cmap="magma_r", vmin=0, vmax=100)
    font = np.interp(count, [11, 20, 43], [SMALL, 6.5, 5.5])
    for row, column in np.argwhere(matrix):
        share, clips = percent[row, column], matrix[row, column]
        axes.text(
            column,
            row,
            f"{share:.1f}\n{clips}" if count <= 15 else f"{share:.0f}",
            ha="center",
            va="center",
            color="white" if share > 50 else "black",
            fontsize=font - 0.5,
        )
    rows = [f"{name} ({total})" for name, total in zip(class_names, totals, strict=True)]
    axes.set_yticks(range(count), rows, fontsize=font)
    axes.set_xticks(
        range(count), class_names, fontsize=font, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (clips)")
    title = f"UAR {100 * uar(matrix):.2f} %, WAR {100 * war(matrix):.2f} %"
    axes.set_title(title, fontsize=TITLE)
    scale = axes.inset_axes((1 + 0.1 / side, 0, 0.12 / side, 1))
    bar = axes.figure.colorbar(image, cax=scale)
    bar.set_label("percent of the true class", fontsize=FONT)
    bar.ax.tick_params(labelsize=SMALL)
    save(axes.figure, path)


def curves_figure(history: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Draws loss, accuracy, UAR, WAR and learning rate over the epochs as a PNG.

    Args:
        history: A row an epoch with "epoch" and any of "train_loss", "train_accuracy", "test_uar",
            "test_war" and "learning_rate". Epochs without a value are left out of its curve, a
            panel without any curve is left out of the figure.
        path: Where the picture goes.
    """
    shown = [panel for panel in _PANELS if any(_points(history, key)[0] for key in panel[3])]
    figure, every = panels(max(len(shown), 1), 2.5, 2.2)
    for axes, (title, unit, factor, curves) in zip(every, shown, strict=False):
        drawn = 0
        for key, (legend, colour, dash) in curves.items():
            epochs, values = _points(history, key)
            if epochs:
                # Marks where a line alone would hide that there are few values.
                mark = "o" if len(epochs) <= 30 else None
                values = np.multiply(values, factor)
                # Dashed: on a balanced test set WAR lies on UAR, which must still be seen.
                style = {"color": colour, "ls": dash, "lw": 1.2, "marker": mark, "ms": 2.5}
                axes.plot(epochs, values, label=legend, **style)
                drawn += 1
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        open_axes(axes)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        axes.yaxis.get_offset_text().set_fontsize(SMALL)
        if drawn > 1:
            axes.legend(fontsize=SMALL, frameon=False)
    save(figure, path)


def _points(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    rows = [row for row in history if row.get(key) is not None]
    return [row["epoch"] for row in rows], [row[key] for row in rows]

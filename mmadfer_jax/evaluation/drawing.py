"""How figures look that are fit for a paper: sizes, colours, axes.

Figures are drawn without pyplot, so nothing global changes and no display is needed.
"""

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 300
FONT = 8.0  # points; the size of captions in a paper
SMALL, TITLE = 7.0, 9.0
# Told apart by colour-blind readers too (Okabe and Ito).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#595959"


def new_axes(width: float, height: float) -> Axes:
    """One pair of axes of exactly this size in inches; labels may stick out."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    style(axes)
    return axes


def panels(
    count: int, width: float, height: float, columns: int | None = None, **options: object
) -> tuple[Figure, list[Axes]]:
    """Several pairs of axes beside each other, each of about this size in inches.

    Args:
        count: How many.
        width: Of one.
        height: Of one.
        columns: How many beside each other; all if None.
        options: For `Figure.subplots`.
    """
    columns = columns or count
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for axes in every[count:]:
        axes.remove()
    for axes in every[:count]:
        style(axes)
    return figure, every[:count]


def style(axes: Axes) -> None:
    """Letters of the paper's sizes."""
    axes.xaxis.label.set_fontsize(FONT)
    axes.yaxis.label.set_fontsize(FONT)
    axes.tick_params(labelsize=SMALL)


def open_axes(axes: Axes, grid: str = "both") -> None:
    """No frame above and to the right, and a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)


def heat_map(
    axes: Axes, values: np.ndarray, rows: list[str], columns: list[str], **options: object
) -> object:
    """Cells coloured by their value, with the names of rows and columns; nan stays empty."""
    image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", **options)
    axes.set_yticks(range(len(rows)), rows, fontsize=SMALL)
    axes.set_xticks(range(len(columns)), columns, fontsize=SMALL)
    axes.tick_params(length=0)
    return image


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG without empty margins."""
    figure.savefig(path, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.05)

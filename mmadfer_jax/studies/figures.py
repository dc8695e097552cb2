"""Figures of a study, fit for a paper."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mmadfer_jax.evaluation.drawing import BLUE, FONT, GREY, SMALL, new_axes, open_axes, save

_PALE = "#56b4e9"
_ROW, _CELL, _GAP = 0.26, 0.46, 0.12  # inches


def differences_figure(
    arms: Mapping[str, tuple[Mapping[str, Any], Sequence[float]] | None],
    first: str,
    figure: str,
    path: str | os.PathLike,
) -> None:
    """Draws what each arm differs in from the first one, as a PNG.

    Args:
        arms: Name -> its `Difference` as a dict and the differences of the single pairs, in shares
            of 1; None for a gap.
        first: What the arms are compared with, for the axis.
        figure: Whose differences they are, such as "UAR".
        path: Where the picture goes.
    """
    axes = new_axes(2.8, _ROW * len(arms))
    for row, found in enumerate(arms.values()):
        if found is None:
            axes.text(0, row, " no pairs", fontsize=SMALL, va="center", color=GREY)
            continue
        difference, pairs = found
        axes.scatter(np.multiply(pairs, 100), [row] * len(pairs), s=9, color=_PALE, lw=0, zorder=2)
        if difference["low"] is not None:
            ends = (100 * difference["low"], 100 * difference["high"])
            axes.plot(ends, (row, row), color=BLUE, lw=1.4, solid_capstyle="butt", zorder=3)
        axes.scatter(100 * difference["mean"], row, s=22, color=BLUE, lw=0, zorder=4)
    axes.axvline(0, color="#333333", lw=0.8, zorder=1)
    axes.set_yticks(range(len(arms)), list(arms), fontsize=FONT)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{figure} against {first}, points")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    open_axes(axes, "x")
    axes.spines["left"].set_visible(False)
    save(axes.figure, path)


def recalls_figure(
    rows: Mapping[str, Sequence[float | None]],
    columns: Sequence[str],
    path: str | os.PathLike,
    *,
    apart: int,
) -> None:
    """Draws recalls as a table of colours with their percents, as a PNG.

    Args:
        rows: Name -> a share of 1 for each column; None stays empty.
        columns: Names.
        path: Where the picture goes.
        apart: So many of the first columns stand apart from the others.
    """
    values = np.array([[np.nan if x is None else 100 * x for x in row] for row in rows.values()])
    width = _CELL * len(columns) + _GAP
    axes = new_axes(width, _ROW * len(rows))
    left = np.arange(len(columns)) + np.where(np.arange(len(columns)) < apart, 0, _GAP / _CELL)
    for part in (slice(apart), slice(apart, None)):
        image = _cells(axes, left[part], values[:, part])
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            place = (left[column] + 0.5, row + 0.5)
            colour = "white" if value > 45 else "black"
            style = {"ha": "center", "va": "center", "fontsize": SMALL, "color": colour}
            axes.text(*place, f"{value:.1f}", **style)
    axes.set_xlim(0, width / _CELL)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(rows), fontsize=FONT)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(left + 0.5, columns, fontsize=FONT, **slanted)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    scale = axes.inset_axes((1 + 0.1 / width, 0, 0.1 / width, 1))
    bar = axes.figure.colorbar(image, cax=scale)
    bar.set_label("percent", fontsize=FONT)
    bar.ax.tick_params(labelsize=SMALL)
    save(axes.figure, path)


def _cells(axes: Axes, left: np.ndarray, values: np.ndarray) -> Any:
    """Colours the cells of neighbouring columns."""
    edges = [*left, left[-1] + 1]
    style = {"cmap": "magma_r", "vmin": 0, "vmax": 100, "edgecolors": "white", "lw": 0.6}
    return axes.pcolormesh(edges, range(len(values) + 1), np.ma.masked_invalid(values), **style)

"""Figures of a study, fit for a paper; drawn without pyplot, as those of `evaluation`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI = 300
_FONT, _SMALL = 8.0, 7.0  # points; the size of captions in a paper
_MEAN, _PAIR = "#0072b2", "#56b4e9"  # Okabe and Ito
_ROW = 0.26  # inches


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
    drawing = Figure(figsize=(3.6, 0.7 + _ROW * len(arms)))
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    for row, found in enumerate(arms.values()):
        if found is None:
            axes.text(0, row, " no pairs", fontsize=_SMALL, va="center", color="#777777")
            continue
        difference, pairs = found
        axes.scatter(np.multiply(pairs, 100), [row] * len(pairs), s=9, color=_PAIR, lw=0, zorder=2)
        if difference["low"] is not None:
            ends = (100 * difference["low"], 100 * difference["high"])
            axes.plot(ends, (row, row), color=_MEAN, lw=1.4, solid_capstyle="butt", zorder=3)
        axes.scatter(100 * difference["mean"], row, s=22, color=_MEAN, lw=0, zorder=4)
    axes.axvline(0, color="#333333", lw=0.8, zorder=1)
    axes.set_yticks(range(len(arms)), list(arms), fontsize=_FONT)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{figure} against {first}, points", fontsize=_FONT)
    axes.tick_params(axis="x", labelsize=_SMALL)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    axes.grid(axis="x", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    drawing.savefig(path, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.05)


def recalls_figure(
    rows: Mapping[str, Sequence[float | None]],
    columns: Sequence[str],
    path: str | os.PathLike,
    *,
    apart: int = 0,
) -> None:
    """Draws recalls as a table of colours with their percents, as a PNG.

    Args:
        rows: Name -> a share of 1 for each column; None stays empty.
        columns: Names.
        path: Where the picture goes.
        apart: So many of the first columns stand apart from the others.
    """
    values = np.array([[np.nan if x is None else 100 * x for x in row] for row in rows.values()])
    count = len(columns)
    width = 0.46 * count + (0.12 if apart else 0)
    drawing = Figure(figsize=(width, _ROW * len(rows)))
    FigureCanvasAgg(drawing)
    axes = drawing.add_axes((0, 0, 1, 1))
    gap = 0.12 / 0.46
    edges = np.arange(count + 1, dtype=float)
    shift = np.where(np.arange(count) >= apart, gap if apart else 0, 0)
    image = None
    for start, end in ((0, apart), (apart, count)):
        if start < end:
            moved = shift[start]
            image = axes.pcolormesh(
                edges[start : end + 1] + moved,
                np.arange(len(rows) + 1),
                np.ma.masked_invalid(values[:, start:end]),
                **{"cmap": "magma_r", "vmin": 0, "vmax": 100, "edgecolors": "white", "lw": 0.6},
            )
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            place = (column + 0.5 + shift[column], row + 0.5)
            colour = "white" if value > 45 else "black"
            text = f"{value:.1f}"
            axes.text(*place, text, ha="center", va="center", fontsize=_SMALL, color=colour)
    axes.set_xlim(0, count + (gap if apart else 0))
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(rows), fontsize=_FONT)
    axes.set_xticks(
        *(np.arange(count) + 0.5 + shift, columns),
        **{"fontsize": _FONT, "rotation": 45, "ha": "right", "rotation_mode": "anchor"},
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    scale = axes.inset_axes((1 + 0.1 / width, 0, 0.1 / width, 1))
    bar = drawing.colorbar(image, cax=scale)
    bar.set_label("percent", fontsize=_FONT)
    bar.ax.tick_params(labelsize=_SMALL)
    drawing.savefig(path, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.05)

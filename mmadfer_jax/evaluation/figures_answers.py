"""Figures of answers: reliability diagram, and UAR and WAR by groups."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from mmadfer_jax.evaluation.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SMALL,
    TITLE,
    open_axes,
    panels,
    save,
)


def reliability_figure(found: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Draws accuracy over confidence, and how many clips there are of each confidence, as a PNG.

    Args:
        found: As `calibration` gives it.
        path: Where the picture goes.
    """
    figure, (axes, below) = panels(
        2, 3.3, 1.9, columns=1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    bins = found["bins"]
    left, width = [row["from"] for row in bins], [row["to"] - row["from"] for row in bins]
    accuracy, confidence = ([row[key] for row in bins] for key in ("accuracy", "confidence"))
    bars = {"align": "edge", "edgecolor": "white", "lw": 0.5}
    axes.bar(left, accuracy, width, color=BLUE, label="accuracy", **bars)
    gaps = np.subtract(confidence, accuracy)
    style = {"color": "none", "edgecolor": ORANGE, "hatch": "/////", "lw": 0.6}
    axes.bar(left, gaps, width, bottom=accuracy, align="edge", label="gap to confidence", **style)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1, label="as sure as right")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.02)
    axes.set_title(f"calibration error {100 * found['ece']:.1f} %", fontsize=TITLE)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
    below.bar(left, [row["clips"] for row in bins], width, color=GREY, **bars)
    below.set_ylabel("clips")
    below.set_xlabel("confidence")
    below.set_xlim(0, 1)
    for each in (axes, below):
        open_axes(each, "y")
        each.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.align_ylabels()
    save(figure, path)


def groups_figure(rows: Sequence[Mapping[str, Any]], column: str, path: str | os.PathLike) -> None:
    """Draws UAR and WAR of each group with their 95 % intervals as a PNG; few clips are hollow.

    Args:
        rows: As `groups_section` puts them into its results, all clips first.
        column: What the groups are of.
        path: Where the picture goes.
    """
    figure, every = panels(2, 2.6, 0.7 + 0.24 * len(rows), sharey=True)
    places = np.arange(len(rows))
    for axes, (key, colour) in zip(every, (("uar", BLUE), ("war", GREEN)), strict=True):
        for place, row in zip(places, rows, strict=True):
            low, high = (100 * end for end in row[f"{key}_interval"])
            axes.plot([low, high], [place, place], color=colour, lw=1.2, solid_capstyle="butt")
            face = "white" if row["few"] else colour
            axes.plot(100 * row[key], place, "o", ms=4, color=colour, markerfacecolor=face)
        axes.axvline(100 * rows[0][key], color=GREY, ls="--", lw=0.8)
        axes.set_xlabel(f"{key.upper()}, percent")
        open_axes(axes, "x")
    names = [f"{row['group']} ({row['clips']:,})" for row in rows]
    every[0].set_yticks(places, names, fontsize=SMALL)
    every[0].set_ylim(len(rows) - 0.5, -0.5)
    every[0].set_ylabel(f"{column} (clips)")
    save(figure, path)

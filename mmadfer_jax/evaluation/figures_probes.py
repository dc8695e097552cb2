"""Figures of what a model relies on: spoilt clips, and sound against picture."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mmadfer_jax.evaluation.drawing import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    ORANGE,
    SMALL,
    heat_map,
    new_axes,
    open_axes,
    panels,
    save,
)

Row = Mapping[str, Any]


def probes_figure(rows: Sequence[Row], titles: Mapping[str, str], path: str | os.PathLike) -> None:
    """Draws UAR and WAR with their 95 % intervals for each way the clips were spoilt, as a PNG.

    Args:
        rows: As `probe` puts them into its results, the clips as they are first.
        titles: Of the kinds that have strengths.
        path: Where the picture goes.
    """
    usual, rest = rows[0], rows[1:]
    plain = [row for row in rest if row["kind"] is None]
    kinds = [kind for kind in titles if any(row["kind"] == kind for row in rest)]
    count = bool(plain) + len(kinds)
    figure, every = panels(count, 2.5, 2.2, columns=min(count, 3), sharey=True)
    if plain:
        axes = every.pop(0)
        _points(axes, range(len(plain)), plain, "")
        names = [row["probe"].replace(" ", "\n", 1) for row in plain]
        axes.set_xticks(range(len(plain)), names, fontsize=SMALL)
        axes.set_xlim(-0.5, len(plain) - 0.5)
        _level(axes, usual)
    for axes, kind in zip(every, kinds, strict=True):
        own = [row for row in rest if row["kind"] == kind]
        places = range(len(own))
        _points(axes, places, own, "-")
        axes.set_xticks(places, [f"{row['strength']:g}" for row in own], fontsize=SMALL)
        axes.set_xlim(-0.5, len(own) - 0.5)
        axes.set_xlabel(titles[kind])
        _level(axes, usual)
    first = figure.axes[0]
    first.legend(fontsize=SMALL, frameon=False, loc="lower left")
    for axes in figure.axes:
        axes.set_ylim(0, 102)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("percent")
    save(figure, path)


def _points(axes: Axes, places: Sequence[int], rows: Sequence[Row], line: str) -> None:
    for key, colour, shift in (("uar", BLUE, -0.08), ("war", GREEN, 0.08)):
        values = 100 * np.array([row[key] for row in rows])
        ends = 100 * np.array([row[f"{key}_interval"] for row in rows])
        axes.errorbar(
            np.add(places, shift),
            values,
            # A skewed distribution may have its middle 95 % beside the figure itself.
            yerr=np.maximum([values - ends[:, 0], ends[:, 1] - values], 0),
            color=colour,
            fmt=f"o{line}",
            ms=3.5,
            lw=1.1,
            label=key.upper(),
        )


def _level(axes: Axes, usual: Row) -> None:
    axes.axhline(100 * usual["uar"], color=GREY, ls="--", lw=0.8, label="UAR of whole clips")
    open_axes(axes, "y")


def recalls_figure(rows: Sequence[Row], classes: Sequence[str], path: str | os.PathLike) -> None:
    """Draws the recall of every class for each way the clips were spoilt, as a PNG.

    Args:
        rows: As of `probes_figure`.
        classes: The K class names.
        path: Where the picture goes.
    """
    values = np.array([row["recalls"] for row in rows], float) * 100
    axes = new_axes(max(2.0, 0.5 * len(classes)), 0.23 * len(rows))
    names = [row["probe"] for row in rows]
    image = heat_map(axes, values, names, list(classes), cmap="magma_r", vmin=0, vmax=100)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        colour = "white" if value > 50 else "black"
        style = {"ha": "center", "va": "center", "color": colour, "fontsize": SMALL - 0.5}
        axes.text(column, row, f"{value:.0f}", **style)
    scale = axes.inset_axes((1 + 0.1 / axes.figure.get_figwidth(), 0, 0.03, 1))
    bar = axes.figure.colorbar(image, cax=scale)
    bar.set_label("recall, percent", fontsize=FONT)
    bar.ax.tick_params(labelsize=SMALL)
    save(axes.figure, path)


def conflict_figure(rows: Sequence[Row], path: str | os.PathLike) -> None:
    """Draws how many clips there are of each case, and how many the model has right, as a PNG.

    Args:
        rows: As `conflict_section` puts them into its results.
        path: Where the picture goes.
    """
    axes = new_axes(3.3, 0.3 * len(rows) + 0.2)
    places = np.arange(len(rows))
    total = sum(row["clips"] for row in rows)
    right = np.array([row["right"] for row in rows])
    wrong = np.array([row["clips"] for row in rows]) - right
    axes.barh(places, right, color=BLUE, height=0.7, label="whole clip: right")
    axes.barh(places, wrong, left=right, color=ORANGE, height=0.7, label="wrong")
    for place, row in zip(places, rows, strict=True):
        said = f" {row['right']:,} of {row['clips']:,}"
        axes.text(row["clips"], place, said, va="center", fontsize=SMALL)
    axes.set_yticks(places, [row["case"] for row in rows], fontsize=SMALL)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max((row["clips"] for row in rows), default=1))
    axes.set_ylabel("sound alone and\npicture alone")
    axes.set_xlabel(f"clips, of {total:,}")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2}
    axes.legend(fontsize=SMALL, frameon=False, **above)
    open_axes(axes, "x")
    save(axes.figure, path)

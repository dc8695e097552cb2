"""Figures of what goes on inside a model: gates of the fusion, attention over the frames."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from mmadfer_jax.evaluation.drawing import (
    BLUE,
    FONT,
    GREY,
    ORANGE,
    SMALL,
    TITLE,
    heat_map,
    open_axes,
    panels,
    save,
)


def gates_figure(gates: Mapping[str, Mapping[int, float]], path: str | os.PathLike) -> None:
    """Draws the gates of the fusion over the layers as a PNG.

    Args:
        gates: "picture from sound" and "sound from picture", or one of them: layer, counted from 1
            -> tanh of its gate.
        path: Where the picture goes.
    """
    figure, (axes,) = panels(1, 3.3, 2.2)
    styles = zip(gates.items(), ((BLUE, "o"), (ORANGE, "s")), strict=False)
    for (name, values), (colour, mark) in styles:
        points = list(values), list(values.values())
        axes.plot(*points, color=colour, marker=mark, ms=3.5, lw=1.2, label=name)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set_xlabel("layer")
    axes.set_ylabel("gate, tanh")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(fontsize=SMALL, frameon=False)
    open_axes(axes)
    save(figure, path)


def attention_figure(
    layers: Sequence[np.ndarray], classes: Sequence[str], path: str | os.PathLike
) -> None:
    """Draws how much the clip's token takes from itself and from each frame, as a PNG.

    Args:
        layers: Of each temporal layer float [K, 1 + T], the mean over a class's clips and heads.
        classes: The K class names.
        path: Where the picture goes.
    """
    tokens = layers[0].shape[1]
    size = (max(2.4, 0.2 * tokens + 0.6), 0.6 + 0.2 * len(classes))
    figure, every = panels(len(layers), *size, sharey=True)
    most = 100 * max(np.nanmax(layer) for layer in layers)
    columns = ["clip", *map(str, range(1, tokens))]
    for number, (axes, layer) in enumerate(zip(every, layers, strict=True), 1):
        look = {"cmap": "magma_r", "vmin": 0, "vmax": most}
        image = heat_map(axes, 100 * layer, list(classes), columns, **look)
        axes.set_xlabel("the clip's own token, and the frames")
        if len(layers) > 1:
            axes.set_title(f"temporal layer {number}", fontsize=TITLE)
    bar = figure.colorbar(image, ax=every, fraction=0.05, pad=0.02)
    bar.set_label("attention, percent", fontsize=FONT)
    bar.ax.tick_params(labelsize=SMALL)
    save(figure, path)

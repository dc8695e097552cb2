"""Draws docs/images/way.png, the way from a clip to a prediction, from what `make demo` left.

Run it from the repository's root: `.venv/bin/python -m docs.draw_way`.
"""

from pathlib import Path

import matplotlib.patches as patches
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import mmadfer_jax
from mmadfer_jax.clips.clip import prepare_clip
from mmadfer_jax.clips.media import read_video

CLIP, RUN = Path("demo/new_clip.mp4"), Path("demo/run")
OUT = Path("docs/images/way.png")
INK, IMAGE, AUDIO, TRAINED = "#222222", "#3b6ea5", "#b3562e", "#3f8f5b"


def picture(figure: Figure, place: tuple[float, float, float, float], data, **options) -> Axes:
    """An image without axes at (left, bottom, width, height) of the figure."""
    axes = figure.add_axes(place)
    axes.imshow(data, **options)
    axes.set_axis_off()
    return axes


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str):
    """A rounded box with centred text."""
    shape = patches.FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.012",
        facecolor=colour + "22", edgecolor=colour, linewidth=1.4,
    )  # fmt: skip
    axes.add_patch(shape)
    middle = x + width / 2, y + height / 2
    axes.text(*middle, text, ha="center", va="center", fontsize=9, color=INK, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], style: str = "-|>"):
    """An arrow between two points."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": style, "color": INK, "linewidth": 1.2})


def main() -> None:
    """Predicts the demo's new clip and draws every station of it."""
    model = mmadfer_jax.load_model(RUN)
    prediction = model.predict(CLIP)
    frames = [frame.rgb for frame in read_video(CLIP)]
    prepared = prepare_clip(CLIP, model.preparation)
    picked = np.linspace(0.1, 0.5, 5) * len(frames)  # from rest to the apex
    figure = Figure(figsize=(12, 4.6), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for i, frame in enumerate(picked.astype(int)):
        left = 0.012 + 0.022 * i
        picture(figure, (left, 0.56 - 0.028 * i, 0.115, 0.30), frames[frame])
        crop = prepared.frames[frame]
        picture(
            figure, (left + 0.262, 0.60 - 0.028 * i, 0.085, 0.222), crop, interpolation="bicubic"
        )
    axes.text(0.11, 0.90, "video", ha="center", fontsize=10)
    axes.text(0.345, 0.90, "face crops (MTCNN)", ha="center", fontsize=10)
    mel = prepared.spectrogram.T
    picture(
        figure, (0.262, 0.09, 0.175, 0.24), mel, origin="lower", aspect="auto", cmap="magma",
        vmin=np.percentile(mel, 2), vmax=np.percentile(mel, 99.5),
    )  # fmt: skip
    axes.text(0.345, 0.36, "log-mel spectrogram", ha="center", fontsize=10)
    axes.text(0.11, 0.21, "sound", ha="center", va="center", fontsize=10)
    arrow(axes, (0.225, 0.62), (0.268, 0.62))
    arrow(axes, (0.145, 0.21), (0.256, 0.21))
    box(axes, 0.50, 0.60, 0.16, 0.20, "ViT-B on every frame\n+ prompts", IMAGE)
    box(axes, 0.50, 0.11, 0.16, 0.20, "ViT-B on the spectrogram\n+ prompts", AUDIO)
    box(axes, 0.515, 0.405, 0.13, 0.10, "fusion bottleneck", TRAINED)
    arrow(axes, (0.58, 0.60), (0.58, 0.505), "<|-|>")
    arrow(axes, (0.58, 0.405), (0.58, 0.31), "<|-|>")
    axes.text(0.655, 0.455, "after each\nlayer", va="center", fontsize=8, color=INK)
    arrow(axes, (0.455, 0.68), (0.497, 0.70))
    arrow(axes, (0.445, 0.21), (0.497, 0.21))
    box(axes, 0.735, 0.355, 0.085, 0.20, "temporal\ntransformer", TRAINED)
    arrow(axes, (0.66, 0.68), (0.735, 0.54))
    arrow(axes, (0.66, 0.23), (0.735, 0.37))
    bars = figure.add_axes((0.895, 0.24, 0.095, 0.45))
    names = [name for name in model.classes][::-1]
    bars.barh(names, [prediction.probabilities[name] for name in names], color=TRAINED)
    bars.set_xlim(0, 1)
    bars.set_xticks([0, 1])
    bars.tick_params(labelsize=8, length=2)
    bars.spines[["top", "right"]].set_visible(False)
    arrow(axes, (0.82, 0.455), (0.845, 0.455))
    figure.savefig(OUT)
    print(f"wrote {OUT}: {prediction.label}")


if __name__ == "__main__":
    main()

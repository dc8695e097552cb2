"""What can be seen inside a model: gates, temporal attention, features."""

import functools
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures_insides import attention_figure, gates_figure
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.evaluation.section import Section, number, table

_GATE = re.compile(r"fusion\.(\d+)\.(image|audio)_gate")
_TAKES = {"image": "picture from sound", "audio": "sound from picture"}
_ATTENTION = re.compile(r"attention\.(\d+)")


def gates_section(params: Mapping[str, np.ndarray]) -> Section | None:
    """How far each layer's fusion is open: 0 is closed, 1 and -1 are open; None without gates."""
    found: dict[str, dict[int, float]] = {}
    for path, value in params.items():
        if match := _GATE.fullmatch(path):
            gate = float(np.tanh(np.asarray(value, np.float64)).item())
            found.setdefault(_TAKES[match[2]], {})[int(match[1]) + 1] = gate
    if not found:
        return None
    gates = {side: dict(sorted(of.items())) for side, of in sorted(found.items())}
    layers = sorted({layer for of in gates.values() for layer in of})
    rows = [
        (layer, *(f"{of[layer]:+.4f}" if layer in of else "-" for of in gates.values()))
        for layer in layers
    ]
    text = table(("layer", *gates), rows)
    text += (
        "\n\nWhat a layer adds is multiplied by its gate, the tanh of a trained number that starts "
        "at 0. How much that moves the tokens depends on the layer's weights too."
    )
    figures = {"gates.png": functools.partial(gates_figure, gates)}
    return Section("gates", "Gates of the fusion", gates, text, figures)


def attention_section(
    answers: Answers, seen: Mapping[str, np.ndarray], classes: Sequence[str]
) -> Section | None:
    """How much the clip's token takes from each frame, by true class; None without attention.

    Args:
        answers: To the n clips.
        seen: What `Examination.inspect` gave: "attention.I" [n, heads, 1 + T].
        classes: The K class names.
    """
    names = sorted((name for name in seen if _ATTENTION.fullmatch(name)), key=_layer)
    if not names:
        return None
    layers = []
    for name in names:
        weights = seen[name].mean(axis=1)  # [n, 1 + T]
        layer = np.full((len(classes), weights.shape[1]), np.nan)
        for label in np.unique(answers.labels):
            layer[label] = weights[answers.labels == label].mean(axis=0)
        layers.append(layer)
    header = ("percent", "clip", *range(1, layers[0].shape[1]))
    tables = []
    for i, layer in enumerate(layers, 1):
        rows = [
            (name, *(f"{100 * share:.1f}" for share in row))
            for name, row in zip(classes, layer, strict=True)
            if not np.isnan(row).any()
        ]
        title = f"Temporal layer {i}:\n\n" if len(layers) > 1 else ""
        tables.append(title + table(header, rows))
    text = "\n\n".join(tables) + (
        "\n\nMean attention of the clip's token over heads and over the clips of a true class, to "
        "itself and to each frame."
    )
    results = [[[number(x) for x in row] for row in layer.tolist()] for layer in layers]
    figures = {"attention.png": functools.partial(attention_figure, layers, list(classes))}
    return Section("attention", "Temporal attention over the frames", results, text, figures)


def _layer(name: str) -> int:
    return int(_ATTENTION.fullmatch(name)[1])


def features_npz(answers: Answers, seen: Mapping[str, np.ndarray], classes: Sequence[str]) -> bytes:
    """What the model makes of each clip, as a NumPy `.npz` that opens without pickle.

    It holds ids [n], labels int32 [n], classes [K], logits float32 [n, K], probabilities float64
    [n, K], clip_features float32 [n, W], what the classifier sees, and frame_features float32
    [n, T, W], what the temporal transformer sees.
    """
    file = io.BytesIO()
    np.savez(
        file,
        ids=np.array(answers.ids),
        labels=answers.labels,
        classes=np.array(classes),
        logits=answers.logits,
        probabilities=softmax(answers.logits.astype(np.float64)),
        clip_features=seen["clip"],
        frame_features=seen["frames"],
    )
    return file.getvalue()

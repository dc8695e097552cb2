"""Figures of evidence: what is drawn, read from the figure, and that nothing is cut off."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from mmadfer_jax.evaluation import drawing, figures_answers, figures_insides, figures_probes
from mmadfer_jax.evaluation.calibration import calibration
from mmadfer_jax.evaluation.drawing import BLUE, GREEN, ORANGE


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws by a function of one of the modules, and gives the figure."""
    monkeypatch.setattr(drawing, "DPI", 72)

    def draw(function, *arguments) -> Figure:
        kept = []
        module = next(
            m
            for m in (figures_answers, figures_insides, figures_probes)
            if m.__name__ == function.__module__
        )

        def save(figure, path):
            kept.append(figure)
            drawing.save(figure, path)

        monkeypatch.setattr(module, "save", save)
        function(*arguments, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert (pixels[[0, -1]] == 255).all()  # nothing is cut off
        assert (pixels[:, [0, -1]] == 255).all()
        return kept[0]

    return draw


def heights(axes, colour: str) -> list[float]:
    return [bar.get_height() for bar in axes.patches if to_hex(bar.get_facecolor()) == colour]


def test_a_reliability_diagram_shows_accuracy_and_number_of_each_bin(drawn):
    shares = np.array([[0.7, 0.3]] * 10 + [[0.95, 0.05]] * 10)
    labels = np.array([0] * 4 + [1] * 6 + [0] * 10)
    figure = drawn(figures_answers.reliability_figure, calibration(labels, shares))
    above, below = figure.axes
    assert heights(above, BLUE) == pytest.approx([0.4, 1.0])
    tops = [bar.get_y() + bar.get_height() for bar in above.patches if bar.get_hatch()]
    assert tops == pytest.approx([0.7, 0.95])  # a gap reaches to the confidence
    assert [bar.get_height() for bar in below.patches] == [10, 10]
    assert above.get_title() == "calibration error 17.5 %"
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        *("as sure as right", "accuracy", "gap to confidence")
    ]


def group(name: str, uar: float, few: bool = False) -> dict:
    ends = {"uar_interval": (uar - 0.1, uar + 0.05), "war_interval": (0.5, 0.7)}
    return {"group": name, "clips": 12, "uar": uar, "war": 0.6, "few": few, **ends}


def test_groups_are_points_with_their_interval_and_few_clips_are_hollow(drawn):
    rows = [group("all clips", 0.7), group("f", 0.8), group("m", 0.5, few=True)]
    figure = drawn(figures_answers.groups_figure, rows, "gender")
    left, _ = figure.axes
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert [point.get_xdata()[0] for point in points] == pytest.approx([70, 80, 50])
    assert [to_hex(point.get_markerfacecolor()) for point in points] == [BLUE, BLUE, "#ffffff"]
    spans = [line.get_xdata() for line in left.lines if line.get_marker() == "None"]
    assert spans[1] == pytest.approx([70, 85])
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["all clips (12)", "f (12)", "m (12)"]


def row(probe: str, uar: float, kind=None, strength=None, recalls=(1.0, 0.5)) -> dict:
    ends = {"uar_interval": (uar - 0.1, uar + 0.1), "war_interval": (0.4, 0.8)}
    figures = {"uar": uar, "war": 0.6, "recalls": list(recalls), **ends}
    return {"probe": probe, "kind": kind, "strength": strength, **figures}


def test_probes_stand_by_kind_and_strength(drawn):
    rows = [
        row("as they are", 0.9),
        row("no sound", 0.5),
        row("no picture", 0.3),
        row("blur of 1 px", 0.8, "blur", 1),
        row("blur of 2 px", 0.6, "blur", 2),
        row("2 of the frames", 0.7, "frames", 2),
    ]
    titles = {"sound_noise": "noise", "blur": "blur, pixels", "frames": "frames that differ"}
    figure = drawn(figures_probes.probes_figure, rows, titles)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "blur, pixels", "frames that differ"]
    uar = [
        next(line.get_ydata() for line in axes.lines if to_hex(line.get_color()) == BLUE)
        for axes in figure.axes
    ]
    for found, expected in zip(uar, ([50, 30], [80, 60], [70]), strict=True):
        assert found == pytest.approx(expected)
    ticks = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert ticks == ["1", "2"]
    assert any(to_hex(line.get_color()) == GREEN for line in figure.axes[0].lines)


def test_recalls_by_class_are_written_into_their_cells(drawn):
    rows = [row("as they are", 0.9), row("no sound", 0.5, recalls=(0.25, None))]
    axes = drawn(figures_probes.recalls_figure, rows, ["happy", "sad"]).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "100", (1, 0): "50", (0, 1): "25"}  # no clip, no figure
    image = axes.images[0].get_array()
    np.testing.assert_allclose(np.ma.filled(image, -1), [[100, 50], [25, -1]])


def test_conflicts_show_how_many_are_right(drawn):
    rows = [
        {"case": "agree, right", "clips": 10, "right": 9},
        {"case": "disagree, sound right", "clips": 4, "right": 1},
        {"case": "disagree, both wrong", "clips": 0, "right": 0},
    ]
    axes = drawn(figures_probes.conflict_figure, rows).axes[0]
    widths = {colour: [] for colour in (BLUE, ORANGE)}
    for bar in axes.patches:
        widths[to_hex(bar.get_facecolor())].append(bar.get_width())
    assert widths == {BLUE: [9, 1, 0], ORANGE: [1, 3, 0]}
    assert [text.get_text().strip() for text in axes.texts] == ["9 of 10", "1 of 4", "0 of 0"]


def test_gates_are_drawn_by_layer(drawn):
    gates = {"picture from sound": {1: 0.1, 2: -0.2, 3: 0.3}, "sound from picture": {3: 0.5}}
    axes = drawn(figures_insides.gates_figure, gates).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    for name, values in gates.items():
        assert list(lines[name].get_xdata()) == list(values)
        assert list(lines[name].get_ydata()) == list(values.values())


def test_attention_is_a_map_of_classes_and_frames(drawn):
    layers = [np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]), np.full((2, 3), 1 / 3)]
    layers[1][1] = np.nan  # a class without clips
    figure = drawn(figures_insides.attention_figure, layers, ["happy", "sad"])
    first, second, _ = figure.axes
    np.testing.assert_allclose(first.images[0].get_array(), 100 * layers[0])
    assert second.images[0].get_array().mask[1].all()
    assert first.get_title() == "temporal layer 1"
    assert [label.get_text() for label in first.get_xticklabels()] == ["clip", "1", "2"]
    assert first.images[0].get_clim() == second.images[0].get_clim()

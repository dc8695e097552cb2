import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from mmadfer_jax.evaluation import drawing, figures


def picture(path, dpi: int = 300) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=1)
        return np.asarray(image.convert("RGB"))


def example(classes: int) -> np.ndarray:
    rng = np.random.default_rng(classes)
    matrix = rng.integers(0, 5, (classes, classes)) * (rng.random((classes, classes)) < 0.2)
    matrix += 30 * np.eye(classes, dtype=int)
    matrix[1] = 0  # a class without clips
    return matrix


@pytest.mark.parametrize(("classes", "side"), [(2, 2.0), (7, 3.5), (43, 8.17)])
def test_a_confusion_matrix_has_room_for_its_classes(tmp_path, monkeypatch, classes, side):
    monkeypatch.setattr(drawing, "DPI", 72)  # a large picture takes seconds
    names = [f"disappointment and helplessness {k}" for k in range(classes)]
    path = tmp_path / "matrix.png"
    figures.confusion_matrix_figure(example(classes), names, path)
    pixels = picture(path, dpi=72)
    height, width, _ = pixels.shape
    # Around the matrix: names of two inches at most, titles and the scale.
    assert side + 1 < height / 72 < side + 3
    assert side + 2 < width / 72 < side + 4
    assert (pixels[[0, -1]] == 255).all()  # nothing is cut off
    assert (pixels[:, [0, -1]] == 255).all()


def test_cells_show_the_share_of_the_row(tmp_path):
    path = tmp_path / "matrix.png"
    colours = []
    for matrix in ([[1, 0], [0, 1]], [[90, 0], [0, 3]], [[1, 1], [0, 1]]):
        figures.confusion_matrix_figure(np.array(matrix), ["a", "b"], path)
        pixels = picture(path)
        inside = pixels[120:, 200:]  # clear of the title
        colours.append((inside.sum(axis=-1) < 30).sum())  # black: 100 percent
    assert colours[0] == pytest.approx(colours[1], rel=0.05)
    assert colours[2] < 0.7 * colours[0]


def test_names_must_fit_the_matrix(tmp_path):
    with pytest.raises(ValueError, match=r"\(3, 3\) for 2 class names"):
        figures.confusion_matrix_figure(np.eye(3, dtype=int), ["a", "b"], tmp_path / "x.png")


def test_curves_leave_out_what_is_not_there(tmp_path):
    history = [
        {"epoch": e, "train_loss": 1 / e, "train_accuracy": 0.5, "learning_rate": 1e-4}
        for e in range(1, 6)
    ]
    history[2] |= {"test_uar": 0.4, "test_war": None}
    widths = []
    for rows in (history, [{"epoch": 1, "train_loss": 2.0, "step": 9}], []):
        path = tmp_path / f"{len(rows)}.png"
        figures.curves_figure(rows, path)
        widths.append(picture(path).shape[1])
    assert widths[0] == pytest.approx(3 * 2.5 * 300, rel=0.03)
    assert widths[1] == pytest.approx(2.5 * 300, rel=0.03)


def test_drawing_changes_no_global_state(tmp_path):
    before = dict(mpl.rcParams)
    figures.curves_figure([{"epoch": 1, "train_loss": 2.0}], tmp_path / "curves.png")
    figures.confusion_matrix_figure(np.eye(2, dtype=int), ["a", "b"], tmp_path / "matrix.png")
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []

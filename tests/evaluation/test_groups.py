import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.groups import groups_section, read_groups
from mmadfer_jax.evaluation.intervals import intervals

CLIPS = ["clips/a", "clips/b", "clips/c"]


def write(tmp_path, text: str, name: str = "labels.csv") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "path,gender\nclips/a.mp4,f\nclips/c.mp4,m\n",
        "clip;age;gender\nclips/a;3;f\nclips/c;4; m \nclips/b;4;\n",
        '\ufeffid\tgender\nclips/c\tm\n"clips/a"\tf\nclips/z\tf\n',
    ],
)
def test_a_column_is_read_by_the_clips_names(tmp_path, text):
    column, groups = read_groups(write(tmp_path, text) + ":gender", CLIPS)
    assert column == "gender"
    assert groups == ["f", "(not given)", "m"]


def test_what_gives_no_groups_is_said(tmp_path):
    path = write(tmp_path, "path,gender\nclips/a.mp4,f\n")
    many = "clip,age\n" + "".join(f"{i},{i}\n" for i in range(60))
    many = write(tmp_path, many, "many.csv")
    (tmp_path / "latin.csv").write_bytes(b"clip,gender\n\xe9,f\n")
    for spec, message in (
        (path, "expected FILE:COLUMN"),
        (f"{path}:age", "has the columns path, gender; expected age"),
        (f"{path}x:gender", "cannot be read"),
        (f"{tmp_path}/latin.csv:gender", "cannot be read as CSV in UTF-8"),
        (f"{write(tmp_path, 'a,gender', 'b.csv')}:gender", "names in one of clip, id, path"),
    ):
        with pytest.raises(UserError, match=message):
            read_groups(spec, CLIPS)
    with pytest.raises(UserError, match="no gender for any of the 1 clips; they are called like"):
        read_groups(f"{path}:gender", ["film 1"])
    with pytest.raises(UserError, match="age has 60 values; expected at most 50"):
        read_groups(f"{many}:age", list(map(str, range(60))))


def test_each_group_has_the_figures_of_its_clips():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120).astype(np.int32)
    groups = np.array(["old"] * 20 + ["young"] * 100)
    right = rng.random(120) < np.where(groups == "old", 0.2, 0.9)
    labels[:20] = np.minimum(labels[:20], 1)  # no old clip of the last class
    answers = Answers(["x"] * 120, labels, np.eye(4)[np.where(right, labels, 3)])
    section = groups_section(answers, 4, {"age": groups.tolist()})
    every, old, young = section.results["age"]
    assert [row["group"] for row in (every, old, young)] == ["all clips", "old", "young"]
    assert [row["few"] for row in (every, old, young)] == [False, True, False]
    assert [row["classes"] for row in (every, old, young)] == [3, 2, 3]
    for row, inside in ((every, groups != ""), (old, groups == "old"), (young, groups == "young")):
        recalls = [right[inside & (labels == k)].mean() for k in np.unique(labels[inside])]
        assert row["uar"] == pytest.approx(np.mean(recalls))
        assert row["war"] == pytest.approx(right[inside].mean())
        assert row["uar_interval"] == intervals(labels[inside], right[inside])["uar"]
    assert old["per_class_recall"][2:] == [None, None]
    assert "| old (few) |    20 |       2 |" in section.text
    assert section.figures.keys() == {"groups_age.png"}

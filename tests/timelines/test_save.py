import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from timelines_made import make_timeline

from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines.save import (
    FORMATS,
    failure,
    parse_formats,
    read,
    save,
    summarise,
    write_summary,
)

ODD = 'Zoë "☺" <b>&amp;\t1,2\n=SUM(A1).mp4'
TABLES = ("csv", "faces")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _assert_same(one, other) -> None:
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(left):
            _assert_same(left, right)
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, strict=True)
        else:
            assert left == right, field.name


@pytest.mark.parametrize(
    "timeline",
    [
        make_timeline(),
        make_timeline(sound=False, video=ODD, classes=("a,b", "ü", "c\n", "d")),
        make_timeline(people=0),
        make_timeline(seconds=0.5, people=1, video="b\udcffd.mp4"),  # no UTF-8
    ],
)
def test_document_gives_back_the_same_timeline(timeline, tmp_path):
    assert timeline.save(tmp_path, ()) == [tmp_path / "timeline.json"]
    _assert_same(read(tmp_path), timeline)


def test_document_is_json_for_all_programs(tmp_path):
    save(make_timeline(sound=False), tmp_path, ())

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "timeline.json").read_text()
    document = json.loads(text, parse_constant=refuse)
    assert document["windows"]["sound_level"][0] is None
    assert len(document["windows"]["probabilities"][0]) == 4


def test_damaged_documents_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"timeline\.json: no such file"):
        read(tmp_path)
    save(make_timeline(), tmp_path, ())
    path = tmp_path / "timeline.json"
    whole = path.read_text()
    for text, said in (
        (whole[: len(whole) // 2], "cut off or damaged"),
        ("[]", "of format None"),
        (whole.replace('"format": 1', '"format": 99'), "of format 99, this version reads format 1"),
        (whole.replace('"hop"', '"hap"'), "damaged"),
        (whole.replace('"person": [1,', '"person": [', 1), "damaged.*columns of"),
    ):
        assert text != whole
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            read(tmp_path)


def test_unfinished_folders_have_no_document(tmp_path, monkeypatch):
    save(make_timeline(), tmp_path, ())

    def broken(timeline, folder, video):
        raise UserError("no")

    monkeypatch.setitem(save.__globals__["_WRITERS"], "csv", broken)
    with pytest.raises(UserError, match="no"):
        save(make_timeline(), tmp_path, TABLES)
    assert list(tmp_path.iterdir()) == []


def test_formats_are_chosen_by_name(tmp_path):
    assert parse_formats("csv, faces,csv") == ("csv", "faces")
    assert parse_formats("all") == FORMATS
    with pytest.raises(UserError, match=r"unknown format cvs; known are csv, faces, .*json"):
        parse_formats("cvs,json")
    with pytest.raises(UserError, match="unknown format xlsx"):
        save(make_timeline(), tmp_path, ("xlsx",))
    save(make_timeline(), tmp_path / "new" / "folder", ("csv",))
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == [
        "timeline.csv",
        "timeline.json",
    ]


def test_window_table(tmp_path):
    timeline = make_timeline(video=ODD)
    save(timeline, tmp_path, ("csv",))
    rows, windows = _rows(tmp_path / "timeline.csv"), timeline.windows
    assert len(rows) == len(windows.start) == 18
    np.testing.assert_allclose([float(row["start"]) for row in rows], windows.start, atol=5e-4)
    np.testing.assert_allclose([float(row["end"]) for row in rows], windows.end, atol=5e-4)
    assert [int(row["person"]) for row in rows] == windows.person.tolist()
    found = [[float(row[f"prob_{name}"]) for name in timeline.classes] for row in rows]
    np.testing.assert_allclose(found, windows.probabilities, rtol=1e-5)
    assert [row["label"] for row in rows] == [
        timeline.classes[best] for best in windows.probabilities.argmax(axis=1)
    ]
    assert {row["video"] for row in rows} == {ODD}
    assert float(rows[0]["sound_level"]) == -np.inf
    doubtful = [row["notes"] for row in rows if row["doubtful"] == "1"]
    assert doubtful
    assert set(doubtful) == {"blurred; quiet sound"}


def test_windows_without_a_person_have_rows(tmp_path):
    save(make_timeline(people=0), tmp_path, TABLES)
    rows = _rows(tmp_path / "timeline.csv")
    assert len(rows) == 9
    for row in rows:
        assert (row["person"], row["label"], row["prob_sad"]) == ("0", "", "")
        assert (row["doubtful"], row["notes"]) == ("1", "no face")
    assert _rows(tmp_path / "faces.csv") == []


def test_face_table_has_the_columns_of_openface(tmp_path):
    timeline = make_timeline()
    save(timeline, tmp_path, ("faces",))
    rows, faces = _rows(tmp_path / "faces.csv"), timeline.faces
    assert list(rows[0])[:5] == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert [int(row["frame"]) for row in rows] == (faces.frame + 1).tolist()
    assert [int(row["face_id"]) for row in rows] == faces.person.tolist()
    np.testing.assert_allclose([float(row["timestamp"]) for row in rows], faces.time, atol=5e-4)
    box = [[float(row[f"FaceRect{x}"]) for x in ("X", "Y", "Width", "Height")] for row in rows]
    expected = np.concatenate([faces.box[:, :2], faces.box[:, 2:] - faces.box[:, :2]], axis=1)
    np.testing.assert_allclose(box, expected, atol=0.051)
    assert [row["detected"] == "1" for row in rows] == faces.detected.tolist()
    assert [row["blur"] == "" for row in rows] == (~faces.detected).tolist()


def test_confidence_between_detections_is_the_lower_of_the_two(tmp_path):
    timeline = make_timeline(seconds=0.75, people=1)  # detected in frames 0, 3 and 6 of 9
    score = timeline.faces.score.copy()
    score[[0, 3, 6]] = 0.5, 0.75, 0.25
    faces = dataclasses.replace(timeline.faces, score=score)
    save(dataclasses.replace(timeline, faces=faces), tmp_path, ("faces",))
    found = [float(row["confidence"]) for row in _rows(tmp_path / "faces.csv")]
    assert found == [0.5, 0.5, 0.5, 0.75, 0.25, 0.25, 0.25, 0.25, 0.25]


def test_summary_has_a_row_a_person_and_one_for_a_bad_file(tmp_path):
    timeline = make_timeline(video=ODD)
    rows = [failure("broken.mp4", "cut off"), *summarise(timeline)]
    rows += summarise(make_timeline(people=0, video="empty.mp4", sound=False))
    write_summary(rows, tmp_path / "summary.csv")
    broken, first, second, nobody = _rows(tmp_path / "summary.csv")
    assert list(broken)[:4] == ["video", "error", "seconds", "person"]
    assert (broken["video"], broken["error"], broken["person"]) == ("broken.mp4", "cut off", "")
    assert [(row["video"], row["person"]) for row in (first, second)] == [(ODD, "1"), (ODD, "2")]
    of_first = timeline.windows.probabilities[timeline.windows.person == 1]
    for place, name in enumerate(timeline.classes):
        assert float(first[f"mean_{name}"]) == pytest.approx(of_first[:, place].mean(), rel=1e-5)
    assert first["label"] == timeline.classes[of_first.mean(axis=0).argmax()]
    # Segments of a third of six seconds, classes (person + part) of the list
    assert (first["seconds_sad"], first["seconds_angry"]) == ("2.000", "1.877")
    assert (first["windows"], first["answered"]) == ("9", "9")
    assert (nobody["person"], nobody["answered"], nobody["label"]) == ("0", "0", "")
    assert nobody["problems"] == "no sound"


def test_summary_of_bad_files_alone(tmp_path):
    write_summary([failure("a.mp4", "no, video")], tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text() == 'video,error\na.mp4,"no, video"\n'
    write_summary([], tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text() == "video,error\n"

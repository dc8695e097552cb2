"""Every file for another tool is read back by that tool's library."""

import csv
import dataclasses
import json
from html import unescape
from pathlib import Path

import pytest
import webvtt
from praatio import textgrid
from pympi.Elan import Eaf
from timelines_made import make_timeline, of_sound_alone

from mmadfer_jax.timelines.honest import MEANING
from mmadfer_jax.timelines.save import summarise
from mmadfer_jax.timelines.timeline import Segment

ODD = ('a "b" & <i>c</i>', "Ärger, 怒り \t☹", "d\n-->\ne", "tier [1]: 'x' \x07\ufffe")
CLEAN = ('a "b" & <i>c</i>', "Ärger, 怒り ☹", "d --> e", "tier [1]: 'x' ")


@pytest.fixture(params=["usual", "odd"])
def timeline(request):
    """Of two people; with odd names, and in both with a segment after more than an hour."""
    made = make_timeline(classes=ODD) if request.param == "odd" else make_timeline()
    late = Segment(2, 3723.4567, 3723.4568, made.classes[3], 1.0, 1.0)
    return dataclasses.replace(made, segments=(*made.segments, late), duration=3724.0)


def _clean(label: str) -> str:
    return dict(zip(ODD, CLEAN, strict=True)).get(label, label)


def _expected(timeline, person: int | None = None) -> list[tuple[float, float, str]]:
    return [
        (round(s.start, 3), max(round(s.end, 3), round(s.start, 3) + 0.001), _clean(s.label))
        for s in timeline.segments
        if person in (None, s.person)
    ]


def _assert_intervals(found, expected) -> None:
    assert [text.strip() for *_, text in found] == [text.strip() for *_, text in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[:2] == pytest.approx(other[:2], abs=1e-6)


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_subtitles(kind, timeline, tmp_path):
    timeline.save(tmp_path, (kind,))
    path = tmp_path / f"timeline.{kind}"
    read = webvtt.read(path) if kind == "vtt" else webvtt.from_srt(path)
    found = []
    for caption, segment in zip(read, timeline.segments, strict=True):
        doubt = ", doubtful" if segment.doubtful >= 0.5 else ""
        end = f" ({segment.confidence:.0%}{doubt})"
        name, text = unescape(caption.text if kind == "vtt" else caption.raw_text).split(": ", 1)
        assert name == f"person {segment.person}"
        assert text.endswith(end)
        start, stop = (t.in_milliseconds() for t in (caption.start_time, caption.end_time))
        found.append((start / 1000, stop / 1000, text.removesuffix(end)))
        if kind == "vtt":
            assert caption.voice == name
    expected = _expected(timeline)
    if kind == "srt":  # which has no escape for it
        expected = [(*times, text.replace("-->", "->")) for *times, text in expected]
    _assert_intervals(found, expected)


def test_subtitles_say_what_an_answer_is(tmp_path):
    make_timeline().save(tmp_path, ("vtt",))
    assert webvtt.read(tmp_path / "timeline.vtt").header_comments == [MEANING]


def test_textgrid(timeline, tmp_path):
    timeline.save(tmp_path, ("textgrid",))
    grid = textgrid.openTextgrid(str(tmp_path / "timeline.TextGrid"), False)
    assert grid.maxTimestamp == timeline.duration
    assert grid.tierNames == (
        *("person 1", "person 1 confidence", "person 1 doubt"),
        *("person 2", "person 2 confidence", "person 2 doubt"),
    )
    for person in (1, 2):
        _assert_intervals(grid.getTier(f"person {person}").entries, _expected(timeline, person))
    assert [entry.label for entry in grid.getTier("person 1 confidence").entries] == [
        *("0.81", "0.61")
    ]
    assert [entry.label for entry in grid.getTier("person 1 doubt").entries] == ["0.75"]


def test_eaf(timeline, tmp_path):
    video = tmp_path / "videos" / "Zoë & <1>.mp4"
    timeline.save(tmp_path / "out", ("eaf",), video)
    read = Eaf(tmp_path / "out" / "timeline.eaf")
    assert list(read.get_tier_names())[::3] == ["person 1", "person 2"]
    for person in (1, 2):
        found = sorted(read.get_annotation_data_for_tier(f"person {person}"))
        _assert_intervals(
            [(a / 1000, b / 1000, t) for a, b, t in found], _expected(timeline, person)
        )
    (media,) = read.get_linked_files()
    assert media["MIME_TYPE"] == "video/mp4"
    assert (tmp_path / "out" / media["RELATIVE_MEDIA_URL"]).resolve() == video


def test_eaf_is_written_again(tmp_path):
    for _ in range(2):
        make_timeline().save(tmp_path, ("eaf",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["timeline.eaf", "timeline.json"]


def test_bids_events(timeline, tmp_path):
    timeline.save(tmp_path, ("bids",))
    with Path(tmp_path / "timeline_events.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0])[:3] == ["onset", "duration", "trial_type"]
    spans = [(float(row["onset"]), float(row["duration"])) for row in rows]
    _assert_intervals(
        [(a, a + n, row["trial_type"]) for (a, n), row in zip(spans, rows, strict=True)],
        _expected(timeline),
    )
    assert [int(row["person"]) for row in rows] == [s.person for s in timeline.segments]
    sidecar = json.loads((tmp_path / "timeline_events.json").read_text())
    assert sidecar.keys() == rows[0].keys()
    assert sidecar["trial_type"]["Levels"].keys() >= {row["trial_type"] for row in rows}
    assert MEANING in sidecar["trial_type"]["Description"]
    assert "616 clips of the dataset synthetic" in sidecar["trial_type"]["Description"]


def test_nobody_seen(tmp_path):
    """Files of a video without people open all the same."""
    make_timeline(people=0).save(tmp_path, ("vtt", "srt", "textgrid", "eaf", "bids"))
    assert len(webvtt.read(tmp_path / "timeline.vtt")) == 0
    assert (tmp_path / "timeline.srt").read_bytes() == b""
    grid = textgrid.openTextgrid(str(tmp_path / "timeline.TextGrid"), False)
    assert grid.tierNames == ("person 1",)
    assert list(Eaf(tmp_path / "timeline.eaf").get_tier_names()) == []
    assert len((tmp_path / "timeline_events.tsv").read_text().splitlines()) == 1


def test_sound_alone(tmp_path):
    timeline = of_sound_alone()
    written = timeline.save(tmp_path, video=tmp_path / "sound.mp3")
    assert {path.name for path in written} >= {"report.html", "faces.csv"}
    assert not (tmp_path / "annotated.mp4").exists()
    assert webvtt.read(tmp_path / "timeline.vtt")[0].voice == "sound"
    grid = textgrid.openTextgrid(str(tmp_path / "timeline.TextGrid"), False)
    _assert_intervals(grid.getTier("sound").entries, _expected(timeline, 0))
    (row,) = summarise(timeline)
    assert (row["person"], row["answered"], row["doubtful"]) == (0, 9, 0)
    assert '<div class="lane"><h3>sound</h3>' in (tmp_path / "report.html").read_text()

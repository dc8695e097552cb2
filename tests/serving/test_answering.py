import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from timelines_made import make_timeline
from video_files import corners, tone, write_video

from mmadfer_jax.errors import UserError
from mmadfer_jax.serving.answering import ALL_FILES, Answering
from mmadfer_jax.serving.limits import Limits
from mmadfer_jax.serving.results import Results

_FILES = ["all_files.zip", "annotated.mp4", "faces.csv", "report.html", "seen", "timeline.TextGrid"]
_FILES += [f"timeline{end}" for end in (".csv", ".eaf", ".json", ".srt", ".vtt")]
_FILES += ["timeline_events.json", "timeline_events.tsv"]


def _timeline(video, progress, watching, **settings):
    """In place of `TrainedModel.timeline`."""
    progress(0.5)
    for _ in range(2):
        watching(np.zeros((1, 4, 32, 32, 3), np.uint8), np.zeros((1, 64, 128), np.float32))
    progress(1.0)
    assert settings == {"person": "all"}
    return make_timeline(2.0, video=str(video))


class _Answers:
    """An `Answering` with its folders, and what it told of its progress."""

    def __init__(self, folder: Path, timeline=_timeline):
        self.kept, self.uploads, self.told = folder / "kept", folder / "uploads", []
        self.kept.mkdir()
        self.uploads.mkdir()
        self.results = Results(self.kept, 60)
        model = SimpleNamespace(timeline=timeline)
        self.answering = Answering(model, self.results, Limits(seconds=20))

    def upload(self, name: str = "clip.mp4") -> Path:
        path = self.uploads / name
        return write_video(path, corners(24, 320, 192), rate=12, sound=tone(2.0, 16000))

    def answer(self, upload: Path) -> Path:
        return self.answering.answer(upload, lambda *told: self.told.append(told), person="all")


@pytest.fixture
def answers(tmp_path) -> _Answers:
    return _Answers(tmp_path)


def test_a_clip_becomes_a_folder_of_files(answers):
    upload = answers.upload("Zoë & co.mp4")
    folder = answers.answer(upload)
    assert not upload.exists()
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(_FILES)
    with zipfile.ZipFile(folder / ALL_FILES) as packed:
        assert {name for name in packed.namelist() if "/" not in name} == set(names) - {
            *("all_files.zip", "seen")
        }
        assert sum(name.startswith("seen/") for name in packed.namelist()) == 2
        assert not any(str(answers.kept) in str(info) for info in packed.infolist())
    shares = [share for share, _ in answers.told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    for path in folder.glob("*.*"):
        assert str(answers.kept).encode() not in path.read_bytes(), path
    assert "./Zoë &amp; co.mp4" in (folder / "timeline.eaf").read_text()


@pytest.mark.parametrize(
    "name",
    ["timeline.json", "report.html", ".hidden", "a\tb\nc", "x" * 250 + ".mp4", "…", "a.b.mp4"],
)
def test_clips_may_have_any_name(answers, name):
    folder = answers.answer(answers.upload("clip.mp4").rename(answers.uploads / name))
    assert (folder / "timeline.json").read_text().startswith('{"format"')
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_nothing_is_left_of_what_cannot_be_answered(answers):
    upload = answers.uploads / "evil.mp4"
    upload.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"^evil\.mp4: not a video"):
        answers.answer(upload)
    assert list(answers.kept.iterdir()) == list(answers.uploads.iterdir()) == []


def test_nothing_is_left_of_what_breaks(tmp_path):
    def broken(video, progress, watching, **settings):
        watching(np.zeros((1, 4, 32, 32, 3), np.uint8), np.zeros((1, 64, 128), np.float32))
        raise RuntimeError("a bug")

    answers = _Answers(tmp_path, broken)
    with pytest.raises(RuntimeError, match="a bug"):
        answers.answer(answers.upload())
    assert list(answers.kept.iterdir()) == list(answers.uploads.iterdir()) == []


def test_the_same_clip_of_two_people_is_kept_for_the_second(answers):
    upload = answers.upload()
    answers.answering.claim(upload)
    answers.answering.claim(upload)
    first = answers.answer(upload)
    assert upload.exists()
    assert answers.answer(upload) != first
    assert not upload.exists()
    with pytest.raises(UserError, match="no longer here"):
        answers.answer(upload)


def test_results_are_found_by_their_name_alone(tmp_path):
    results = Results(tmp_path, 60)
    folder = results.new()
    (folder / "seen").mkdir()
    for name in ("a.csv", "seen/000000.jpg"):
        (folder / name).write_text("x")
        assert results.find(folder.name, name) == folder / name
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    (tmp_path / ("y" * 22)).mkdir()
    (tmp_path / ("y" * 22) / "a.csv").write_text("x")
    for token, name in (
        (folder.name, "../secret"),
        (folder.name, str(tmp_path / "secret")),
        (folder.name, "link"),
        (folder.name, "seen"),
        (folder.name, "b.csv"),
        (folder.name, "a\0.csv"),
        ("..", "secret"),
        ("y" * 22, "a.csv"),  # not made by it
        (folder.name[:-1], "a.csv"),
    ):
        assert results.find(token, name) is None


def test_results_are_deleted_after_a_while(tmp_path):
    results = Results(tmp_path, 0.2)
    old = results.new()
    results.sweep()
    assert old.exists()
    time.sleep(0.3)
    new = results.new()
    results.sweep()
    assert [path.name for path in tmp_path.iterdir()] == [new.name]

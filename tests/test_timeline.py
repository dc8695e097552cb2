"""The command, over folders that hold good and bad files."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from video_files import corners, tone, write_video
from watched import CLASSES, make_model, write_face

from mmadfer_jax import timeline as verb
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines import save
from mmadfer_jax.timelines.document import NAME
from mmadfer_jax.videos.settings import TimelineSettings
from mmadfer_jax.weights.model_files import save_model

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = TimelineSettings(window=1.0, hop=0.5)
LIGHT = ("csv", "json")


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A face, one without, sound, and what is no video, some in a folder below."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "below").mkdir()
    write_face(folder)
    write_video(folder / "below" / "corners.mkv", corners(30), sound=tone(1.2, 16000))
    sound = tone(1.5, 16000)
    write_video(folder / "face.wav", [], sound=sound, sound_codec="pcm_s16le")
    (folder / "words.mp4").write_text("not a video")
    (folder / "notes.txt").write_text("to be left alone")
    (folder / ".hidden.mp4").write_text("to be left alone")
    return folder


class Asked:
    """A model that counts the timelines it makes."""

    def __init__(self, model):
        self._model, self.count = model, 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def timeline(self, video, **settings):
        self.count += 1
        return self._model.timeline(video, **settings)


def _run(model, videos: Path, out: Path, settings=SETTINGS, formats=LIGHT) -> tuple[int, int]:
    """How many timelines were made, and how many files failed."""
    asked = Asked(model)
    watcher = verb.Watcher(asked, settings, formats)
    failed = verb.watch_all(watcher, verb.list_videos([videos]), out)
    return asked.count, failed


def _summary(out: Path) -> list[dict[str, str]]:
    with (out / verb.SUMMARY).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(model, videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert _run(model, videos, out) == (4, 1)
    return out


@pytest.fixture
def copy(done, tmp_path) -> Path:
    shutil.copytree(done, tmp_path / "out")
    return tmp_path / "out"


def test_each_video_has_a_folder_and_what_went_wrong_is_in_the_summary(done, videos):
    names = {path.relative_to(done).as_posix() for path in done.rglob("*") if path.is_file()}
    made = ("face.mp4", "face.wav", "below/corners.mkv")
    assert names == {"summary.csv"} | {f"{n}/timeline.{e}" for n in made for e in LIGHT}
    rows = {row["video"]: row for row in _summary(done)}
    assert set(rows) == {str(videos / name) for name in (*made, "words.mp4")}
    assert "not a video" in rows[str(videos / "words.mp4")]["error"]
    assert rows[str(videos / "face.mp4")]["label"] in CLASSES
    assert rows[str(videos / "face.mp4")]["person"] == "1"


def test_what_is_saved_is_what_the_model_says(done, videos, model):
    expected = model.timeline(videos / "face.mp4", window=1.0, hop=0.5)
    found = save.read(done / "face.mp4")
    np.testing.assert_allclose(
        found.windows.probabilities, expected.windows.probabilities, atol=1e-6
    )
    assert found.segments == expected.segments
    assert found.settings["parameters_sha256"] == model.digest


def test_what_is_done_is_not_done_again(copy, videos, model):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("timeline.*")}
    summary = _summary(copy)
    assert _run(model, videos, copy) == (1, 1)  # the bad file is tried again
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("timeline.*")} == before
    assert _summary(copy) == summary


def test_a_cut_result_another_file_setting_or_model_is_done_again(copy, videos, model, tmp_path):
    document = copy / "face.mp4" / NAME
    document.write_bytes(document.read_bytes()[:-100])
    assert _run(model, videos, copy) == (2, 1)
    save.read(copy / "face.mp4")

    mine = shutil.copytree(videos, tmp_path / "videos")
    assert _run(model, mine, copy)[0] == 1  # copied with their times
    os.utime(mine / "face.wav", ns=(5, 5))
    assert _run(model, mine, copy)[0] == 2

    assert _run(model, videos, copy, TimelineSettings(window=1.0, hop=1.0))[0] == 4
    other = make_model()
    other.params["classifier.bias"] = other.params["classifier.bias"] + 1
    assert _run(other, videos, copy, TimelineSettings(window=1.0, hop=1.0))[0] == 4


def test_a_format_that_lacks_is_written_without_asking_again(copy, videos, model):
    assert _run(model, videos, copy, formats=("srt",)) == (1, 1)
    assert (copy / "face.mp4" / "timeline.srt").exists()
    assert (copy / "face.mp4" / "timeline.csv").exists()
    assert _run(model, videos, copy, formats=("srt", "csv")) == (1, 1)
    assert save.read(copy / "face.mp4").settings["formats"] == ["csv", "srt", "json"]


def test_an_error_of_the_program_does_not_stop_the_others(videos, model, tmp_path, capsys):
    class Wrong(Asked):
        def timeline(self, video, **settings):
            if video.name == "face.mp4":
                raise ZeroDivisionError("a mistake")
            return super().timeline(video, **settings)

    watcher = verb.Watcher(Wrong(model), SETTINGS, LIGHT)
    assert verb.watch_all(watcher, verb.list_videos([videos]), tmp_path) == 2
    rows = {Path(row["video"]).name: row["error"] for row in _summary(tmp_path)}
    assert "ZeroDivisionError('a mistake')" in rows["face.mp4"]
    assert rows["corners.mkv"] == rows["face.wav"] == ""
    assert "Traceback" in capsys.readouterr().err
    assert not (tmp_path / "face.mp4").exists()


def test_two_files_of_one_name_are_not_mixed(videos, tmp_path):
    other = tmp_path / "face.mp4"
    other.write_bytes(b"")
    with pytest.raises(UserError, match=r"would both be written to face\.mp4"):
        verb.list_videos([videos, other])
    assert list(verb.list_videos([videos / "face.mp4", videos / "face.mp4"])) == ["face.mp4"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="empty: no video or sound file in it"):
        verb.list_videos([videos, empty])


def test_the_command(model, videos, tmp_path):
    file = tmp_path / "model.safetensors"
    save_model(file, model.params, model.card, layout="own")

    def command(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "mmadfer_jax.timeline", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )

    given = [videos, f"--checkpoint={file}", f"--out={tmp_path / 'out'}", "--window=1"]
    result = command(*given, "--person=largest")
    assert result.returncode == 1
    assert "1 of 4 videos could not be answered for, see" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stdout.splitlines()) == 3
    made = tmp_path / "out" / "face.mp4"
    assert {"report.html", "timeline.csv", "faces.csv", "seen"} <= {p.name for p in made.iterdir()}
    assert not (made / "annotated.mp4").exists()
    assert json.loads((made / NAME).read_text())["settings"]["person"] == "largest"

    for wrong in ("--formats=docx", "--person=nobody", "--hop=-1"):
        result = command(*given, wrong)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1

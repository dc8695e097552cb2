"""What an earlier run finished is kept, noticed, or done again by name."""

import hashlib
import json

import pytest
from video_files import corners, tone, write_video

from data_prep import run
from data_prep.datasets.folder import list_clips
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.errors import UserError

SETTINGS = PrepareSettings(image_size=32, faces="none")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    table = "path,label,split\n"
    for number in range(4):
        frames = corners(2)
        write_video(folder / f"{number}.mp4", frames, sound=tone(0.1, 16000))
        table += f"{number}.mp4,{'ab'[number % 2]},{'train' if number < 2 else 'test'}\n"
    (folder / "bad.mp4").write_text("no video\n" * 99)
    (folder / "labels.csv").write_text(table + "bad.mp4,a,train\nlate.mp4,b,test\n")
    return folder


class Preparation:
    """Runs in this process and notes which clips were prepared."""

    def __init__(self, source, monkeypatch):
        self.source, self.out, self.done = source, source.parent / "out", []
        monkeypatch.setattr(run, "outcomes", self.outcomes)

    def outcomes(self, clips, settings, workers):
        run.worker.load(settings)
        for clip in clips:
            self.done.append(clip.id)
            yield run.worker.prepare(clip)

    def __call__(self, *redo, settings=SETTINGS):
        self.done.clear()
        listing = list_clips(self.source, self.source / "labels.csv")
        run.prepare_dataset(listing, self.out, settings, shards=1, redo=redo)
        return sorted(self.done)

    def entry(self, name):
        lines = (self.out / "manifest.jsonl").read_text().splitlines()
        return next(e for e in map(json.loads, lines) if e["id"] == name)

    def contents(self):
        files = [path for path in self.out.rglob("*") if path.is_file()]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


TRAIN, TEST = ["0", "1", "bad"], ["2", "3", "late"]


@pytest.fixture
def prepare(source, monkeypatch):
    prepare = Preparation(source, monkeypatch)
    assert prepare() == sorted(TRAIN + TEST)
    assert prepare() == []
    return prepare


@pytest.mark.parametrize(
    ("redo", "expected"),
    [
        (["train"], TRAIN),
        (["3"], TEST),
        (["1", "test"], TRAIN + TEST),
        (["skipped"], TRAIN + TEST),
        (["all"], TRAIN + TEST),
    ],
)
def test_redone_by_name_with_the_same_bytes(prepare, redo, expected):
    before = prepare.contents()
    assert prepare(*redo) == sorted(expected)
    assert prepare.contents() == before


def test_an_unknown_name_deletes_nothing(prepare):
    before = prepare.contents()
    with pytest.raises(UserError, match=r"--redo=tset: neither a split nor a clip"):
        prepare("tset", "train")
    assert prepare.contents() == before


def test_a_mended_clip_is_taken_up(prepare, source):
    (source / "bad.mp4").write_bytes((source / "0.mp4").read_bytes())
    assert prepare() == []
    assert prepare.entry("bad")["status"] == "skipped"
    prepare("skipped")
    assert prepare.entry("bad")["status"] == "written"
    assert DatasetInfo.load(prepare.out).splits == {"train": 3, "test": 2}


def test_a_clip_that_came_late_is_noticed(prepare, source):
    (source / "late.mp4").write_bytes((source / "0.mp4").read_bytes())
    before = prepare.contents()
    with pytest.raises(UserError, match=r"1 clips that were not there.*late.*--redo=skipped"):
        prepare()
    assert prepare.contents() == before
    assert prepare("late") == TEST
    assert prepare.entry("late")["status"] == "written"
    assert prepare() == []


def test_changed_settings_are_refused_or_redone_in_place(prepare):
    other = PrepareSettings(image_size=64, faces="none")
    (prepare.out / "notes.txt").write_text("mine")
    before = prepare.contents()
    for redo in ([], ["skipped"]):
        with pytest.raises(UserError, match=r"image_size 32 there, 64 asked for.*--redo=all"):
            prepare(*redo, settings=other)
        assert prepare.contents() == before
    assert prepare("all", settings=other) == sorted(TRAIN + TEST)
    assert DatasetInfo.load(prepare.out).image_size == 64
    assert (prepare.out / "notes.txt").read_text() == "mine"


def test_all_is_no_way_to_clear_a_foreign_folder(source, monkeypatch):
    prepare = Preparation(source, monkeypatch)
    prepare.out.mkdir()
    (prepare.out / "manifest.jsonl").write_text("someone's")
    with pytest.raises(UserError, match=r"not empty \(manifest\.jsonl\)"):
        prepare("all")
    assert (prepare.out / "manifest.jsonl").read_text() == "someone's"

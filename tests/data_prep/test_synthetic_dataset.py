"""Synthetic clips as files: what is written, that it resumes, and that names tell nothing."""

import collections
import csv
import json
import multiprocessing
import os

import av
import numpy as np
import pytest
from upath import UPath

from data_prep.synthetic import CLASSES, PAIR, render_clip, render_dataset
from data_prep.synthetic.dataset import _VERSION, _assign, _parts, person_seed
from data_prep.synthetic.sample import SAMPLE_RATE, sample_clip
from data_prep.synthetic.voice import synthesise
from mmadfer_jax.errors import UserError

CLIPS = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "clips of two processes"
    render_dataset(folder, clips=CLIPS, seed=3, workers=2, test_share=0.5)
    return folder


def read_table(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_lists_every_clip_with_balanced_classes(folder):
    rows = read_table(folder)
    assert list(rows[0]) == ["path", "label", "split"]
    assert len({row["path"] for row in rows}) == CLIPS
    assert all((folder / row["path"]).is_file() for row in rows)
    counts = collections.Counter((row["label"], row["split"]) for row in rows)
    assert counts == {(name, split): 1 for name in CLASSES for split in ("train", "test")}
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {"labels.csv", "synthetic.json", *(row["path"] for row in rows)}


def test_every_person_plays_every_class_and_is_in_one_split():
    rows = _assign(7 * 20 + 3, 0, 0.2, _parts(pair=False))
    classes, splits = collections.defaultdict(list), collections.defaultdict(set)
    for _, part, split, person in rows:
        classes[person].append(CLASSES[part.label])
        splits[person].add(split)
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"test"} for found in splits.values()) == 4
    complete = [sorted(found) == sorted(CLASSES) for found in classes.values()]
    assert sum(complete) == 20
    # The person that lacks classes is no test person: the test split is balanced.
    test = collections.Counter(part for _, part, split, _ in rows if split == "test")
    assert set(test.values()) == {4}


def test_the_pair_has_both_pictures_and_both_voices_equally_often(tmp_path):
    render_dataset(tmp_path, clips=22, workers=2, test_share=0.5, pair=True)
    counts = collections.Counter((row["label"], row["split"]) for row in read_table(tmp_path))
    assert counts == {
        (name, split): 2 if name in PAIR else 1
        for name in CLASSES + PAIR
        for split in ("train", "test")
    }
    rows = _assign(22, 0, 0.5, _parts(pair=True))
    film = {part: _frames(tmp_path / path) for path, part, _, person in rows if person == 0}
    one, other = len(CLASSES), len(CLASSES) + 1
    for take in (0, 1):
        np.testing.assert_array_equal(film[one, take], film[other, take])
    assert (film[one, 0] != film[one, 1]).any()
    with pytest.raises(UserError, match=r"synthetic clips of other settings \(.*'pair': True"):
        render_dataset(tmp_path, clips=22, test_share=0.5)


def _frames(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_names_and_places_do_not_tell_labels(folder):
    rows = read_table(folder)
    assert [row["path"] for row in rows] == [f"clips/clip_{i:05d}.mp4" for i in range(1, CLIPS + 1)]
    labels = [row["label"] for row in rows]
    assert labels != sorted(labels, key=CLASSES.index)
    assert labels[: len(CLASSES)] != labels[len(CLASSES) :]
    for row in rows:
        with av.open(str(folder / row["path"])) as file:
            text = " ".join(f"{key}={value}" for key, value in file.metadata.items())
        assert not any(name.lower() in text.lower() for name in CLASSES)


def test_a_clip_is_h264_and_aac_with_all_frames(folder):
    for path, part, _, person in _assign(CLIPS, 3, 0.5, _parts(pair=False))[:3]:
        clip = sample_clip(part.label, person_seed(3, person))
        path = folder / path
        assert path.stat().st_size < 100_000
        with av.open(str(path)) as file:
            picture, sound = file.streams.video[0], file.streams.audio[0]
            assert picture.codec_context.name == "h264"
            assert sound.codec_context.name == "aac"
            assert sound.rate == SAMPLE_RATE
            assert picture.average_rate == clip.picture.fps
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
            file.seek(0)
            wave = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
        assert len(frames) == len(clip.picture.track)
        assert frames[0].shape == (192, 192, 3)
        expected = synthesise(clip.voice)
        assert abs(len(wave) - len(expected)) <= 2 * 1024
        # In step with the pictures: the loud stretches are where they were before encoding.
        length = min(len(wave), len(expected)) // 160 * 160
        levels = [np.abs(w[:length]).reshape(-1, 160).mean(1) for w in (wave, expected)]
        assert np.corrcoef(*levels)[0, 1] > 0.97


def test_a_second_run_renders_only_what_is_missing(folder):
    rows = read_table(folder)
    before = {row["path"]: (folder / row["path"]).stat().st_mtime_ns for row in rows}
    lost = folder / rows[4]["path"]
    content = lost.read_bytes()
    lost.unlink()
    (folder / "labels.csv").unlink()
    counts = []
    table = render_dataset(
        folder, clips=CLIPS, seed=3, workers=1, test_share=0.5, progress=counts.append
    )
    assert table == folder / "labels.csv"
    assert read_table(folder) == rows
    assert counts == [CLIPS]
    # One process or two, now or then: the same bytes.
    assert lost.read_bytes() == content
    after = {row["path"]: (folder / row["path"]).stat().st_mtime_ns for row in rows}
    assert {path for path in before if after[path] != before[path]} == {rows[4]["path"]}


def test_a_killed_worker_is_an_error_and_the_same_call_goes_on(tmp_path):
    def kill(done):
        if done == 2:
            multiprocessing.active_children()[0].kill()

    def render(folder, **options):
        return render_dataset(folder, clips=28, seed=3, workers=2, test_share=0.5, **options)

    folder = tmp_path / "killed"
    with pytest.raises(UserError, match=r"rendering one of: clips/clip_00\d+\.mp4.*goes on"):
        render(folder, progress=kill)
    assert multiprocessing.active_children() == []
    kept = {path.name for path in (folder / "clips").iterdir()}
    assert 2 <= len(kept) < 28
    assert all(name.startswith("clip_") for name in kept)
    done = []
    render(folder, progress=done.append)
    assert done == list(range(len(kept) + 1, 29))
    rows = read_table(folder)
    assert {row["path"] for row in rows} == {
        str(path.relative_to(folder)) for path in folder.glob("*/*.mp4")
    }


def test_a_folder_that_another_command_renders_into_is_refused(tmp_path):
    def again(done):
        render_dataset(tmp_path, clips=CLIPS, workers=1)

    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {os.getpid()} on "):
        render_dataset(tmp_path, clips=CLIPS, workers=1, progress=again)


def test_what_a_killed_command_left_half_written_goes_away(tmp_path):
    rest = tmp_path / "clips" / ".clip_00001.mp4.0123456789ab.tmp"
    rest.parent.mkdir()
    rest.write_bytes(b"half")
    (tmp_path / "synthetic.json").write_text(
        json.dumps({"version": _VERSION, "clips": CLIPS, "seed": 0, "test_share": 0.2})
    )

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path, clips=CLIPS, workers=1, progress=stop)
    assert not rest.exists()
    assert multiprocessing.active_children() == []


def test_clips_are_rendered_behind_a_url(folder):
    remote = UPath("memory://rendered/a")
    render_dataset(remote, clips=CLIPS, seed=3, workers=2, test_share=0.5)
    for path in ("labels.csv", "synthetic.json", "clips/clip_00009.mp4"):
        assert (remote / path).read_bytes() == (folder / path).read_bytes()


def test_other_settings_are_refused(folder):
    with pytest.raises(UserError, match=r"other settings.*another folder"):
        render_dataset(folder, clips=CLIPS, seed=4, test_share=0.5)
    assert json.loads((folder / "synthetic.json").read_text())["seed"] == 3


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        render_dataset(tmp_path, clips=CLIPS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("settings", [{"clips": 13}, {"clips": 70, "test_share": 1.0}])
def test_too_few_clips_are_refused(tmp_path, settings):
    with pytest.raises(UserError, match="a person with all of 7 clips"):
        render_dataset(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="seed -1"):
        render_dataset(tmp_path / "new", clips=CLIPS, seed=-1)


def test_a_broken_render_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("out of ideas")

    monkeypatch.setattr("data_prep.synthetic.dataset.synthesise", fail)
    with pytest.raises(RuntimeError, match="out of ideas"):
        render_clip(0, 1, tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(UserError, match="label 9 is not"):
        render_clip(9, 1, tmp_path / "clip.mp4")

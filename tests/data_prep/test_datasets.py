import importlib
import json
import os
import shutil
from collections import Counter, defaultdict

import pytest
import stand_ins
from stand_ins import DFEW_FOLDS, MAFW_FOLDS, TREES, Here, list_dataset

from data_prep import listing, run
from data_prep.__main__ import main
from data_prep.datasets import mafw
from mmadfer_jax.clips.frame_folder import list_frames
from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_splits
from mmadfer_jax.errors import UserError

# The layouts


def test_dfew_takes_face_frames_and_the_sound_of_the_originals(tree):
    made = list_dataset("dfew", tree("dfew"))
    assert made.classes == ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
    clip = made.clips[0]
    assert clip.is_frames
    assert clip.source == "Clip/clip_224x224/00001"
    assert clip.audio_path == tree("dfew") / "Clip/original/1.mp4"
    videos = list_dataset("dfew", tree("dfew"), media="video")
    assert videos.clips[0].source == "Clip/original/1.mp4"
    assert [c.label for c in videos.clips] == [c.label for c in made.clips]


def test_other_peoples_layouts_of_dfew(tmp_path, seeds):
    rows = stand_ins.few(stand_ins.numbered(DFEW_FOLDS))
    stand_ins.dfew_authors(tmp_path / "lists", rows)
    for number, _, _ in rows[:-1]:
        seeds.folder(tmp_path / f"data/clip_jpg_256/{number:05d}", "{:d}.jpg")
        seeds.sound(tmp_path / f"data/audio_16k/{number}.wav")
    seeds.folder(tmp_path / "data/clip_224x224/00001")  # left from another experiment
    made = list_dataset("dfew", tmp_path / "data", labels=tmp_path / "lists")
    assert made.clips[0].source == "clip_jpg_256/00001"
    assert made.clips[0].audio_path == tmp_path / "data/audio_16k/1.wav"
    assert made.clips[0].listed_frames == 18
    assert [clip.missing for clip in made.clips if clip.missing] == [
        f"clip_jpg_256/{rows[-1][0]:05d}: no such file in {tmp_path / 'data'}"
    ]


def test_interpolated_frames_of_dfew_are_taken_where_there_is_nothing_else(tmp_path, seeds):
    rows = stand_ins.few(stand_ins.numbered(DFEW_FOLDS))
    stand_ins.dfew_official(tmp_path, rows)
    for number, _, _ in rows:
        seeds.folder(tmp_path / f"Clip/clip_224x224_16f/{number:05d}")
    made = list_dataset("dfew", tmp_path)
    assert made.clips[0].source == "Clip/clip_224x224_16f/00001"
    for number, _, _ in rows:
        seeds.video(tmp_path / f"Clip/original/{number}.MP4")
    made = list_dataset("dfew", tmp_path)
    assert made.clips[0].source == "Clip/original/1.MP4"


def test_sound_files_beside_videos_are_not_taken_for_them(tmp_path, seeds):
    rows = stand_ins.few(stand_ins.numbered(MAFW_FOLDS))
    stand_ins.mafw_official(tmp_path, rows)
    for number, _, _ in rows:
        for name in ("clips/{:05d}.mp4", "clips/{:05d}.mkv", "clips/._{:05d}.mp4"):
            seeds.video(tmp_path / name.format(number))
        seeds.sound(tmp_path / f"clips/{number:05d}.wav")
    made = list_dataset("mafw", tmp_path)
    assert all(clip.path.suffix == ".mp4" for clip in made.clips)
    assert not any(clip.audio_path for clip in made.clips if clip.audio_path != clip.path)


def test_mafw_lists_give_the_same_labels(tree, tmp_path):
    rows = stand_ins.few(stand_ins.numbered(MAFW_FOLDS))
    stand_ins.mafw_authors(tmp_path, rows)
    official = list_dataset("mafw", tree("mafw"))
    authors = list_dataset("mafw", tree("mafw"), labels=tmp_path)

    def kept(made):
        return [(clip.id, clip.label, clip.split, clip.path) for clip in made.clips]

    assert kept(official) == kept(authors)
    assert official.clips[0].source == "data/clips/00001.mp4"


def test_mafw_compound_classes(tree):
    made = list_dataset("mafw_compound", tree("mafw_compound"))
    assert made.classes == (
        *mafw.CLASSES,
        "anger_disgust",
        "fear_surprise",
        "helplessness_sadness",
    )
    assert made.classes[made.clips[2].label] == "anger_disgust"
    assert (len(made.classes), made.known.num_classes) == (14, 43)


def test_crema_d(tree):
    made = list_dataset("crema_d", tree("crema_d"))
    assert len(made.clips) == 5 * 6
    clips = {clip.id: clip for clip in made.clips}
    assert made.classes[clips["1001_DFA_HAP_XX"].label] == "happy"
    assert clips["1001_DFA_HAP_XX"].source == "VideoFlash/1001_DFA_HAP_XX.flv"
    assert clips["1001_DFA_HAP_XX"].audio_path.name == "1001_DFA_HAP_XX.wav"
    gone = [clip for clip in made.clips if clip.missing]
    assert [clip.id for clip in gone] == ["1003_DFA_FEA_XX"]
    assert "no video" in gone[0].missing


def test_ravdess(tree):
    made = list_dataset("ravdess", tree("ravdess"))
    assert len(made.clips) == 24
    assert all(clip.id.startswith("01-01-") for clip in made.clips)
    clips = {clip.source: clip for clip in made.clips}
    clip = clips["Actor_08/01-01-08-01-01-01-08.mp4"]
    assert made.classes[clip.label] == "surprised"
    assert clip.split == "part2"
    assert list(made.splits) == [f"part{k}" for k in range(1, 7)]
    assert "24 songs left out, speech only" in made.notes


def test_ravdess_without_sound_in_the_videos(tmp_path, seeds):
    seeds.video(tmp_path / "Actor_01/02-01-03-01-01-01-01.mp4")
    seeds.sound(tmp_path / "Actor_01/03-01-03-01-01-01-01.wav")
    (clip,) = list_dataset("ravdess", tmp_path).clips
    assert clip.id == "02-01-03-01-01-01-01"
    assert clip.audio_path.name == "03-01-03-01-01-01-01.wav"


def test_ferv39k(tree):
    made = list_dataset("ferv39k", tree("ferv39k"))
    assert {name: len(clips) for name, clips in made.splits.items()} == {"train": 28, "test": 14}
    clip = made.clips[2]
    assert (clip.id, made.classes[clip.label]) == ("Action/Sad/0010", "sad")
    assert clip.is_frames
    assert clip.audio_path is None


def test_frames_of_the_same_clips_beside_the_videos(tree, tmp_path, seeds):
    shutil.copytree(tree("afew"), tmp_path / "AFEW", copy_function=shutil.copyfile)
    seeds.folder(tmp_path / "AFEW/train/Faces/Angry/00000")
    seeds.video(tmp_path / "AFEW/samples/1.avi")
    made = list_dataset("afew", tmp_path / "AFEW")
    assert [clip.id for clip in made.clips] == [
        clip.id for clip in list_dataset("afew", tree("afew")).clips
    ]
    assert "left out beside the videos: 1 folders of frames" in made.notes
    assert any(note.endswith("split and a class: samples/1") for note in made.notes)


def test_enterface_reads_folders_not_names(tree):
    made = list_dataset("enterface05", tree("enterface05"))
    assert len(made.clips) == 30
    clips = {clip.id: clip for clip in made.clips}
    assert made.classes[clips["subject 3/fear/sentence 1/s_3_fe_1"].label] == "fear"
    assert made.classes[clips["subject 6/anger/s6_an_1"].label] == "anger"
    assert any("samples/s1" in note for note in made.notes)


def test_mer2023_labels(tree, tmp_path):
    made = list_dataset("mer2023", tree("mer2023"))
    assert made.classes[made.clips[4].label] == "worried"
    table = tmp_path / "train-label.csv"
    table.write_text("name,discrete,valence\nsample1,furious,0\n")
    with pytest.raises(UserError, match="sample1 has label 'furious'"):
        list_dataset("mer2023", tree("mer2023"), labels=table)


def group_of(name, clip):
    """Whom the clip shows."""
    if name == "crema_d":
        return clip.id[:4]
    return clip.id.split("-")[-1] if name == "ravdess" else clip.id.split("/")[0]


@pytest.mark.parametrize("name", ["crema_d", "ravdess", "enterface05"])
def test_no_person_is_in_two_parts(name, tree):
    made = list_dataset(name, tree(name))
    parts = defaultdict(set)
    for clip in made.clips:
        parts[group_of(name, clip)].add(clip.split)
    assert all(len(found) == 1 for found in parts.values())


@pytest.mark.parametrize("name", [name for name in TREES if name != "folder"])
def test_a_folder_without_the_dataset(name, tmp_path):
    (tmp_path / "thesis.txt").write_text("not a clip")
    with pytest.raises(UserError, match=r"holds no|no lists|no such|no train"):
        list_dataset(name, tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        list_dataset(name, tmp_path / "absent")


@pytest.mark.parametrize("name", ["dfew", "mafw"])
def test_the_config_names_the_folder_of_its_dataset(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.data.dir == f"data/{name}"


@pytest.mark.parametrize("name", ["afew", "caer", "crema_d", "enterface05", "ravdess"])
def test_every_dataset_names_files_of_unknown_ending(name, tree, tmp_path):
    shutil.copytree(tree(name), tmp_path / "in", copy_function=os.link)
    assert not any("endings" in note for note in list_dataset(name, tmp_path / "in").notes)
    (tmp_path / "in/odd.xyz").touch()
    assert any("such as odd.xyz" in note for note in list_dataset(name, tmp_path / "in").notes)


def test_listed_clips_may_be_there_in_another_case(tmp_path, seeds):
    rows = stand_ins.few(stand_ins.numbered(DFEW_FOLDS))
    stand_ins.dfew_official(tmp_path, rows)
    for number, _, _ in rows:
        seeds.video(tmp_path / f"clip/Original/{number}.MP4")
        seeds.sound(tmp_path / f"RAW_WAV/{number}.WAV")
    made = list_dataset("dfew", tmp_path)
    assert made.clips[0].source == "clip/Original/1.MP4"
    assert not any(clip.missing for clip in made.clips)


def test_listed_clips_that_fit_several_files_are_an_error(tree, tmp_path, seeds):
    table = tmp_path / "train-label.csv"
    table.write_text("name;discrete;valence\nSample1;Happy ;0\nsample2;SAD;0\n")
    for name in ("SAMPLE1.mp4", "sample1.avi", "sample2.MP4"):
        seeds.video(tmp_path / "train" / name)
    with pytest.raises(UserError, match=r"Sample1' fits 2 files, SAMPLE1.mp4, sample1.avi"):
        list_dataset("mer2023", tmp_path)
    (tmp_path / "train/sample1.avi").unlink()
    made = list_dataset("mer2023", tmp_path)
    assert [made.classes[clip.label] for clip in made.clips] == ["happy", "sad"]


@pytest.mark.parametrize("name", ["dfew", "mer2023", "ferv39k", "mafw"])
def test_lists_without_a_clip(name, tree, tmp_path):
    shutil.copytree(tree(name), tmp_path / "in", copy_function=shutil.copyfile)
    for path in (tmp_path / "in").rglob("*"):
        if path.suffix in (".csv", ".txt"):
            header = path.read_bytes().partition(b"\n")[0]
            path.write_bytes(header + b"\n" if b"label" in header or b"name" in header else b"")
    with pytest.raises(UserError, match=r"a header and no rows|name no clip"):
        list_dataset(name, tmp_path / "in")


# The command on all of them


def state(folder):
    """Names, sizes and times of all that a folder holds."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("name", TREES)
def test_the_command(name, tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", Here)
    out = tmp_path / "out"
    before = state(tree(name))
    main(
        [
            f"--dataset={name}",
            f"--source={tree(name)}",
            f"--out={out}",
            "--image_size=32",
            "--faces=none",
        ]
    )
    made = list_dataset(name, tree(name))
    info = DatasetInfo.load(out)
    assert info.classes == made.classes
    there = [clip for clip in made.clips if not clip.missing]
    assert info.splits == Counter(clip.split for clip in there)
    fold_splits(info, 1)  # training finds its splits
    records = RecordSource(out, list(info.splits))
    by_id = {clip.id: clip for clip in there}
    assert sorted(records.ids) == sorted(by_id)
    for record in (records[0], records[len(records) - 1]):
        assert record.label == by_id[record.id].label
        assert decode_jpeg(record.frames[0]).shape == (32, 32, 3)
        assert (record.spectrogram is None) == (name in ("ferv39k", "mafw_compound"))
    report = json.loads((out / "report.json").read_text())
    assert report["clips"]["usable"] == len(there)
    assert (out / "report.html").stat().st_size > 10_000
    assert f"written: {len(there)} of {len(made.clips)} clips" in capsys.readouterr().out
    assert state(tree(name)) == before  # a source may be read-only


def test_frames_of_the_size_asked_for_are_kept_byte_for_byte(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", Here)
    source = tmp_path / "DFEW"
    shutil.copytree(tree("dfew") / "EmoLabel_DataSplit", source / "EmoLabel_DataSplit")
    shutil.copytree(tree("dfew") / "Clip/clip_224x224", source / "Clip/clip_224x224")
    made = list_dataset("dfew", source)
    made = listing.Listing("dfew", made.classes, made.clips[:2])
    manifest = run.prepare_dataset(made, tmp_path / "out", settings(stand_ins.SIDE))
    records = RecordSource(tmp_path / "out", ["part1"])
    for record in records:
        paths = list_frames(source / "Clip/clip_224x224" / record.id)
        assert record.frames == [path.read_bytes() for path in paths]
    assert {entry["num_frames"] for entry in manifest} == {stand_ins.FRAMES}


def settings(size):
    from mmadfer_jax.clips.clip import PrepareSettings

    return PrepareSettings(image_size=size)

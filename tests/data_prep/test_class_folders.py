import os
from collections import Counter
from pathlib import Path

import pytest
from stand_ins import list_dataset
from video_files import corners, write_video

from data_prep import listing, sources
from data_prep.datasets import folder, media_tree
from mmadfer_jax.errors import UserError


def test_a_folder_a_class(tree):
    made = list_dataset("folder", tree("folder"), folds=2)
    assert made.classes == ("cries", "laughs")
    assert len(made.clips) == 11
    assert [clip.id for clip in made.clips if clip.is_frames] == ["laughs/clip 9"]
    assert all(made.classes[clip.label] == clip.id.split("/")[0] for clip in made.clips)
    assert set(made.splits) == {"part1", "part2"}


def test_a_folder_a_split_and_a_class(tree):
    made = list_dataset("folder", tree("caer"))
    assert {name: len(clips) for name, clips in made.splits.items()} == {
        "train": 7,
        "val": 7,
        "test": 7,
    }
    assert made.classes[0] == "Anger"
    with pytest.raises(UserError, match="--folds=3 has no use"):
        list_dataset("folder", tree("caer"), folds=3)


def test_what_systems_leave_between_clips_is_passed_over(tmp_path, seeds):
    for name in ("a/1.MP4", "b/2.Avi", "a/3.flv", "b/4.mkv"):
        seeds.video(tmp_path / name)
    seeds.folder(tmp_path / "b/5", "{:d}.JPG")
    for name in (
        "a/._1.MP4",
        "a/.DS_Store",
        "a/Thumbs.db",
        "b/5/._1.JPG",
        "b/5/Thumbs.db",
        "__MACOSX/a/._1.MP4",
        ".trash/a/9.mp4",
        "desktop.ini",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c").mkdir()
    made = folder.list_tree(tmp_path, folds=2)
    assert [clip.source for clip in made.clips] == [
        "a/1.MP4",
        "a/3.flv",
        "b/2.Avi",
        "b/4.mkv",
        "b/5",
    ]
    assert made.notes == ("folders without a clip: c",)


def test_links_are_followed_and_circles_are_not(tmp_path, seeds):
    seeds.video(tmp_path / "store/1.mp4")
    (tmp_path / "in/b").mkdir(parents=True)
    (tmp_path / "in/a").symlink_to(tmp_path / "store")
    (tmp_path / "in/b/2.mp4").symlink_to(tmp_path / "store/1.mp4")
    (tmp_path / "in/b/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/b/3.mp4").symlink_to(tmp_path / "gone.mp4")
    found = media_tree.find_media(tmp_path / "in").clips
    assert [item.name for item in found] == ["a/1", "b/2", "b/3"]
    made = folder.list_tree(tmp_path / "in", folds=2)
    reason = sources.inspect(made.clips[2])["reason"]
    assert reason.endswith("b/3.mp4: no such file")


@pytest.mark.parametrize(
    "ending",
    [
        "mpeg",
        "ts",
        "MTS",
        "m2ts",
        "gif",
        "ogv",
        "3gp",
        "wmv",
        "vob",
        "mxf",
        "asf",
        "divx",
        "f4v",
        "rmvb",
    ],
)
def test_endings_of_videos(tmp_path, ending):
    for name in ("a/1", "b/2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.{ending}").touch()
    made = folder.list_tree(tmp_path, folds=2)
    assert [clip.id for clip in made.clips] == ["a/1", "b/2"]
    assert made.notes == ()


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mpeg", "mpeg1video"), ("m2ts", "libx264"), ("wmv", "wmv2"), ("mxf", "mpeg2video")],
)
def test_such_videos_can_be_read(tmp_path, ending, codec):
    write_video(tmp_path / f"1.{ending}", corners(20, 96, 64), codec)
    (media,) = media_tree.find_media(tmp_path).videos
    entry = sources.inspect(media.clip(label=0, split="part1"))
    assert (entry["status"], entry["num_frames"]) == ("found", 20)


def test_files_of_unknown_ending_are_counted_and_named(tmp_path, seeds):
    for name in ("a/1.mp4", "b/2.mp4"):
        seeds.video(tmp_path / name)
    for name in ("a/3.xyz", "a/4.XYZ", "b/5", "b/clips.rar", "b/6.srt", "b/7.wav", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    made = folder.list_tree(tmp_path, folds=2)
    assert len(made.clips) == 2
    assert made.notes == (
        "files left out, their endings are not those of videos: .xyz (2), none (1), .rar (1), "
        "such as a/3.xyz, a/4.XYZ, b/5 and 1 more",
    )


def test_a_moving_picture_beside_frames_is_not_taken_for_the_clip(tmp_path, seeds):
    seeds.folder(tmp_path / "a/1")
    (tmp_path / "a/1/preview.gif").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/2.gif").touch()
    made = folder.list_tree(tmp_path, folds=2)
    assert [(clip.id, clip.is_frames) for clip in made.clips] == [("a/1", True), ("b/2", False)]
    assert "such as a/1/preview.gif" in made.notes[0]


def test_names_that_are_no_utf8(tmp_path, seeds):
    for name in (b"col\xe8re/caf\xe9.mp4", b"col\xe8re/\xff\xfe.avi", b"joie/1\n2.mp4"):
        seeds.video(tmp_path / os.fsdecode(name))
    seeds.folder(tmp_path / os.fsdecode(b"joie/d\xe9"))
    made = folder.list_tree(tmp_path, folds=2)
    assert made.classes == ("col%E8re", "joie")
    assert {clip.id for clip in made.clips} == {
        "col%E8re/caf%E9",
        "col%E8re/%FF%FE",
        "joie/1%0A2",
        "joie/d%E9",
    }
    assert all(clip.path.exists() for clip in made.clips)
    "".join(clip.id + clip.source for clip in made.clips).encode()


def test_folders_of_classes_that_look_alike(tmp_path, seeds):
    for name in ("Train/Happy/1", "Train/sad/2", "Test/happy/3", "Test/SAD /4"):
        seeds.video(tmp_path / f"{name}.mp4")
    made = folder.list_tree(tmp_path)
    assert made.classes == ("Happy", "SAD")
    assert {name: len(clips) for name, clips in made.splits.items()} == {"train": 2, "test": 2}
    assert "one class: 'Happy' (1 clips), 'happy' (1 clips)" in made.notes
    asked = folder.list_tree(tmp_path, classes=("sad", "happy"))
    assert asked.classes == ("sad", "happy")
    assert Counter(clip.label for clip in asked.clips) == {0: 2, 1: 2}
    with pytest.raises(UserError, match="look like one another: happy, Happy"):
        folder.list_tree(tmp_path, classes=("sad", "happy", "Happy"))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("Train/a/1", "Train/b/2", "dev/a/3", "TEST/b/4"), ["train", "train", "val", "test"]),
        (("Training/a/1", "Training/b/2", "Validation/a/3"), ["train", "train", "test"]),
        (("fold1/a/1", "fold1/b/2", "fold2/a/3"), ["part1", "part1", "part2"]),
        (("a/train/1", "a/test/2", "b/train/3"), ["train", "test", "train"]),
    ],
)
def test_folders_of_splits(tmp_path, seeds, names, splits):
    for name in names:
        seeds.video(tmp_path / f"{name}.mp4")
    made = folder.list_tree(tmp_path)
    assert made.classes == ("a", "b")
    assert listing.unfit(made) == []
    split_of = {clip.id: clip.split for clip in made.clips}
    assert [split_of[name] for name in names] == splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/a/1", "test/b/2", "extra/a/3"), "folders of splits, .* beside extra"),
        (("train/1", "test/2"), "folders of splits, test, train, with clips in no folder of a"),
        (("train/a/1", "test/2"), "folders of splits"),
    ],
)
def test_folders_of_splits_are_never_taken_for_classes(tmp_path, seeds, names, message):
    for name in names:
        seeds.video(tmp_path / f"{name}.mp4")
    with pytest.raises(UserError, match=message):
        folder.list_tree(tmp_path)


def test_numbers_as_folders_need_a_base(tmp_path, seeds):
    for name in ("1/a", "2/b"):
        seeds.video(tmp_path / f"{name}.mp4")
    with pytest.raises(UserError, match="--label_base=1 if 1 means sad"):
        list_dataset("folder", tmp_path, classes=("sad", "fear"))
    made = list_dataset("folder", tmp_path, classes=("sad", "fear"), label_base=1, folds=2)
    assert [clip.label for clip in made.clips] == [0, 1]


def test_folders_that_are_no_classes(tree, tmp_path, seeds):
    with pytest.raises(UserError, match=r"has folders laughs, no class of cries, sighs"):
        list_dataset("folder", tree("folder"), classes=("cries", "sighs"))
    with pytest.raises(UserError, match="found no clips"):
        folder.list_tree(tmp_path)
    seeds.video(tmp_path / "laughs/1.mp4")
    assert "only one class, 'laughs'" in listing.unfit(folder.list_tree(tmp_path))[0]
    seeds.video(tmp_path / "1.mp4")
    with pytest.raises(UserError, match="in no such folder: 1"):
        folder.list_tree(tmp_path)


def test_a_table_may_name_folders_of_frames(tmp_path, seeds):
    seeds.folder(tmp_path / "a/1")
    seeds.video(tmp_path / "a/2.mp4")
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\na/1,x\na/2,y\n")
    made = list_dataset("folder", tmp_path, labels=labels, folds=2)
    assert [clip.is_frames for clip in made.clips] == [True, False]
    assert not any(clip.missing for clip in made.clips)


def test_media_behind_a_url(seeds):
    import upath

    root = upath.UPath("memory://stand_in")
    for number in (1, 2):
        (root / f"laughs/{number}.mp4").write_bytes(Path(seeds.videos[0]).read_bytes())
    (root / "cries/3").mkdir(parents=True)
    for path in seeds.frames[0][:3]:
        (root / "cries/3" / path.name).write_bytes(path.read_bytes())
    found = media_tree.find_media(root).clips
    assert [item.name for item in found] == ["cries/3", "laughs/1", "laughs/2"]
    assert [item.is_frames for item in found] == [True, False, False]

import os
import random
import unicodedata
from collections import Counter

import pytest
from web import served

from data_prep import listing
from data_prep.datasets import lookup
from data_prep.datasets.folder import list_clips
from data_prep.listing import assign_folds
from mmadfer_jax import files
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.splits import fold_splits
from mmadfer_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Writes a labels file and empty videos; returns what `list_clips` makes of them."""
    source = tmp_path / "videos"
    source.mkdir()

    def make(table, files=(), **options):
        for name in files:
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        labels = tmp_path / "labels.csv"
        data = table if isinstance(table, bytes) else table.encode()
        labels.write_bytes(data)
        return list_clips(source, labels, **options)

    make.source = source
    return make


def test_paths_labels_and_splits(folder):
    made = folder(
        "path,label,split\nb/1.mp4,sad,train\na b.avi,happy,test\nлицо.mkv,sad,test\n",
        ["b/1.mp4", "a b.avi", "лицо.mkv"],
    )
    assert made.classes == ("happy", "sad")
    assert [clip.id for clip in made.clips] == ["b/1", "a b", "лицо"]
    assert [clip.label for clip in made.clips] == [1, 0, 1]
    assert [clip.source for clip in made.clips] == ["b/1.mp4", "a b.avi", "лицо.mkv"]
    assert all(clip.path.is_file() and clip.missing is None for clip in made.clips)
    assert {split: len(clips) for split, clips in made.splits.items()} == {"test": 2, "train": 1}
    listing.check(made)


def test_tables_from_spreadsheets(folder):
    made = folder(
        b'\xef\xbb\xbfPath, Label\r\n"one, two.mp4", happy\r\n\r\nsub\\2.mp4,sad\r\n',
        ["one, two.mp4", "sub/2.mp4"],
        folds=2,
    )
    assert [clip.id for clip in made.clips] == ["one, two", "sub/2"]
    assert all(clip.missing is None for clip in made.clips)


def test_paths_may_lack_the_extension(folder):
    made = folder(
        "path,label\n1,x\n2.5,y\nsub/3,x\n", ["1.MP4", "1.srt", "2.5.webm", "sub/3.flv"], folds=2
    )
    assert [clip.path.name for clip in made.clips] == ["1.MP4", "2.5.webm", "3.flv"]
    assert [clip.id for clip in made.clips] == ["1", "2.5", "sub/3"]
    with pytest.raises(UserError, match=r"'4' fits 2 files, 4\.avi, 4\.mp4"):
        folder("path,label\n4,x\n1,y\n", ["4.mp4", "4.avi"], folds=2)


def test_names_may_be_in_another_case(folder):
    made = folder(
        "path,label,audio\nUP.mp4,x,WAV/1.WAV\nsub/B,y,\nsub/é,x,\n",
        ["UP.MP4", "wav/1.wav", "Sub/b.AVI", f"Sub/{unicodedata.normalize('NFD', 'É')}.mp4"],
        folds=2,
    )
    assert [clip.id for clip in made.clips] == ["UP", "sub/B", "sub/é"]
    assert [clip.missing for clip in made.clips] == [None] * 3
    assert [clip.source for clip in made.clips[:2]] == ["UP.MP4", "Sub/b.AVI"]
    assert made.clips[0].audio_path.is_file()


def test_a_name_that_fits_several_files_in_other_cases_is_refused(folder):
    table = "path,label\nup.mp4,x\n1.mp4,y\n"
    with pytest.raises(UserError, match=r"line 2: 'up.mp4' fits 2 files, UP.MP4, Up.mp4"):
        folder(table, ["UP.MP4", "Up.mp4", "1.mp4"], folds=2)
    made = folder(table, ["up.mp4"], folds=2)  # as it is written
    assert made.clips[0].path.name == "up.mp4"
    with pytest.raises(UserError, match=r"'uP' fits 3 files"):
        folder(table.replace("up.mp4", "uP"), folds=2)


@pytest.mark.parametrize("other", ["1", "1.MP4", "sub/../1.mp4", "{source}/1.mp4", "./1.mp4"])
def test_one_file_in_two_spellings_is_refused(folder, other):
    other = other.format(source=folder.source)
    (folder.source / "sub").mkdir()
    with pytest.raises(UserError, match=r"line 2 and (.* )?in line 4"):
        folder(f"path,label\n1.mp4,x\n2.mp4,y\n{other},x\n", ["1.mp4", "2.mp4"], folds=2)


def test_absolute_paths(folder, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else/3.mp4").touch()
    made = folder(
        f"path,label\n{folder.source}/a/1.mp4,x\n{tmp_path}/else/3.MP4,y\n/home/nn/4.mp4,x\n",
        ["a/1.mp4"],
        folds=2,
    )
    assert [clip.id for clip in made.clips] == ["a/1", f"{tmp_path}/else/3", "/home/nn/4"]
    assert made.clips[0].source == "a/1.mp4"
    assert made.clips[1].path.is_file()
    assert made.clips[2].missing == "/home/nn/4.mp4: no such file"


def test_bytes_that_are_no_utf8_are_found_as_they_are_reported(folder):
    names = [os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"d\xfc/1.avi"), "2.mp4"]
    made = folder("path,label\ncaf%E9.mp4,x\nD%FC/1,y\n2,y\n", names, folds=2)
    assert [clip.missing for clip in made.clips] == [None] * 3
    assert [clip.source for clip in made.clips] == ["caf%E9.mp4", "d%FC/1.avi", "2.mp4"]
    assert [clip.path for clip in made.clips] == [folder.source / name for name in names]


def test_a_name_without_ending_is_the_video_and_not_a_folder_of_other_things(folder):
    made = folder("path,label\n1,x\n2,y\n", ["1.mp4", "1/notes.txt", "2.mpeg"], folds=2)
    assert [clip.path.name for clip in made.clips] == ["1.mp4", "2.mpeg"]


def test_accents_may_be_spelt_either_way(folder):
    composed, decomposed = (unicodedata.normalize(form, "é.mp4") for form in ("NFC", "NFD"))
    made = folder(f"path,label\n{composed},x\n1.mp4,y\n", [decomposed, "1.mp4"], folds=2)
    assert made.clips[0].missing is None


def test_classes_in_the_order_asked_for(folder):
    table = "path,label\n1.mp4,sad\n2.mp4,happy\n3.mp4,2\n4.mp4,0\n"
    made = folder(table, folds=2, classes=("neutral", "sad", "happy"))
    assert made.classes == ("neutral", "sad", "happy")
    assert [clip.label for clip in made.clips] == [1, 2, 2, 0]


def test_numbers_as_labels_sort_as_numbers(folder):
    table = "path,label\n" + "".join(f"{i}.mp4,{i}\n" for i in range(1, 12))
    made = folder(table, folds=2)
    assert made.classes == tuple(str(i) for i in range(1, 12))
    assert [clip.label for clip in made.clips] == list(range(11))


def test_sound_in_another_file(folder):
    made = folder(
        "path,label,audio\n1.mp4,x,wav/1.wav\n2.mp4,y,\n3.mp4,y,wav/3.wav\n",
        ["1.mp4", "2.mp4", "3.mp4", "wav/1.wav"],
        folds=2,
    )
    assert [clip.audio_path and clip.audio_path.name for clip in made.clips] == [
        "1.wav",
        None,
        None,
    ]
    assert "wav/3.wav" in made.clips[2].missing


def test_missing_videos_are_known_before_anything_starts(folder):
    made = folder("path,label,split\n1.mp4,x,a\n2.mp4,y,a\n", ["2.mp4"])
    assert "1.mp4" in made.clips[0].missing
    listing.check(made)
    with pytest.raises(UserError, match=r"none of the 2 clips .* 3\.mp4"):
        listing.check(folder("path,label\n3.mp4,x\n4.mp4,y\n", folds=2))
    made = folder("path,label,split\n2.mp4,x,train\n3.mp4,y,test\n")
    listing.check(made)
    (reason,) = listing.unfit(made)
    assert "split 'test' would be empty" in reason
    assert "3.mp4" in reason


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "header is ''"),
        ("name,label\n1.mp4,x\n", "header is 'name,label'"),
        ("path label\n1.mp4 x\n", "header is 'path label'"),
        ("path,label,label\n1.mp4,x,x\n", "header is"),
        ("path,label,emotion\n1.mp4,x,y\n", "header is"),
        ("path,label\n", "a header and no rows"),
        ("path,label\n1.mp4,x\n2.mp4\n", "line 3 has no label"),
        ("path,label\na,b.mp4,x\n", "line 2 has 3 fields"),
        ("path,label\n1.mp4,\n", "line 2 has no label"),
        ("path,label\n,x\n", "line 2 has no path"),
        ("path,label\n1.mp4,x\n2.mp4,y\n1.mp4,y\n", r"'1\.mp4' stands in line 2 and in line 4"),
        ("path,label,split\n1.mp4,x,a\n2.mp4,y,\n", "line 3 has no split"),
        ("path,label,split\n1.mp4,x,a\n2.mp4,y,half 1\n", "line 3 has split 'half 1'"),
        ("path,label,split\n1.mp4,x,a\n2.mp4,y,all\n", "line 3 has split 'all'"),
        (b"path,label\n\xff\xfe.mp4,x\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_bad_table_is_refused_by_line(folder, table, message):
    with pytest.raises(UserError, match=message):
        folder(table)


def test_labels_that_do_not_fit_the_classes(folder):
    classes = ("happy", "sad")
    with pytest.raises(UserError, match=r"line 3 has label 'fear', not one of the 2 classes happy"):
        folder("path,label\n1.mp4,sad\n2.mp4,fear\n", classes=classes)


def test_missing_folders_and_tables(folder, tmp_path):
    folder("path,label\n1.mp4,x\n2.mp4,y\n", folds=2)
    with pytest.raises(UserError, match=r"--source=.*absent: no such folder"):
        list_clips(tmp_path / "absent", tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"--labels=.*absent\.csv: no such file"):
        list_clips(folder.source, tmp_path / "absent.csv")
    with pytest.raises(UserError, match="directory"):
        list_clips(folder.source, folder.source)


def test_labels_and_groups_that_look_alike(folder):
    table = "path,label,group\n1.mp4,Happy,Ann\n2.mp4,happy ,ann \n3.mp4,sad,Ben\n"
    made = folder(table, folds=2)
    assert made.classes == ("Happy", "sad")
    assert [clip.label for clip in made.clips] == [0, 0, 1]
    assert made.clips[0].split == made.clips[1].split
    assert made.notes == ("one class: 'Happy' (1 clips), 'happy' (1 clips)",)


def test_numbers_as_labels_need_a_base_where_it_cannot_be_told(folder):
    table = "path,label\n" + "".join(f"{i}.mp4,{i}\n" for i in (1, 2, 3))
    classes = ("happy", "sad", "fear", "anger")
    with pytest.raises(UserError, match=r"labels\.csv: labels are numbers from 1 to 3.*4 classes"):
        folder(table, folds=2, classes=classes)
    for base, labels in ((1, [0, 1, 2]), (0, [1, 2, 3])):
        made = folder(table, folds=2, classes=classes, label_base=base)
        assert [clip.label for clip in made.clips] == labels
    with pytest.raises(UserError, match="--label_base=1 needs --classes"):
        folder(table, folds=2, label_base=1)


def test_splits_by_what_they_are_called(folder):
    files = ["1.mp4", "2.mp4", "3.mp4"]
    made = folder("path,label,split\n1.mp4,x,Train\n2.mp4,y,Dev\n3.mp4,x,TEST\n", files)
    assert [clip.split for clip in made.clips] == ["train", "val", "test"]
    assert listing.unfit(made) == []
    made = folder("path,label,split\n1.mp4,x,Training\n2.mp4,y,validation\n", files)
    assert [clip.split for clip in made.clips] == ["train", "test"]
    assert listing.unfit(made) == []
    assert any("the clips of val" in note for note in made.notes)
    made = folder("path,label,split\n1.mp4,x,1\n2.mp4,y,2.0\n3.mp4,y,fold 3\n", files)
    assert [clip.split for clip in made.clips] == ["part1", "part2", "part3"]
    assert listing.unfit(made) == []


@pytest.mark.parametrize(
    "splits", [("train", "train"), ("a", "b"), ("val", "test"), ("0", "1"), ("1", "3")]
)
def test_splits_that_training_would_refuse(folder, splits):
    rows = "".join(f"{i}.mp4,{'xy'[i]},{split}\n" for i, split in enumerate(splits))
    made = folder("path,label,split\n" + rows, ["0.mp4", "1.mp4"])
    (reason,) = listing.unfit(made)
    assert "expected train and test, or part1, part2 and so on" in reason
    with pytest.raises(UserError, match="expected train and test"):
        fold_splits(DatasetInfo("d", made.classes, dict.fromkeys(made.splits, 1), 32, {}), 1)


def test_what_a_part_of_a_dataset_lacks(folder):
    made = folder("path,label\n1.mp4,x\n2.mp4,x\n", ["1.mp4", "2.mp4"])
    listing.check(made)
    one, few = listing.unfit(made)
    assert "only one class, 'x'" in one
    assert "5 folds need at least 5 clips, or people to keep apart, found 2" in few
    table = "path,label,group\n1.mp4,x,a\n2.mp4,y,a\n3.mp4,y,b\n"
    made = folder(table, ["3.mp4"], folds=3)
    assert "3 folds need at least 3" in listing.unfit(made)[0]


def test_folds_and_a_split_column_do_not_go_together(folder):
    with pytest.raises(UserError, match="split column"):
        folder("path,label,split\n1.mp4,x,a\n2.mp4,y,a\n", folds=3)


def test_two_files_of_one_name(folder):
    made = folder("path,label,split\n1.mp4,x,a\n1.avi,y,a\n", ["1.mp4", "1.avi"])
    with pytest.raises(UserError, match="stand more than once: 1 "):
        listing.check(made)


def many(classes=7, clips=400, seed=0):
    rng = random.Random(seed)
    weights = [2 ** -(k / 2) for k in range(classes)]
    return {f"clip{i}": rng.choices(range(classes), weights)[0] for i in range(clips)}


def test_folds_have_equal_shares_of_every_class():
    labels = many()
    parts = assign_folds(labels, {}, 5)
    assert sorted(set(parts.values())) == [f"part{i}" for i in range(1, 6)]
    sizes = Counter(parts.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label in range(7):
        counts = Counter(parts[name] for name in labels if labels[name] == label)
        assert max(counts.values()) - min(counts.get(part, 0) for part in sizes) <= 1


def test_folds_do_not_depend_on_the_order_of_the_table():
    labels = many()
    names = list(labels)
    random.Random(1).shuffle(names)
    again = {name: labels[name] for name in names}
    assert assign_folds(labels, {}, 5) == assign_folds(again, {}, 5)


def test_a_group_stays_together():
    labels = many(clips=600)
    groups = {name: f"speaker{int(name[4:]) % 43}" for name in labels}
    parts = assign_folds(labels, groups, 5)
    assert all(
        len({parts[name] for name in labels if groups[name] == group}) == 1
        for group in set(groups.values())
    )
    sizes = Counter(parts.values())
    assert len(sizes) == 5
    assert max(sizes.values()) - min(sizes.values()) <= 20  # groups have 13 or 14 clips
    common = Counter(parts[name] for name in labels if labels[name] == 0)
    share = sum(common.values()) / 5
    assert all(0.75 * share < common[part] < 1.25 * share for part in sizes)


def test_a_web_server_need_not_list_its_folders(folder, monkeypatch):
    folder("path,label\n1.mp4,x\n2.mp4,y\n", ["1.mp4", "sub/2.mp4"], folds=2)
    table = folder.source.parent / "labels.csv"
    table.write_text("path,label\n1.mp4,x\nsub/2.mp4,y\nsub/3.mp4,y\n")
    with served(folder.source) as server:
        url = files.as_path(server.url)
        monkeypatch.setattr(lookup, "list_folder", lambda folder: [])
        made = list_clips(url, table, folds=2)
    assert [clip.missing is None for clip in made.clips] == [True, True, False]

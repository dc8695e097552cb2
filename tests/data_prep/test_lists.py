from collections import Counter

import pytest
import stand_ins
from stand_ins import DFEW_FOLDS, MAFW_FOLDS, list_dataset

from data_prep.datasets import dfew, lists, mafw, tables
from mmadfer_jax.errors import UserError

ANNOTATED = {"dfew": (dfew, DFEW_FOLDS), "mafw": (mafw, MAFW_FOLDS)}


@pytest.mark.parametrize("name", ANNOTATED)
def test_the_published_counts_add_up(name):
    module, folds = ANNOTATED[name]
    assert {f"part{k}": sum(counts) for k, counts in folds.items()} == module.KNOWN.splits
    assert tuple(map(sum, zip(*folds.values(), strict=True))) == module.KNOWN.classes
    assert sum(module.KNOWN.classes) == module.KNOWN.clips
    assert len(module.KNOWN.classes) == len(module.CLASSES)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("dfew", stand_ins.dfew_official),
        ("dfew", stand_ins.dfew_authors),
        ("mafw", stand_ins.mafw_official),
        ("mafw", stand_ins.mafw_authors),
    ],
)
def test_lists_of_full_size(name, write, tmp_path):
    module, folds = ANNOTATED[name]
    write(tmp_path, list(stand_ins.numbered(folds)))
    place = "clip_224x224" if name == "dfew" else "clips_faces"
    for number in (1, 5000):
        (tmp_path / place / f"{number:05d}").mkdir(parents=True)
    made = list_dataset(name, tmp_path)
    assert len(made.clips) == module.KNOWN.clips
    counts = Counter((clip.split, clip.label) for clip in made.clips)
    assert counts == {
        (f"part{fold}", label): count
        for fold, row in folds.items()
        for label, count in enumerate(row)
    }
    assert sum(clip.missing is None for clip in made.clips) == 2
    assert all(clip.is_frames for clip in made.clips)


def test_lines_of_the_published_lists(tmp_path):
    path = tmp_path / "DFEW_set_1_test.txt"
    path.write_text(
        "/scratch/someone/dfew/clip_224x224/00001 144 1\n"
        "/scratch/someone/dfew/clip_224x224/00002 70 2\n"
        "/scratch/someone/dfew/clip_224x224/04342 48 4\n"
    )
    assert dfew._read(path) == [("00001", 1, 144), ("00002", 2, 70), ("04342", 4, 48)]
    path = tmp_path / "MAFW_set_1_test_faces.txt"
    path.write_text(  # without a newline at the end, as published
        "/scratch/someone/mfaw/clips_faces/00025 46 3\n"
        "/scratch/someone/mfaw/clips_faces/03237 78 10"
    )
    # Its counts are one short of the folders.
    assert mafw._read(path) == [("00025", 3, 47), ("03237", 10, 79)]
    assert (mafw.CLASSES[3], mafw.CLASSES[10]) == ("anger", "disappointment")


@pytest.mark.parametrize("name", ["1", "00001", "00001.mp4"])
def test_dfew_names_with_and_without_zeros(tmp_path, name):
    path = tmp_path / "set_1.csv"
    path.write_text(f"video_name,label\n{name},7\n")
    assert dfew._read(path) == [("00001", dfew.CLASSES.index("fear"), None)]


@pytest.mark.parametrize("label", ["0", "8", "-", "happy"])
def test_dfew_official_labels_count_from_1(tmp_path, label):
    path = tmp_path / "set_1.csv"
    path.write_text(f"video_name,label\n1,{label}\n")
    with pytest.raises(UserError, match="expected 1 to 7"):
        dfew._read(path)


def test_authors_labels_count_from_0(tmp_path):
    path = tmp_path / "DFEW_set_1_test.txt"
    path.write_text("/x y/00001 144 7\n")
    with pytest.raises(UserError, match="label 7, expected 0 to 6"):
        dfew._read(path)
    path.write_text("/x y/00001 144\n")
    with pytest.raises(UserError, match="line 1 is '/x y/00001 144', expected `path frames label`"):
        dfew._read(path)


def test_captions_in_gbk_and_in_utf8_read_the_same(tmp_path):
    text = "00025.mp4\tanger\t一个女生含泪训斥。\tA girl shouts.\n00028.mp4\tfear\t他。\tHe.\n"
    path = tmp_path / "train.txt"
    for encoding in ("gbk", "utf-8", "utf-8-sig"):
        path.write_bytes(text.encode(encoding))
        assert mafw.read_names(path) == [("00025", "anger"), ("00028", "fear")]


def test_lines_end_at_newlines_alone(tmp_path):
    path = tmp_path / "train.txt"
    caption = "她\u2028\u0085\x0b\x1c说"  # each a line's end to Python
    path.write_bytes(f"1.mp4\tanger\t{caption}\r\n\r\n2.mp4\tfear".encode("gb18030"))
    assert mafw.read_names(path) == [("1", "anger"), ("2", "fear")]
    assert [number for number, _ in tables.read_lines(path)] == [1, 3]


ONE = lists.Entry("1", 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({("test", 2): [ONE]}, "'1' is tested twice, in fold 1 and in fold 2"),
        ({("test", 1): [ONE, ONE]}, "'1' is tested twice, in fold 1 and in fold 1"),
        ({("train", 1): [ONE]}, "fold 1 trains and tests on the same 1 clips: 1"),
        ({("train", 1): [lists.Entry("9", 0)]}, "fold 1 has 1 clips that no fold tests: 9"),
        ({("train", 1): [lists.Entry("2", 1)]}, "'2' has label 0 where it is tested and 1"),
    ],
)
def test_lists_that_contradict_themselves(wrong, message):
    good = {("test", 1): [ONE], ("test", 2): [lists.Entry("2", 0)]}
    assert [item.split for item in lists.five_folds(good)] == ["part1", "part2"]
    with pytest.raises(UserError, match=message):
        lists.five_folds({**good, **wrong})


def test_lists_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no lists of the five folds in .*--labels"):
        list_dataset("dfew", tmp_path)
    stand_ins.dfew_authors(tmp_path, stand_ins.few(stand_ins.numbered(DFEW_FOLDS)))
    with pytest.raises(
        UserError, match=r"holds none of the 35 clips; looked for Clip/clip_224x224"
    ):
        list_dataset("dfew", tmp_path)
    (tmp_path / "DFEW_set_3_test.txt").unlink()
    with pytest.raises(UserError, match=r"test lists are missing: .*DFEW_set_3_test\.txt"):
        list_dataset("dfew", tmp_path)

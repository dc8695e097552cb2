import unicodedata

import pytest

from data_prep.names import find_classes, find_splits, key
from mmadfer_jax.errors import UserError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Happy", "happy"),
        ("happy", " happy\u00a0"),
        ("happy", "hap\u200bpy"),
        ("happy", "\ufeffhappy"),
        ("happy", "\uff48\uff41\uff50\uff50\uff59"),  # full width
        ("very happy", "very \t happy"),
        (unicodedata.normalize("NFC", "colère"), unicodedata.normalize("NFD", "Colère")),
        ("straße", "STRASSE"),
        ("3", "03"),
        ("3", "3.0"),
        ("3", "３"),
    ],
)
def test_labels_that_look_alike_are_one_class(one, other):
    assert key(one) == key(other)
    classes = find_classes([one, other, one, "z"])
    assert classes.names == (one, "z")
    assert classes.indices == {one: 0, other: 0, "z": 1}


def test_it_is_said_which_spellings_are_one_class():
    classes = find_classes(["happy", "Happy", "happy", "sad"])
    assert classes.notes == ("one class: 'Happy' (1 clips), 'happy' (2 clips)",)
    assert find_classes(["happy", "sad"]).notes == ()


def test_what_differs_stays_apart():
    names = ["anger", "angry", "3.5", "3", "30", "worried", "幸せ", "辛い", "ё", "е"]
    assert len(find_classes(names).names) == len(names)


def test_classes_asked_for_keep_their_spelling():
    classes = find_classes(["sad ", "HAPPY", "fear"], ("Happy", "Sad"))
    assert classes.names == ("Happy", "Sad")
    assert classes.indices == {"sad ": 1, "HAPPY": 0}  # fear is none
    with pytest.raises(
        UserError, match="--classes has names that look like one another: Happy, happy"
    ):
        find_classes(["sad"], ("Happy", "Sad", "happy"))


SEVEN = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")


@pytest.mark.parametrize("most", [6, 7])
def test_numbers_that_may_count_from_1_are_refused_unless_that_is_said(most):
    labels = [str(n) for n in range(1, most + 1)]
    with pytest.raises(UserError, match=f"from 1 to {most}, and there are 7 .*=1 if 1 means happy"):
        find_classes(labels, SEVEN)
    assert find_classes(labels, SEVEN, base=1).indices["1"] == 0


def test_numbers_count_from_what_is_said():
    labels = [str(n) for n in range(1, 7)]
    assert find_classes(labels, SEVEN, base=0).indices["1"] == 1
    assert find_classes(["0", *labels], SEVEN).indices["6"] == 6
    assert find_classes(["1.0", "02"], SEVEN, base=1).indices == {"1.0": 0, "02": 1}
    assert find_classes(["2", "sad"], SEVEN, base=1).indices == {"2": 1, "sad": 1}
    assert find_classes(["1", "2"], ("2", "1")).indices == {"1": 1, "2": 0}  # names


@pytest.mark.parametrize(
    ("labels", "base", "message"),
    [
        (["0", "7"], None, "from 0 to 7, and there are 7 classes, which would be 0 to 6"),
        (["1", "8"], None, "from 1 to 8, and there are 7 classes"),
        (["1", "7"], 0, "which would be 0 to 6"),
        (["0", "6"], 1, "which would be 1 to 7"),
        (["sad"], 1, "--label_base=1 has no use"),
    ],
)
def test_numbers_that_fit_no_class(labels, base, message):
    with pytest.raises(UserError, match=message):
        find_classes(labels, SEVEN, base)


@pytest.mark.parametrize(
    ("called", "meant"),
    [
        (["Train", "Test"], ["train", "test"]),
        (["TRAINING", "testing "], ["train", "test"]),
        (["training set", "test_set", "validation-set"], ["train", "test", "val"]),
        (["train", "dev", "test"], ["train", "val", "test"]),
        (["Train", "Development"], ["train", "test"]),
        (["train", "validation"], ["train", "test"]),
        (["val", "test"], ["val", "test"]),
        (["Fold 1", "fold_02", "PART-3"], ["part1", "part2", "part3"]),
        (["train", "trained", "attest"], ["train", "trained", "attest"]),
    ],
)
def test_splits_mean_what_they_are_called(called, meant):
    splits = find_splits(called)
    assert [splits.names[name] for name in called] == meant
    assert bool(splits.notes) == (called != meant)


def test_it_is_said_that_validation_clips_are_tested_on():
    assert "the clips of val, for there is no test" in find_splits(["train", "val"]).notes[0]

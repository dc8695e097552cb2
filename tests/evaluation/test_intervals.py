"""The bootstrap and the paired test, against computations of another kind."""

import math

import numpy as np
import pytest
from scipy import stats

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.comparison import comparison_section, mcnemar
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.intervals import differences, intervals, resampled


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 200, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int32)
    right = rng.random((2, 200)) < np.array([[0.7], [0.6]])
    right[1, :100] = right[0, :100]  # two models are right and wrong together
    return labels, right


def test_the_spread_is_that_of_drawing_clips_one_by_one(clips):
    labels, right = clips
    rng = np.random.default_rng(1)
    uars, wars, changes = [], [], []
    for _ in range(2000):
        drawn = rng.integers(len(labels), size=len(labels))
        true, hits = labels[drawn], right[:, drawn]
        uar = np.mean([hits[:, true == k].mean(axis=1) for k in np.unique(true)], axis=0)
        uars.append(uar[0])
        wars.append(right[0, drawn].mean())
        changes.append(uar[0] - uar[1])
    found = intervals(labels, right[0])
    for name, values in (("uar", uars), ("war", wars)):
        np.testing.assert_allclose(found[name], np.percentile(values, [2.5, 97.5]), atol=0.012)
    change = differences(labels, *right)["uar"]
    np.testing.assert_allclose(change, np.percentile(changes, [2.5, 97.5]), atol=0.012)


def test_the_spread_of_the_accuracy_is_binomial(clips):
    labels, right = clips
    _, wars = resampled(labels, right)
    share = right.mean(axis=1)
    np.testing.assert_allclose(wars.mean(axis=1), share, atol=0.002)
    np.testing.assert_allclose(wars.std(axis=1), np.sqrt(share * (1 - share) / 200), rtol=0.03)
    # That of a difference knows that both models saw the same clips.
    discordant = (right[0] != right[1]).mean()
    variance = (discordant - (share[0] - share[1]) ** 2) / 200
    assert (wars[0] - wars[1]).std() == pytest.approx(math.sqrt(variance), rel=0.03)


def test_intervals_of_the_extremes():
    labels = np.array([0, 1, 1, 2])
    assert intervals(labels, np.full(4, True)) == {"uar": (1.0, 1.0), "war": (1.0, 1.0)}
    assert intervals(labels, np.full(4, False))["uar"] == (0.0, 0.0)
    one = intervals(np.array([3]), np.array([True]))
    assert one["uar"] == (1.0, 1.0)
    assert differences(labels, labels > 0, labels > 0)["uar"] == (0.0, 0.0)


def test_the_same_clips_give_the_same_interval(clips):
    labels, right = clips
    assert intervals(labels, right[0]) == intervals(labels, right[0])


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (5, 5), (9, 2), (1, 14), (60, 30)])
def test_mcnemar_is_the_sum_of_the_tails(ours, theirs):
    right = np.array([True] * ours + [False] * theirs + [True] * 7 + [False] * 3)
    other = np.array([False] * ours + [True] * theirs + [True] * 7 + [False] * 3)
    total = ours + theirs
    tail = sum(math.comb(total, k) for k in range(min(ours, theirs) + 1)) / 2**total
    assert mcnemar(right, other) == pytest.approx(min(1.0, 2 * tail))
    if total > 50:  # where the test of chi squared holds
        chi = (abs(ours - theirs) - 1) ** 2 / total
        assert mcnemar(right, other) == pytest.approx(stats.chi2.sf(chi, 1), rel=0.15)


def answers(labels, said, names="abc", first="clip") -> Answers:
    ids = [f"{first} {i}" for i in range(len(labels))]
    return Answers(ids, np.array(labels, np.int32), np.eye(len(names))[said])


def test_two_models_are_compared_clip_by_clip():
    ours = answers([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 2, 0])
    # The other one has its classes in another order, with another name, and more clips.
    theirs = answers([2, 2, 1, 1, 0, 0, 0], [2, 1, 1, 1, 1, 1, 0])
    section = comparison_section(
        ours, ("happy", "sad", "fear"), theirs, ("Afraid", "Sadness", "Joy"), "x"
    )
    found = section.results
    assert found["right"] == {"both": 2, "this_alone": 2, "other_alone": 1, "neither": 1}
    assert found["war"]["this"] == pytest.approx(4 / 6)
    assert found["war"]["other"] == pytest.approx(3 / 6)
    assert found["uar"]["this"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert found["uar"]["other"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["mcnemar_p"] == 1.0
    assert "| recall of fear  |      50.00 |      0.00 |     +50.00 |" in section.text


def test_models_that_saw_other_clips_or_labels_are_not_compared():
    ours, names = answers([0, 1], [0, 1]), ("happy", "sad", "fear")
    with pytest.raises(UserError, match="x has no answer to 2 of 2 clips, such as clip 0"):
        comparison_section(ours, names, answers([0, 1], [0, 1], first="film"), names, "x")
    with pytest.raises(UserError, match="the true class of clip 1 is sad here and fear in x"):
        comparison_section(ours, names, answers([0, 2], [0, 1]), names, "x")

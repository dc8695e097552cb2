import numpy as np
import pytest

from mmadfer_jax.clips import tracks


def box(x, y=50, side=40):
    return np.array([[x, y, x + side, y + side]], np.float32)


def test_the_largest_face_is_followed_past_a_smaller_one():
    # The small face of a bystander stands where the large one passes by.
    found = [np.concatenate([box(20 + 10 * i), box(100, 60, 20)]) for i in range(12)]
    found[3] = found[3][::-1]
    track = tracks.follow(found)
    np.testing.assert_allclose(track, np.concatenate([box(20 + 10 * i) for i in range(12)]))


@pytest.mark.parametrize("wrong", [box(300), box(75), box(50, side=70)])
def test_one_wrong_box_does_not_count(wrong):
    found = [box(50 + i) for i in range(9)]
    found[4] = wrong
    track = tracks.follow(found)
    known = ~np.isnan(track[:, 0])
    assert known.sum() >= 8
    expected = np.concatenate([box(50 + i) for i in range(9)])
    np.testing.assert_allclose(track[known], expected[known], atol=1)


def test_after_a_cut_the_face_is_found_again():
    found = [box(20)] * 9 + [box(180)] * 8
    track = tracks.follow(found)
    assert np.isnan(track[9:12]).all()  # 160 pixels away, 40 a picture
    np.testing.assert_allclose(track[13:, 0], 180)


def test_frames_without_a_face_are_left_out_of_the_track():
    none = np.zeros((0, 4), np.float32)
    track = tracks.follow([none, box(10), none, box(30), none])
    np.testing.assert_array_equal(np.isnan(track[:, 0]), [True, False, True, False, True])
    assert np.isnan(tracks.follow([none] * 3)).all()


def test_a_box_around_boxes():
    boxes = np.concatenate([box(10), box(60, y=20, side=10), box(30, y=70)])
    np.testing.assert_array_equal(tracks.around(boxes), [10, 20, 70, 110])
    assert np.isnan(tracks.around(np.zeros((0, 4), np.float32))).all()


def test_boxes_are_interpolated_between_the_frames_looked_at():
    walk = np.concatenate([box(10 + 3 * i) for i in range(25)])
    for step in (1, 2, 3, 4):
        boxes = tracks.every_frame(walk[::step], step)
        assert boxes.dtype == np.float32
        last = (len(walk) - 1) // step * step
        np.testing.assert_allclose(boxes[: last + 1], walk[: last + 1], atol=1e-4)
        assert (boxes[last:] == walk[last]).all()
        assert len(boxes) >= len(walk)


def test_beside_a_frame_without_a_face_the_nearer_one_counts():
    known, none = box(10)[0], np.full(4, np.nan)
    boxes = tracks.every_frame(np.stack([known, none, known]), 4)
    np.testing.assert_array_equal(
        np.isnan(boxes[:, 0]), [False, False, True, True, True, True] + [False] * 6
    )
    assert np.isnan(tracks.every_frame(np.stack([none, none]), 3)).all()

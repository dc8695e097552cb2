import numpy as np
import pytest

from mmadfer_jax.data import tracks


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
    boxes = tracks.every_frame(tracks.follow(found), 1, 9)
    np.testing.assert_allclose(boxes, np.concatenate([box(50 + i) for i in range(9)]), atol=1)


def test_after_a_cut_the_face_is_found_again():
    found = [box(20)] * 9 + [box(180)] * 8
    track = tracks.follow(found)
    assert np.isnan(track[9:12]).all()  # 160 pixels away, 40 a picture
    np.testing.assert_allclose(track[13:, 0], 180)


def test_frames_without_a_face_are_interpolated_and_held_at_the_ends():
    none = np.zeros((0, 4), np.float32)
    found = [none, box(10), none, box(30), none]
    track = tracks.follow(found)
    assert np.isnan(track[[0, 2, 4]]).all()
    boxes = tracks.every_frame(track, 2, 10)
    assert boxes.shape == (10, 4)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[:, 0], [10, 10, 10, 15, 20, 25, 30, 30, 30, 30])


def test_no_face_at_all():
    track = tracks.follow([np.zeros((0, 4))] * 3)
    assert np.isnan(track).all()
    assert tracks.every_frame(track, 1, 3).shape == (0, 4)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_straight_walk_is_the_same_whatever_the_step(step):
    walk = [box(10 + 3 * i) for i in range(21)]
    boxes = tracks.every_frame(tracks.follow(walk[::step]), step, 21)
    np.testing.assert_allclose(boxes, np.concatenate(walk), atol=1e-4)

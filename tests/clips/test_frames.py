from pathlib import Path

import cv2
import numpy as np
import pytest

from mmadfer_jax.clips import frames

T = 16


def test_test_indices_are_the_references():
    golden = np.load(Path(__file__).parent / "test_indices.npz")["test_indices"]
    assert golden.shape == (300, T)
    got = [frames.test_indices(n, T) for n in range(1, 301)]
    np.testing.assert_array_equal(got, golden)


def test_test_indices_of_other_lengths():
    np.testing.assert_array_equal(frames.test_indices(10, 4), [1, 3, 6, 8])
    np.testing.assert_array_equal(frames.test_indices(2, 4), [0, 1, 1, 1])


@pytest.mark.parametrize("n", [1, 5, 15, 16])
def test_short_clips_are_seen_in_training_as_in_testing(n):
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(frames.train_indices(n, T, rng), frames.test_indices(n, T))


@pytest.mark.parametrize("n", [17, 24, 31])
def test_below_two_segments_training_sees_the_first_frames(n):
    for seed in range(3):
        got = frames.train_indices(n, T, np.random.default_rng(seed))
        np.testing.assert_array_equal(got, np.arange(T))


@pytest.mark.parametrize("n", [32, 33, 47, 48, 300])
def test_training_draws_every_frame_of_its_segment_and_no_other(n):
    rng = np.random.default_rng(0)
    width = n // T
    draws = np.stack([frames.train_indices(n, T, rng) for _ in range(40 * width)])
    for segment in range(T):
        seen = set(draws[:, segment])
        assert seen == set(range(segment * width, (segment + 1) * width))
    # Segments are drawn independently: not all at the same offset.
    assert len({tuple(row) for row in draws % width}) > width


def test_training_draws_follow_the_generator():
    first, second = (frames.train_indices(200, T, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != frames.train_indices(200, T, np.random.default_rng(8))).any()


def test_a_shuffled_order_is_the_clips_at_test_time_and_drawn_anew_in_training():
    orders = np.array([frames.shuffled(4, f"clip {i}") for i in range(2400)])
    np.testing.assert_array_equal(orders[7], frames.shuffled(4, "clip 7"))
    rng = np.random.default_rng(0)
    drawn = np.array([frames.shuffled(4, "clip 7", rng) for _ in range(2400)])
    for found in (orders, drawn):
        every, counts = np.unique(found, axis=0, return_counts=True)
        assert len(every) == 24  # all orders there are, each as often as another
        assert np.abs(counts - 100).max() < 50
        assert (np.sort(every, axis=1) == np.arange(4)).all()


@pytest.mark.parametrize(
    "pick", [frames.test_indices, lambda n, t: frames.train_indices(n, t, None)]
)
@pytest.mark.parametrize(("n", "t"), [(0, 16), (-1, 16), (10, 0)])
def test_nothing_to_pick_is_refused(pick, n, t):
    with pytest.raises(ValueError, match="cannot pick"):
        pick(n, t)


def picture():
    y, x = np.mgrid[:64, :80]
    return np.stack([3 * x, 3 * y, 255 - 2 * (x + y) // 2], axis=-1).astype(np.uint8)


def test_jpeg_keeps_the_picture_and_the_order_of_its_channels():
    data = frames.encode_jpeg(picture(), 95)
    assert data[:2] == b"\xff\xd8"
    got = frames.decode_jpeg(data)
    assert got.dtype == np.uint8
    assert got.shape == (64, 80, 3)
    assert np.abs(got.astype(int) - picture()).mean() < 2
    red = frames.decode_jpeg(frames.encode_jpeg(np.full((16, 16, 3), (250, 0, 0), np.uint8), 95))
    assert red[..., 0].min() > 200
    assert red[..., 1:].max() < 50


def test_quality_counts():
    assert len(frames.encode_jpeg(picture(), 30)) < len(frames.encode_jpeg(picture(), 95))


def test_a_grey_jpeg_becomes_rgb():
    data = cv2.imencode(".jpg", picture()[..., 0])[1].tobytes()
    assert frames.decode_jpeg(data).shape == (64, 80, 3)


def test_a_picture_goes_where_it_is_wanted():
    data = frames.encode_jpeg(picture(), 95)
    batch = np.zeros((3, 64, 80, 3), np.uint8)
    frames.decode_jpeg(data, out=batch[1])
    np.testing.assert_array_equal(batch[1], frames.decode_jpeg(data))
    assert not batch[[0, 2]].any()
    assert frames.jpeg_shape(data) == (64, 80, 3)


def test_pictures_are_those_of_opencv():
    for quality in (30, 95):
        data = frames.encode_jpeg(picture(), quality)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(frames.decode_jpeg(data), expected)


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\xff\xd8\xff\xe0"])
def test_broken_bytes_are_refused(data):
    with pytest.raises(ValueError, match="no JPEG"):
        frames.decode_jpeg(data)
    with pytest.raises(ValueError, match="no JPEG"):
        frames.jpeg_shape(data)


def test_a_cut_off_picture_is_refused():
    data = frames.encode_jpeg(picture(), 95)
    with pytest.raises(ValueError, match=r"no JPEG picture.*Premature end"):
        frames.decode_jpeg(data[: len(data) // 2])


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))]
)
def test_only_rgb_bytes_are_encoded(wrong):
    with pytest.raises(ValueError, match="expected uint8"):
        frames.encode_jpeg(wrong, 95)


def test_text_order_is_that_of_sorted_file_names():
    names = [f"{i}.jpg" for i in range(123)]
    expected = [names.index(name) for name in sorted(names)]
    np.testing.assert_array_equal(frames.in_order(123, "text"), expected)
    np.testing.assert_array_equal(frames.in_order(123, "time"), np.arange(123))
    np.testing.assert_array_equal(frames.in_order(10, "text"), np.arange(10))

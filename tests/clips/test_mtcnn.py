"""Boxes and scores of facenet-pytorch 2.6.0, the detector of the reference, on a photo."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmadfer_jax.clips.mtcnn import MTCNN

PHOTO = cv2.cvtColor(cv2.imread(str(Path(__file__).parent / "astronaut.jpg")), cv2.COLOR_BGR2RGB)
BESIDE = [339.39880, 65.21342, 424.44339, 173.96307]  # in the mirrored photo, right of the photo
FOUND = [85.47665, 61.41267, 171.36311, 173.86078]  # in the photo
EXPECTED = {
    "photo": (PHOTO, [FOUND], [0.99964631]),
    "two": (np.hstack([PHOTO, PHOTO[:, ::-1]]), [BESIDE, FOUND], [0.99981695, 0.99964631]),
    "small": (PHOTO[::2, ::2], [[41.49318, 30.68446, 86.56511, 87.61420]], [0.99997830]),
    "in a corner": (
        np.pad(PHOTO[::3, ::3], ((0, 90), (0, 200), (0, 0))),
        [[29.14325, 21.28388, 57.50076, 57.81786]],
        [0.99984634],
    ),
    "cut": (PHOTO[80:, 100:], [[-61.75653, -57.42886, 65.49823, 93.69922]], [0.99999928]),
}


@pytest.fixture(scope="module")
def detector():
    return MTCNN()


@pytest.mark.parametrize("name", EXPECTED)
def test_faces_are_where_the_detector_of_the_reference_finds_them(name, detector):
    picture, boxes, scores = EXPECTED[name]
    found, found_scores = detector(picture)
    assert found.dtype == found_scores.dtype == np.float32
    np.testing.assert_allclose(found, boxes, atol=1e-3)
    np.testing.assert_allclose(found_scores, scores, atol=1e-5)


def test_a_larger_smallest_face_leaves_larger_faces_where_they_are(detector):
    picture = np.pad(EXPECTED["two"][0], ((0, 0), (0, 96), (0, 0)))
    picture[20:106, 512:598] = PHOTO[::3, ::3]  # a face of 28 x 37 pixels
    every, _ = detector(picture)
    assert len(every) == 3
    coarse, _ = MTCNN(min_face=43)(picture)
    np.testing.assert_array_equal(coarse[coarse[:, 0] < 512], every[every[:, 0] < 512])
    assert len(MTCNN(min_face=250)(picture)[0]) == 0


def test_a_large_picture_is_searched_shrunken_and_its_boxes_are_not():
    large = cv2.resize(PHOTO, (1024, 1024))
    found, _ = MTCNN(max_side=256)(large)
    np.testing.assert_allclose(found, 4 * np.array([FOUND]), atol=20)
    # A face of 340 pixels is above `min_face`, though it is not in the shrunken picture.
    same, _ = MTCNN(max_side=256, min_face=200)(large)
    np.testing.assert_array_equal(same, found)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (11, 300), (24, 24), (90, 160)])
def test_pictures_without_a_face(shape, detector):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for picture in (noise, np.zeros_like(noise)):
        boxes, scores = detector(picture)
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)
        assert boxes.dtype == scores.dtype == np.float32

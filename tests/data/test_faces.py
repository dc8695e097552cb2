"""astronaut.jpg is a part of NASA's portrait of Eileen Collins, in the public domain."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmadfer_jax.data import faces
from mmadfer_jax.errors import UserError

PHOTO = Path(__file__).parent / "astronaut.jpg"


@pytest.fixture(scope="module")
def photo():
    return cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)  # [256, 256, 3]


@pytest.fixture(scope="module")
def detector():
    return faces.MTCNN()


def overlap(first, second):
    """Intersection over union of two boxes."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = np.prod(np.maximum(sides, 0))
    areas = [np.prod(np.subtract(box[2:], box[:2])) for box in (first, second)]
    return shared / (sum(areas) - shared)


FACE = np.array([88, 63, 172, 174])  # in the photo, by eye


def test_mtcnn_finds_a_face(photo, detector):
    boxes, scores = detector(photo)
    assert boxes.shape == (1, 4)
    assert scores.shape == (1,)
    assert scores[0] > 0.95
    assert overlap(boxes[0], FACE) > 0.7


def test_a_large_picture_is_searched_shrunken_and_its_boxes_are_not(photo):
    large = cv2.resize(photo, (1024, 1024))
    boxes, _ = faces.MTCNN(max_side=256)(large)
    assert len(boxes) == 1
    assert overlap(boxes[0], 4 * FACE) > 0.7


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (11, 300), (24, 24), (90, 160)])
def test_pictures_without_a_face(shape, detector):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for picture in (noise, np.zeros_like(noise)):
        boxes, scores = detector(picture)
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)
        assert boxes.dtype == scores.dtype == np.float32


@pytest.mark.parametrize("error", [ValueError("shapes"), IndexError(), cv2.error("resize")])
def test_a_candidate_outside_the_picture_is_no_face(photo, detector, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(detector._detector, "detect_faces", fail)
    assert detector(photo)[0].shape == (0, 4)


def test_boxes_without_area_are_dropped(photo, detector, monkeypatch):
    found = [{"box": [0, 5, -3, 8], "confidence": 0.9}, {"box": [2, 3, 4, 5], "confidence": 0.8}]
    monkeypatch.setattr(detector._detector, "detect_faces", lambda _: found)
    boxes, scores = detector(photo)
    np.testing.assert_array_equal(boxes, [[2, 3, 6, 8]])
    np.testing.assert_array_equal(scores, np.float32([0.8]))


def test_the_box_is_the_square_about_the_union():
    boxes = np.array([[100, 50, 140, 90], [110, 60, 160, 110]], np.float32)
    assert faces.face_box(boxes, 480, 640) == (100, 50, 160, 110)
    wide = np.array([[100, 200, 200, 240]], np.float32)
    assert faces.face_box(wide, 480, 640) == (100, 170, 200, 270)
    assert faces.face_box(wide, 480, 640, margin=0.1) == (90, 160, 210, 280)


def test_the_order_of_the_boxes_does_not_matter():
    boxes = np.random.default_rng(0).uniform(50, 200, (9, 2))
    boxes = np.concatenate([boxes, boxes + 30], axis=1)
    assert faces.face_box(boxes, 480, 640) == faces.face_box(boxes[::-1], 480, 640)


def test_the_box_is_clipped_to_the_picture():
    near_edge = np.array([[-10, 10, 60, 120]], np.float32)
    assert faces.face_box(near_edge, 100, 90) == (0, 10, 80, 100)
    outside = np.array([[300, 300, 310, 310]], np.float32)
    left, top, right, bottom = faces.face_box(outside, 100, 90)
    assert 0 <= left < right <= 90
    assert 0 <= top < bottom <= 100


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480)])
def test_without_a_face_it_is_the_centre_crop_of_half_the_shorter_side(height, width):
    left, top, right, bottom = faces.face_box(np.zeros((0, 4)), height, width)
    assert right - left == bottom - top == 240
    assert (left + right, top + bottom) == (width, height)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 3)])
def test_the_smallest_pictures_have_a_box(height, width):
    box = faces.face_box(np.zeros((0, 4)), height, width)
    picture = np.full((height, width, 3), 7, np.uint8)
    assert (faces.crop(picture, box, 16) == 7).all()


@pytest.mark.parametrize("size", [32, 112, 224, 320])
def test_the_crop_is_what_the_box_holds(photo, size):
    part = faces.crop(photo, (40, 30, 200, 190), size)
    assert part.shape == (size, size, 3)
    assert part.dtype == np.uint8
    expected = cv2.resize(photo[30:190, 40:200], (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(part.astype(int) - expected).mean() < 4


def test_a_box_that_fits_is_cut_without_resampling(photo):
    np.testing.assert_array_equal(faces.crop(photo, (10, 20, 74, 84), 64), photo[20:84, 10:74])


def test_worker_modules_start_light():
    modules = "mmadfer_jax.data.clip, data_prep.worker"
    heavy = "{'jax', 'tensorflow_datasets', 'tensorflow', 'librosa', 'grain'} & set(sys.modules)"
    code = f"import sys, {modules}; sys.exit(', '.join({heavy}))"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


class FakeYuNet:
    """What `cv2.FaceDetectorYN.create` gives, with one face in the middle of any picture."""

    def __init__(self, answer=True):
        self.answer = answer

    def setInputSize(self, size):  # noqa: N802, OpenCV's name
        self.size = size

    def detect(self, bgr):
        assert bgr.shape[1::-1] == self.size
        width, height = self.size
        assert tuple(bgr[0, 0]) == (30, 20, 10)  # blue first
        if not self.answer:
            return 0, None
        face = [width / 4, height / 4, width / 2, height / 2, *[1] * 10, 0.9]
        return 1, np.array([face, [5, 5, 0, 9, *[1] * 10, 0.8]], np.float32)


@pytest.mark.parametrize("answer", [True, False])
def test_yunet_answers_in_the_pixels_of_the_picture(tmp_path, monkeypatch, answer):
    model = tmp_path / "yunet.onnx"
    model.touch()
    fake = FakeYuNet(answer)
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: fake)
    boxes, scores = faces.YuNet(model, max_side=100)(np.full((200, 400, 3), (10, 20, 30), np.uint8))
    assert fake.size == (100, 50)
    np.testing.assert_allclose(boxes, [[100, 52, 300, 152]] if answer else np.zeros((0, 4)), atol=5)
    assert boxes.dtype == scores.dtype == np.float32
    assert len(scores) == len(boxes)


def test_yunet_needs_its_model_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.onnx: no such file"):
        faces.YuNet(tmp_path / "absent.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"not a model" * 9)
    with pytest.raises(UserError, match=r"wrong\.onnx: not an ONNX model of YuNet"):
        faces.YuNet(wrong)

"""astronaut.jpg is a part of NASA's portrait of Eileen Collins, in the public domain."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmadfer_jax.clips import faces
from mmadfer_jax.errors import UserError

PHOTO = Path(__file__).parent / "astronaut.jpg"
NOWHERE = np.full(4, np.nan, np.float32)


@pytest.fixture(scope="module")
def photo():
    return cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)  # [256, 256, 3]


@pytest.mark.parametrize(
    ("face", "margin", "expected"),
    [
        ((100, 50, 160, 110), 0, (100, 50, 160, 110)),
        ((100.4, 200.6, 200.3, 240), 0, (100, 171, 200, 270)),  # 39 high: a pixel short
        ((200, 100, 240, 200), 0, (170, 100, 270, 200)),
        ((200, 100, 240, 200), 0.1, (160, 90, 280, 210)),
        ((-10, 10, 60, 120), 0, (0, 10, 85, 120)),  # the edge counts before the square is made
        ((610, 10, 660, 60), 0, (610, 10, 640, 60)),
        ((0, 440, 200, 490), 0, (0, 365, 200, 480)),
    ],
)
def test_the_part_taken_for_a_face_is_that_of_the_reference(face, margin, expected):
    assert faces.face_box(np.float32(face), 480, 640, margin) == expected


def test_the_part_taken_lies_in_the_picture():
    left, top, right, bottom = faces.face_box(np.float32([300, 300, 310, 310]), 100, 90)
    assert 0 <= left < right <= 90
    assert 0 <= top < bottom <= 100


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (483, 641)])
def test_without_a_face_it_is_the_centre_crop_of_half_the_shorter_side(height, width):
    left, top, right, bottom = faces.face_box(NOWHERE, height, width)
    assert right - left == bottom - top == 240
    assert (left + right, top + bottom) == (width // 2 * 2, height // 2 * 2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 3)])
def test_the_smallest_pictures_have_a_box(height, width):
    box = faces.face_box(NOWHERE, height, width)
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
    modules = "mmadfer_jax.clips.clip, data_prep.worker"
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

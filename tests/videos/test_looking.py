"""astronaut.jpg is a part of NASA's portrait of Eileen Collins, in the public domain."""

import threading
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from mmadfer_jax.clips.faces import Found
from mmadfer_jax.clips.mtcnn import MTCNN
from mmadfer_jax.errors import UserError
from mmadfer_jax.videos.identity import SAME, Known, Recogniser, packaged, recogniser
from mmadfer_jax.videos.looking import look, looked_at, turned_away
from mmadfer_jax.videos.quality import LEAST_BLUR, TURNED
from mmadfer_jax.videos.reading import Picture

FILE = Path(__file__).parent.parent / "clips" / "astronaut.jpg"
PHOTO = cv2.cvtColor(cv2.imread(str(FILE)), cv2.COLOR_BGR2RGB)  # [256, 256, 3]

# A mean face in units of half the distance of the eyes: x to the right, y down, z to the camera.
HEAD = np.array([(-1, 0, 0), (1, 0, 0), (0, 1, 0.85), (-0.75, 2, 0.3), (0.75, 2, 0.3)])


def _seen(yaw: float, roll: float = 0.0) -> np.ndarray:
    """Landmarks [1, 5, 2] of a head that is turned and tilted, by degrees."""
    a, b = np.radians((yaw, roll))
    x = HEAD[:, 0] * np.cos(a) + HEAD[:, 2] * np.sin(a)
    turned = np.stack([x, HEAD[:, 1]], axis=1)
    tilt = np.array([[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]])
    return (40 * turned @ tilt.T + 100)[None]


def test_how_far_a_face_is_turned_follows_its_angle():
    angles = np.arange(0, 50, 5)
    found = np.array([turned_away(_seen(angle))[0] for angle in angles])
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(found)[:-1] > 0).all()
    assert found[angles == 15] < TURNED < found[angles == 35]
    np.testing.assert_allclose(found, [turned_away(_seen(-angle))[0] for angle in angles])
    tilted = [turned_away(_seen(angle, 30))[0] for angle in angles]
    np.testing.assert_allclose(found, tilted, atol=1e-6)
    assert turned_away(_seen(60))[0] == 1
    assert turned_away(np.zeros((0, 5, 2))).shape == (0,)
    assert np.isnan(turned_away(np.full((1, 5, 2), np.nan))).all()


def test_a_photo_is_found_sharp_and_frontal_and_less_so_blurred():
    found = look(MTCNN(), PHOTO)
    assert found.boxes.shape == (1, 4)
    assert found.landmarks.shape == (1, 5, 2)
    assert found.blur[0] > 3 * LEAST_BLUR  # measured: 586
    assert found.turned[0] < TURNED
    (left, top), (right, bottom) = found.boxes[0].reshape(2, 2)
    assert ((found.landmarks[0] > (left, top)) & (found.landmarks[0] < (right, bottom))).all()
    blurred = look(MTCNN(), cv2.GaussianBlur(PHOTO, (0, 0), 3))
    assert blurred.blur[0] < LEAST_BLUR  # measured: 6


class Detector:
    """Finds a face where the first pixel says, and notes who asked."""

    made: ClassVar[list[int]] = []

    def __init__(self):
        self.made.append(threading.get_ident())

    def find(self, rgb: np.ndarray) -> Found:
        assert threading.get_ident() in self.made
        x = float(rgb[0, 0, 0])
        box = np.array([[x, 0, x + 20, 20]], np.float32)
        return Found(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))


@pytest.mark.parametrize("every", [1, 3, 7])
def test_pictures_come_in_order_with_looks_at_every_so_manyth_of_a_scene(every, monkeypatch):
    monkeypatch.setattr(Detector, "made", [])
    cuts = {0, 10, 12}
    shown = (
        Picture(n, n / 25, np.full((30, 60, 3), n, np.uint8), n in cuts and n > 0)
        for n in range(30)
    )
    found = list(looked_at(shown, Detector, every))
    assert [picture.number for picture, _ in found] == list(range(30))
    expected = [start for start in range(0, 10, every)] + list(range(10, 12, every))
    expected += list(range(12, 30, every))
    assert [p.number for p, seen in found if seen is not None] == expected
    assert all(seen.boxes[0, 0] == p.number for p, seen in found if seen is not None)
    assert len(set(Detector.made)) == len(Detector.made)


def test_what_goes_wrong_in_a_thread_comes_out():
    class Broken(Detector):
        made: ClassVar[list[int]] = []

        def find(self, rgb):
            raise UserError("broken")

    shown = (Picture(n, n / 25, np.zeros((30, 60, 3), np.uint8), False) for n in range(9))
    with pytest.raises(UserError, match="broken"):
        list(looked_at(shown, Broken, 2))


@pytest.fixture(scope="module")
def recognise() -> Recogniser:
    return recogniser(None)


def _embedding(recognise, rgb: np.ndarray) -> np.ndarray:
    return recognise(rgb, MTCNN().find(rgb).landmarks[0])


def test_a_face_is_known_again_smaller_tilted_and_darker(recognise):
    photo = _embedding(recognise, PHOTO)
    assert np.linalg.norm(photo) == pytest.approx(1, abs=1e-5)
    turn = cv2.getRotationMatrix2D((128, 100), 20, 1)
    for other in (
        cv2.resize(PHOTO, (128, 128), interpolation=cv2.INTER_AREA),
        cv2.warpAffine(PHOTO, turn, (256, 256)),
        (PHOTO * 0.6).astype(np.uint8),
        np.ascontiguousarray(PHOTO[:, ::-1]),
    ):
        assert photo @ _embedding(recognise, other) > SAME + 0.4  # measured: 0.97 and more


def test_another_face_is_not_taken_for_it(recognise):
    from data_prep.synthetic.render import render_frames
    from data_prep.synthetic.sample import sample_clip

    drawn = cv2.resize(next(iter(render_frames(sample_clip(0, 3).picture))), (256, 256))
    assert _embedding(recognise, PHOTO) @ _embedding(recognise, drawn) < SAME - 0.1
    assert recognise(PHOTO, np.full((5, 2), np.nan)) is None


def test_people_seen_side_by_side_are_not_the_same():
    """Faces that look all alike to the network: more must be alike than that."""
    known = Known()
    a, b = np.array([1.0, 0.0]), np.array([0.9, np.sqrt(1 - 0.81)])
    known.learn(1, a, ())
    assert known.who(b, {1}) == 1
    known.learn(2, b, {1})
    assert known.who(np.array([0.9, -np.sqrt(1 - 0.81)]), {1, 2}) is None
    assert known.who(a, {1}) == 1
    assert known.who(a, ()) is None


def test_the_network_may_be_left_out_or_named(tmp_path, monkeypatch):
    assert recogniser("none") is None
    assert recogniser(str(packaged())).sha256 == recogniser(None).sha256
    with pytest.raises(UserError, match=r"absent\.onnx: no such file; expected SFace"):
        recogniser(str(tmp_path / "absent.onnx"))
    (tmp_path / "wrong.onnx").write_bytes(b"not a model" * 9)
    with pytest.raises(UserError, match=r"wrong\.onnx: not SFace's ONNX file"):
        recogniser(str(tmp_path / "wrong.onnx"))

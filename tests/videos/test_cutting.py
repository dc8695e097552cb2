import numpy as np
import pytest

from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.videos import cutting
from mmadfer_jax.videos.cutting import HELD_SMALLER, FrameByFrame, WindowByWindow

SETTINGS = PrepareSettings(image_size=32, face="track", jpeg_quality=100)
# Brighter by 1 with four pixels to the right or down, and by 10 from frame to frame.
PLANE = np.add.outer(np.arange(240), np.arange(320)) / 4
PICTURES = {n: np.stack([PLANE + 10 * n] * 3, axis=2).astype(np.uint8) for n in range(5)}
BOXES = np.array([(100 + 10 * n, 60, 160 + 10 * n, 120) for n in range(5)], np.float32)
FOUND = np.array([True, False, True, False, True])
PICKED = np.array([0, 2, 2, 4])


def _clip(cutter) -> np.ndarray:
    pieces = cutter.cut(0, BOXES, PICTURES)
    return cutter.clip(pieces, BOXES, FOUND, PICKED).astype(int)


def test_each_frame_has_its_own_box_or_all_have_one():
    own, one = _clip(FrameByFrame(SETTINGS)), _clip(WindowByWindow(SETTINGS, (240, 320), 5))
    assert own.shape == one.shape == (4, 32, 32, 3)
    middles = own[:, 16, 16, 0] - own[0, 16, 16, 0]
    np.testing.assert_allclose(middles, (10 + 10 / 4) * PICKED, atol=2)
    middles = one[:, 16, 16, 0] - one[0, 16, 16, 0]
    np.testing.assert_allclose(middles, 10 * PICKED, atol=2)


def test_large_pictures_are_held_smaller_and_cut_at_the_same_places(monkeypatch):
    whole = WindowByWindow(SETTINGS, (240, 320), 5)
    assert whole.problems == []
    monkeypatch.setattr(cutting, "_HELD_BYTES", 5 * 240 * 320 * 3 / 4)
    small = WindowByWindow(SETTINGS, (240, 320), 5)
    assert small.problems == [f"{HELD_SMALLER}, 50% of their width, to save memory"]
    assert [piece.shape for piece in small.cut(0, BOXES, PICTURES)] == [(120, 160, 3)] * 5
    assert np.abs(_clip(whole) - _clip(small)).max() <= 4


@pytest.mark.parametrize(
    "cutter", [FrameByFrame(SETTINGS), WindowByWindow(SETTINGS, (240, 320), 5)]
)
def test_boxes_at_the_edge_are_cut_inside_the_picture(cutter):
    boxes = np.array([(-30, -30, 20, 20), (300, 220, 350, 270)], np.float32)
    pieces = cutter.cut(0, boxes, PICTURES)
    found = cutter.clip(pieces, boxes, np.array([True, True]), np.array([0, 1]))
    assert found.shape == (2, 32, 32, 3)

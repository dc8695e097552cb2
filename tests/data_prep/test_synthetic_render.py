"""The pictures and waves that synthetic parameters turn into."""

import dataclasses

import cv2
import numpy as np
import pytest

from data_prep.synthetic import render
from data_prep.synthetic.render import SIDE, render_frames
from data_prep.synthetic.sample import SAMPLE_RATE, Picture, sample_clip
from data_prep.synthetic.script import ACTIONS, CLASSES, TRACK
from data_prep.synthetic.sheet import contact_sheet
from data_prep.synthetic.voice import synthesise
from mmadfer_jax.clips.mtcnn import MTCNN
from mmadfer_jax.errors import UserError


def clip_of(name, seed):
    return sample_clip(CLASSES.index(name), seed)


def drawn_anew(picture):
    """The frames of a clip, none of them kept from an earlier clip of the person."""
    render._stage.cache_clear()
    return np.stack(list(render_frames(picture)))


def frames_of(name, seed):
    return drawn_anew(clip_of(name, seed).picture)


def still(looks_seed, **moves):
    """One frame of a person with the given muscles."""
    track = np.zeros((1, len(TRACK)), np.float32)
    for name, amount in moves.items():
        track[0, TRACK.index(name)] = amount
    looks = sample_clip(0, looks_seed).picture.looks
    return next(render_frames(Picture(looks, 16, track)))


@pytest.mark.parametrize("seed", [1, 2])
def test_frames_of_neutral_are_those_of_happy_backwards(seed):
    happy, neutral = frames_of("Happy", seed), frames_of("Neutral", seed)
    assert happy.shape == (len(happy), SIDE, SIDE, 3)
    assert happy.dtype == np.uint8
    np.testing.assert_array_equal(neutral, happy[::-1])
    waves = [synthesise(clip_of(name, seed).voice) for name in ("Happy", "Neutral")]
    np.testing.assert_array_equal(*waves)


def test_frames_of_surprise_and_fear_are_equal_and_their_waves_are_not():
    np.testing.assert_array_equal(frames_of("Surprise", 4), frames_of("Fear", 4))
    surprise, fear = (synthesise(clip_of(name, 4).voice) for name in ("Surprise", "Fear"))
    assert np.abs(surprise - fear).max() > 0.1


def test_waves_of_angry_and_disgust_are_equal_and_their_frames_are_not():
    waves = [synthesise(clip_of(name, 5).voice) for name in ("Angry", "Disgust")]
    np.testing.assert_array_equal(*waves)
    angry, disgust = frames_of("Angry", 5), frames_of("Disgust", 5)
    middle = len(angry) // 2
    assert np.abs(angry[middle].astype(int) - disgust[middle]).max() > 60


def test_rendering_again_gives_the_same_numbers():
    np.testing.assert_array_equal(frames_of("Sad", 6), frames_of("Sad", 6))
    wave = synthesise(clip_of("Fear", 6).voice)
    np.testing.assert_array_equal(wave, synthesise(clip_of("Fear", 6).voice))


def test_a_row_gives_the_same_frame_wherever_it_stands():
    """Nothing is carried from frame to frame, or pictures could not run backwards."""
    picture = clip_of("Happy", 8).picture
    picture = dataclasses.replace(picture, track=picture.track[[0, 8, 12]])
    frames = drawn_anew(picture)
    assert (frames[0] != frames[1]).any()
    for order in ([2, 0, 1], [1, 2, 0]):
        again = drawn_anew(dataclasses.replace(picture, track=picture.track[order]))
        np.testing.assert_array_equal(again, frames[order])


def test_clips_of_a_person_share_frames(monkeypatch):
    drawn = []
    draw = render._Stage._draw
    monkeypatch.setattr(
        render._Stage, "_draw", lambda self, moves: drawn.append(moves) or draw(self, moves)
    )
    render._stage.cache_clear()
    pictures = {name: clip_of(name, 7).picture for name in CLASSES}
    frames = {name: list(render_frames(picture)) for name, picture in pictures.items()}
    rows = np.concatenate([picture.track for picture in pictures.values()])
    assert len(drawn) == len(np.unique(rows, axis=0)) <= len(rows) * 5 / 7
    assert all(a is b for a, b in zip(frames["Surprise"], frames["Fear"], strict=True))
    with pytest.raises(ValueError, match="read-only"):
        frames["Sad"][0][:] = 0


def test_layers_are_put_wherever_they_may_show(monkeypatch):
    """Far poses of heads with and without hair, against layers put on the whole frame."""
    poses = [
        {"yaw": 3.0, "pitch": -2.0, "roll": 20.0, "jaw_drop": 1.0},
        {"shift_x": -90.0, "shift_y": 70.0, "roll": -40.0, "yaw": -1.0},
        {"shift_x": 400.0},
        {"shift_y": -60.0},  # what reaches the canvas's edge goes on below it
    ]
    stills = [(seed, pose) for seed in range(6) for pose in poses]
    placed = [still(seed, **pose) for seed, pose in stills]
    whole = slice(0, SIDE), slice(0, SIDE)
    monkeypatch.setattr(render, "_window", lambda box, pose, moves: whole)
    render._stage.cache_clear()
    for (seed, pose), frame in zip(stills, placed, strict=True):
        render._stage.cache_clear()
        np.testing.assert_array_equal(frame, still(seed, **pose))


@pytest.mark.parametrize("action", [*ACTIONS, "blink", "talk"])
def test_every_muscle_moves_the_face(action):
    rest, moved = still(9), still(9, **{action: 1.0})
    change = np.abs(rest.astype(int) - moved).max(axis=2)
    # `teeth` shows only where the mouth is open.
    if action == "teeth":
        change = np.abs(
            still(9, corner_pull=1.0).astype(int) - still(9, corner_pull=1.0, teeth=1.0)
        ).max(axis=2)
    assert (change > 24).sum() > 12
    rows, columns = np.nonzero(change > 24)
    # Only the face, not hair's top, the room or the shoulders.
    assert rows.min() > 40
    assert rows.max() < 176
    assert columns.min() > 44
    assert columns.max() < 148


def test_eyes_mouth_and_brows_move_where_they_are():
    rest = still(10).astype(int)
    for action, low, high in (
        ("blink", 80, 108), ("jaw_drop", 118, 176), ("outer_brow_raise", 55, 90)
    ):  # fmt: skip
        change = np.abs(rest - still(10, **{action: 1.0})).sum(axis=(1, 2))
        rows = np.arange(SIDE)
        centre = (rows * change).sum() / change.sum()
        assert low < centre < high, action


def test_people_and_rooms_vary():
    stills = [still(seed) for seed in range(12)]
    corners = {tuple((s[4:20, 4:20].mean((0, 1)) / 8).astype(int)) for s in stills}
    skins = {tuple((s[104:112, 70:76].mean((0, 1)) / 8).astype(int)) for s in stills}
    assert len(corners) > 8
    assert len(skins) > 8


def test_a_face_detector_finds_one_face_at_the_apex():
    detector = MTCNN()
    for label in range(len(CLASSES)):
        picture = sample_clip(label, 50 + label).picture
        apex = picture.track[:, : len(ACTIONS)].sum(axis=1).argmax()
        frame = next(
            render_frames(Picture(picture.looks, picture.fps, picture.track[apex : apex + 1]))
        )
        boxes, _ = detector(frame)
        assert len(boxes) == 1, CLASSES[label]
        left, top, right, bottom = boxes[0]
        assert 60 < right - left < 115
        assert 80 < bottom - top < 150


@pytest.mark.parametrize("name", CLASSES)
def test_waves_are_sound(name):
    for seed in (1, 2, 3):
        voice = clip_of(name, seed).voice
        wave = synthesise(voice)
        assert wave.shape == (voice.samples,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert 0.03 < np.abs(wave).max() < 1.0
        # Quiet before and after speech.
        edge = int(0.03 * len(wave))
        assert np.abs(wave[:edge]).max() < 0.1 * np.abs(wave).max()


def test_the_pitch_is_the_one_asked_for():
    voice = clip_of("Happy", 1).voice
    wave = synthesise(voice)
    loud = np.argmax(voice.energy)
    start = int(loud / 200 * SAMPLE_RATE) - 400
    piece = wave[start : start + 800] * np.hanning(800)
    spectrum = np.abs(np.fft.rfft(piece, 2**15)) ** 2
    correlation = np.fft.irfft(spectrum)[:400]
    lags = np.arange(SAMPLE_RATE // 600, 400)
    period = lags[np.argmax(correlation[lags] / (1 - lags / 800))]
    assert SAMPLE_RATE / period == pytest.approx(voice.pitch[loud], rel=0.08)


def test_contact_sheet_is_a_picture(tmp_path):
    path = contact_sheet(tmp_path / "sheet.png", seed=3, columns=1)
    height, width, _ = cv2.imread(str(path)).shape
    assert width > 600
    assert height > 7 * 150
    with pytest.raises(UserError, match=r"\.jpg"):
        contact_sheet(tmp_path / "sheet.nothing", seed=3, columns=1)

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import RATE, break_packets, corners, tone, write_video

from mmadfer_jax.clips import audio, clip, frames, media, mtcnn, sound_track
from mmadfer_jax.clips.clip import PrepareSettings, prepare_clip
from mmadfer_jax.errors import UserError

PHOTO = cv2.cvtColor(cv2.imread(str(Path(__file__).parent / "astronaut.jpg")), cv2.COLOR_BGR2RGB)
TAKEN_WHOLE = PrepareSettings(image_size=32, faces="none")


class Boxes:
    """A detector that answers from a list and remembers what it was shown."""

    def __init__(self, *answers):
        self.answers, self.shown = answers, []

    def __call__(self, rgb):
        boxes = np.array(self.answers[len(self.shown) % len(self.answers)], np.float32)
        self.shown.append(rgb)
        return boxes.reshape(-1, 4), np.ones(len(boxes.reshape(-1, 4)), np.float32)


def walking_face(count):
    """The photo wanders to the right through a larger, empty picture."""
    for number in range(count):
        picture = np.full((300, 420, 3), 100, np.uint8)
        picture[20:276, 8 * number : 8 * number + 256] = PHOTO
        yield picture


def test_a_face_is_found_followed_and_cut_out(tmp_path):
    path = write_video(tmp_path / "walk.mp4", walking_face(20), sound=tone(20 / RATE, 16000))
    made = prepare_clip(path, PrepareSettings(image_size=112, detect_every=4))
    assert made.face_share == 1
    assert made.problems == []
    assert len(made.frames) == len(made.times) == 20
    assert {(f.shape, f.dtype) for f in made.frames} == {((112, 112, 3), np.dtype(np.uint8))}
    # The face walks 8 pixels a frame, in the frames between too; it is 86 wide and 112 high.
    boxes = np.array(made.boxes)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    walk = np.minimum(8 * np.arange(20), 128)  # after frame 16 no one looked
    np.testing.assert_allclose(centres[:, 0], walk + 128, atol=5)
    np.testing.assert_allclose(centres[:, 1], 20 + 118, atol=5)
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], 112, atol=8)
    whole = np.stack(made.frames[:17]).astype(int)
    assert np.abs(whole - whole[0]).mean() < 12  # the same picture in all of them


def test_what_a_clip_becomes(tmp_path):
    wave = tone(20 / RATE, 22050, channels=2)
    path = write_video(
        tmp_path / "clip.mkv", corners(20), sound=wave, sample_rate=22050, sound_codec="pcm_s16le"
    )
    made = prepare_clip(path, TAKEN_WHOLE)
    assert made.problems == []
    assert made.boxes == [(0, 0, 96, 64)] * 20
    assert made.sample_rate == 22050
    assert made.spectrogram.dtype == np.float32
    np.testing.assert_array_equal(made.spectrogram, audio.log_mel(wave / np.float32(32768), 22050))
    np.testing.assert_allclose(made.times, np.arange(20) / RATE, atol=2e-3)
    assert made.frames[0][4, 4].argmax() == 0  # red, left top
    assert made.frames[0][4, -4].argmax() == 1  # green, right top


def test_each_frame_has_the_box_around_its_own_faces(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(4))
    detector = Boxes([[10, 10, 20, 20]], [], [[30, 20, 50, 40], [60, 30, 70, 40]], [[0, 0, 30, 30]])
    made = prepare_clip(path, PrepareSettings(image_size=32), detector=detector)
    centre = (32, 16, 64, 48)
    assert made.boxes == [(10, 10, 20, 20), centre, (30, 10, 70, 50), (0, 0, 30, 30)]
    assert made.face_share == 0.75
    assert clip.NO_FACE not in made.problems
    assert clip.SEVERAL_FACES not in made.problems


def test_boxes_are_interpolated_between_the_frames_looked_at(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(8))
    detector = Boxes([[10, 10, 20, 20]], [[40, 10, 50, 20]], [])
    made = prepare_clip(path, PrepareSettings(image_size=32, detect_every=3), detector=detector)
    assert len(detector.shown) == 3  # frames 0, 3 and 6
    assert [box.left for box in made.boxes] == [10, 20, 30, 40, 40, 32, 32, 32]
    assert made.face_share == pytest.approx(2 / 3)


def test_a_track_leaves_out_who_else_is_there(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(9))
    face, other = [10, 10, 30, 30], [70, 40, 80, 50]
    answers = [[face, other]] * 4 + [[other]] + [[face, other]] * 3 + [[[14, 14, 34, 34], other]]
    track = PrepareSettings(image_size=32, face="track")
    made = prepare_clip(path, track, detector=Boxes(*answers))
    assert set(made.boxes) == {(10, 10, 34, 34)}  # one for the clip
    assert clip.OTHER_FACES in made.problems
    union = prepare_clip(path, PrepareSettings(image_size=32), detector=Boxes(*answers))
    assert union.boxes[0] == (10, 0, 80, 64)
    assert clip.SEVERAL_FACES in union.problems
    none = prepare_clip(path, track, detector=Boxes([]))
    assert set(none.boxes) == {(32, 16, 64, 48)}
    assert clip.NO_FACE in none.problems


@pytest.mark.parametrize("count", [33, 70, 129])
def test_very_long_clips_are_thinned_out_evenly(tmp_path, monkeypatch, count):
    monkeypatch.setattr(clip, "MAX_FRAMES", 32)
    path = write_video(tmp_path / "clip.mp4", corners(count))
    made = prepare_clip(path, TAKEN_WHOLE)
    step = {33: 2, 70: 4, 129: 8}[count]
    np.testing.assert_allclose(made.times, np.arange(0, count, step) / RATE, atol=2e-3)
    assert len(made.frames) == len(made.times) == len(made.boxes) <= 32
    assert made.decoded_frames == count
    assert clip.MANY_FRAMES in made.problems


def test_only_the_start_of_a_long_sound_is_held_and_the_log_mel_is_the_same(tmp_path):
    wave = tone(20, 16000) + np.int16(900)  # with a mean that matters
    wave[:, 200_000:] //= 2
    path = write_video(
        tmp_path / "clip.wav", [], sound=wave, sample_rate=16000, sound_codec="pcm_s16le"
    )
    start, (whole, rate) = media.read_sound_start(path, 6.0), media.read_sound(path)
    assert whole.shape == (1, 320_000)
    assert 96_000 <= start.wave.shape[1] < 110_000
    assert start.mean == whole.mean(dtype=np.float64)
    expected = audio.log_mel(whole, rate)
    np.testing.assert_array_equal(audio.log_mel(start.wave, rate, start.mean), expected)
    made, _, _ = clip.prepare_sound(path, PrepareSettings(sample_rate=8000))
    whole = audio.log_mel(audio.resample(whole, rate, 8000), 8000)
    np.testing.assert_allclose(made, whole, atol=2e-2)
    assert np.abs(made - whole).mean() < 1e-4


def test_no_face_is_reported_and_the_centre_taken(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(16))
    made = prepare_clip(path, PrepareSettings(image_size=32), detector=Boxes([]))
    assert made.problems == [clip.NO_FACE, clip.NO_SOUND]
    assert made.face_share == 0
    assert set(made.boxes) == {(32, 16, 64, 48)}
    assert len(made.frames) == 16


def test_several_faces_are_reported(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(4))
    two, one = [[0, 0, 9, 9], [20, 20, 29, 29]], [[0, 0, 9, 9]]
    for answers, expected in (((two, two, one), True), ((two, one, one), False)):
        made = prepare_clip(path, PrepareSettings(image_size=32), detector=Boxes(*answers))
        assert (clip.SEVERAL_FACES in made.problems) is expected


def test_a_clip_without_sound_has_no_log_mel(tmp_path):
    made = prepare_clip(write_video(tmp_path / "clip.mp4", corners(20)), TAKEN_WHOLE)
    assert made.spectrogram is None
    assert made.sample_rate == 0
    assert made.problems == [clip.NO_SOUND]


def test_short_clips_are_reported(tmp_path):
    path = write_video(
        tmp_path / "clip.mkv", corners(1), sound=tone(0.02, 16000), sound_codec="pcm_s16le"
    )
    made = prepare_clip(path, TAKEN_WHOLE)
    assert len(made.frames) == 1
    assert made.spectrogram is None
    assert made.problems == [clip.SHORT_SOUND]


@pytest.mark.parametrize("wanted", [1, 8, 16, 32])
def test_whether_frames_are_few_is_for_the_model_to_say(wanted):
    assert clip.few_frames(wanted, wanted) is None
    assert clip.few_frames(wanted + 1, wanted) is None
    said = clip.few_frames(wanted - 1, wanted)
    assert said == f"fewer than {wanted} frames ({wanted - 1}), the last one is repeated"


def test_sound_may_lie_in_another_file(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(16), sound=tone(0.6, 16000))
    wave = tone(0.5, 44100, hertz=2000)
    sound = write_video(
        tmp_path / "clip.wav", [], sound=wave, sample_rate=44100, sound_codec="pcm_s16le"
    )
    made = prepare_clip(path, TAKEN_WHOLE, audio_path=sound)
    assert made.sample_rate == 44100
    np.testing.assert_array_equal(made.spectrogram, audio.log_mel(wave / np.float32(32768), 44100))


def test_sound_is_resampled_on_request(tmp_path):
    path = write_video(
        tmp_path / "clip.mp4", corners(16), sound=tone(0.6, 44100), sample_rate=44100
    )
    native = prepare_clip(path, TAKEN_WHOLE)
    resampled = prepare_clip(path, PrepareSettings(image_size=32, faces="none", sample_rate=16000))
    assert (native.sample_rate, resampled.sample_rate) == (44100, 16000)
    assert native.spectrogram.shape[0] == pytest.approx(resampled.spectrogram.shape[0], abs=1)
    # A tone of 440 Hz lies in a higher band where the bands end at a lower Nyquist.
    band = [np.median(made.spectrogram.argmax(axis=1)) for made in (native, resampled)]
    assert band[1] > band[0] + 5


def test_frames_are_packed_as_they_come(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(16))
    packed = prepare_clip(path, TAKEN_WHOLE, pack=lambda rgb: frames.encode_jpeg(rgb, 95))
    plain = prepare_clip(path, TAKEN_WHOLE)
    assert all(isinstance(data, bytes) for data in packed.frames)
    for data, rgb in zip(packed.frames, plain.frames, strict=True):
        assert np.abs(frames.decode_jpeg(data).astype(int) - rgb).mean() < 6


def test_what_cannot_be_used_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    with pytest.raises(UserError, match=r"text\.mp4: not a video"):
        prepare_clip(text, TAKEN_WHOLE)
    song = write_video(tmp_path / "song.wav", [], sound=tone(0.5, 16000), sound_codec="pcm_s16le")
    with pytest.raises(UserError, match=r"song\.wav: holds no video"):
        prepare_clip(song, TAKEN_WHOLE)
    video = write_video(tmp_path / "clip.mp4", corners(4))
    with pytest.raises(UserError, match=r"absent\.wav: no such file"):
        prepare_clip(video, TAKEN_WHOLE, audio_path=tmp_path / "absent.wav")


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 100},
        {"image_size": 0},
        {"sample_rate": "fast"},
        {"sample_rate": 44},
        {"faces": "dlib"},
        {"face": "smallest"},
        {"face_model": "yunet.onnx"},
        {"detect_side": 8},
        {"detect_every": 0},
        {"min_face": 10},
        {"min_face": 40, "faces": "none"},
        {"jpeg_quality": 101},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} .*expected"):
        PrepareSettings(**wrong)


def test_the_detector_model_is_recorded_by_its_content(tmp_path):
    model, elsewhere = tmp_path / "yunet.onnx", tmp_path / "moved.onnx"
    with pytest.raises(UserError, match="expected YuNet's model file"):
        PrepareSettings(faces="yunet")
    settings = PrepareSettings(faces="yunet", face_model=str(model))
    with pytest.raises(UserError, match=r"yunet\.onnx: No such file"):
        settings.to_dict()
    model.write_bytes(b"one")
    recorded = settings.to_dict()
    assert str(tmp_path) not in str(recorded)
    with pytest.raises(UserError, match=r"YuNet's model file of SHA-256 7692c3.*--face_model"):
        PrepareSettings.from_dict(recorded)
    model.rename(elsewhere)
    found = PrepareSettings.from_dict(recorded, str(elsewhere))
    assert found == dataclasses.replace(settings, face_model=str(elsewhere))
    assert found.to_dict() == recorded
    model.write_bytes(b"another")
    with pytest.raises(UserError, match=r"yunet\.onnx is not the model file of the preparation"):
        PrepareSettings.from_dict(recorded, str(model))


def test_the_weights_of_mtcnn_are_recorded_by_their_content(monkeypatch):
    recorded = PrepareSettings().to_dict()
    digest = recorded["detector_sha256"]
    weights = [mtcnn._weights(name) for name in "pro"]
    assert digest == hashlib.sha256(b"".join(weights)).hexdigest()
    assert PrepareSettings.from_dict(recorded) == PrepareSettings()
    assert "detector_sha256" not in PrepareSettings(faces="none").to_dict()
    # Preparations of before they were recorded are good still.
    del recorded["detector_sha256"]
    assert PrepareSettings.from_dict(recorded) == PrepareSettings()
    recorded["detector_sha256"] = "0" * 64
    with pytest.raises(
        UserError, match=rf"^faces were .* of SHA-256 0{{64}}, .* {digest}; [^\n]*$"
    ):
        PrepareSettings.from_dict(recorded)


def test_problems_of_pictures_and_sound_are_those_of_the_clip(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(40), sound=np.zeros((1, 25600), np.int16))
    break_packets(path, "video", [9])
    made = prepare_clip(path, PrepareSettings(image_size=32), detector=Boxes([]))
    kinds = [problem.partition(": ")[0] for problem in made.problems]
    assert kinds == [clip.NO_FACE, sound_track.SILENT, media.BROKEN_PICTURES]
    assert len(made.frames) == 39


def test_settings_survive_being_recorded():
    settings = PrepareSettings(image_size=160, sample_rate=16000, detect_every=5)
    recorded = settings.to_dict()
    assert PrepareSettings.from_dict(recorded) == settings
    assert recorded["log_mel"]["bins"] == 128
    track = PrepareSettings(face="track")
    assert PrepareSettings.from_dict(track.to_dict()) == track
    with pytest.raises(UserError, match="lacks detect_every"):
        PrepareSettings.from_dict({k: v for k, v in recorded.items() if k != "detect_every"})
    with pytest.raises(UserError, match="log-mel"):
        PrepareSettings.from_dict({**recorded, "log_mel": {**recorded["log_mel"], "bins": 64}})

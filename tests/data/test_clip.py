from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import RATE, corners, tone, write_video

from mmadfer_jax.data import audio, clip, frames
from mmadfer_jax.data.clip import PrepareSettings, prepare_clip
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
    # The face walks 128 pixels in the frames that are looked at; it is 84 wide and 111 high.
    left, top, right, bottom = made.box
    assert left == pytest.approx(88, abs=15)
    assert right == pytest.approx(128 + 172, abs=15)
    assert right - left == pytest.approx(bottom - top, abs=1)
    assert (top + bottom) / 2 == pytest.approx(20 + 118, abs=12)


def test_what_a_clip_becomes(tmp_path):
    wave = tone(20 / RATE, 22050, channels=2)
    path = write_video(
        tmp_path / "clip.mkv", corners(20), sound=wave, sample_rate=22050, sound_codec="pcm_s16le"
    )
    made = prepare_clip(path, TAKEN_WHOLE)
    assert made.problems == []
    assert made.box == (0, 0, 96, 64)
    assert made.sample_rate == 22050
    assert made.spectrogram.dtype == np.float32
    np.testing.assert_array_equal(made.spectrogram, audio.log_mel(wave / np.float32(32768), 22050))
    np.testing.assert_allclose(made.times, np.arange(20) / RATE, atol=2e-3)
    assert made.frames[0][4, 4].argmax() == 0  # red, left top
    assert made.frames[0][4, -4].argmax() == 1  # green, right top


def test_the_box_is_the_union_over_all_frames_looked_at(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(7))
    detector = Boxes([[10, 10, 20, 20]], [], [[30, 20, 50, 40]], [[0, 0, 0.5, 0.5]])
    made = prepare_clip(path, PrepareSettings(image_size=32, detect_every=3), detector=detector)
    assert len(detector.shown) == 3  # frames 0, 3 and 6
    assert made.box == (10, 5, 50, 45)
    assert made.face_share == pytest.approx(2 / 3)
    assert clip.NO_FACE not in made.problems


def test_no_face_is_reported_and_the_centre_taken(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(16))
    made = prepare_clip(path, PrepareSettings(image_size=32), detector=Boxes([]))
    assert made.problems == [clip.NO_FACE, clip.NO_SOUND]
    assert made.face_share == 0
    assert made.box == (32, 16, 64, 48)
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
    assert made.problems == [clip.SHORT_SOUND, clip.FEW_FRAMES]


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
        {"detect_every": 0},
        {"jpeg_quality": 101},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} .*expected"):
        PrepareSettings(**wrong)


def test_settings_survive_being_recorded():
    settings = PrepareSettings(image_size=160, sample_rate=16000, detect_every=5)
    recorded = settings.to_dict()
    assert PrepareSettings.from_dict(recorded) == settings
    assert recorded["log_mel"]["bins"] == 128
    with pytest.raises(UserError, match="lacks detect_every"):
        PrepareSettings.from_dict({k: v for k, v in recorded.items() if k != "detect_every"})
    with pytest.raises(UserError, match="log-mel"):
        PrepareSettings.from_dict({**recorded, "log_mel": {**recorded["log_mel"], "bins": 64}})

"""Predictions of several clips at once, and of arrays."""

import dataclasses

import numpy as np
import pytest
from conftest import SMALL
from video_files import corners, tone, write_video
from watched import make_model, write_face

from mmadfer_jax.clips import media
from mmadfer_jax.clips.arrays import Wave
from mmadfer_jax.clips.clip import MANY_FRAMES, NO_FACE, NO_SOUND, SHORT_SOUND
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import init_params
from mmadfer_jax.trained import TrainedModel
from tests.sizes import changed


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A face, corners with sound in another file, a folder of crops, words, and nothing."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "corners.mp4", corners(30))
    write_video(folder / "sound.wav", [], sound=tone(2, 16000), sound_codec="pcm_s16le")
    (folder / "crops").mkdir()
    for number, rgb in enumerate(corners(9, 48, 48)):
        (folder / "crops" / f"{number}.jpg").write_bytes(encode_jpeg(rgb, 95))
    (folder / "words.mp4").write_text("not a video")
    return [write_face(folder), *(folder / n for n in ("corners.mp4", "crops", "words.mp4"))]


def test_several_clips_are_answered_for_as_one_by_one_and_a_bad_one_has_its_error(model, clips):
    sound = clips[0].parent / "sound.wav"
    audios = [None, sound, None, None]
    found = model.predict(clips, audios)
    for clip, audio, one in zip(clips[:3], audios, found, strict=False):
        alone = model.predict(clip, audio)
        assert one.clip == alone.clip == str(clip)
        assert one.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert (one.problems, one.num_frames) == (alone.problems, alone.num_frames)
    assert isinstance(found[3], UserError)
    assert "not a video" in str(found[3])
    with pytest.raises(UserError, match="not a video"):
        model.predict(clips[3])
    assert model.predict([]) == []
    with pytest.raises(UserError, match="4 clips with 1 sounds"):
        model.predict(clips, [None])


def test_a_batch_is_filled_up_and_its_answers_are_not(model, clips):
    three = model.predict([clips[0], clips[3], clips[2], clips[1]], batch=2)
    for one, clip in zip(three, [clips[0], None, clips[2], clips[1]], strict=True):
        if clip:
            expected = model.predict(clip).probabilities
            assert one.probabilities == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [("both", {NO_FACE, NO_SOUND}), ("image", {NO_FACE}), ("audio", {NO_SOUND})],
)
def test_a_model_of_one_modality_does_not_complain_about_the_other(clips, modalities, expected):
    sizes = changed(SMALL, modalities=modalities, fusion="both" if modalities == "both" else "none")
    card = dataclasses.replace(make_model().card, model=sizes)
    params = {path: np.asarray(x) for path, x in init_params(sizes, 0).items()}
    found = TrainedModel(card, params, path="small").predict(clips[1])
    assert {NO_FACE, NO_SOUND} & set(found.problems) == expected


def test_no_clip_at_once_is_refused(model, clips):
    with pytest.raises(UserError, match="batch is 0; expected 1 or more"):
        model.predict(clips, batch=0)


def test_arrays_are_answered_for_as_the_video_they_come_from(model, clips):
    video = clips[0]
    frames = np.stack([frame.rgb for frame in media.read_video(video)])
    wave, rate = media.read_sound(video)
    expected = model.predict(video)
    found = model.predict(frames, Wave(wave, rate))
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert found.clip == "75 pictures in memory"
    whole_numbers = Wave((wave * 32768).astype(np.int16), rate)
    assert model.predict(frames, whole_numbers) == found
    silent = model.predict(frames)
    assert NO_SOUND in silent.problems
    assert silent.sample_rate == 0
    assert silent.probabilities != found.probabilities
    assert model.predict([frames, video], [Wave(wave, rate), None])[0] == found


def test_long_and_faceless_arrays_are_taken_as_clips_are(model):
    frames = np.zeros((1100, 24, 32, 3), np.uint8)
    found = make_model(detect_every=200).predict(frames, Wave(np.zeros((1, 10)), 16000))
    assert found.num_frames == 550
    assert {MANY_FRAMES, NO_FACE, SHORT_SOUND} <= set(found.problems)


FRAMES = np.zeros((3, 24, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "sound", "message"),
    [
        (FRAMES[0], None, r"uint8 \[24, 32, 3\]; expected uint8 \[n, H, W, 3\]"),
        (FRAMES / 255, None, r"float64 \[3, 24, 32, 3\]; expected uint8"),
        (FRAMES[:0], None, "expected one at least"),
        (FRAMES, Wave(np.zeros(100), 16000), r"float64 \[100\]; expected float or int16 \[chann"),
        (FRAMES, Wave(np.full((1, 99), 3.0), 16000), r"outside of \[-1, 1\]"),
        (FRAMES, Wave(np.full((1, 99), np.nan), 16000), r"outside of \[-1, 1\]"),
        (FRAMES, Wave(np.zeros((1, 99)), 300), "300 Hz, expected at least 2000"),
        (FRAMES, "sound.wav", "the sound is str; expected a Wave beside arrays"),
    ],
)
def test_arrays_of_another_kind_are_refused(model, frames, sound, message):
    with pytest.raises(UserError, match=message):
        model.predict(frames, sound)

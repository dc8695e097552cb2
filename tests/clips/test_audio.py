"""The reference's own log-mels of two waves, computed by the authors' program.

golden_audio_16k.npz: a mono wave, its 198 real frames, and the value of a padded one as the model
sees it. golden_audio_44k1.npz: a stereo wave of which channel 1 is kept as its mean alone (nothing
else of it matters), and every fourth of its 298 frames.
"""

from pathlib import Path

import numpy as np
import pytest

from mmadfer_jax.clips import audio
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import AUDIOSET_MEAN, AUDIOSET_STD

HERE = Path(__file__).parent
READING = Reading(num_frames=16, length=512)


def golden_16k():
    golden = np.load(HERE / "golden_audio_16k.npz")
    return golden["wave"] / np.float32(32768), golden["fbank"], golden["padding"]


def golden_44k1():
    golden = np.load(HERE / "golden_audio_44k1.npz")
    channel = golden["channel0"]
    wave = np.stack([channel, np.full(len(channel), golden["channel1_mean"])]) / 32768
    return wave.astype(np.float32), golden["fbank"]


def test_log_mel_is_the_references_at_16_khz():
    wave, expected, _ = golden_16k()
    got = audio.log_mel(wave, 16000)
    assert got.dtype == np.float32
    assert got.shape == (198, 128)
    # Measured: at most 3.2e-4, 5e-6 in the mean; values run from -16 to 4.
    np.testing.assert_allclose(got, expected, atol=5e-4, rtol=0)
    assert np.abs(got - expected).mean() < 1e-5


def test_log_mel_is_the_references_for_stereo_at_44_khz():
    wave, expected = golden_44k1()
    got = audio.log_mel(wave, 44100)
    assert got.shape == (298, 128)
    # Measured: at most 3.7e-4, 4e-6 in the mean.
    np.testing.assert_allclose(got[::4], expected, atol=5e-4, rtol=0)
    assert np.abs(got[::4] - expected).mean() < 1e-5


def test_model_input_is_the_references():
    wave, expected, padding = golden_16k()
    got = READING.sound(audio.log_mel(wave, 16000))
    assert got.dtype == np.float32
    got = (got - np.float32(AUDIOSET_MEAN)) / np.float32(2 * AUDIOSET_STD)  # in the model
    assert got.shape == (512, 128)
    # Measured: 3.4e-5.
    np.testing.assert_allclose(got[:198], (expected + 4.2677393) / 9.1379948, atol=1e-4, rtol=0)
    assert (got[198:] == padding).all()


def test_no_sound_is_the_zeros_of_padding():
    silent = READING.sound(None)
    assert silent.shape == (512, 128)
    assert not silent.any()
    np.testing.assert_array_equal(READING.sound(np.zeros((0, 128), np.float32)), silent)


def test_model_input_cuts_what_is_too_long():
    mel = np.random.default_rng(0).normal(size=(90, 128)).astype(np.float32)
    np.testing.assert_array_equal(Reading(16, 64).sound(mel), READING.sound(mel)[:64])


def test_long_sound_is_cut_to_512_frames_yet_its_mean_is_that_of_all():
    wave = 0.1 * np.random.default_rng(0).normal(size=(1, 16000 * 8)).astype(np.float32)
    start = wave[:, : 511 * 160 + 400]
    mel = audio.log_mel(wave, 16000)
    assert mel.shape == (512, 128)
    # The mean only enters through rounding, DC being removed from each frame.
    np.testing.assert_allclose(mel, audio.log_mel(start, 16000), atol=1e-3)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_edges_are_snipped(samples, frames):
    wave = np.random.default_rng(0).normal(size=(1, samples)).astype(np.float32)
    assert audio.log_mel(wave, 16000).shape == (frames, 128)


def test_only_the_first_channel_counts():
    first, second = np.random.default_rng(0).normal(size=(2, 1, 4000)).astype(np.float32)
    second -= second.mean() - first.mean()
    both = audio.log_mel(np.concatenate([first, second]), 16000)
    np.testing.assert_allclose(both, audio.log_mel(first, 16000), atol=1e-3)


def test_silence_is_the_floor():
    mel = audio.log_mel(np.zeros((2, 4000), np.float32), 16000)
    np.testing.assert_allclose(mel, np.log(np.finfo(np.float32).eps), rtol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_a_tone_peaks_in_its_band(rate):
    hertz = 1000.0
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)[None].astype(np.float32)
    band = np.median(audio.log_mel(wave, rate).argmax(axis=1))
    edges = np.linspace(1127 * np.log1p(20 / 700), 1127 * np.log1p(rate / 2 / 700), 130)
    centre = 700 * np.expm1(edges[1:-1] / 1127)[int(band)]
    assert abs(centre - hertz) < 80  # two bands or a bin of the 8 kHz spectrum


def test_a_wave_without_a_channel_axis_or_a_rate_is_refused():
    with pytest.raises(ValueError, match="channels, samples"):
        audio.log_mel(np.zeros(4000, np.float32), 16000)
    with pytest.raises(UserError, match="100 Hz"):
        audio.log_mel(np.zeros((1, 4000), np.float32), 100)


def test_resampling_keeps_a_tone():
    times = np.arange(44100) / 44100
    wave = np.sin(2 * np.pi * 440 * times)[None].astype(np.float32)
    got = audio.resample(wave, 44100, 16000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert got.shape == (1, 16000)
    np.testing.assert_allclose(got[0, 500:-500], expected[500:-500], atol=1e-3)
    assert audio.resample(wave, 44100, 44100) is wave


def test_missing_sound_may_be_the_mean():
    reading = Reading(16, 64, missing_sound=AUDIOSET_MEAN)
    assert (reading.sound(None) == np.float32(AUDIOSET_MEAN)).all()
    sound = np.ones((3, 128), np.float32)
    np.testing.assert_array_equal(reading.sound(sound), Reading(16, 64).sound(sound))


def test_an_unknown_order_of_frames_is_refused():
    with pytest.raises(UserError, match="frame_order is 'random'; expected one of"):
        Reading(16, 64, frame_order="random")

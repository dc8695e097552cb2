"""What is done to a clip, each against what it says."""

import dataclasses
import functools
import pickle
import zlib

import numpy as np
import pytest

from mmadfer_jax.clips import audio
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.evaluation import alterations

READING = Reading(num_frames=6, length=512)
RATE = 16000


def wave_of(seconds: float = 3.0) -> np.ndarray:
    """A tone that comes and goes, and some hiss: float [1, samples]."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 440 * time) * (1 + np.sin(2 * np.pi * time))
    return (0.1 * tone + 0.001 * np.random.default_rng(0).standard_normal(len(time)))[None]


def clip_of(sound: np.ndarray | None, name: str = "one") -> tuple[dict, Record]:
    frames = np.random.default_rng(1).integers(0, 256, (6, 40, 40, 3), np.uint8)
    frames = frames // 2 + np.arange(6, dtype=np.uint8)[:, None, None, None] * 20
    record = Record(name, 0, [b""], sound, RATE if sound is not None else 0, 1, "")
    return {"frames": frames, "spectrogram": READING.sound(sound)}, record


@pytest.mark.parametrize("decibels", [20, 0])
def test_noise_in_the_log_mel_is_noise_in_the_wave_but_for_interference(decibels):
    wave = wave_of()
    clip, record = clip_of(audio.log_mel(wave, RATE))
    noisy = alterations.sound_noise(clip, record, 0, decibels=decibels)["spectrogram"]
    steps = len(record.spectrogram)
    np.testing.assert_array_equal(noisy[steps:], 0)
    # The same noise, really added to the wave.
    samples = int(np.ceil(audio.SECONDS * RATE))
    rng = np.random.default_rng(zlib.crc32(b"one"))
    noise = rng.standard_normal((1, samples), np.float32)
    level = np.sqrt((wave**2).mean() * 10 ** (-decibels / 10))
    true = audio.log_mel(wave + level * noise[:, : wave.shape[1]], RATE)
    difference = noisy[:steps] - true
    assert abs(difference.mean()) < 0.1  # measured: 0.05 and 0.03; the noise raises it by 4 and 8
    assert np.abs(difference).mean() < 0.25  # measured: 0.16 and 0.05


def test_noise_is_the_same_in_every_pass_and_another_for_each_clip():
    sound = audio.log_mel(wave_of(), RATE)
    for alter in (alterations.sound_noise, alterations.picture_noise):
        found = []
        for name in ("one", "one", "two"):
            clip = alter(*clip_of(sound, name), 0, decibels=10)
            found.append(np.concatenate([clip["spectrogram"].ravel(), clip["frames"].ravel()]))
        np.testing.assert_array_equal(found[0], found[1])
        assert (found[0] != found[2]).mean() > 0.1


def test_a_silent_clip_stays_silent():
    clip, record = clip_of(None)
    found = alterations.sound_noise(clip, record, 0, decibels=0)
    np.testing.assert_array_equal(found["spectrogram"], clip["spectrogram"])


def test_noise_in_the_picture_has_its_ratio():
    clip, record = clip_of(None)
    clip["frames"] = clip["frames"] // 4 + 96  # far from 0 and 255, so that nothing is cut
    noisy = alterations.picture_noise(clip, record, 0, decibels=6)["frames"]
    noise = noisy.astype(float) - clip["frames"]
    ratio = clip["frames"].var() / noise.var()
    assert 10 * np.log10(ratio) == pytest.approx(6, abs=0.1)


def test_what_is_taken_away_is_what_the_model_knows_as_missing():
    clip, record = clip_of(audio.log_mel(wave_of(), RATE))
    for missing in (0.0, -4.27):
        reading = dataclasses.replace(READING, missing_sound=missing)
        found = alterations.no_sound(clip, record, 0, reading=reading)
        np.testing.assert_array_equal(found["spectrogram"], np.float32(missing))
        assert found["frames"] is clip["frames"]
    assert (alterations.no_picture(clip, record, 0)["frames"] == 128).all()


def test_orders_of_frames():
    clip, record = clip_of(None)
    level = clip["frames"].mean(axis=(1, 2, 3))
    found = alterations.backwards(clip, record, 0)["frames"].mean(axis=(1, 2, 3))
    np.testing.assert_array_equal(found, level[::-1])
    found = alterations.shuffled(clip, record, 0)["frames"].mean(axis=(1, 2, 3))
    assert sorted(found) == sorted(level)
    assert list(found) != list(level)


@pytest.mark.parametrize(
    ("count", "kept"), [(6, [0, 1, 2, 3, 4, 5]), (3, [1, 1, 3, 3, 5, 5]), (1, [3] * 6)]
)
def test_fewer_frames_are_the_middle_ones(count, kept):
    clip, record = clip_of(None)
    found = alterations.fewer_frames(clip, record, 0, count=count)["frames"]
    np.testing.assert_array_equal(found, clip["frames"][kept])


def test_blur_and_size_take_the_fine_and_leave_the_coarse():
    clip, record = clip_of(None)
    blurred = alterations.blur(clip, record, 0, pixels=2, side=20)["frames"]  # 4 stored pixels
    again = alterations.blur(clip, record, 0, pixels=4, side=40)["frames"]
    np.testing.assert_array_equal(blurred, again)
    small = alterations.smaller(clip, record, 0, side=4)["frames"]
    for found in (blurred, small):
        assert found.shape == clip["frames"].shape
        assert found.dtype == np.uint8
        means = (x.astype(float).mean(axis=(1, 2, 3)) for x in (found, clip["frames"]))
        np.testing.assert_allclose(*means, atol=1.5)
        # The noise of neighbouring pixels is averaged away.
        assert found[0].std() < 0.25 * clip["frames"][0].std()
    same = alterations.smaller(clip, record, 0, side=40)["frames"]
    np.testing.assert_array_equal(same, clip["frames"])


def test_every_clip_gets_the_sound_of_another_and_each_sound_is_used(small_dataset):
    source = RecordSource(small_dataset, ["train"])
    mix = alterations.OtherSound.of(source, READING)
    places = np.arange(len(source))
    assert (mix.partners != places).all()
    np.testing.assert_array_equal(np.sort(mix.partners), places)
    clip, _ = clip_of(None)
    other = source[mix.partners[5]]
    found = mix(clip, source[5], 5)["spectrogram"]
    np.testing.assert_array_equal(found, READING.sound(other.spectrogram))


def test_alterations_go_to_workers(small_dataset):
    source = RecordSource(small_dataset, ["train"])
    for alter in (
        functools.partial(alterations.blur, pixels=1, side=32),
        alterations.OtherSound.of(source, READING),
    ):
        clip = pickle.loads(pickle.dumps(alter))(*clip_of(None), 3)
        for name, value in alter(*clip_of(None), 3).items():
            np.testing.assert_array_equal(clip[name], value)

"""speech.ogg was made by eSpeak NG, a speech synthesiser."""

import math
from pathlib import Path

import numpy as np
import pytest
from video_files import Track, corners, tone, write_tracks, write_video

from mmadfer_jax.clips import media
from mmadfer_jax.clips.audio import log_mel
from mmadfer_jax.clips.clip import PrepareSettings, prepare_sound
from mmadfer_jax.videos.sound import NOTHING, Heard, Sound

SPEECH = Path(__file__).parent / "speech.ogg"
RATE = 16000
SETTINGS = PrepareSettings(image_size=32)


def _wav(path: Path, wave: np.ndarray) -> Path:
    """int16 [channels, n] at 16 kHz."""
    return write_video(path, [], sound=wave, sound_codec="pcm_s16le")


def _heard(path: Path, *windows: tuple[float, float], settings=SETTINGS) -> list[Heard]:
    with Sound(path, settings) as sound:
        return [sound.window(*window) for window in windows]


@pytest.mark.parametrize("settings", [SETTINGS, PrepareSettings(image_size=32, sample_rate=8000)])
def test_a_window_of_all_of_it_is_what_a_clip_hears(tmp_path, settings):
    path = _wav(tmp_path / "a.wav", tone(7, RATE, channels=2) + 300)
    expected, _, _ = prepare_sound(path, settings)
    (heard,) = _heard(path, (0, 60), settings=settings)
    np.testing.assert_allclose(heard.spectrogram, expected, atol=2e-4)


def test_windows_are_parts_of_the_sound_whatever_was_asked_before(tmp_path):
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal((1, 5 * RATE)) * 3000).astype(np.int16)
    path = _wav(tmp_path / "a.wav", wave)
    windows = [(0, 2), (0.5, 2.5), (0.5, 2.0), (3.1, 4.1), (4.5, 6.5)]
    for (start, end), heard in zip(windows, _heard(path, *windows), strict=True):
        part = wave[:, round(start * RATE) : round(end * RATE)] / 32768
        np.testing.assert_allclose(heard.spectrogram, log_mel(part, RATE), atol=2e-4)
        power = 10 * math.log10(np.square(part).mean())
        assert heard.level == pytest.approx(power, abs=1e-4)


def test_where_there_is_no_sound_there_is_nothing(tmp_path):
    path = _wav(tmp_path / "a.wav", tone(1, RATE))
    inside, tiny, outside = _heard(path, (0, 2), (0.99, 2.99), (1.5, 3.5))
    assert inside.spectrogram is not None
    assert tiny.spectrogram is None  # 10 ms
    assert outside == NOTHING
    silent = _wav(tmp_path / "silent.wav", np.zeros((1, RATE), np.int16))
    (heard,) = _heard(silent, (0, 1))
    assert heard.level == -math.inf
    assert heard.speech == 0


def test_only_the_sound_of_a_window_is_held(tmp_path):
    path = _wav(tmp_path / "a.wav", tone(60, RATE))
    most = 0
    with Sound(path, SETTINGS) as sound:
        for start in np.arange(0, 58, 0.5):
            sound.window(start, start + 2)
            most = max(most, sum(piece.shape[1] for piece in sound._pieces))
        assert sound.rest() == pytest.approx(60)
    assert most < 3.5 * RATE


def test_sound_is_in_step_with_the_pictures(tmp_path):
    """It starts 0.4 s after the pictures, and silence stands before it."""
    path = tmp_path / "late.mkv"
    track = Track(tone(1.6, RATE), RATE, "pcm_s16le", start=0.4)
    write_tracks(path, corners(50), tracks=[track])
    before, after = _heard(path, (0, 0.35), (0.45, 0.95))
    assert before.level == -math.inf
    assert after.level > -20


def _samples(wave: np.ndarray) -> np.ndarray:
    return (np.clip(wave, -1, 1) * 32000).astype(np.int16)[None]


def _music(seconds: float) -> np.ndarray:
    """Chords of four tones with overtones, two in a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    step = np.floor(2 * t)
    wave = np.zeros(len(t))
    for hertz in (220, 277.2, 329.6, 440):
        pitch = hertz * 2 ** (step % 5 / 12)
        wave += sum(np.sin(2 * np.pi * k * pitch * t) / k for k in (1, 2, 3))
    return 0.05 * wave * np.exp(-3 * (2 * t - step))


def test_speech_is_told_from_noise_music_and_silence(tmp_path):
    words, rate = media.read_sound(SPEECH)
    (spoken,) = _heard(SPEECH, (0, 3.7))
    assert spoken.speech > 0.85  # measured: 0.94

    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(4 * RATE)
    others = {
        "noise": noise,
        "rustle": np.cumsum(rng.standard_normal(4 * RATE)) % 0.2,
        "music": _music(4),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE),
        "silence": np.zeros(4 * RATE),
    }
    for name, wave in others.items():
        (heard,) = _heard(_wav(tmp_path / f"{name}.wav", _samples(wave)), (0, 4))
        assert heard.speech < 0.1, name  # measured: at most 0.02

    in_noise = words + 0.02 * np.abs(words).max() * rng.standard_normal(words.shape)
    path = write_video(
        tmp_path / "both.wav", [], sound=_samples(in_noise[0]), sample_rate=rate,
        sound_codec="pcm_s16le",
    )  # fmt: skip
    (heard,) = _heard(path, (0, 3.7))
    assert heard.speech > 0.85

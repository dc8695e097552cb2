"""Sound -> log-mel spectrogram, as Kaldi computes filter banks, in NumPy float32."""

import functools

import numpy as np

from mmadfer_jax.errors import UserError

MEL_BINS = 128
MAX_FRAMES = 512

_WINDOW_SECONDS, _SHIFT_SECONDS = 0.025, 0.010
_LOW_HZ = 20.0
_PREEMPHASIS = 0.97
SECONDS = MAX_FRAMES * _SHIFT_SECONDS + _WINDOW_SECONDS  # of sound that are looked at, and a bit
_FLOOR = np.finfo(np.float32).eps
_LOWEST_RATE = 2000  # Hz; below it the window is too short for a filter bank to mean anything

SETTINGS = {
    "kind": "kaldi fbank",
    "bins": MEL_BINS,
    "max_frames": MAX_FRAMES,
    "window_seconds": _WINDOW_SECONDS,
    "shift_seconds": _SHIFT_SECONDS,
    "window": "hann",
    "low_hz": _LOW_HZ,
    "preemphasis": _PREEMPHASIS,
    "floor": float(_FLOOR),
}


def log_mel(wave: np.ndarray, sample_rate: int, mean: float | None = None) -> np.ndarray:
    """Log-mel energies of channel 0 at its own rate.

    The mean over all channels and samples is taken off first, as the reference does it. Then as
    `kaldi.fbank` with htk_compat, no energy, no dither and snipped edges: DC removed, pre-emphasis,
    symmetric Hann window, power spectrum of the next power of two, log.

    Args:
        wave: float [channels, samples] in [-1, 1].
        sample_rate: Hz.
        mean: Of the whole sound, where `wave` is only its start; None to take that of `wave`.

    Returns:
        float32 [n, 128], n <= 512 the frames there are; n is 0 for less than 25 ms of sound.

    Raises:
        UserError: The rate is below 2 kHz.
    """
    if wave.ndim != 2:
        raise ValueError(f"expected a wave [channels, samples], got shape {wave.shape}")
    if sample_rate < _LOWEST_RATE:
        raise UserError(f"sound at {sample_rate} Hz, expected at least {_LOWEST_RATE} Hz")
    length, shift = int(sample_rate * _WINDOW_SECONDS), int(sample_rate * _SHIFT_SECONDS)
    if wave.shape[1] < length:
        return np.zeros((0, MEL_BINS), np.float32)
    # Only the first frames are wanted, but the mean is that of the whole sound.
    samples = wave[0, : (MAX_FRAMES - 1) * shift + length].astype(np.float32)
    samples -= np.float32(wave.mean(dtype=np.float64) if mean is None else mean)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::shift]  # [n, length]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = (frames - np.float32(_PREEMPHASIS) * before) * _hann(length)
    fft_size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(frames, fft_size)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)  # [n, fft_size / 2 + 1]
    return np.log(np.maximum(power @ mel_bank(sample_rate, fft_size), _FLOOR))


def resample(wave: np.ndarray, sample_rate: int, target_rate: int) -> np.ndarray:
    """Changes the rate of a wave [channels, samples]."""
    if sample_rate == target_rate:
        return wave
    import librosa  # slow to import, and few runs need it

    return librosa.resample(wave, orig_sr=sample_rate, target_sr=target_rate, res_type="soxr_hq")


@functools.lru_cache(maxsize=8)
def _hann(length: int) -> np.ndarray:
    return np.hanning(length).astype(np.float32)


@functools.lru_cache(maxsize=8)
def mel_bank(sample_rate: int, fft_size: int) -> np.ndarray:
    """Kaldi's triangular filters from 20 Hz to Nyquist: float32 [fft_size / 2 + 1, 128].

    The triangles are straight in mel, not in Hz, and the Nyquist bin has no weight.
    """
    low, high = _mel(np.array([_LOW_HZ, sample_rate / 2]))
    edges = low + (high - low) / (MEL_BINS + 1) * np.arange(MEL_BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(np.arange(fft_size // 2) * (sample_rate / fft_size))[:, None]
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    bank = np.maximum(0, np.minimum(rising, falling))
    return np.pad(bank, ((0, 1), (0, 0))).astype(np.float32)


@functools.lru_cache(maxsize=8)
def emphasis(sample_rate: int) -> np.ndarray:
    """By how much pre-emphasis raises the energy of each band: float64 [128].

    It is nan for a band so narrow that no frequency of the spectrum falls into it.
    """
    fft_size = 1 << (int(sample_rate * _WINDOW_SECONDS) - 1).bit_length()
    bank = mel_bank(sample_rate, fft_size).astype(np.float64)
    turn = 2 * np.pi * np.arange(len(bank)) / fft_size
    gain = 1 + _PREEMPHASIS**2 - 2 * _PREEMPHASIS * np.cos(turn)
    weight = bank.sum(axis=0)
    return np.divide(gain @ bank, weight, out=np.full(MEL_BINS, np.nan), where=weight > 0)


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hertz / 700.0)

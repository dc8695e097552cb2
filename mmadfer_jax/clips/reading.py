"""How a prepared clip becomes what the model sees: which frames, in which order, and its sound."""

import dataclasses

import numpy as np

from mmadfer_jax.clips import audio, frames
from mmadfer_jax.errors import UserError

MISSING_SOUND = ("zeros", "mean")


def silence(missing_sound: str, mean: tuple[float, ...]) -> float:
    """What stands for the log-mel of a clip without sound, before the normalisation.

    Args:
        missing_sound: "zeros" or "mean".
        mean: The one that the normalisation subtracts.
    """
    return mean[0] if missing_sound == "mean" else 0.0


@dataclasses.dataclass(frozen=True)
class Reading:
    """The same for training, evaluation and prediction.

    Attributes:
        num_frames: T, frames seen of a clip.
        length: L, time steps of the spectrogram.
        frame_order: "time" or "text", see `frames.in_order`; or "shuffled", see `frames.shuffled`.
        missing_sound: Value that stands for the log-mel of a clip without sound.
    """

    num_frames: int
    length: int
    frame_order: str = "time"
    missing_sound: float = 0.0

    def __post_init__(self):
        if self.frame_order not in frames.FRAME_ORDERS:
            raise UserError(
                f"frame_order is {self.frame_order!r}; expected one of {frames.FRAME_ORDERS}"
            )

    def pick(
        self, num_frames: int, clip: str, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """The frames that are seen, as indices into those in order of time.

        Args:
            num_frames: Frames of the clip.
            clip: Its name.
            rng: Draws them as in training; None takes those of test time.

        Returns:
            int64 [T].
        """
        if rng is None:
            picked = frames.test_indices(num_frames, self.num_frames)
        else:
            picked = frames.train_indices(num_frames, self.num_frames, rng)
        if self.frame_order == "shuffled":
            picked = picked[frames.shuffled(self.num_frames, clip, rng)]
        return frames.in_order(num_frames, self.frame_order)[picked]

    def sound(self, spectrogram: np.ndarray | None) -> np.ndarray:
        """The log-mel that the model takes.

        Zeros fill it up, before the model's normalisation, as in the reference.

        Args:
            spectrogram: [n, 128] log-mel, or None without sound; time steps past L are cut.

        Returns:
            float32 [L, 128].
        """
        filled = np.zeros((self.length, audio.MEL_BINS), np.float32)
        if spectrogram is None:
            filled[:] = self.missing_sound
        else:
            filled[: len(spectrogram)] = spectrogram[: self.length]
        return filled

"""Pictures of what the model saw and heard: `seen/000000.jpg` for the first question, and so on."""

from pathlib import Path

import numpy as np

from mmadfer_jax import files
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.clips.sheet import GAP, contact_sheet, picture_of_sound
from mmadfer_jax.timelines.timeline import Timeline

FOLDER = "seen"
_COLUMNS, _WIDTH = 8, 600  # frames in a row at most, and pixels of a picture
_QUALITY = 82
_MOST = 2000  # pictures; an hour has 7,200 windows


class Watching:
    """Called with every batch of questions, it draws each into a folder, the first 2,000.

    The report shows them where they lie beside it.
    """

    def __init__(self, folder: Path):
        """Makes the folder `seen` in the folder of a timeline."""
        self._folder = folder / FOLDER
        self._count = 0
        files.make_folder(self._folder)

    def __call__(self, frames: np.ndarray, sounds: np.ndarray) -> None:
        """Draws questions.

        Args:
            frames: uint8 [B, T, S, S, 3] RGB.
            sounds: float32 [B, L, 128] log-mel, filled up with zeros.
        """
        for pictures, sound in zip(frames, sounds, strict=True):
            if self._count >= _MOST:
                return
            columns = min(_COLUMNS, len(pictures))
            drawn = contact_sheet(pictures, columns, _WIDTH // columns - GAP)
            if length := _heard(sound):
                drawn = np.concatenate([drawn, picture_of_sound(sound[:length], drawn.shape[1])])
            files.write(self._folder / _name(self._count), encode_jpeg(drawn, _QUALITY))
            self._count += 1


def pictures(timeline: Timeline, folder: Path, person: int) -> list[tuple[float, str]]:
    """The middles of the answered windows of a person, and the pictures of them there are.

    Questions stand in the order of the answered rows.
    """
    there = set(files.names(folder / FOLDER))
    windows = timeline.windows
    answered = np.flatnonzero(np.isfinite(windows.probabilities).all(axis=1))
    return [
        ((windows.start[row] + windows.end[row]) / 2, f"{FOLDER}/{_name(number)}")
        for number, row in enumerate(answered)
        if windows.person[row] == person and _name(number) in there
    ]


def _name(number: int) -> str:
    return f"{number:06}.jpg"


def _heard(sound: np.ndarray) -> int:
    """Time steps of a log-mel before it is filled up; 0 where one value stands for all of it."""
    if (sound == sound[0, 0]).all():
        return 0
    return int(np.flatnonzero(sound.any(axis=1))[-1]) + 1

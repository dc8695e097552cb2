"""What a model says of a video: people, their faces in every frame, windows, segments."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.errors import UserError

TABLES = ("windows", "faces", "segments")
PERSON = "person"  # before the number, where a person is named


@dataclasses.dataclass(frozen=True)
class Faces:
    """The n faces of all frames, a row a frame and face, in order of frame, then person.

    Attributes:
        frame: int32 [n], number of the frame, from 0.
        time: float64 [n], seconds at which it is shown.
        person: int32 [n], from 1, in order of first appearance.
        box: float32 [n, 4], left, top, right, bottom in pixels of the picture as it is shown.
        score: float32 [n], of the detection, 0 to 1; NaN between detections.
        detected: bool [n], false where the box is interpolated between two detections.
        blur: float32 [n], variance of the Laplacian of the face at a common size (small is
            blurred); NaN between detections.
        turned: float32 [n], how far the face is turned away, 0 (frontal) to 1 (profile); NaN
            between detections, or where the detector gives no landmarks.
    """

    frame: np.ndarray
    time: np.ndarray
    person: np.ndarray
    box: np.ndarray
    score: np.ndarray
    detected: np.ndarray
    blur: np.ndarray
    turned: np.ndarray


@dataclasses.dataclass(frozen=True)
class Windows:
    """The n windows of all people, a row a window and person, in order of start, then person.

    A window in which nobody is seen has one row, of person 0. Where the sound alone is asked, all
    rows are of person 0, and have answers.

    Attributes:
        start: float64 [n], seconds.
        end: float64 [n], seconds.
        person: int32 [n], from 1; 0 where no face was found.
        probabilities: float32 [n, K] in the order of `Timeline.classes`; NaN where the model was
            not asked.
        frames: int32 [n], frames of the video in the window.
        face_share: float32 [n], share of them in which the person's face was found or bridged.
        score: float32 [n], mean detection score; NaN without detections.
        face_size: float32 [n], median of the longer side of the face in pixels; NaN without one.
        blur: float32 [n], median; NaN without detections.
        turned: float32 [n], share of the detections that are turned away; NaN without landmarks.
        sound_level: float32 [n], dBFS (root mean square of the window); -inf in silence, NaN
            without sound.
        speech: float32 [n], share of the window that sounds like speech; NaN without sound.
        notes: For each row, what makes its answer doubtful; empty where nothing does.
    """

    start: np.ndarray
    end: np.ndarray
    person: np.ndarray
    probabilities: np.ndarray
    frames: np.ndarray
    face_share: np.ndarray
    score: np.ndarray
    face_size: np.ndarray
    blur: np.ndarray
    turned: np.ndarray
    sound_level: np.ndarray
    speech: np.ndarray
    notes: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A class that holds for a while.

    Attributes:
        person: From 1; 0 where the sound alone was asked.
        start: Seconds.
        end: Seconds.
        label: The class.
        confidence: Mean of its smoothed probability over the segment.
        doubtful: Share of the segment's windows that have notes.
    """

    person: int
    start: float
    end: float
    label: str
    confidence: float
    doubtful: float


@dataclasses.dataclass(frozen=True)
class Timeline:
    """What a model says of a video, person by person and second by second.

    Attributes:
        video: The file.
        model: What the model was loaded from.
        classes: The K class names in the order of the probabilities.
        duration: Of the video in seconds.
        num_frames: Pictures in the video.
        frame_rate: Mean pictures a second.
        size: Width and height in pixels as shown; (0, 0) for sound alone.
        sample_rate: Of the sound in Hz, 0 where there is none.
        window: Length of a window in seconds.
        hop: From the start of a window to that of the next, in seconds.
        windows: The answers.
        faces: The boxes.
        segments: Classes that hold for a while, in order of start, then person.
        problems: What a user should know of the whole video.
        settings: All that the answer depends on beside the model, and the model's card in short.
    """

    video: str
    model: str
    classes: tuple[str, ...]
    duration: float
    num_frames: int
    frame_rate: float
    size: tuple[int, int]
    sample_rate: int
    window: float
    hop: float
    windows: Windows
    faces: Faces
    segments: tuple[Segment, ...]
    problems: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def persons(self) -> tuple[int, ...]:
        """Those who were answered for, in order of appearance; 0 is the sound alone."""
        answered = np.isfinite(self.windows.probabilities).all(axis=1)
        return tuple(np.unique(self.windows.person[answered]).tolist())

    def to_pandas(self, table: str = "windows"):
        """A table as a pandas DataFrame, where pandas is installed.

        Args:
            table: `windows` with a column `prob_NAME` for each class, `faces` with `left`, `top`,
                `right` and `bottom`, or `segments`.

        Raises:
            UserError: There is no such table, or no pandas.
        """
        if table not in TABLES:
            raise UserError(f"table {table!r}: expected one of {', '.join(TABLES)}")
        try:
            import pandas
        except ImportError as error:
            raise UserError("pandas is not installed; `pip install pandas`") from error
        if table == "segments":
            names = [field.name for field in dataclasses.fields(Segment)]
            return pandas.DataFrame(map(dataclasses.astuple, self.segments), columns=names)
        rows = getattr(self, table)
        columns = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
        if table == "windows":
            answers = columns.pop("probabilities").T
            columns |= {f"prob_{name}": x for name, x in zip(self.classes, answers, strict=True)}
            columns["notes"] = ["; ".join(notes) for notes in columns.pop("notes")]
        else:
            sides = ("left", "top", "right", "bottom")
            columns |= dict(zip(sides, columns.pop("box").T, strict=True))
        return pandas.DataFrame(columns)

    def save(
        self,
        folder: str | Path,
        formats: Sequence[str] | None = None,
        video: str | Path | None = None,
    ) -> list[Path]:
        """Writes it into a folder; as `save.save`, in all formats where none are named."""
        from mmadfer_jax.timelines import save  # which imports this module

        return save.save(self, folder, save.FORMATS if formats is None else formats, video)

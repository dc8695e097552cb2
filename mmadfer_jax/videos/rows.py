"""The windows of a timeline, row by row as they come, and what they say of the whole."""

from collections.abc import Iterator

import numpy as np

from mmadfer_jax.timelines.timeline import PERSON, Windows
from mmadfer_jax.videos import quality
from mmadfer_jax.videos.quality import Quality
from mmadfer_jax.videos.sound import Heard
from mmadfer_jax.videos.windows import Span

NOBODY = "no face in the whole video"
SEVERAL = "several people: the sound of a window went to each of them, whoever spoke"
_TYPES = {"start": np.float64, "end": np.float64, "person": np.int32, "frames": np.int32}


class Rows:
    """A row a window and person, and for which of them the model is asked."""

    def __init__(self):
        self._columns: dict[str, list] = {}
        self._asked: list[int] = []

    def add(
        self,
        span: Span,
        frames: int,
        person: int,
        seen: Quality,
        heard: Heard,
        notes: tuple[str, ...],
    ) -> None:
        """Adds a row; `notes` are those on the sound."""
        row = {"start": span.start, "end": span.end, "person": person, "frames": frames}
        row |= seen._asdict() | {"notes": seen.notes + notes}
        row |= {"sound_level": heard.level, "speech": heard.speech}
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

    def is_asked(self) -> None:
        """The next answer is for the row that was added last."""
        self._asked.append(len(self._columns["start"]) - 1)

    def windows(self, answers: np.ndarray, classes: int) -> Windows:
        """All rows, given the probabilities [n, K] in the order of `is_asked`."""
        columns = dict(self._columns)
        notes = tuple(columns.pop("notes"))
        probabilities = np.full((len(notes), classes), np.nan, np.float32)
        if self._asked:
            probabilities[self._asked] = answers
        arrays = {
            name: np.array(values, _TYPES.get(name, np.float32)) for name, values in columns.items()
        }
        return Windows(**arrays, probabilities=probabilities, notes=notes)


def of_all(windows: Windows) -> Iterator[str]:
    """What the rows of a video with pictures say of the whole of it."""
    persons = [int(person) for person in np.unique(windows.person) if person]
    if not persons:
        yield NOBODY
    if len(persons) > 1:
        yield SEVERAL
    for person in persons:
        rows = np.flatnonzero(windows.person == person)
        if all(quality.UNMOVED in windows.notes[row] for row in rows):
            yield f"{PERSON} {person} {quality.UNMOVED}"

"""What has been seen of each person: all boxes, and of the newest also what is cut out."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmadfer_jax.timelines.timeline import Faces
from mmadfer_jax.videos.people import Detection, Stretch, Track


class Sight(NamedTuple):
    """A person in a window; n frames.

    Attributes:
        frames: int64 [n], rising.
        boxes: float32 [n, 4].
        pieces: What a `Cutter` made of them.
        detections: The finds among them, m.
        found: bool [n], which are finds.
    """

    frames: np.ndarray
    boxes: np.ndarray
    pieces: list[Any]
    detections: list[Detection]
    found: np.ndarray

    @property
    def area(self) -> float:
        """Pixels that the face covers, over all frames."""
        return float(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1).sum())


class _Person:
    def __init__(self):
        self.frames: deque[int] = deque()
        self.boxes: deque[np.ndarray] = deque()
        self.pieces: deque[Any] = deque()
        self.detections: deque[Detection | None] = deque()
        self.last = -1

    def add(self, frame: int, box: np.ndarray, piece: Any, detection: Detection | None) -> None:
        self.frames.append(frame)
        self.boxes.append(box)
        self.pieces.append(piece)
        self.detections.append(detection)
        self.last = frame

    def forget(self, before: int) -> None:
        while self.frames and self.frames[0] < before:
            for column in (self.frames, self.boxes, self.pieces, self.detections):
                column.popleft()


class Seen:
    """Collects stretches of boxes, first of tracks, then of the persons they turn out to be."""

    def __init__(self):
        self._waiting: dict[Track, list[tuple[Stretch, Sequence[Any]]]] = {}
        self._persons: dict[int, _Person] = {}
        self._rows: list[tuple[int, np.ndarray, np.ndarray, Detection | None]] = []

    def add(self, track: Track, stretch: Stretch, pieces: Sequence[Any]) -> None:
        """Takes a stretch of boxes and a piece for each."""
        self._waiting.setdefault(track, []).append((stretch, pieces))

    def sort(self) -> None:
        """Gives what belongs to persons by now to them, and drops what is no face."""
        for track in list(self._waiting):
            if track.person is not None:
                for stretch, pieces in self._waiting.pop(track):
                    self._take(track.person, stretch, pieces)
            elif track.dropped:
                del self._waiting[track]

    def _take(self, number: int, stretch: Stretch, pieces: Sequence[Any]) -> None:
        person = self._persons.setdefault(number, _Person())
        late = max(0, person.last + 1 - stretch.first)  # two tracks of a person may overlap
        last = len(stretch.boxes) - 1
        for i in range(late, last + 1):
            found = stretch.detection if i == last else None
            person.add(stretch.first + i, stretch.boxes[i], pieces[i], found)
        if late <= last:
            frames = np.arange(stretch.first + late, stretch.first + last + 1, dtype=np.int32)
            self._rows.append((number, frames, stretch.boxes[late:], stretch.detection))

    def between(self, first: int, stop: int) -> dict[int, Sight]:
        """Who is in the frames from `first` to before `stop`, by number, in rising order."""
        sights = {}
        for number, person in sorted(self._persons.items()):
            places = [i for i, frame in enumerate(person.frames) if first <= frame < stop]
            if places:
                detections = [person.detections[i] for i in places]
                sights[number] = Sight(
                    np.array([person.frames[i] for i in places]),
                    np.stack([person.boxes[i] for i in places]),
                    [person.pieces[i] for i in places],
                    [d for d in detections if d is not None],
                    np.array([d is not None for d in detections]),
                )
        return sights

    def forget(self, before: int) -> None:
        """Lets go of pieces from frames before this one; the boxes stay for `faces`."""
        for person in self._persons.values():
            person.forget(before)

    def faces(self, times: np.ndarray) -> Faces:
        """All boxes, given the time of every frame in seconds."""
        counts = [len(frames) for _, frames, _, _ in self._rows]
        total = sum(counts)
        person = np.repeat(np.array([row[0] for row in self._rows], np.int32), counts)
        frame = np.concatenate([row[1] for row in self._rows] or [np.zeros(0, np.int32)])
        box = np.concatenate([row[2] for row in self._rows] or [np.zeros((0, 4), np.float32)])
        detected = np.zeros(total, bool)
        score, blur, turned = (np.full(total, np.nan, np.float32) for _ in range(3))
        for end, (*_, found) in zip(np.cumsum(counts), self._rows, strict=True):
            if found is not None:
                detected[end - 1] = True
                score[end - 1], blur[end - 1], turned[end - 1] = found[2:5]
        order = np.lexsort((person, frame))
        columns = (frame, times[frame], person, box, score, detected, blur, turned)
        return Faces(*(column[order] for column in columns))

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


class _Entry(NamedTuple):
    frame: int
    box: np.ndarray
    piece: Any
    detection: Detection | None


class Seen:
    """Collects stretches of boxes, first of tracks, then of the persons they turn out to be."""

    def __init__(self):
        self._waiting: dict[Track, list[tuple[Stretch, Sequence[Any]]]] = {}
        self._newest: dict[int, deque[_Entry]] = {}  # of each person
        self._last: dict[int, int] = {}  # frame of each person
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

    def _take(self, person: int, stretch: Stretch, pieces: Sequence[Any]) -> None:
        # Two tracks of a person may overlap.
        late = max(0, self._last.get(person, -1) + 1 - stretch.first)
        boxes, last = stretch.boxes[late:], stretch.first + len(stretch.boxes) - 1
        if not len(boxes):
            return
        frames = np.arange(stretch.first + late, last + 1, dtype=np.int32)
        newest = self._newest.setdefault(person, deque())
        for frame, box, piece in zip(frames.tolist(), boxes, pieces[late:], strict=True):
            newest.append(_Entry(frame, box, piece, stretch.detection if frame == last else None))
        self._rows.append((person, frames, boxes, stretch.detection))
        self._last[person] = last

    def between(self, first: int, stop: int) -> dict[int, Sight]:
        """Who is in the frames from `first` to before `stop`, by number, in rising order."""
        sights = {}
        for person, newest in sorted(self._newest.items()):
            entries = [entry for entry in newest if first <= entry.frame < stop]
            if entries:
                frames, boxes, pieces, detections = zip(*entries, strict=True)
                sights[person] = Sight(
                    np.array(frames),
                    np.stack(boxes),
                    list(pieces),
                    [found for found in detections if found is not None],
                    np.array([found is not None for found in detections]),
                )
        return sights

    def forget(self, before: int) -> None:
        """Lets go of pieces from frames before this one; the boxes stay for `faces`."""
        for newest in self._newest.values():
            while newest and newest[0].frame < before:
                newest.popleft()

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

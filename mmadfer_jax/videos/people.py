"""People kept apart: faces found from look to look become tracks, and tracks become persons."""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mmadfer_jax.clips import faces
from mmadfer_jax.videos.identity import Known
from mmadfer_jax.videos.looking import Look

BRIDGE_SECONDS = 0.5  # of a missing face, between which its box is interpolated
GAP_SECONDS = 1.0  # after which a missing face is given up
SURE_AFTER = 2  # finds; what is found once and not at the next look was none
# How far from where it is expected a face may be found: sides of it, and factor of its size.
REACH, GROWTH = 1.0, 1.8
MOST_REACH = 2.5  # of a face that has been missing for longer
ALIKE = 0.5  # weight of what a face looks like beside where it is
LEARN_EVERY = 10  # finds; faces turn and light changes
LEAST_KNOWN, MOST_TURNED = 32, 0.7  # pixels, and 1 is profile: from worse, nobody is recognised
_SMALL, _STILL_SIDE = 16, 32  # pixels, of the pictures of faces that are compared
_FORBIDDEN = 1e6


class Detection(NamedTuple):
    """A face where it was found; `moved` is by how many grey levels the place had changed."""

    frame: int
    box: np.ndarray
    score: float
    blur: float
    turned: float
    moved: float


class Stretch(NamedTuple):
    """Boxes [n, 4] of a face in successive frames from `first` on; found in the last, or not."""

    first: int
    boxes: np.ndarray
    detection: Detection | None


class Track:
    """A face followed without a break.

    Attributes:
        person: From 1, once it is sure.
        dropped: It was none.
        released: It is missing, and not bridged any more.
        first: Frame in which it was first found.
        last: The last find.
        small: What it looked like then, see `_small`.
        still: The grey levels of the place, see `_still`.
        finds: How often it was found.
        embeddings: Of the first finds, until the person is known.
    """

    def __init__(self, detection: Detection, small: np.ndarray, still: np.ndarray):
        self.person: int | None = None
        self.dropped, self.finds = False, 1
        self.first, self.last = detection.frame, detection
        self.small, self.still = small, still
        self.released = False
        self.embeddings: list[np.ndarray] = []
        self._velocity, self._spacing = np.zeros(2), 1  # pixels a frame; frames between two finds

    def expected(self, frame: int) -> np.ndarray:
        """The box [4] where it should be."""
        # A face that stays missing rather stands behind something than walks on.
        ahead = min(frame - self.last.frame, 3 * self._spacing)
        return self.last.box + np.tile(self._velocity * ahead, 2)

    def found(self, detection: Detection, small: np.ndarray, still: np.ndarray) -> None:
        """Goes on with a find."""
        self._spacing = detection.frame - self.last.frame
        step = (_centre(detection.box) - _centre(self.last.box)) / self._spacing
        self._velocity = step if self.finds == 1 else (self._velocity + step) / 2
        self.last, self.small, self.still = detection, small, still
        self.finds, self.released = self.finds + 1, False


class People:
    """Follows the faces of a video.

    Args:
        every: Frames from one look to the next.
        rate: Frames a second.
        most_held: Frames over which boxes can be interpolated, because their pictures are held.
        recognise: Gives the embedding of a face in a picture by its landmarks, or None, as
            `identity.Recogniser`; without it, people who come back are new ones.
    """

    def __init__(
        self,
        every: int,
        rate: float,
        most_held: int,
        recognise: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None = None,
    ):
        self._every, self._recognise = every, recognise
        self._bridge = min(max(every, round(BRIDGE_SECONDS * rate)), most_held)
        self._gap = max(every, round(GAP_SECONDS * rate))
        self._live: list[Track] = []
        self._known, self._count = Known(), 0
        self._last_look = -1  # the frame of it; before the first

    @property
    def settled(self) -> int:
        """The last frame of which all boxes are known."""
        ends = [t.first - 1 if t.person is None else t.last.frame for t in self._open()]
        return min([self._last_look, *ends])

    @property
    def needed(self) -> int:
        """The first frame whose picture is still needed."""
        return 1 + min([self._last_look, *(t.last.frame for t in self._open())])

    def _open(self) -> list[Track]:
        return [t for t in self._live if not t.released or t.person is None]

    def look(self, frame: int, rgb: np.ndarray, look: Look) -> list[tuple[Track, Stretch]]:
        """Goes on with what is found in a frame; gives the boxes that are settled by it."""
        smalls = [_small(rgb, box) for box in look.boxes]
        settled, matched = [], self._assign(frame, look, smalls)
        for track, i in matched.items():
            before, here = track.last, _still(rgb, track.last.box)
            seen = _detection(frame, look, i, float(np.abs(here - track.still).mean()))
            start = self._head(frame) if track.released else before.frame + 1
            track.found(seen, smalls[i], _still(rgb, seen.box))
            settled.append((track, _between(before, seen, start)))
        for track in [t for t in self._live if t not in matched]:
            settled += self._missed(track, frame)
        for i in set(range(len(look.boxes))) - set(matched.values()):
            seen = _detection(frame, look, i, math.inf)
            track = Track(seen, smalls[i], _still(rgb, seen.box))
            settled.append((track, _between(seen, seen, self._head(frame))))
            self._live.append(track)
            matched[track] = i
        self._last_look = frame
        for track, i in matched.items():
            self._learn(track, rgb, look.landmarks[i])
        return settled + self._make_sure([t for t in self._live if t.finds >= SURE_AFTER])

    def cut(self, frame: int) -> list[tuple[Track, Stretch]]:
        """Ends all tracks before a frame, with which another scene starts or the video ends."""
        settled = []
        for track in self._live:
            if track.last.frame == self._last_look:  # nothing tells that it went
                settled += self._tail(track, frame - 1)
            else:
                settled += self._missed(track, track.last.frame + self._gap + 1)
        settled += self._make_sure(self._live)
        self._live, self._last_look = [], frame - 1
        return settled

    def _head(self, frame: int) -> int:
        """The first frame that is nearer to this look than to the one before."""
        return max(frame - self._every // 2, self._last_look + 1, 0)

    def _tail(self, track: Track, end: int | None = None) -> list[tuple[Track, Stretch]]:
        """Its boxes behind the last find: up to `end`, or as long as no look is nearer."""
        if track.released:
            return []
        track.released = True
        frame, box = track.last.frame, track.last.box
        count = (self._every + 1) // 2 - 1 if end is None else end - frame
        return [(track, Stretch(frame + 1, np.tile(box, (count, 1)), None))] if count > 0 else []

    def _missed(self, track: Track, frame: int) -> list[tuple[Track, Stretch]]:
        missing = frame - track.last.frame
        settled = self._tail(track) if missing > self._bridge else []
        if track.person is None and missing > self._bridge:
            track.dropped = True
        if track.dropped or missing > self._gap:
            self._live = [other for other in self._live if other is not track]
        return settled

    def _assign(self, frame: int, look: Look, smalls: list[np.ndarray]) -> dict[Track, int]:
        """Which find goes on with which track, one to one, at the least cost in all."""
        if not self._live or not len(look.boxes):
            return {}
        costs = np.full((len(self._live), len(look.boxes)), _FORBIDDEN)
        for row, track in enumerate(self._live):
            expected = track.expected(frame)
            looks = max(1.0, (frame - track.last.frame) / self._every)
            reach = min(REACH * math.sqrt(looks), MOST_REACH)
            for column, (box, small) in enumerate(zip(look.boxes, smalls, strict=True)):
                size = math.sqrt(_area(box) * _area(track.last.box))
                distance = np.linalg.norm(_centre(box) - _centre(expected)) / math.sqrt(size)
                growth = math.sqrt(_area(box) / _area(track.last.box))
                if distance <= reach and 1 / GROWTH <= growth <= GROWTH:
                    unlike = 1 - float((small * track.small).sum())
                    costs[row, column] = distance + 1 - overlap(expected, box) + ALIKE * unlike
        rows, columns = linear_sum_assignment(costs)
        return {
            self._live[row]: int(column)
            for row, column in zip(rows, columns, strict=True)
            if costs[row, column] < _FORBIDDEN
        }

    def _learn(self, track: Track, rgb: np.ndarray, landmarks: np.ndarray) -> None:
        """Looks at the face itself: at first to know who it is, then now and then."""
        seldom = track.finds % LEARN_EVERY == 0
        if self._recognise is None or not (track.person is None or seldom):
            return
        sides = track.last.box[2:] - track.last.box[:2]
        if sides.max() < LEAST_KNOWN or track.last.turned > MOST_TURNED:
            return
        if (embedding := self._recognise(rgb, landmarks)) is None:
            return
        if track.person is None:
            track.embeddings.append(embedding)
        else:
            self._known.learn(track.person, embedding, self._beside(track))

    def _beside(self, track: Track) -> set[int]:
        """Who else is seen at the last look."""
        return {
            other.person
            for other in self._live
            if other is not track and other.person and other.last.frame == self._last_look
        }

    def _make_sure(self, tracks: list[Track]) -> list[tuple[Track, Stretch]]:
        """Gives those that are sure to be faces their persons, known or new."""
        settled = []
        unsure = [t for t in tracks if t.person is None and not t.dropped]
        for track in sorted(unsure, key=lambda t: (t.first, t.last.box[0])):
            beside, person = self._beside(track), None
            if track.embeddings:
                embedding = np.mean(track.embeddings, axis=0)
                embedding /= max(float(np.linalg.norm(embedding)), 1e-6)
                away = set(range(1, self._count + 1)) - beside
                person = self._known.who(embedding, away)
            if person is None:
                self._count += 1
                person = self._count
            for old in [t for t in self._live if t.person == person]:  # missing, and here again
                settled += self._tail(old)
                self._live.remove(old)
            track.person = person
            if track.embeddings:
                self._known.learn(person, embedding, beside)
        return settled


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes [4]."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (_area(box) + _area(other) - shared)


def _detection(frame: int, look: Look, i: int, moved: float) -> Detection:
    values = (float(column[i]) for column in (look.scores, look.blur, look.turned))
    return Detection(frame, look.boxes[i], *values, moved)


def _between(before: Detection, after: Detection, start: int) -> Stretch:
    """The boxes of the frames from `start` to the later of two finds, as `tracks.every_frame`."""
    frames, step = np.arange(start, after.frame + 1), after.frame - before.frame
    if step == 0 or start > before.frame + 1:  # the first find, or it was missing for too long
        boxes = np.tile(after.box, (len(frames), 1))
    else:
        share = ((frames - before.frame) / step)[:, None]
        boxes = before.box * (1 - share) + after.box * share
    return Stretch(start, boxes.astype(np.float32), after)


def _area(box: np.ndarray) -> float:
    return float(max(1.0, box[2] - box[0]) * max(1.0, box[3] - box[1]))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _small(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A face in few pixels, of mean 0 and length 1, so that a product of two is how alike."""
    pixels = faces.crop(rgb, faces.face_box(box, *rgb.shape[:2]), _SMALL).astype(np.float32)
    pixels -= pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def _still(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The grey levels of a place in few pixels."""
    pixels = faces.crop(rgb, faces.face_box(box, *rgb.shape[:2]), _STILL_SIDE)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)

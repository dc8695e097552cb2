"""What a model says of clips: prepared side by side, asked in batches."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmadfer_jax.clips.arrays import Wave, prepare_arrays
from mmadfer_jax.clips.clip import PreparedClip, PrepareSettings, few_frames, prepare_clip
from mmadfer_jax.clips.faces import Detector
from mmadfer_jax.clips.frame_folder import prepare_frame_folder
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.errors import UserError
from mmadfer_jax.videos.asking import Ask, Asking

# A video file, a folder of face crops, or whole pictures uint8 [n, H, W, 3] in order of time.
Clip = str | Path | np.ndarray
Audio = str | Path | Wave | None
_AT_ONCE = 16  # clips that are prepared, which bounds the memory


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of a clip.

    Attributes:
        clip: The file or folder; what they are, of arrays.
        probabilities: Class name -> probability, the most probable first.
        problems: What makes the answer doubtful, such as a clip without sound or without a face.
        num_frames: Frames in the clip, of which the model saw `ModelConfig.num_frames`.
        sample_rate: Of the sound in Hz, 0 where there is none.
        face_share: Share of the frames looked at in which a face was found; None for a folder of
            face crops.
    """

    clip: str
    probabilities: dict[str, float]
    problems: list[str]
    num_frames: int
    sample_rate: int
    face_share: float | None

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


def prepare(
    clip: Clip, audio: Audio, settings: PrepareSettings, detector: Detector | None
) -> PreparedClip:
    """Prepares a clip as those of a dataset, its frames as JPEG files.

    Raises:
        UserError: It cannot be used.
    """

    def pack(rgb: np.ndarray) -> bytes:
        return encode_jpeg(rgb, settings.jpeg_quality)

    in_memory = isinstance(clip, np.ndarray)
    if in_memory != isinstance(audio, Wave) and audio is not None:
        raise UserError(
            f"the sound is {type(audio).__name__}; expected a Wave beside arrays, and the name of "
            "a file beside files"
        )
    if in_memory:
        return prepare_arrays(clip, settings, audio, detector=detector, pack=pack)
    if Path(clip).is_dir():
        return prepare_frame_folder(clip, settings, audio)
    return prepare_clip(clip, settings, audio_path=audio, detector=detector, pack=pack)


def predict_all(
    clips: Sequence[Clip],
    audios: Sequence[Audio],
    prepared_by: Callable[[Clip, Audio], PreparedClip],
    ask: Ask,
    batch: int,
    reading: Reading,
    classes: Sequence[str],
) -> list[Prediction | UserError]:
    """Answers for clips, in their order; a `UserError` stands for one that cannot be used.

    Args:
        clips: What to answer for.
        audios: For each where its sound is, None for its own.
        prepared_by: Prepares a clip; called in several threads.
        ask: The model.
        batch: Clips that it is asked about at once.
        reading: How prepared clips are read.
        classes: The K names.
    """
    found: list[PreparedClip | UserError] = []
    with Asking(ask, min(batch, max(1, len(clips)))) as asking:
        for clip, prepared in zip(clips, _prepared(clips, audios, prepared_by), strict=True):
            if isinstance(prepared, PreparedClip):
                name = "" if isinstance(clip, np.ndarray) else Path(clip).stem
                asking.ask(*question(prepared, name, reading))
                prepared = dataclasses.replace(prepared, frames=[None] * len(prepared.frames))
            found.append(prepared)
        answers = iter(asking.answers())
    return [
        _prediction(clip, prepared, next(answers), reading, classes)
        if isinstance(prepared, PreparedClip)
        else prepared
        for clip, prepared in zip(clips, found, strict=True)
    ]


def _prepared(
    clips: Sequence[Clip],
    audios: Sequence[Audio],
    prepared_by: Callable[[Clip, Audio], PreparedClip],
) -> Iterator[PreparedClip | UserError]:
    def attempt(clip: Clip, audio: Audio) -> PreparedClip | UserError:
        try:
            return prepared_by(clip, audio)
        except UserError as error:
            return error

    if len(clips) == 1:  # in this thread, whose detector is there already
        yield attempt(clips[0], audios[0])
        return
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(clips), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            yield from pool.map(attempt, clips[part], audios[part])


def question(clip: PreparedClip, name: str, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """What a model is shown of a prepared clip: uint8 [T, S, S, 3] and float32 [L, 128]."""
    picked = reading.pick(len(clip.frames), name)
    frames = np.stack([decode_jpeg(clip.frames[i]) for i in picked])
    log_mel = clip.spectrogram
    if log_mel is not None:
        log_mel = log_mel.astype(np.float16)  # as a record holds it
    return frames, reading.sound(log_mel)


def _prediction(
    clip: Clip,
    prepared: PreparedClip,
    probabilities: np.ndarray,
    reading: Reading,
    classes: Sequence[str],
) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")
    few = few_frames(len(prepared.frames), reading.num_frames)
    share = prepared.face_share
    in_memory = isinstance(clip, np.ndarray)
    return Prediction(
        clip=f"{len(clip)} pictures in memory" if in_memory else str(clip),
        probabilities={classes[i]: float(probabilities[i]) for i in order},
        problems=[*prepared.problems, *([few] if few else [])],
        num_frames=len(prepared.frames),
        sample_rate=prepared.sample_rate,
        face_share=None if share is None else float(share),
    )

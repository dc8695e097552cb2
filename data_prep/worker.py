"""What a worker process of the preparation does; imports neither jax nor tensorflow-datasets."""

import contextlib
import dataclasses
import functools
import threading

import cv2
import numpy as np
import threadpoolctl

from data_prep import sources
from data_prep.listing import Clip
from mmadfer_jax import files
from mmadfer_jax.clips import frames
from mmadfer_jax.clips.clip import PreparedClip, PrepareSettings, make_detector, prepare_clip
from mmadfer_jax.clips.frame_folder import prepare_frame_folder
from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip: JPEGs and float16 log-mel, or the reason why it cannot be used."""

    clip: Clip
    frames: list[bytes] = dataclasses.field(default_factory=list)
    spectrogram: np.ndarray | None = None
    sample_rate: int = 0
    face_share: float | None = None
    declared_frames: int | None = None
    sha256: str | None = None
    problems: tuple[str, ...] = ()
    reason: str | None = None


_state = threading.local()  # the settings and the detector, which no two threads may share


def load(settings: PrepareSettings) -> None:
    """Readies the thread to prepare clips, if it is not."""
    if getattr(_state, "settings", None) != settings:
        # There is a process for every core. BLAS threads would wait for work by burning time.
        cv2.setNumThreads(1)
        threadpoolctl.threadpool_limits(1)
        _state.detector = make_detector(settings)
        _state.settings = settings


def prepare(clip: Clip) -> Outcome:
    """Prepares a clip. Whatever is wrong with it becomes the outcome's reason."""
    settings: PrepareSettings = _state.settings
    try:
        if clip.missing:
            raise UserError(clip.missing)
        made, facts = _make(clip, settings)
    except UserError as error:
        return Outcome(clip, reason=str(error))
    except Exception as error:  # one odd file must not end a run of hours; the reason is reported
        return Outcome(clip, reason=f"{clip.path}: unexpected {type(error).__name__}: {error}")
    return Outcome(
        clip=clip,
        frames=made.frames,
        spectrogram=None if made.spectrogram is None else made.spectrogram.astype(np.float16),
        sample_rate=made.sample_rate,
        face_share=made.face_share if made.face_share is None else round(made.face_share, 4),
        declared_frames=facts.declared_frames,
        sha256=facts.sha256,
        problems=(*made.problems, *facts.problems(made.decoded_frames or len(made.frames))),
    )


def _make(clip: Clip, settings: PrepareSettings) -> tuple[PreparedClip, sources.Facts]:
    pack = functools.partial(frames.encode_jpeg, quality=settings.jpeg_quality)
    with contextlib.ExitStack() as copies:
        sound = clip.audio_path and copies.enter_context(files.local_copy(clip.audio_path))
        if clip.is_frames:
            facts = sources.look(clip, clip.path)
            return prepare_frame_folder(clip.path, settings, sound), facts
        video = copies.enter_context(files.local_copy(clip.path))
        try:
            facts = sources.look(clip, video)
            return prepare_clip(video, settings, sound, _state.detector, pack), facts
        except UserError as error:
            # The copies are gone when a person reads it.
            text = str(error).replace(str(video), str(clip.path))
            raise UserError(text.replace(str(sound), str(clip.audio_path))) from error

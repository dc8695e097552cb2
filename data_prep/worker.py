"""What a worker process of the preparation does; imports neither jax nor tensorflow-datasets."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading

import cv2
import numpy as np

from data_prep.listing import Clip
from mmadfer_jax.data import faces, frames
from mmadfer_jax.data.clip import PrepareSettings, prepare_clip
from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip: JPEGs and float16 log-mel, or the reason why it cannot be used."""

    clip: Clip
    frames: list[bytes] = dataclasses.field(default_factory=list)
    spectrogram: np.ndarray | None = None
    sample_rate: int = 0
    face_share: float = 0.0
    problems: tuple[str, ...] = ()
    reason: str | None = None


_state: dict = {}  # of a worker process: the settings, and the detector once loaded


def start(settings: PrepareSettings) -> None:
    """Readies a worker process."""
    cv2.setNumThreads(1)  # the pool has the cores
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a traceback
    if parent := multiprocessing.parent_process():
        # A killed main process must not leave workers waiting for ever.
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    _state["settings"] = settings
    if settings.faces != "none":
        _state["detector"] = faces.MTCNN(settings.detect_side)


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def prepare(clip: Clip) -> Outcome:
    """Prepares a clip. Whatever is wrong with it becomes the outcome's reason."""
    settings: PrepareSettings = _state["settings"]
    pack = functools.partial(frames.encode_jpeg, quality=settings.jpeg_quality)
    try:
        if clip.missing:
            raise UserError(clip.missing)
        made = prepare_clip(clip.path, settings, clip.audio_path, _state.get("detector"), pack)
    except UserError as error:
        return Outcome(clip, reason=str(error))
    except Exception as error:  # one odd file must not end a run of hours; the reason is reported
        return Outcome(clip, reason=f"{clip.path}: unexpected {type(error).__name__}: {error}")
    return Outcome(
        clip=clip,
        frames=made.frames,
        spectrogram=None if made.spectrogram is None else made.spectrogram.astype(np.float16),
        sample_rate=made.sample_rate,
        face_share=made.face_share,
        problems=tuple(made.problems),
    )

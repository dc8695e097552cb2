"""A clip that is in memory: pictures, and a wave."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mmadfer_jax.clips import faces
from mmadfer_jax.clips.clip import (
    NO_SOUND,
    SHORT_SOUND,
    PreparedClip,
    PrepareSettings,
    cut_out,
    find_faces,
    spectrogram_of,
)
from mmadfer_jax.clips.media import VideoFrame
from mmadfer_jax.errors import UserError

_RATE = 25.0  # pictures a second, where no times tell


class Wave(NamedTuple):
    """Sound: samples [channels, n], float in [-1, 1] or int16, and their rate in Hz."""

    samples: np.ndarray
    rate: int


def prepare_arrays(
    pictures: np.ndarray,
    settings: PrepareSettings,
    sound: Wave | None = None,
    times: np.ndarray | None = None,
    detector: faces.Detector | None = None,
    pack: Callable[[np.ndarray], Any] | None = None,
) -> PreparedClip:
    """As `clip.prepare_clip`, of arrays instead of a video.

    Args:
        pictures: uint8 [n, H, W, 3] RGB, whole pictures in order of time.
        settings: How.
        sound: None for none.
        times: [n] seconds at which they are shown; None takes 25 a second.
        detector: Made anew if not given; not used with faces `none`.
        pack: As in `clip.prepare_clip`.

    Raises:
        UserError: Of another shape or type.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise UserError(
            f"pictures are {pictures.dtype} {list(pictures.shape)}; expected uint8 [n, H, W, 3] RGB"
        )
    if not pictures.size:
        raise UserError(f"pictures have shape {list(pictures.shape)}; expected one at least")
    times = np.arange(len(pictures)) / _RATE if times is None else np.asarray(times, float)
    if times.shape != (len(pictures),):
        raise UserError(f"{len(pictures)} pictures with times of shape {list(times.shape)}")
    spectrogram, rate, problems = _heard(sound, settings)
    found, face_share = None, 1.0
    if settings.faces != "none":
        looked_at = pictures[:: settings.detect_every]
        found, face_share, of_faces = find_faces(looked_at, settings, detector)
        problems = of_faces + problems
    frames = (VideoFrame(rgb, time) for rgb, time in zip(pictures, times.tolist(), strict=True))
    cut = cut_out(frames, found, settings, pack)
    return PreparedClip(
        cut.frames, cut.times, spectrogram, rate, problems + cut.problems, face_share, cut.boxes,
        cut.count,
    )  # fmt: skip


def _heard(
    sound: Wave | None, settings: PrepareSettings
) -> tuple[np.ndarray | None, int, list[str]]:
    if sound is None:
        return None, 0, [NO_SOUND]
    wave, rate = np.asarray(sound.samples), int(sound.rate)
    if wave.ndim != 2 or not (wave.dtype == np.int16 or np.issubdtype(wave.dtype, np.floating)):
        raise UserError(
            f"sound is {wave.dtype} {list(wave.shape)}; expected float or int16 [channels, n]"
        )
    wave = wave.astype(np.float32) / (32768.0 if wave.dtype == np.int16 else 1.0)
    if not np.isfinite(wave).all() or np.abs(wave).max(initial=0) > 1:
        raise UserError("sound reaches outside of [-1, 1]; expected float in [-1, 1], or int16")
    if not wave.size:
        return None, 0, [SHORT_SOUND]
    mean = float(wave.mean(dtype=np.float64))
    spectrogram, rate = spectrogram_of(wave, rate, mean, settings)
    return spectrogram, rate, [] if rate else [SHORT_SOUND]

"""Pictures for the report: 16 face crops of a clip, and its log-mel."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmadfer_jax.clips.clip import FEW_FRAMES, NO_FACE, NO_SOUND, SEVERAL_FACES
from mmadfer_jax.clips.frame_folder import NOT_SQUARE
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg, test_indices
from mmadfer_jax.clips.sheet import contact_sheet, picture_of_sound

WORST, TOGETHER = 8, 20  # clips shown: at most so many for what is wrong, and in all
_FRAMES, _COLUMNS = 16, 4
_CELL = 104  # pixels
_MEL_WIDTH = 640  # pixels; more than the sheet, for a log-mel has up to 512 columns
_QUALITY = 82
_WEIGHTS = {NO_FACE: 4.0, NOT_SQUARE: 3.0, SEVERAL_FACES: 2.0, FEW_FRAMES: 0.5, NO_SOUND: 0.25}


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A clip as the report shows it.

    Attributes:
        entry: Its line in the manifest.
        why: Why this one: `worst` or `random`.
        crops: JPEG of 16 of its frames.
        log_mel: JPEG, or None without sound.
        seconds: Length of the sound shown.
    """

    entry: dict[str, Any]
    why: str
    crops: bytes
    log_mel: bytes | None
    seconds: float


def choose(
    entries: Iterable[dict[str, Any]], worst: int = WORST, together: int = TOGETHER
) -> list[tuple[dict[str, Any], str]]:
    """The clips with the most wrong with them, then a fixed random choice of the others."""
    entries = [entry for entry in entries if entry["status"] != "skipped"]
    bad = sorted(
        (entry for entry in entries if _badness(entry)),
        key=lambda e: (-_badness(e), _hash(e["id"])),
    )[:worst]
    shown = {entry["id"] for entry in bad}
    others = sorted((e for e in entries if e["id"] not in shown), key=lambda e: _hash(e["id"]))
    return [(entry, "worst") for entry in bad] + [
        (entry, "random") for entry in others[: together - len(bad)]
    ]


def _badness(entry: dict[str, Any]) -> float:
    share = entry["face_share"]
    return sum(_WEIGHTS.get(problem, 1.0) for problem in entry["problems"]) + (
        0.0 if share is None or share > 0.9 else 2 * (1 - share)
    )


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def draw(
    entry: dict[str, Any], why: str, frames: Sequence[bytes], spectrogram: np.ndarray | None
) -> Sheet:
    """Draws the pictures of a clip.

    Args:
        entry: Its line in the manifest.
        why: `worst` or `random`.
        frames: Its JPEGs in order of time.
        spectrogram: [n, 128] log-mel or None.
    """
    chosen = [decode_jpeg(frames[i]) for i in test_indices(len(frames), _FRAMES)]
    silent = spectrogram is None or not len(spectrogram)
    sound = None if silent else picture_of_sound(spectrogram, _MEL_WIDTH)
    return Sheet(
        entry=entry,
        why=why,
        crops=encode_jpeg(contact_sheet(chosen, _COLUMNS, _CELL), _QUALITY),
        log_mel=None if silent else encode_jpeg(sound, _QUALITY),
        seconds=0.0 if silent else (len(spectrogram) - 1) * 0.010 + 0.025,
    )

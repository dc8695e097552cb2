"""Looks at the files of a clip without decoding them: counts, rates, order, what is the same."""

import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.listing import Clip
from mmadfer_jax import files
from mmadfer_jax.clips import frame_folder, media
from mmadfer_jax.clips.clip import FEW_FRAMES, NO_SOUND
from mmadfer_jax.errors import UserError

FRAME_COUNTS = "header or list declares another number of frames than there are"
FRAME_ORDER = "frame files in another order as text than in time; taken in order of time"
_BLOCK = 1 << 20
_POINTER, _POINTER_BYTES = b"version https://git-lfs", 1024  # how one begins, and its most bytes


class Facts(NamedTuple):
    """What the files of a clip say.

    Attributes:
        declared_frames: By the video's header or, of a folder of frames, by the dataset's list.
        text_order: Whether the text order of the frame files is that of time.
        sha256: Of the content, the same for the same pictures under another name.
    """

    declared_frames: int | None
    text_order: bool
    sha256: str

    def problems(self, frames: int) -> list[str]:
        """What a user should know, where there are really `frames` frames."""
        problems = [] if self.text_order else [FRAME_ORDER]
        if self.declared_frames not in (None, frames):
            problems.append(FRAME_COUNTS)
        if frames < 16:
            problems.append(FEW_FRAMES)
        return problems


def look(clip: Clip, path: Path) -> Facts:
    """Looks at a clip, which lies at `path` here.

    Raises:
        UserError: It cannot be read.
    """
    if clip.is_frames:
        paths = frame_folder.list_frames(path)
        # Enough to tell clips apart, without reading a million files.
        ends = [paths[0], paths[len(paths) // 2], paths[-1]]
        digest = _digest(ends, f"{len(paths)} frames")
        return Facts(clip.listed_frames, frame_folder.in_text_order(paths), digest)
    _refuse_pointer(path)
    return Facts(media.read_header(path).declared_frames, True, _digest([path]))


def _refuse_pointer(path: Path) -> None:
    if path.is_file() and path.stat().st_size < _POINTER_BYTES:
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise UserError(
                    f"{path}: a pointer of Git LFS in place of the file; fetch it with `git lfs "
                    "pull`"
                )


def _digest(paths: list[Path], salt: str = "") -> str:
    digest = hashlib.sha256(salt.encode())
    for path in paths:
        if files.is_remote(path):  # a frame; videos are on the disk by now
            digest.update(files.read_bytes(path))
            continue
        with path.open("rb") as file:
            for block in iter(functools.partial(file.read, _BLOCK), b""):
                digest.update(block)
    return digest.hexdigest()


def inspect(clip: Clip) -> dict[str, Any]:
    """The line of a manifest for a clip that is only looked at; its status is `found` if usable."""
    entry: dict[str, Any] = {
        "id": clip.id,
        "source": clip.source,
        "split": clip.split,
        "label": clip.label,
        "status": "skipped",
        "reason": clip.missing,
        "problems": [],
        "num_frames": 0,
        "declared_frames": None,
        "sample_rate": 0,
        "face_share": None,
        "sha256": None,
    }
    if clip.missing:
        return entry
    try:
        entry |= {"status": "found", **_inspect_files(clip)}
    except UserError as error:
        entry["reason"] = str(error)
    except Exception as error:  # one odd file must not end the check of all
        entry["reason"] = f"{clip.path}: unexpected {type(error).__name__}: {error}"
    return entry


def _inspect_files(clip: Clip) -> dict[str, Any]:
    rate, square = 0, True
    if clip.is_frames:
        paths = frame_folder.list_frames(clip.path)
        facts, frames = look(clip, clip.path), len(paths)
        first = frame_folder.decode(paths[0], files.read_bytes(paths[0]))
        square = not frame_folder.is_far_from_square(first.shape)
    else:
        with files.local_copy(clip.path) as path:
            facts, frames = look(clip, path), media.read_header(path, count=True).frames
            if clip.audio_path is None:
                rate = media.read_sound_rate(path)
    if clip.audio_path is not None:
        with files.local_copy(clip.audio_path) as path:
            rate = media.read_sound_rate(path)
    problems = [] if square else [frame_folder.NOT_SQUARE]
    if not rate:
        problems.append(NO_SOUND)
    problems += facts.problems(frames)
    return {
        "problems": problems,
        "num_frames": frames,
        "declared_frames": facts.declared_frames,
        "sample_rate": rate,
        "sha256": facts.sha256,
    }

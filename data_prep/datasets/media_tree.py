"""Finds whatever clips lie in a folder, and classes and splits in the names of folders."""

import dataclasses
import errno
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.listing import Clip, readable, some
from data_prep.names import key
from mmadfer_jax import files
from mmadfer_jax.clips.frame_folder import by_number, is_picture
from mmadfer_jax.clips.media import SOUND_SUFFIXES, VIDEO_SUFFIXES
from mmadfer_jax.errors import UserError

# What nobody takes for a video.
_DOCUMENTS = (
    *(".txt", ".md", ".pdf", ".doc", ".docx", ".csv", ".tsv", ".xls", ".xlsx", ".json", ".xml"),
    *(".html", ".yaml", ".yml", ".db", ".ini", ".log", ".srt", ".vtt", ".py", ".r", ".m"),
)


class Media(NamedTuple):
    """Something found.

    Attributes:
        path: Of the file or folder.
        parts: Its path inside the source folder, as text.
        is_frames: Whether it is a folder of frames.
    """

    path: Path
    parts: tuple[str, ...]
    is_frames: bool = False

    @property
    def name(self) -> str:
        """The path inside the source folder, without the ending of a file."""
        name = "/".join(self.parts)
        return name if self.is_frames else str(PurePosixPath(name).with_suffix(""))

    def clip(self, **fields) -> Clip:
        """The clip it is."""
        fields = {"id": self.name, "source": "/".join(self.parts), **fields}
        return Clip(path=self.path, is_frames=self.is_frames, **fields)


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies below a folder, by name, numbers in their order.

    Attributes:
        videos: Files with the ending of a video.
        frames: Folders that hold pictures and no videos.
        sounds: Files with the ending of a sound.
        others: Names of files that by their ending are neither these nor documents.
    """

    videos: list[Media]
    frames: list[Media]
    sounds: list[Media]
    others: list[str]

    @property
    def clips(self) -> list[Media]:
        """The videos and the folders of frames."""
        return sorted([*self.videos, *self.frames], key=_by_numbers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Says what of it may be clips and is taken for none."""
        if not self.others:
            return ()
        endings = Counter(PurePosixPath(name).suffix.lower() or "none" for name in self.others)
        kinds = some((f"{ending} ({n})" for ending, n in endings.most_common()), 8)
        return (
            f"files left out, their endings are not those of videos: {kinds}, such as "
            f"{some(self.others)}",
        )


def find_media(source: Path) -> Found:
    """Every video, sound and folder of frames under a folder; hidden files are passed over.

    Raises:
        UserError: No folder.
    """
    check_source(source)
    found = Found([], [], [], [])
    folders = [(source, (), frozenset())]
    while folders:
        folder, parts, above = folders.pop()
        real = os.path.realpath(folder) if isinstance(folder, Path) else str(folder)
        if real in above:  # a link to a folder around it
            continue
        entries = [entry for entry in list_folder(folder) if not entry[0].startswith(".")]
        folders += [
            (folder / name, (*parts, readable(name)), above | {real})
            for name, is_dir in entries
            if is_dir
        ]
        _sort_files(folder, parts, [name for name, is_dir in entries if not is_dir], found)
    for kind in (found.videos, found.frames, found.sounds):
        kind.sort(key=_by_numbers)
    found.others.sort(key=by_number)
    return found


def _sort_files(folder: Path, parts: tuple[str, ...], names: list[str], found: Found) -> None:
    """Adds the files of one folder."""
    pictures = any(map(is_picture, names))
    videos = {name for name in names if _ending(name) in VIDEO_SUFFIXES}
    # A moving picture beside frames shows them again.
    if parts and pictures and all(_ending(name) == ".gif" for name in videos):
        videos.clear()
        found.frames.append(Media(folder, parts, True))
    for name in names:
        ending, inside = _ending(name), (*parts, readable(name))
        if name in videos:
            found.videos.append(Media(folder / name, inside))
        elif ending in SOUND_SUFFIXES:
            found.sounds.append(Media(folder / name, inside))
        elif not is_picture(name) and ending not in _DOCUMENTS:
            found.others.append("/".join(inside))


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _by_numbers(media: Media) -> list[tuple]:
    return [by_number(part) for part in media.parts]


def list_folder(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, and which are folders; none where it does not exist.

    Raises:
        UserError: It may not be read.
    """
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return sorted((entry.name, entry.is_dir()) for entry in entries)
        found = files.attempt(folder, folder.fs.ls, folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise UserError(f"{folder}: {error.strerror or error}; grant access to it") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return []
    names = [(info["name"].rstrip("/").rpartition("/")[2], info["type"]) for info in found]
    return sorted((name, kind == "directory") for name, kind in names if name)


def check_source(source: Path) -> None:
    """Refuses a source folder that is not there."""
    if not files.is_folder(source):
        raise UserError(f"--source={source}: no such folder")


def by_class_folder(
    found: Found, folders: Mapping[str, int], splits: Mapping[str, str]
) -> tuple[list[Clip], tuple[str, ...]]:
    """Clips whose class, and whose split, are folders in their path.

    Where there are videos, folders of frames are left out: they show the same clips again.

    Args:
        found: What was found.
        folders: Class index by folder name in small letters.
        splits: Split by folder name in small letters.

    Returns:
        The clips that lie in a folder of a class and in one of a split, and notes on the others.
    """
    clips, odd = [], []
    for item in found.clips:
        above = [key(part) for part in item.parts[:-1]]
        split = next((splits[part] for part in above if part in splits), None)
        label = next((folders[part] for part in reversed(above) if part in folders), None)
        if split is not None and label is not None:
            clips.append(item.clip(label=label, split=split))
        else:
            odd.append(item.name)
    notes = list(found.notes)
    if odd:
        notes.append(f"left out, in no folder of a split and a class: {some(odd)}")
    videos = [clip for clip in clips if not clip.is_frames]
    if videos and len(videos) < len(clips):
        notes.append(f"left out beside the videos: {len(clips) - len(videos)} folders of frames")
    return videos or clips, tuple(notes)

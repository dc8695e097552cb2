"""Finds clips in a folder: by name in the layouts people have, or whatever lies there."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.listing import Clip, some
from mmadfer_jax import files
from mmadfer_jax.clips.frame_folder import by_number, is_picture
from mmadfer_jax.errors import UserError

# The usual ones; any file may be named with its extension.
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".flv", ".m4v", ".mpg", ".wmv", ".3gp")
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg")
# A layout in use must hold this share of the clips that the fullest one holds, or a few files of
# another experiment in the same place would be taken for the dataset.
_ENOUGH = 0.9


@dataclasses.dataclass(frozen=True)
class Item:
    """A clip by the dataset's own list.

    Attributes:
        id: The clip's name.
        label: Index into the classes.
        split: Such as `part1`.
        listed_frames: Number of frames, where the list gives one.
    """

    id: str
    label: int
    split: str
    listed_frames: int | None = None


class Place(NamedTuple):
    """Where clips may lie.

    Attributes:
        pattern: Path inside the source folder with `{id}`, or `{number}` for the id as a number.
        is_frames: A folder of frames a clip, not a video.
    """

    pattern: str
    is_frames: bool = False

    def path(self, name: str) -> PurePosixPath:
        """Where the clip called `name` would be."""
        number = int(name) if name.isdigit() else -1
        return PurePosixPath(self.pattern.format(id=name, number=number))


def locate(
    source: Path,
    items: Sequence[Item],
    media: Sequence[Place],
    sounds: Sequence[Place] = (),
    wanted: str | None = None,
) -> tuple[list[Clip], tuple[str, ...]]:
    """Finds the media of listed clips, all of them in one place.

    Args:
        source: The dataset's folder.
        items: The clips.
        media: Places for pictures; the first that holds most of the clips is used.
        sounds: Places for sound, likewise; where a clip has none there, a video's own is used.
        wanted: `frames` or `video` to look in such places only.

    Returns:
        The clips, those not there with `missing` set, and notes on the places used.

    Raises:
        UserError: No folder, or none of the clips in any place.
    """
    check_source(source)
    places = [
        place for place in media if wanted in (None, "frames" if place.is_frames else "video")
    ]
    listings = _Folders(source)
    place, found = _fullest(places, items, listings.find)
    if place is None:
        patterns = ", ".join(place.pattern for place in places)
        raise UserError(
            f"--source={source} holds none of the {len(items)} clips; looked for {patterns} "
            f"(the first clip is {items[0].id!r}); name the folder that these lie in"
        )
    if sounds:
        sound_place, heard = _fullest(sounds, items, listings.find)
    else:
        sound_place, heard = None, {}
    clips = []
    for item in items:
        path = found.get(item.id)
        relative = place.path(item.id)
        clips.append(
            Clip(
                id=item.id,
                path=path or source / relative,
                label=item.label,
                split=item.split,
                source=str(relative if path is None else relative.with_name(path.name)),
                audio_path=heard.get(item.id),
                missing=None if path else f"{relative}: no such file in {source}",
                is_frames=place.is_frames,
                listed_frames=item.listed_frames,
            )
        )
    kind = "face crops as they are" if place.is_frames else "videos"
    notes = [f"pictures: {kind}, {place.pattern}"]
    if sound_place is not None:
        notes.append(f"sound: {sound_place.pattern}, there for {len(heard)} of {len(items)} clips")
    elif place.is_frames:
        notes.append("sound: none found")
    return clips, tuple(notes)


def _fullest(
    places: Sequence[Place], items: Sequence[Item], find: Callable[[PurePosixPath, bool], Path]
) -> tuple[Place | None, dict[str, Path]]:
    """The first place that holds nearly as many clips as any, and the clips in it."""
    found = []
    for place in places:
        paths = {item.id: find(place.path(item.id), place.is_frames) for item in items}
        found.append((place, {name: path for name, path in paths.items() if path}))
    most = max((len(paths) for _, paths in found), default=0)
    if not most:
        return None, {}
    return next(pair for pair in found if len(pair[1]) >= _ENOUGH * most)


class _Folders:
    """Looks files up in listings of their folders: one request a folder, not one a clip."""

    def __init__(self, source: Path):
        self._source = source
        self._names: dict[tuple[PurePosixPath, bool], dict[str, str]] = {}

    def find(self, path: PurePosixPath, is_folder: bool) -> Path | None:
        key = path.parent, is_folder
        if key not in self._names:
            entries = list_folder(self._source / path.parent)
            names = [name for name, is_dir in entries if is_dir == is_folder]
            videos = sorted((name for name in names if _is_video(name)), key=_video_rank)
            # The first of a name's videos; a wav file beside them is none.
            stems = {f"{PurePosixPath(name).stem}.*": name for name in reversed(videos)}
            self._names[key] = stems | {name: name for name in names}
        name = self._names[key].get(path.name)
        return None if name is None else self._source / path.parent / name


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")


def _video_rank(name: str) -> tuple[int, str]:
    return VIDEO_SUFFIXES.index(PurePosixPath(name).suffix.lower()), name


def list_folder(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, and which are folders; none where it does not exist."""
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return sorted((entry.name, entry.is_dir()) for entry in entries)
        found = files.attempt(folder, folder.fs.ls, folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise UserError(f"{folder}: {error.strerror or error}; grant access to it") from error
    names = [(info["name"].rstrip("/").rpartition("/")[2], info["type"]) for info in found]
    return sorted((name, kind == "directory") for name, kind in names if name)


class Media(NamedTuple):
    """Something found: its path, its parts inside the source folder, and whether it is frames."""

    path: Path
    parts: tuple[str, ...]
    is_frames: bool

    @property
    def name(self) -> str:
        """The path inside the source folder, without the extension of a video."""
        name = "/".join(self.parts)
        return name if self.is_frames else str(PurePosixPath(name).with_suffix(""))

    def clip(self, **fields) -> Clip:
        """The clip it is."""
        fields = {"id": self.name, "source": "/".join(self.parts), **fields}
        return Clip(path=self.path, is_frames=self.is_frames, **fields)


def find_media(
    source: Path, suffixes: Sequence[str] = VIDEO_SUFFIXES, frames: bool = True
) -> list[Media]:
    """Every video under a folder, and every folder that holds pictures and no videos.

    Returns:
        What is there, by name, numbers in their order.

    Raises:
        UserError: No folder.
    """
    check_source(source)
    found = []
    folders = [((), frozenset())]
    while folders:
        parts, above = folders.pop()
        folder = source.joinpath(*parts)
        real = os.path.realpath(folder) if isinstance(folder, Path) else str(folder)
        if real in above:  # a link to a folder around it
            continue
        entries = [entry for entry in list_folder(folder) if not entry[0].startswith(".")]
        names = [name for name, is_dir in entries if not is_dir]
        folders += [((*parts, name), above | {real}) for name, is_dir in entries if is_dir]
        media = [name for name in names if name.lower().endswith(tuple(suffixes))]
        found += [Media(folder / name, (*parts, name), False) for name in media]
        if frames and parts and not media and any(map(is_picture, names)):
            found.append(Media(folder, parts, True))
    return sorted(found, key=lambda media: [by_number(part) for part in media.parts])


def check_source(source: Path) -> None:
    """Refuses a source folder that is not there."""
    if not files.is_folder(source):
        raise UserError(f"--source={source}: no such folder")


def by_class_folder(
    media: Sequence[Media], folders: Mapping[str, int], splits: Mapping[str, str]
) -> tuple[list[Clip], tuple[str, ...]]:
    """Clips whose class, and whose split, are folders in their path.

    Where there are videos, folders of frames are left out: they show the same clips again.

    Args:
        media: What was found.
        folders: Class index by folder name in small letters.
        splits: Split by folder name in small letters.

    Returns:
        The clips that lie in a folder of a class and in one of a split, and notes on the others.
    """
    clips, odd = [], []
    for item in media:
        above = [part.lower() for part in item.parts[:-1]]
        split = next((splits[part] for part in above if part in splits), None)
        label = next((folders[part] for part in reversed(above) if part in folders), None)
        if split is not None and label is not None:
            clips.append(item.clip(label=label, split=split))
        else:
            odd.append(item.name)
    notes = []
    if odd:
        notes.append(f"left out, in no folder of a split and a class: {some(odd)}")
    videos = [clip for clip in clips if not clip.is_frames]
    if videos and len(videos) < len(clips):
        notes.append(f"left out beside the videos: {len(clips) - len(videos)} folders of frames")
    return videos or clips, tuple(notes)

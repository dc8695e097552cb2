"""Finds the clips of a dataset's lists in the layouts that people have."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.datasets.lookup import Lookup
from data_prep.datasets.media_tree import VIDEO_SUFFIXES, check_source
from data_prep.listing import Clip, readable
from mmadfer_jax.errors import UserError

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
        UserError: No folder, no clips, none of them in any place, or names that fit several files.
    """
    check_source(source)
    if not items:
        raise UserError("the lists name no clip; get them anew")
    places = [
        place for place in media if wanted in (None, "frames" if place.is_frames else "video")
    ]
    lookup = Lookup(source)
    place, found = _fullest(places, items, lookup)
    if place is None:
        patterns = ", ".join(place.pattern for place in places)
        raise UserError(
            f"--source={source} holds none of the {len(items)} clips; looked for {patterns} "
            f"(the first clip is {items[0].id!r}); name the folder that these lie in"
        )
    if sounds:
        sound_place, heard = _fullest(sounds, items, lookup)
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
                source=readable(str(relative) if path is None else _inside(path, source)),
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
    places: Sequence[Place], items: Sequence[Item], lookup: Lookup
) -> tuple[Place | None, dict[str, Path]]:
    """The first place that holds nearly as many clips as any, and the clips in it."""
    found = []
    for place in places:
        paths = {item.id: _find(lookup, place, item.id) for item in items}
        found.append((place, {name: path for name, path in paths.items() if path}))
    most = max((len(paths) for _, paths in found), default=0)
    if not most:
        return None, {}
    return next(pair for pair in found if len(pair[1]) >= _ENOUGH * most)


def _find(lookup: Lookup, place: Place, name: str) -> Path | None:
    path = place.path(name)
    if path.suffix == ".*":
        hits = lookup.with_ending(path.with_suffix(""), VIDEO_SUFFIXES)
        return hits[0].path if hits else None
    hit = lookup.find(path, place.is_frames)
    return hit and hit.path


def _inside(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()

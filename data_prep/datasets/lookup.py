"""Finds files by names that may be spelt in another way than on the disk."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.datasets.media_tree import list_folder
from data_prep.listing import readable, some
from mmadfer_jax.errors import UserError


class Hit(NamedTuple):
    """What was found."""

    path: Path
    is_folder: bool


class Lookup:
    """Finds by name what lies in a folder or below it.

    Upper and lower case may differ, and accents may be put together in another way: macOS takes
    them apart, and lists written elsewhere do not. Each folder is listed once, which is one request
    behind a URL, and not one a clip.

    Args:
        source: The folder that paths are relative to.
    """

    def __init__(self, source: Path):
        self._source = source
        self._folders: dict[PurePosixPath, _Folder] = {}

    def find(self, path: PurePosixPath, is_folder: bool | None = None) -> Hit | None:
        """What is called so: a folder, a file, or either.

        Args:
            path: Inside the source, or absolute.
            is_folder: None for either.

        Raises:
            UserError: Several are called so, all in another spelling.
        """
        folder = self._folder(path.parent)
        wanted = (True, False) if is_folder is None else (is_folder,)
        if folder.entries.get(path.name) in wanted:
            return folder.hit(path.name)
        alike = [n for n in folder.names[fold(path.name)] if folder.entries[n] in wanted]
        if len(alike) > 1:
            raise _ambiguous(path, alike)
        return folder.hit(alike[0]) if alike else None

    def with_ending(self, path: PurePosixPath, endings: Sequence[str]) -> list[Hit]:
        """The files that are called so apart from their ending.

        Args:
            path: Without an ending, inside the source or absolute.
            endings: Those that are meant, in small letters; the files come in this order.

        Raises:
            UserError: Files of several names are called so, all in another spelling.
        """
        folder = self._folder(path.parent)
        stems: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name in folder.stems[fold(path.name)]:
            stem, ending = _split(name)
            if ending in endings:
                stems[stem].append((endings.index(ending), name))
        if path.name not in stems and len(stems) > 1:
            raise _ambiguous(path, [name for found in stems.values() for _, name in found])
        found = stems[path.name] if path.name in stems else next(iter(stems.values()), [])
        return [folder.hit(name) for _, name in sorted(found)]

    def _folder(self, path: PurePosixPath) -> "_Folder":
        if path not in self._folders:
            self._folders[path] = self._list(path)
        return self._folders[path]

    def _list(self, path: PurePosixPath) -> "_Folder":
        folder = self._source.joinpath(*path.parts)  # a URL would keep the dot
        if path.is_absolute():
            try:
                return _Folder(folder, list_folder(folder))
            except UserError:  # of somebody else's machine, as a table may have it
                return _Folder(folder, [])
        entries = list_folder(folder)
        if not entries and path.name:
            other = self.find(path, is_folder=True)
            if other and other.path.name != path.name:
                return _Folder(other.path, list_folder(other.path))
        return _Folder(folder, entries)


class _Folder:
    """A folder's entries, by name and by what is left of it whatever the spelling."""

    def __init__(self, path: Path, entries: Sequence[tuple[str, bool]]):
        self._path = path
        self.entries = dict(entries)
        self.names: dict[str, list[str]] = defaultdict(list)
        self.stems: dict[str, list[str]] = defaultdict(list)
        for name, is_folder in entries:
            self.names[fold(name)].append(name)
            if not is_folder and not name.startswith("."):
                self.stems[fold(_split(name)[0])].append(name)

    def hit(self, name: str) -> Hit:
        return Hit(self._path / name, self.entries[name])


def fold(name: str) -> str:
    """What is left of a file's name whatever its spelling."""
    return unicodedata.normalize("NFC", readable(name)).casefold()


def _split(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return path.stem, path.suffix.lower()


def _ambiguous(path: PurePosixPath, names: Sequence[str]) -> UserError:
    return UserError(
        f"'{path}' fits {len(names)} files, {some(sorted(names))}; write it as the one that is "
        "meant"
    )

"""Any folder of videos or face frames: with a CSV file of labels, or with a folder a class."""

import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data_prep.datasets.media_tree import (
    VIDEO_SUFFIXES,
    Media,
    check_source,
    find_media,
    list_folder,
)
from data_prep.listing import Clip, Listing, assign_folds, some
from mmadfer_jax import files
from mmadfer_jax.clips.frame_folder import is_picture
from mmadfer_jax.errors import UserError

DEFAULT_FOLDS = 5
# Folders above those of the classes that make fixed splits.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
COLUMNS = ("path", "label", "split", "audio", "group")


def list_clips(
    source: Path,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
) -> Listing:
    """The clips of a folder.

    Args:
        source: The folder.
        labels: A table of labels, see `list_table`; without one classes are folders, see
            `list_tree`.
        classes: Names in the order of the labels; sorted names if None.
        folds: Number of parts to make where there are no splits, 5 if None.

    Raises:
        UserError: As these two.
    """
    if labels is None:
        return list_tree(source, classes, folds)
    return list_table(source, labels, classes, folds)


def list_tree(
    source: Path, classes: Sequence[str] | None = None, folds: int | None = None
) -> Listing:
    """Lists `CLASS/clip.mp4`, or `train/CLASS/clip.mp4` and `test/CLASS/clip.mp4`.

    Instead of a video there may be a folder of face frames.

    Args:
        source: The folder.
        classes: Folder names in the order of the labels; sorted names if None.
        folds: Number of parts to make where there are no folders of splits, 5 if None.

    Raises:
        UserError: No clips, folders of one class only, or a folder that is no class.
    """
    media = find_media(source)
    fixed = bool(media) and all(
        item.parts[0].lower() in SPLIT_FOLDERS and len(item.parts) > 2 for item in media
    )
    depth = 1 if fixed else 0
    loose = [item.name for item in media if len(item.parts) < depth + 2]
    if not media or loose:
        found = f"clips that lie in no such folder: {some(loose)}" if loose else "no clips"
        raise UserError(
            f"--source={source} without --labels needs a folder a class, CLASS/clip.mp4 or "
            f"train/CLASS/clip.mp4; found {found}"
        )
    names = sorted({item.parts[depth] for item in media}, key=_by_number_then_name)
    classes = tuple(classes or names)
    if unknown := [name for name in names if name not in classes]:
        raise UserError(
            f"--source={source} has folders {some(unknown)}, no class of {', '.join(classes)}; "
            "name all in --classes or move what is not meant"
        )
    if len(classes) < 2:
        raise UserError(f"{source}: only one class, {classes[0]!r}; at least two are needed")
    labels = {item.name: classes.index(item.parts[depth]) for item in media}
    if fixed and folds:
        raise UserError(f"--folds={folds} has no use, {source} has folders of splits")
    if fixed:
        parts = {item.name: SPLIT_FOLDERS[item.parts[0].lower()] for item in media}
    else:
        parts = assign_folds(labels, {}, folds or DEFAULT_FOLDS)
    clips = [item.clip(label=labels[item.name], split=parts[item.name]) for item in media]
    return Listing("folder", classes, clips, notes=_empty_folders(source, media, depth))


def _empty_folders(source: Path, media: Sequence[Media], depth: int) -> tuple[str, ...]:
    """Says which folders that stand where those of the classes do hold no clip."""
    used = {item.parts[: depth + 1] for item in media}
    tops = {parts[:depth] for parts in used}
    empty = [
        "/".join((*top, name))
        for top in sorted(tops)
        for name, is_folder in list_folder(source.joinpath(*top))
        if is_folder and not name.startswith((".", "__")) and (*top, name) not in used
    ]
    return (f"folders without a clip: {some(empty, 8)}",) if empty else ()


def list_table(
    source: Path,
    labels: Path,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
    name: str = "folder",
) -> Listing:
    """Reads the CSV file and finds the videos.

    Args:
        source: Folder that paths are relative to.
        labels: CSV file, UTF-8, with a header: `path`, `label` (a class name, or its index from 0
            where `classes` are given), and if wanted `split`, `audio` (a sound file), `group`
            (whose clips no two folds share). A path may lack its extension, or be a folder of face
            frames.
        classes: Names in the order of the labels; sorted names of the file if None.
        folds: Number of parts to make where there is no `split` column, 5 if None.
        name: Of the dataset.

    Raises:
        UserError: The file or a line of it cannot be used.
    """
    check_source(source)
    rows = _read_rows(labels)
    if not classes:
        classes = sorted({row.label for row in rows}, key=_by_number_then_name)
    if len(classes) < 2:
        raise UserError(f"{labels}: only one class, {classes[0]!r}; at least two are needed")
    indices = {row.path: _class_index(row, classes, labels) for row in rows}
    names = {row.path: _clip_name(row.path) for row in rows}
    if any(row.split for row in rows):
        if folds:
            raise UserError(f"--folds={folds} has no use, {labels} has a split column")
        splits = {row.path: _split_name(row, labels) for row in rows}
    else:
        parts = assign_folds(
            {names[path]: index for path, index in indices.items()},
            {names[row.path]: row.group for row in rows if row.group},
            folds or DEFAULT_FOLDS,
        )
        splits = {path: parts[name] for path, name in names.items()}
    finder = _Finder(source)
    clips = []
    for row in rows:
        video, sound = finder.find(row.path), finder.find(row.audio) if row.audio else None
        missing = row.path if video is None else row.audio if row.audio and sound is None else None
        clips.append(
            Clip(
                id=names[row.path],
                path=video or source / row.path,
                label=indices[row.path],
                split=splits[row.path],
                source=row.path if video is None else _relative(video, source),
                audio_path=sound,
                missing=missing and f"{missing}: no such file in {source}",
                is_frames=video is not None
                and not _video_suffix(row.path)
                and files.is_folder(video),
            )
        )
    return Listing(name, tuple(classes), clips)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line of the CSV file."""

    line: int
    path: str
    label: str
    split: str = ""
    audio: str = ""
    group: str = ""


def _read_rows(labels: Path) -> list[_Row]:
    try:
        # Spreadsheets put a byte order mark in front.
        with io.StringIO(files.read_bytes(labels).decode("utf-8-sig"), newline="") as file:
            reader = csv.reader(file)
            header = [column.strip().lower() for column in next(reader, [])]
            unknown = [column for column in header if column not in COLUMNS]
            if not {"path", "label"} <= set(header) or unknown or len(set(header)) < len(header):
                raise UserError(
                    f"{labels}: the header is {','.join(header)!r}, expected `path,label` and, if "
                    "wanted, `split`, `audio`, `group`, separated by commas"
                )
            rows: list[_Row] = []
            seen: dict[str, int] = {}
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                rows.append(_row(labels, reader.line_num, header, fields))
                first = seen.setdefault(rows[-1].path, reader.line_num)
                if first != reader.line_num:
                    raise UserError(
                        f"{labels}: {rows[-1].path!r} stands in line {first} and in line "
                        f"{reader.line_num}"
                    )
    except FileNotFoundError:
        raise UserError(f"--labels={labels}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"--labels={labels}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{labels}: not a CSV file in UTF-8 ({error}); save it as such") from error
    if not rows:
        raise UserError(f"{labels}: a header and no clips")
    if any(row.split for row in rows) and (bare := [row for row in rows if not row.split]):
        raise UserError(f"{labels}: line {bare[0].line} has no split, others have")
    return rows


def _row(labels: Path, line: int, header: list[str], fields: list[str]) -> _Row:
    if len(fields) != len(header):
        raise UserError(
            f"{labels}: line {line} has {len(fields)} fields, the header {len(header)} "
            "(quote paths that hold a comma)"
        )
    values = {key: value.strip() for key, value in zip(header, fields, strict=True)}
    for key in ("path", "label"):
        if not values[key]:
            raise UserError(f"{labels}: line {line} has no {key}")
    for key in ("path", "audio"):
        if values.get(key):
            values[key] = str(PurePosixPath(values[key].replace("\\", "/")))
    return _Row(line, **values)


def _class_index(row: _Row, classes: Sequence[str], labels: Path) -> int:
    if row.label in classes:
        return classes.index(row.label)
    if re.fullmatch(r"\d+", row.label) and int(row.label) < len(classes):
        return int(row.label)
    hint = " (numbers count from 0)" if row.label.isdigit() else ""
    raise UserError(
        f"{labels}: line {row.line} has label {row.label!r}, not one of the {len(classes)} "
        f"classes {', '.join(classes)}{hint}"
    )


def _by_number_then_name(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if re.fullmatch(r"\d+", label) else (1, 0, label)


def _split_name(row: _Row, labels: Path) -> str:
    if not re.fullmatch(r"[A-Za-z]\w*", row.split, re.ASCII) or row.split == "all":
        raise UserError(
            f"{labels}: line {row.line} has split {row.split!r}; use letters, digits and "
            "underscores, beginning with a letter, and not `all`"
        )
    return row.split


def _clip_name(path: str) -> str:
    return path[: -len(suffix)] if (suffix := _video_suffix(path)) else path


def _video_suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return suffix if suffix.lower() in VIDEO_SUFFIXES else ""


def _relative(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else str(path)


class _Finder:
    """Finds files by a path that may lack the extension or spell accents the other way."""

    def __init__(self, source: Path):
        self._source = source
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def find(self, name: str) -> Path | None:
        """The file, or None; a bare name must fit one video only."""
        path = self._source / name
        if files.is_file(path) or any(map(is_picture, files.names(path))):
            return path
        if path.parent not in self._folders:
            self._folders[path.parent] = self._list(path.parent)
        found = self._folders[path.parent].get(unicodedata.normalize("NFC", path.name), [])
        if len(found) > 1:
            raise UserError(
                f"{name!r} fits {len(found)} files, {some(file.name for file in found)}: give the "
                "extension"
            )
        return found[0] if found else None

    @staticmethod
    def _list(folder: Path) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in (folder / name for name in files.names(folder)):
            # macOS stores names decomposed, and lists written elsewhere are composed.
            found.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
            if _video_suffix(path.name):
                found.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
        return found

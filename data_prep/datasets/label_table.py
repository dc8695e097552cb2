"""Clips that a table of paths and labels names."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data_prep.datasets.lookup import Hit, Lookup
from data_prep.datasets.media_tree import SOUND_SUFFIXES, VIDEO_SUFFIXES, check_source
from data_prep.datasets.tables import read_table
from data_prep.listing import Clip, Listing, assign_folds, readable, some
from data_prep.names import Classes, find_classes, find_splits, key, split_name
from mmadfer_jax import files
from mmadfer_jax.clips.frame_folder import is_picture
from mmadfer_jax.errors import UserError

DEFAULT_FOLDS = 5
_SOUND_SUFFIXES = SOUND_SUFFIXES + VIDEO_SUFFIXES  # where sound may be


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line of the table."""

    line: int
    path: str
    label: str
    split: str = ""
    audio: str = ""
    group: str = ""


def list_table(
    source: Path,
    labels: Path,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
    label_base: int | None = None,
    name: str = "folder",
) -> Listing:
    """Reads a table and finds its videos.

    Args:
        source: Folder that paths are relative to.
        labels: CSV file with a header, see `tables.read_table`: `path`, `label` (a class name, or
            its number where `classes` are given), and if wanted `split`, `audio` (a sound file),
            `group` (whose clips no two folds share). A path may lack its ending, or be a folder of
            face frames.
        classes: Names in the order of the labels; sorted names of the file if None.
        folds: Number of parts to make where there is no `split` column, 5 if None.
        label_base: What labels that are numbers count from, with `classes`: 0 or 1.
        name: Of the dataset.

    Raises:
        UserError: The file or a line of it cannot be used.
    """
    check_source(source)
    rows = _read_rows(source, labels)
    try:
        kinds = find_classes([row.label for row in rows], classes, label_base)
    except UserError as error:
        raise UserError(f"{labels}: {error}") from error
    _refuse_unknown(rows, kinds, labels)
    hits = _find(source, labels, rows)
    names = {row: _clip_name(row.path) for row in rows}
    notes = kinds.notes
    if any(row.split for row in rows):
        if folds:
            raise UserError(f"--folds={folds} has no use, {labels} has a split column")
        splits, more = _splits(rows, labels)
        notes += more
    else:
        folds = folds or DEFAULT_FOLDS
        parts = assign_folds(
            {names[row]: kinds.indices[row.label] for row in rows},
            {names[row]: key(row.group) for row in rows if row.group},
            folds,
        )
        splits = {row: parts[names[row]] for row in rows}
    clips = [
        _clip(source, row, *hits[row], id=names[row], label=kinds.indices[row.label], split=split)
        for row, split in splits.items()
    ]
    return Listing(name, kinds.names, clips, notes=notes, folds=folds)


def _read_rows(source: Path, labels: Path) -> list[_Row]:
    if not files.is_file(labels):
        what = "a directory" if files.is_folder(labels) else "no such file"
        raise UserError(f"--labels={labels}: {what}, expected a CSV file")
    table = read_table(labels, ("path", "label"), ("split", "audio", "group"))
    rows = []
    seen: dict[str, int] = {}
    for line, values in table:
        for column in ("path", "audio"):
            if values.get(column):
                values[column] = _inside(values[column], source)
        rows.append(_Row(line, **values))
        if (first := seen.setdefault(rows[-1].path, line)) != line:
            raise UserError(
                f"{labels}: {rows[-1].path!r} stands in line {first} and in line {line}"
            )
    if any(row.split for row in rows) and (bare := [row for row in rows if not row.split]):
        raise UserError(f"{labels}: line {bare[0].line} has no split, others have")
    return rows


def _inside(path: str, source: Path) -> str:
    """A path with slashes, relative to the source if it lies there."""
    path = PurePosixPath(path.replace("\\", "/"))
    if path.is_absolute() and isinstance(source, Path):
        for folder in (source.absolute(), source.resolve()):
            if path.is_relative_to(folder):
                return str(path.relative_to(folder))
    return str(path)


def _refuse_unknown(rows: Sequence[_Row], kinds: Classes, labels: Path) -> None:
    for row in rows:
        if row.label not in kinds.indices:
            raise UserError(
                f"{labels}: line {row.line} has label {row.label!r}, not one of the "
                f"{len(kinds.names)} classes {', '.join(kinds.names)}"
            )


def _splits(rows: Sequence[_Row], labels: Path) -> tuple[dict[_Row, str], tuple[str, ...]]:
    named = {row: row.split for row in rows}
    for row in rows:
        if (number := key(row.split)).isdecimal():
            named[row] = f"part{number}"
    for row, name in named.items():
        bad = not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name == "all"
        if bad and not split_name(name):
            raise UserError(
                f"{labels}: line {row.line} has split {row.split!r}; use letters, digits and "
                "underscores, beginning with a letter, and not `all`"
            )
    splits = find_splits(named.values())
    return {row: splits.names[name] for row, name in named.items()}, splits.notes


def _find(
    source: Path, labels: Path, rows: Sequence[_Row]
) -> dict[_Row, tuple[Hit | None, Hit | None]]:
    """The picture and the sound of each row; no two rows may mean one file."""
    lookup = Lookup(source)
    found, seen = {}, {}
    for row in rows:
        try:
            hit = _find_one(source, lookup, row.path, VIDEO_SUFFIXES)
            sound = row.audio and _find_one(source, lookup, row.audio, _SOUND_SUFFIXES)
        except UserError as error:
            raise UserError(f"{labels}: line {row.line}: {error}") from error
        found[row] = hit, sound or None
        if hit:
            first = seen.setdefault(os.path.normpath(str(hit.path)), row)
            if first is not row:
                raise UserError(
                    f"{labels}: {first.path!r} in line {first.line} and {row.path!r} in line "
                    f"{row.line} are one file, {hit.path}; name it once"
                )
    return found


def _find_one(source: Path, lookup: Lookup, name: str, endings: Sequence[str]) -> Hit | None:
    path = PurePosixPath(name)
    hit = lookup.find(path)
    # A folder of something else may be called as a video is without its ending.
    if hit and (not hit.is_folder or any(map(is_picture, files.names(hit.path)))):
        return hit
    bare = lookup.with_ending(path, endings)
    if len(bare) > 1:
        names = sorted(hit.path.name for hit in bare)
        raise UserError(f"{name!r} fits {len(bare)} files, {some(names)}: give the ending")
    if bare or hit:
        return bare[0] if bare else hit
    there = source / name  # web servers need not list their folders
    return Hit(there, False) if files.is_remote(there) and files.is_file(there) else None


def _clip(source: Path, row: _Row, hit: Hit | None, sound: Hit | None, **fields) -> Clip:
    missing = row.path if hit is None else row.audio if row.audio and sound is None else None
    where = "" if missing and missing.startswith("/") else f" in {source}"
    return Clip(
        path=hit.path if hit else source / row.path,
        source=readable(_relative(hit.path, source) if hit else row.path),
        audio_path=sound and sound.path,
        missing=missing and f"{missing}: no such file{where}",
        is_frames=hit is not None and hit.is_folder and not _video_suffix(row.path),
        **fields,
    )


def _clip_name(path: str) -> str:
    return readable(path[: -len(suffix)] if (suffix := _video_suffix(path)) else path)


def _video_suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return suffix if suffix.lower() in VIDEO_SUFFIXES else ""


def _relative(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else str(path)

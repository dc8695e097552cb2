"""Writes a timeline into a folder, in the formats that other tools open, and reads it back."""

from collections.abc import Callable, Sequence
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines import annotated, document, events, report, subtitles, tables, tiers
from mmadfer_jax.timelines.tables import failure, summarise, write_summary
from mmadfer_jax.timelines.timeline import Timeline

__all__ = ["FORMATS", "failure", "parse_formats", "read", "save", "summarise", "write_summary"]

Writer = Callable[[Timeline, Path | UPath, Path | None], list[Path | UPath]]
_WRITERS: dict[str, Writer] = {
    "csv": tables.write_windows,
    "faces": tables.write_faces,
    "vtt": subtitles.write_vtt,
    "srt": subtitles.write_srt,
    "textgrid": tiers.write_textgrid,
    "eaf": tiers.write_eaf,
    "bids": events.write_events,
    "video": annotated.write_annotated,
    "html": report.write_report,  # after those that it names
    "json": document.write_document,
}
FORMATS = tuple(_WRITERS)


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats that a user named, such as `csv,vtt`; all of them for `all`.

    Raises:
        UserError: One is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return FORMATS if names == ("all",) else _known(names)


def _known(names: Sequence[str]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in FORMATS]:
        raise UserError(f"unknown format {', '.join(unknown)}; known are {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def save(
    timeline: Timeline,
    folder: str | Path | UPath,
    formats: Sequence[str] = FORMATS,
    video: str | Path | None = None,
) -> list[Path | UPath]:
    """Writes a timeline into a folder, which is made; files of the same names are replaced.

    Each file is written whole or not at all. `timeline.json` comes last, whatever the formats, so a
    folder that has one is complete.

    Args:
        timeline: What to write.
        folder: Where.
        formats: Of `FORMATS`.
        video: The video, for formats that show it; they are left out without.

    Returns:
        The files.

    Raises:
        UserError: A format is unknown, or the video cannot be read.
    """
    folder, chosen = files.as_path(folder), _known(formats)
    video = None if video is None else Path(video)
    files.make_folder(folder)
    files.remove(folder / document.NAME)
    written = []
    for name, write in _WRITERS.items():
        if name in (*chosen, "json"):
            written += write(timeline, folder, video)
    return written


def read(folder: str | Path | UPath) -> Timeline:
    """Reads back the timeline that was saved into a folder.

    Raises:
        UserError: There is none, it is cut or damaged, or of another version.
    """
    return document.read_document(files.as_path(folder))

"""Subtitles: `timeline.vtt` and `timeline.srt`, a line for each class that holds for a while."""

from html import escape
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.timelines.cues import Cue, cues
from mmadfer_jax.timelines.honest import MEANING
from mmadfer_jax.timelines.timeline import Timeline


def write_vtt(timeline: Timeline, folder: Path | UPath, video: Path | None) -> list[Path | UPath]:
    """Writes WebVTT, with a voice for each person."""
    blocks = [f"WEBVTT\n\nNOTE {MEANING}"]
    for number, cue in enumerate(cues(timeline), 1):
        times = f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}"
        text = escape(_text(cue), quote=False)
        blocks.append(f"{number}\n{times}\n<v {cue.name}>{cue.name}: {text}</v>")
    path = folder / "timeline.vtt"
    files.write(path, "\n\n".join(blocks) + "\n")
    return [path]


def write_srt(timeline: Timeline, folder: Path | UPath, video: Path | None) -> list[Path | UPath]:
    """Writes SubRip; it knows no escapes, so names stand as they are."""
    blocks = []
    for number, cue in enumerate(cues(timeline), 1):
        times = f"{_time(cue.start, ',')} --> {_time(cue.end, ',')}"
        text = _text(cue).replace("-->", "->")
        blocks.append(f"{number}\n{times}\n{cue.name}: {text}\n")
    path = folder / "timeline.srt"
    files.write(path, "\n".join(blocks))
    return [path]


def _text(cue: Cue) -> str:
    doubt = ", doubtful" if cue.doubtful >= 0.5 else ""
    return f"{cue.label} ({cue.confidence:.0%}{doubt})"


def _time(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"

"""Annotations in tiers: `timeline.TextGrid` for Praat and `timeline.eaf` for ELAN.

Each person has three tiers: the class, the confidence, and the share of doubtful windows where
there are any.
"""

import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.timelines.cues import cues, person_name
from mmadfer_jax.timelines.timeline import Timeline

Interval = tuple[int, int, str]  # start and end in ms, text


def write_textgrid(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes a TextGrid in the long form, in UTF-8."""
    from praatio.data_classes.interval_tier import IntervalTier
    from praatio.data_classes.textgrid import Textgrid

    tiers = list(_tiers(timeline))
    ends = [end for _, intervals in tiers for _, end, _ in intervals]
    length = max([round(1000 * timeline.duration), 1, *ends]) / 1000
    grid = Textgrid(0, length)
    for name, intervals in tiers or [(person_name(1), [])]:  # Praat opens none without a tier
        seconds = [(start / 1000, end / 1000, text) for start, end, text in intervals]
        grid.addTier(IntervalTier(name, seconds, 0, length))
    path = folder / "timeline.TextGrid"
    with files.whole(path) as unfinished:
        grid.save(str(unfinished), "long_textgrid", includeBlankSpaces=True)
    return [path]


def write_eaf(timeline: Timeline, folder: Path | UPath, video: Path | None) -> list[Path | UPath]:
    """Writes an EAF, linked to the video where it can be found from the folder."""
    from pympi.Elan import Eaf

    document = Eaf(author="mmadfer_jax")
    document.remove_tier("default")
    if video is not None and isinstance(folder, Path):
        # As ELAN writes it: not percent-encoded, and looked for beside the EAF.
        place = f"./{Path(os.path.relpath(video, folder)).as_posix()}"
        kind = mimetypes.guess_type(video.name)[0] or "unknown"
        document.add_linked_file(place, relpath=place, mimetype=kind)
    for name, intervals in _tiers(timeline):
        document.add_tier(name)
        for start, end, text in intervals:
            document.add_annotation(name, start, end, text)
    path = folder / "timeline.eaf"
    with files.whole(path) as unfinished:
        document.to_file(str(unfinished))
    return [path]


def _tiers(timeline: Timeline) -> Iterator[tuple[str, list[Interval]]]:
    """Name and intervals of each tier."""
    found = cues(timeline)
    for person in timeline.persons:
        name, own = person_name(person), [cue for cue in found if cue.person == person]
        yield name, [(cue.start, cue.end, cue.label) for cue in own]
        yield (
            f"{name} confidence",
            [(cue.start, cue.end, f"{cue.confidence:.2f}") for cue in own],
        )
        doubtful = [cue for cue in own if cue.doubtful]
        yield f"{name} doubt", [(cue.start, cue.end, f"{cue.doubtful:.2f}") for cue in doubtful]

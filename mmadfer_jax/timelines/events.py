"""`timeline_events.tsv` with its sidecar: the segments as events of BIDS."""

import json
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.timelines.cues import cues, one_line
from mmadfer_jax.timelines.honest import MEANING, training_data
from mmadfer_jax.timelines.timeline import Timeline

_COLUMNS = ("onset", "duration", "trial_type", "person", "confidence", "doubtful")


def write_events(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes the table and its JSON sidecar."""
    rows = [_COLUMNS]
    for cue in cues(timeline):
        span = f"{cue.start / 1000:.3f}", f"{(cue.end - cue.start) / 1000:.3f}"
        shares = f"{cue.confidence:.4f}", f"{cue.doubtful:.4f}"
        rows.append((*span, cue.label or "n/a", str(cue.person), *shares))
    table, sidecar = folder / "timeline_events.tsv", folder / "timeline_events.json"
    files.write(table, "".join("\t".join(row) + "\n" for row in rows))
    description = json.dumps(_description(timeline), indent=1, ensure_ascii=False)
    files.write(sidecar, description + "\n")
    return [table, sidecar]


def _description(timeline: Timeline) -> dict[str, dict]:
    names = [one_line(name) for name in timeline.classes]
    return {
        "onset": {"Description": "Start of the segment in the video", "Units": "s"},
        "duration": {"Description": "Length of the segment", "Units": "s"},
        "trial_type": {
            "LongName": "Expression",
            "Description": f"The class that holds. {MEANING} {training_data(timeline)}",
            "Levels": {name: f"would be labelled {name}" for name in names},
        },
        "person": {"Description": "Number of the person in the video, in order of appearance"},
        "confidence": {
            "Description": "Mean over the segment of the smoothed probability of its class",
            "Minimum": 0,
            "Maximum": 1,
        },
        "doubtful": {
            "Description": "Share of the windows of the segment whose answer is doubtful, for "
            "instance because the face is blurred or turned away",
            "Minimum": 0,
            "Maximum": 1,
        },
    }

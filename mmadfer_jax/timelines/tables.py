"""`timeline.csv`, `faces.csv` and `summary.csv`; docs/files.md says what each column holds."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.timelines.timeline import Timeline

_MEASURES = (
    "frames",
    "face_share",
    "score",
    "face_size",
    "blur",
    "turned",
    "sound_level",
    "speech",
)
# Those of OpenFace 2, then those of py-feat for the box, then our own.
_OPENFACE = ("frame", "face_id", "timestamp", "confidence", "success")
_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


def write_windows(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes `timeline.csv`, a row a window and person."""
    classes = [f"prob_{name}" for name in timeline.classes]
    head = ["video", "person", "start", "end", "label", "confidence", *classes, *_MEASURES]
    path = folder / "timeline.csv"
    _write(path, [*head, "doubtful", "notes"], _window_rows(timeline))
    return [path]


def _window_rows(timeline: Timeline) -> Iterator[list[Any]]:
    windows = timeline.windows
    for row, notes in enumerate(windows.notes):
        probabilities = windows.probabilities[row]
        answered = np.isfinite(probabilities).all()
        best = int(probabilities.argmax()) if answered else None
        yield [
            timeline.video,
            windows.person[row],
            *(_seconds(time[row]) for time in (windows.start, windows.end)),
            timeline.classes[best] if answered else "",
            _number(probabilities[best]) if answered else "",
            *map(_number, probabilities),
            *(_number(getattr(windows, name)[row]) for name in _MEASURES),
            int(bool(notes)),
            "; ".join(notes),
        ]


def write_faces(timeline: Timeline, folder: Path | UPath, video: Path | None) -> list[Path | UPath]:
    """Writes `faces.csv`, a row a frame and face, with the column names of OpenFace 2."""
    path = folder / "faces.csv"
    _write(path, [*_OPENFACE, *_BOX, "detected", "blur", "turned"], _face_rows(timeline))
    return [path]


def _face_rows(timeline: Timeline) -> Iterator[list[Any]]:
    faces = timeline.faces
    confidence = _bridged(faces.person, faces.score)
    for row, (left, top, right, bottom) in enumerate(faces.box.astype(np.float64)):
        yield [
            faces.frame[row] + 1,  # OpenFace counts from 1
            faces.person[row],
            _seconds(faces.time[row]),
            _number(confidence[row]),
            1,
            *(f"{x:.1f}" for x in (left, top, right - left, bottom - top)),
            int(faces.detected[row]),
            _number(faces.blur[row]),
            _number(faces.turned[row]),
        ]


def _bridged(person: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The scores; between two detections of a person, the lower one of these."""
    filled = score.copy()
    for number in np.unique(person):
        rows = np.flatnonzero(person == number)
        known = np.flatnonzero(~np.isnan(score[rows]))
        if len(known):
            places = np.arange(len(rows))
            after = np.searchsorted(known, places).clip(0, len(known) - 1)
            before = (np.searchsorted(known, places, "right") - 1).clip(0)
            found = score[rows[known]]
            filled[rows] = np.minimum(found[before], found[after])
    return filled


def summarise(timeline: Timeline) -> list[dict[str, Any]]:
    """The rows of `summary.csv` for a video: one a person, or one of person 0 without any."""
    problems = "; ".join(timeline.problems)
    common = {"video": timeline.video, "error": "", "seconds": _seconds(timeline.duration)}
    return [
        {**common, **_person(timeline, person), "problems": problems}
        for person in timeline.persons or (0,)
    ]


def _person(timeline: Timeline, person: int) -> dict[str, Any]:
    windows = timeline.windows
    rows = np.flatnonzero(windows.person == person)
    answers = windows.probabilities[rows]
    answers = answers[np.isfinite(answers).all(axis=1)].astype(np.float64)
    mean = answers.mean(axis=0) if len(answers) else np.full(len(timeline.classes), np.nan)
    held = dict.fromkeys(timeline.classes, 0.0)
    for segment in timeline.segments:
        if segment.person == person:
            held[segment.label] += segment.end - segment.start
    return {
        "person": person,
        "first": _seconds(windows.start[rows].min()) if len(rows) else "",
        "last": _seconds(windows.end[rows].max()) if len(rows) else "",
        "windows": len(rows),
        "answered": len(answers),
        "doubtful": sum(bool(windows.notes[row]) for row in rows),
        "label": timeline.classes[int(mean.argmax())] if len(answers) else "",
        **{f"mean_{name}": _number(x) for name, x in zip(timeline.classes, mean, strict=True)},
        **{f"seconds_{name}": _seconds(x) for name, x in held.items()},
        "face_share": _mean(windows.face_share[rows]),
        "face_size": _mean(windows.face_size[rows]),
        "speech": _mean(windows.speech[rows]),
    }


def failure(video: str, reason: str) -> dict[str, Any]:
    """The row of `summary.csv` for a video that could not be answered for."""
    return {"video": video, "error": reason}


def write_summary(rows: Iterable[dict[str, Any]], path: Path | UPath) -> None:
    """Writes `summary.csv`.

    Args:
        rows: Those of `summarise` and `failure`, in any order.
        path: The file.
    """
    rows = list(rows)
    fullest = max(rows, key=len, default={"video": "", "error": ""})
    head = list(dict.fromkeys(name for row in (fullest, *rows) for name in row))
    _write(path, head, ([row.get(name, "") for name in head] for row in rows))


def _write(path: Path | UPath, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with files.writing(path) as file:
        # Names of files may hold bytes that are no UTF-8.
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
        text.flush()
        text.detach()


def _seconds(time: float) -> str:
    return f"{time:.3f}"


def _number(value: float) -> str:
    """Six digits; nothing for NaN, which other programs read as a missing value."""
    return "" if np.isnan(value) else f"{value:.6g}"


def _mean(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    return _number(known.mean(dtype=np.float64)) if len(known) else ""

"""`timeline.json`: a whole timeline, column by column, from which the same one is read back."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines.timeline import Faces, Segment, Timeline, Windows

NAME = "timeline.json"
FORMAT = 1

_WINDOWS = {
    "start": np.float64,
    "end": np.float64,
    "person": np.int32,
    "probabilities": np.float32,
    "frames": np.int32,
    "face_share": np.float32,
    "score": np.float32,
    "face_size": np.float32,
    "blur": np.float32,
    "turned": np.float32,
    "sound_level": np.float32,
    "speech": np.float32,
}
_FACES = {
    "frame": np.int32,
    "time": np.float64,
    "person": np.int32,
    "box": np.float32,
    "score": np.float32,
    "detected": np.bool_,
    "blur": np.float32,
    "turned": np.float32,
}


def write_document(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes `timeline.json`; NaN is null there, and an infinite number a string."""
    values = {field.name: getattr(timeline, field.name) for field in dataclasses.fields(timeline)}
    windows = {name: _listed(getattr(timeline.windows, name)) for name in _WINDOWS}
    values |= {
        "windows": {**windows, "notes": timeline.windows.notes},
        "faces": {name: _listed(getattr(timeline.faces, name)) for name in _FACES},
        "segments": [dataclasses.asdict(segment) for segment in timeline.segments],
    }
    text = json.dumps({"format": FORMAT, **values}, ensure_ascii=False, allow_nan=False)
    files.write(folder / NAME, _encodable(text) + "\n")
    return [folder / NAME]


def read_document(folder: Path | UPath) -> Timeline:
    """Reads back what `write_document` wrote.

    Raises:
        UserError: There is none, it is cut or damaged, or of another version.
    """
    path = folder / NAME
    try:
        values = json.loads(files.read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected the folder of a saved timeline") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise UserError(f"{path}: cut off or damaged ({error}); make the timeline again") from error
    found = values.get("format") if isinstance(values, Mapping) else None
    if found != FORMAT:
        raise UserError(
            f"{path}: of format {found}, this version reads format {FORMAT}; make the timeline "
            "again with this version"
        )
    try:
        return _timeline({name: value for name, value in values.items() if name != "format"})
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: damaged ({error!r}); make the timeline again") from error


def _timeline(values: dict[str, Any]) -> Timeline:
    windows, faces = values["windows"], values["faces"]
    columns = {name: _array(windows[name], kind) for name, kind in _WINDOWS.items()}
    columns["probabilities"] = columns["probabilities"].reshape(-1, len(values["classes"]))
    columns["notes"] = tuple(tuple(notes) for notes in windows["notes"])
    boxes = {name: _array(faces[name], kind) for name, kind in _FACES.items()}
    boxes["box"] = boxes["box"].reshape(-1, 4)
    for table in (columns, boxes):
        if len(lengths := {len(column) for column in table.values()}) > 1:
            raise ValueError(f"columns of {sorted(lengths)} rows")
    tuples = {name: tuple(values[name]) for name in ("classes", "size", "problems")}
    segments = tuple(Segment(**segment) for segment in values["segments"])
    tables = {"windows": Windows(**columns), "faces": Faces(**boxes), "segments": segments}
    return Timeline(**{**values, **tuples, **tables})


def _listed(array: np.ndarray) -> list:
    """As nested lists; floats in the fewest digits that give the same number of their type back."""
    if array.dtype.kind != "f":
        return array.tolist()
    if array.ndim > 1:
        return [_listed(row) for row in array]
    short = array.astype(str).astype(float).tolist()
    return [x if np.isfinite(x) else None if np.isnan(x) else str(x) for x in short]


def _array(values: list, kind: type) -> np.ndarray:
    if np.issubdtype(kind, np.floating):
        values = [[_number(x) for x in v] if isinstance(v, list) else _number(v) for v in values]
    return np.array(values, kind)


def _number(value: float | str | None) -> float:
    return np.nan if value is None else float(value)


def _encodable(text: str) -> str:
    """Names of files may hold bytes that are no UTF-8; JSON escapes them where they stand."""
    return text.encode("utf-8", "backslashreplace").decode()

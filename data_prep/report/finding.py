"""One thing that a person should know of a dataset."""

from collections.abc import Iterable, Mapping
from typing import Any

CHECKED, PREPARED = "checked", "prepared"
FAULT, WARNING, GOOD, NOTE = "fault", "warning", "good", "note"

Entry = Mapping[str, Any]  # a line of the manifest
Finding = dict[str, Any]


def finding(level: str, what: str, detail: str = "", clips: Iterable[str] = ()) -> Finding:
    """For `report.json`.

    Args:
        level: `fault` where figures would be wrong, `warning`, `good` or `note`.
        what: In one line.
        detail: What it means, or where.
        clips: Names of those concerned.
    """
    return {"level": level, "what": what, "detail": detail, "clips": list(clips)}


def number(count: int, noun: str) -> str:
    """Such as `1 clip` or `2 clips`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"

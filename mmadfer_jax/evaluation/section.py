"""A part of a report, and how its tables are written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Section(NamedTuple):
    """What was found of one question.

    Attributes:
        name: Its key in `results.json`.
        title: Its heading.
        results: As JSON takes it.
        text: The same in Markdown, without the heading.
        figures: File name -> draws that picture to a path.
        files: File name -> text of a further file.
    """

    name: str
    title: str
    results: Any
    text: str
    figures: Mapping[str, Callable[[Path], None]] = {}
    files: Mapping[str, str] = {}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown whose columns are aligned, so that it reads well on a terminal too.

    All columns but the first are set to the right.
    """
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *rest = zip(row, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent, without the sign; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def span(interval: Sequence[float | None], digits: int = 1) -> str:
    """An interval in percent, such as "61.0 to 66.2"."""
    return " to ".join(percent(end, digits) for end in interval)


def number(value: float) -> float | None:
    """For JSON, which has no nan."""
    return None if value != value else float(value)

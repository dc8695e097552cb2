"""UAR and WAR by groups of clips, such as the gender or age of who is seen."""

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.figures_answers import groups_figure
from mmadfer_jax.evaluation.intervals import intervals
from mmadfer_jax.evaluation.metrics import recalls_of
from mmadfer_jax.evaluation.section import Section, number, percent, span, table

FEW = 30  # clips, below which a group's figures say little
_MOST = 50  # groups
_KEYS = ("clip", "id", "path")
_SEPARATORS = ",;\t|"
_UNKNOWN, _ALL = "(not given)", "all clips"


def read_groups(spec: str, clips: Sequence[str]) -> tuple[str, list[str]]:
    """The group of every clip.

    Args:
        spec: "FILE:COLUMN". The file is CSV with a header. Its column `clip`, `id` or `path` has
            the clips' names as `predictions.csv` has them; a name may have its file's ending.
        clips: The n clips' names.

    Returns:
        The column's name, and its value for each clip; "(not given)" where there is none.

    Raises:
        UserError: The file or the column is not there, no clip is found in it, or there are more
            than 50 groups.
    """
    name, colon, column = spec.rpartition(":")
    if not (name and colon and column):
        raise UserError(f"--groups={spec}; expected FILE:COLUMN, such as labels.csv:gender")
    try:
        text = files.read_bytes(files.as_path(name)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read as CSV in UTF-8 ({error})") from error
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    header = rows.fieldnames or []
    key = next((wanted for wanted in _KEYS if wanted in header), None)
    if key is None or column not in header:
        raise UserError(
            f"{name} has the columns {', '.join(header)}; expected {column}, and the clips' names "
            f"in one of {', '.join(_KEYS)}"
        )
    values = {}
    for row in rows:
        clip, value = row[key] or "", (row[column] or "").strip()
        for known in {clip, clip.rpartition(".")[0]} - {""}:
            values[known] = value
    found = [values.get(clip) or _UNKNOWN for clip in clips]
    if set(found) == {_UNKNOWN}:
        raise UserError(
            f"{name} gives no {column} for any of the {len(clips):,} clips; they are called like "
            f"{clips[0]!r}, the file has {next(iter(values), 'no rows')!r}"
        )
    if (count := len(set(found))) > _MOST:
        raise UserError(
            f"{name}: {column} has {count} values; expected at most {_MOST}. Join them, for "
            "instance ages into spans of ten years"
        )
    return column, found


def groups_section(
    answers: Answers, num_classes: int, columns: Mapping[str, Sequence[str]]
) -> Section:
    """A table for each column: its name -> the group of every clip, as `read_groups` gives them."""
    found = {name: _rows(answers, num_classes, groups) for name, groups in columns.items()}
    tables = [_table(name, rows) for name, rows in found.items()]
    note = (
        f"Groups of fewer than {FEW} clips are marked: their figures say little. UAR is the mean "
        "over the classes that a group has; groups with other classes do not compare."
    )
    figures = {
        f"groups_{_file(name)}.png": functools.partial(groups_figure, rows, name)
        for name, rows in found.items()
    }
    return Section("groups", "By group", found, "\n\n".join([*tables, note]), figures)


def _rows(answers: Answers, num_classes: int, groups: Sequence[str]) -> list[dict[str, Any]]:
    right, groups = answers.logits.argmax(axis=1) == answers.labels, np.array(groups)
    names = sorted(set(groups.tolist()), key=lambda name: (name == _UNKNOWN, name))
    rows = []
    for name in (_ALL, *names):
        inside = np.full(len(right), True) if name == _ALL else groups == name
        labels, hits = answers.labels[inside], right[inside]
        interval, recalls = intervals(labels, hits), recalls_of(labels, hits, num_classes)
        rows.append(
            {
                "group": name,
                "clips": len(hits),
                "classes": int((~np.isnan(recalls)).sum()),
                "uar": float(np.nanmean(recalls)),
                "uar_interval": interval["uar"],
                "war": float(hits.mean()),
                "war_interval": interval["war"],
                "few": len(hits) < FEW,
                "per_class_recall": [number(recall) for recall in recalls],
            }
        )
    return rows


def _table(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    header = (column, "clips", "classes", "UAR", "95 %", "WAR", "95 %")
    lines = [
        (
            row["group"] + (" (few)" if row["few"] else ""),
            f"{row['clips']:,}",
            row["classes"],
            percent(row["uar"]),
            span(row["uar_interval"]),
            percent(row["war"]),
            span(row["war_interval"]),
        )
        for row in rows
    ]
    return table(header, lines)


def _file(column: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in column)

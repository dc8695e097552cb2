"""Reads tables and lists as spreadsheets and programs write them."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.names import key
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

_SEPARATORS = (",", ";", "\t", "|")  # Excel's is a semicolon where numbers have the comma
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LINE_END = re.compile(r"\r\n|\r|\n")

Row = tuple[int, dict[str, str]]  # number of its last line, and value by column


def read_text(path: Path, chinese: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 that says so by a byte order mark.

    Args:
        path: The file.
        chinese: It may be in GBK too, as the lists of some Chinese sets are.

    Raises:
        UserError: It is in none of them.
        OSError: It is not there.
    """
    data = files.read_bytes(path)
    marked = [encoding for mark, encoding in _MARKS.items() if data.startswith(mark)]
    for encoding in marked or ("utf-8", *(["gb18030"] if chinese else [])):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:  # it has some where UTF-16 is without a mark
            return text
    what = "text in neither UTF-8 nor GBK" if chinese else "not a CSV file in UTF-8"
    if data.startswith(b"PK"):
        what = "a workbook, no text"
    raise UserError(f"{path}: {what}; save it as CSV in UTF-8")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, and their numbers from 1.

    Raises:
        UserError: It is neither in UTF-8 nor in GBK.
    """
    # Not splitlines, which also cuts where a caption has one of Unicode's rarer separators.
    lines = _LINE_END.split(read_text(path, chinese=True))
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def read_table(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str] | None = None,
    chinese: bool = False,
) -> list[Row]:
    """The rows of a CSV file with a header; separated by commas, semicolons, tabs or bars.

    Args:
        path: The file.
        columns: Those that the header must have, in any case and order, and no row leave blank.
        optional: Those that it may have besides; any if None.
        chinese: As of `read_text`.

    Returns:
        Values of the columns that have a name, without white space around them.

    Raises:
        UserError: It cannot be read, lacks a column or has a foreign one, has no rows, or a row
            does not fit the header.
        OSError: It is not there.
    """
    text = read_text(path, chinese)
    # The line by which Excel tells itself.
    declared = re.match(r'\s*"?sep=(.)"?(?:\r\n|\r|\n)', text, re.IGNORECASE)
    start = declared.end() if declared else 0
    separators = declared[1] if declared else _SEPARATORS
    first = _LINE_END.split(text[start:].lstrip())[0]
    wanted = {*columns, *(optional or ())}
    separator = max(separators, key=lambda mark: len(wanted.intersection(_keys(first, mark))))
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=separator, strict=True)
    lines_before = len(_LINE_END.findall(text[:start]))
    rows = []
    try:
        filled = (row for row in reader if any(field.strip() for field in row))
        header = _header(path, next(filled, []), columns, None if optional is None else wanted)
        for fields in filled:
            line = reader.line_num + lines_before
            rows.append((line, _values(f"{path}: line {line}", header, fields, columns)))
    except csv.Error as error:
        raise UserError(
            f"{path}: line {reader.line_num + lines_before}: {error}; is a quote not closed?"
        ) from error
    if not rows:
        raise UserError(f"{path}: a header and no rows")
    return rows


def _keys(line: str, separator: str) -> list[str]:
    return [key(name.strip(' "')) for name in line.split(separator)]


def _header(
    path: Path, fields: Sequence[str], columns: Sequence[str], known: set[str] | None
) -> list[str]:
    header = [key(name) for name in fields]
    while header and not header[-1]:  # blank columns of a spreadsheet
        header.pop()
    named = [name for name in header if name and (known is None or name in known)]
    foreign = known is not None and any(name and name not in known for name in header)
    if not set(columns) <= set(named) or foreign or len(set(named)) < len(named):
        more = sorted((known or set()) - set(columns))
        besides = f" and, if wanted, {', '.join(f'`{name}`' for name in more)}" if more else ""
        raise UserError(
            f"{path}: the header is {','.join(fields)!r}, expected `{','.join(columns)}`{besides}, "
            "separated by commas, semicolons, tabs or bars, each once"
        )
    return header


def _values(
    where: str, header: Sequence[str], fields: Sequence[str], columns: Sequence[str]
) -> dict[str, str]:
    fields = [field.strip() for field in fields]
    if any(fields[len(header) :]):
        raise UserError(
            f"{where} has {len(fields)} fields, the header {len(header)} (quote values that hold "
            "what separates them)"
        )
    # Programs leave blank fields at the end out.
    fields += [""] * (len(header) - len(fields))
    pairs = list(zip(header, fields, strict=False))
    if any(value and not name for name, value in pairs[1:]):  # the first may be numbers of rows
        raise UserError(f"{where} has a value in a column without a name")
    values = {name: value for name, value in pairs if name}
    for name in columns:
        if not key(values[name]):
            raise UserError(f"{where} has no {name}")
    return values

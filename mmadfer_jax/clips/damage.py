"""Whether a file is whole, by its bytes and not by what it says of times."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import simplejpeg

_EBML, _SEGMENT, _CLUSTER = b"\x1aE\xdf\xa3", b"\x18S\x80g", b"\x1fC\xb6u"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"emsg", b"prft"),
    *(b"meta", b"udta", b"uuid", b"free", b"skip", b"wide", b"pnot", b"PICT", b"pdin"),
}
_UNKNOWN = 0xFFFFFFFF  # a length that was not filled in
_FLV_TAGS = {8, 9, 18}  # sound, picture, script
_PROGRESSIVE, _TABLES, _START_OF_SCAN = 0xC2, 0xC4, 0xDA  # markers of JPEG segments
_LONGEST_ZEROS = 32  # bytes; no block of a picture is coded as so many, see `jpeg_fault`


def extent(path: str | Path) -> int | None:
    """How many bytes a media file has by the sizes of its parts; more than there are if it is cut.

    Returns:
        None for containers whose parts do not say how long they are, such as MPEG-TS or Ogg, and
        where the sizes were never filled in.
    """
    with Path(path).open("rb") as file:
        start = file.read(16)
        size = file.seek(0, 2)
        file.seek(0)
        return _walker(start)(file, size)


def end_of_clusters(path: str | Path) -> int | None:
    """Where the last cluster of a Matroska file ends, in bytes; None if it does not say so."""
    with Path(path).open("rb") as file:
        ends = [stop for name, stop in _matroska_parts(file) if name == _CLUSTER]
    return ends[-1] if ends else None


def _walker(start: bytes) -> Callable[[BinaryIO, int], int | None]:
    if start.startswith(_EBML):
        return _matroska
    if start.startswith(b"RIFF"):
        return _avi if start[8:12] == b"AVI " else _riff
    if start.startswith(b"FLV"):
        return _flv
    if start == _ASF:
        return _asf
    if start[4:8] in _BOXES:
        return _mp4
    return lambda file, size: None


def _mp4(file: BinaryIO, size: int) -> int | None:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length, name = int.from_bytes(head[:4]), head[4:8]
        if len(head) < 8:
            return position + 8
        if name not in _BOXES or length == 0:  # what follows the film, or a last box without end
            return size
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8:
            return None
        position += length
    return position


def _riff(file: BinaryIO, size: int) -> int | None:
    length = int.from_bytes(file.read(8)[4:], "little")
    return None if length in (0, _UNKNOWN) else 8 + length


def _avi(file: BinaryIO, size: int) -> int | None:
    """By the list of the film and, if that is longer than the file, by the chunks in it.

    Lengths in AVI files are often wrong, but a chunk that breaks off tells.
    """
    position, end, film = 0, 0, None
    while position + 12 <= size:
        file.seek(position)
        head = file.read(12)
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if name == b"RIFF":  # large files are several of them, one after the other
            end = size if length in (0, _UNKNOWN) else position + 8 + length
            position += 12
        elif position >= end:  # what follows the film
            return size
        elif not length or not name.isascii():
            return None
        elif head[8:] == b"movi" and position + 8 + length > size:
            film = position + 8 + length
            position += 12
        elif film and name == b"LIST":
            position += 12
        else:
            position += 8 + length + length % 2
    return size if position <= size + 1 else film or position


def _flv(file: BinaryIO, size: int) -> int | None:
    file.seek(5)
    position = int.from_bytes(file.read(4)) + 4
    while position < size:
        file.seek(position)
        head = file.read(4)
        if len(head) == 4 and head[0] & 31 not in _FLV_TAGS:
            return None
        position += 11 + int.from_bytes(head[1:4])
        if position < size:
            position += 4  # the size once more, which some leave out at the end
    return position


def _asf(file: BinaryIO, size: int) -> int | None:
    file.seek(16)
    header = int.from_bytes(file.read(8), "little")
    if header >= size:
        return None
    file.seek(header + 16)
    data = int.from_bytes(file.read(8), "little")
    return header + data if data >= 24 else None  # a broadcast has no known end


def _matroska(file: BinaryIO, size: int) -> int | None:
    ends = [stop for _, stop in _matroska_parts(file)]
    return ends[-1] if ends else None


def _matroska_parts(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Names and ends of what is in the segment, up to where a size is not known; then its own."""
    segment = None
    while segment is None or file.tell() < segment:
        name, length = _vint(file, keep_marker=True), _vint(file)
        if name is None or length is None:
            break
        name = name.to_bytes((name.bit_length() + 7) // 8)
        stop = file.tell() + length
        if name == _SEGMENT:
            segment = math.inf if length == -1 else stop
            continue
        if length == -1:
            break
        if name != _EBML:
            yield name, stop
        file.seek(stop)
    if segment not in (None, math.inf):
        yield _SEGMENT, segment


def _vint(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """A number of EBML; -1 where all its bits are set, which stands for unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    if len(rest) < more:
        return None
    if keep_marker:
        return int.from_bytes(first + rest)
    value = int.from_bytes(first + rest) - (1 << 7 * (more + 1))
    return -1 if value == (1 << 7 * (more + 1)) - 1 else value


def jpeg_fault(data: bytes) -> str | None:
    """What is wrong with a JPEG file whose picture is not all there; None if it is.

    Bytes behind its end are no fault, nor is padding before it.
    """
    *header, (_, scan) = _segments(data)
    end = data.find(b"\xff\xd9", scan)  # no coded picture holds these two
    if end < 0:
        return "cut off, a JPEG picture without an end"
    fault = _decoder_says(data)
    if fault and (extra := re.search(r"(\d+) extraneous bytes before marker 0xd9", fault)):
        padding = data[end - int(extra[1]) : end]
        if len(set(padding)) == 1:
            end -= len(padding)
            fault = _decoder_says(data[:end] + b"\xff\xd9")
    if fault:
        return f"damaged, a hole in the picture ({fault})"
    # Decoders take zeros for a texture, and may come out at the end by chance.
    if bytes(_LONGEST_ZEROS) in data[scan:end] and not _zeros_are_flat(data, header):
        return "damaged, a hole of zeros in the picture"
    return None


def _decoder_says(data: bytes) -> str | None:
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        kind = "CMYK" if colours == "CMYK" else "GRAY"
        # Made as small as can be: reading the codes is what matters.
        simplejpeg.decode_jpeg(data, kind, fastdct=True, min_height=1, min_width=1)
    except ValueError as error:
        return str(error)
    return None


def _segments(data: bytes) -> list[tuple[int, int]]:
    """Marker and start of each segment up to the first of the coded picture, or to the end."""
    found, position = [], 2
    while True:
        while data[position + 1 : position + 2] == b"\xff":  # fill bytes
            position += 1
        marker = int.from_bytes(data[position + 1 : position + 2])
        found.append((marker, position + 2))
        if marker == _START_OF_SCAN or position + 4 > len(data):
            return found
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))


def _zeros_are_flat(data: bytes, header: list[tuple[int, int]]) -> bool:
    """Whether a long row of zeros may be coded picture: that of an area of one colour.

    So it is where the code of zeros ends a block in every table, as in tables made for a flat
    picture. In the usual ones it is a coefficient of one, and 63 of those are in no real block. In
    progressive files zeros may be anything.
    """
    firsts = []
    for marker, start in header:
        if marker == _PROGRESSIVE:
            return True
        if marker == _TABLES:
            tables = data[start + 2 : start + int.from_bytes(data[start : start + 2])]
            while len(tables) > 17:
                if tables[0] >> 4:  # of all coefficients of a block but the first
                    firsts.append(tables[17])
                tables = tables[17 + sum(tables[1:17]) :]
    return not any(firsts)

"""The TFRecord format, and files that are there whole or not at all."""

import errno
import os
import struct
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from upath import UPath

from mmadfer_jax.data import storage

_HEADER = struct.Struct("<QI")  # length of the data, masked CRC32C of the length
_FOOTER = struct.Struct("<I")  # masked CRC32C of the data
FRAME_BYTES = _HEADER.size + _FOOTER.size  # what a frame adds to its data


def masked_crc(data: bytes) -> int:
    """CRC32C of `data`, rotated and shifted as the TFRecord format wants it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, data and footer, to be written one after the other."""
    length = struct.pack("<Q", len(data))
    return length + _FOOTER.pack(masked_crc(length)), data, _FOOTER.pack(masked_crc(data))


def unframe(raw: bytes, length: int) -> bytes:
    """The data of a frame, whose length is known beforehand.

    Raises:
        ValueError: The frame is cut, or one of its checksums does not match.
    """
    if len(raw) != length + FRAME_BYTES:
        raise ValueError(f"the file ends {length + FRAME_BYTES - len(raw)} bytes early")
    found, length_crc = _HEADER.unpack_from(raw)
    if length_crc != masked_crc(raw[:8]) or found != length:
        raise ValueError("its length does not match its checksum or the index")
    data = raw[_HEADER.size : -_FOOTER.size]
    if _FOOTER.unpack_from(raw, len(raw) - _FOOTER.size)[0] != masked_crc(data):
        raise ValueError("its data does not match its checksum")
    return data


def write_atomic(path: str | os.PathLike | UPath, data: bytes | str) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: The disk refused, for instance because it is full; nothing is left behind.
    """
    path = storage.place(path)
    file = temporary(path).open("wb")
    try:
        file.write(data.encode() if isinstance(data, str) else data)
        finish(file, path)
    except BaseException:
        abandon(file, path)
        raise


def temporary(path: Path | UPath) -> Path:
    """Where a file is written before it gets its name; on the disk for one behind a URL."""
    if not isinstance(path, Path):
        return storage.staging(path)
    # One fixed name, so that a later run overwrites what a killed one left. The dot keeps it from
    # matching the pattern by which TFDS finds shards.
    return path.with_name(f".{path.name}.tmp")


def finish(file: BinaryIO, path: Path | UPath) -> None:
    """Gives a file that was opened at `temporary(path)` its name, once it is on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    if not isinstance(path, Path):
        storage.upload(temporary(path), path)
        temporary(path).unlink()
        return
    temporary(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)


def abandon(file: BinaryIO, path: Path | UPath) -> None:
    """Closes and deletes a file that was opened at `temporary(path)`."""
    try:
        file.close()
    except OSError as error:  # closing flushes, and a full disk refuses a second time
        if error.errno != errno.ENOSPC:
            raise
    finally:
        temporary(path).unlink(missing_ok=True)

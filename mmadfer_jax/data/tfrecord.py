"""The TFRecord format: frames around the bytes of a record, with checksums."""

import struct

import google_crc32c

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

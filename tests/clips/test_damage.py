"""How long files are by the sizes of their parts, and JPEG files with holes."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import corners, tone, write_video

from mmadfer_jax.clips import damage
from mmadfer_jax.clips.frames import encode_jpeg


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9"),
     ("avi", "mpeg4"), ("flv", "flv"), ("asf", "wmv2"), ("wav", None)],
)  # fmt: skip
def test_the_extent_is_that_of_the_whole_file(tmp_path, suffix, codec):
    path = tmp_path / f"file.{suffix}"
    if codec:
        write_video(path, corners(20), codec)
    else:
        write_video(path, [], sound=tone(1, 8000), sample_rate=8000, sound_codec="pcm_s16le")
    data = path.read_bytes()
    extent = damage.extent(path)
    assert extent == len(data) - (86 if suffix == "asf" else 0)  # its index is no loss
    for there in range(extent - 3 if suffix in ("mp4", "mov") else extent // 2, extent, 397):
        path.write_bytes(data[:there])
        # An AVI or FLV file may break off between two of its parts.
        assert damage.extent(path) > there or suffix in ("avi", "flv")
    for junk in (b"junk behind the end of it all", bytes(100), np.random.default_rng(0).bytes(100)):
        path.write_bytes(data + junk)
        assert damage.extent(path) in (None, extent, len(data), len(data) + len(junk))


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "mpeg2video"), ("vob", "mpeg2video")])
def test_some_containers_do_not_say(tmp_path, suffix, codec):
    assert damage.extent(write_video(tmp_path / f"file.{suffix}", corners(20), codec)) is None


def test_odd_bytes_are_no_container(tmp_path):
    path = tmp_path / "file"
    rng = np.random.default_rng(0)
    starts = [b"", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"RIFF", b"FLV", b"\0\0\0\x18ftyp"]
    for start in [*starts, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")]:
        for rest in (b"", bytes(1000), rng.bytes(1000), b"\xff" * 1000):
            path.write_bytes(start + rest)
            damage.extent(path)
            damage.end_of_clusters(path)


def pictures():
    rng = np.random.default_rng(0)
    blurred = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3), np.uint8), (0, 0), 3)
    yield cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)
    y, x = np.mgrid[:112, :112]
    yield np.stack([2 * x, 2 * y, x + y], axis=-1).astype(np.uint8)
    yield rng.integers(0, 256, (64, 64, 3), np.uint8)


def files():
    for picture in pictures():
        for quality in (50, 95):
            yield encode_jpeg(picture, quality)
        for options in ({}, {"progressive": True}, {"optimize": True}, {"keep_rgb": True}):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", **options)
            yield file.getvalue()
        for mode in ("L", "CMYK"):
            file = io.BytesIO()
            Image.fromarray(picture).convert(mode).save(file, "JPEG")
            yield file.getvalue()


def test_whole_pictures_have_no_fault():
    for data in files():
        assert damage.jpeg_fault(data) is None
        assert damage.jpeg_fault(data + bytes(200)) is None
        assert damage.jpeg_fault(data + data) is None
        assert damage.jpeg_fault(data[:-2] + bytes(9) + data[-2:]) is None


def test_cut_pictures_have_one():
    for data in files():
        for there in (len(data) // 3, len(data) // 2, len(data) - 2):
            assert damage.jpeg_fault(data[:there]).startswith("cut off")


def test_pictures_with_a_hole_have_one():
    for data in files():
        third = len(data) // 3
        hole = data[:third] + bytes(third) + data[2 * third :]
        assert damage.jpeg_fault(hole).startswith(("damaged", "cut off"))


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
def test_flat_pictures_have_none(level, options):
    """With codes made for it, all of a flat picture is zeros."""
    file = io.BytesIO()
    Image.fromarray(np.full((512, 512, 3), level, np.uint8)).save(file, "JPEG", **options)
    assert damage.jpeg_fault(file.getvalue()) is None


def test_the_thumbnail_is_not_the_picture():
    thumbnail = encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)
    exif = b"Exif\0\0" + thumbnail
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    data = next(files())
    data = data[:2] + segment + data[2:]
    assert damage.jpeg_fault(data) is None
    assert damage.jpeg_fault(data[:-100]).startswith("cut off")

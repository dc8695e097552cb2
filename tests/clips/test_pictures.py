"""Colours, pixels that are not square, and high dynamic range."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import corners, set_display_matrix, write_colour, write_tracks

from mmadfer_jax.clips import media, pictures

RED = (81, 90, 240)  # of BT.601 in limited range
BT709, UNSAID, BT601, BT2020 = 1, 2, 6, 9
PQ, HLG = 16, 18


def colours(path):
    problems = []
    frames = list(media.read_video(path, problems=problems))
    return np.array([frame.rgb[5, 5] for frame in frames], int), problems


def colour(path):
    found, problems = colours(path)
    assert len(found) == 3
    return found[-1], problems


@pytest.mark.parametrize(
    ("width", "height", "tag", "expected"),
    [
        (720, 576, UNSAID, (253, 0, 0)),  # of that size, untagged, they are BT.601
        (1280, 720, UNSAID, (255, 23, 0)),
        (720, 1280, UNSAID, (255, 23, 0)),
        (64, 48, BT709, (255, 23, 0)),
        (1280, 720, BT601, (253, 0, 0)),
        (64, 48, BT2020, (255, 9, 0)),
    ],
)
def test_the_matrix_is_that_of_the_tag_or_else_of_the_size(tmp_path, width, height, tag, expected):
    path = write_colour(
        tmp_path / "clip.mkv", *[RED] * 3, width=width, height=height, colorspace=tag
    )
    found, problems = colour(path)
    np.testing.assert_allclose(found, expected, atol=1)
    assert problems == []


@pytest.mark.parametrize(("tag", "expected"), [(0, 255), (1, 255), (2, 235)])
def test_the_range_is_that_of_the_tag_or_else_limited(tmp_path, tag, expected):
    path = write_colour(tmp_path / "clip.mkv", *[(235, 128, 128)] * 3, color_range=tag)
    np.testing.assert_allclose(colour(path)[0], expected, atol=1)


def test_motion_jpeg_has_the_full_range(tmp_path):
    path = write_colour(
        tmp_path / "clip.avi",
        *[(235, 128, 128)] * 3,
        codec="mjpeg",
        pixels="yuvj420p",
        color_range=2,
    )
    np.testing.assert_allclose(colour(path)[0], 235, atol=1)


def pq(nits):
    power = (nits / 10000) ** 0.1593017578125
    value = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return round(64 + 876 * value)


def hlg(light):
    value = (
        (3 * light) ** 0.5
        if light <= 1 / 12
        else 0.17883277 * np.log(12 * light - 0.28466892) + 0.55991073
    )
    return round(64 + 876 * value)


@pytest.mark.parametrize(
    ("curve", "white", "grey"), [(PQ, pq(203), pq(203 * 0.18)), (HLG, hlg(0.265), hlg(0.03))]
)
def test_hdr_is_brought_to_the_standard_range(tmp_path, curve, white, grey):
    """White paper, 203 cd/m2 by BT.2408, is white; read as it is stored it would be grey."""
    path = write_colour(
        tmp_path / "clip.mkv",
        *((luma, 512, 512) for luma in (white, grey)),
        pixels="yuv420p10le",
        colorspace=BT2020,
        color_range=1,
        color_trc=curve,
        color_primaries=BT2020,
    )
    found, problems = colours(path)
    assert problems == [pictures.HDR]
    np.testing.assert_allclose(found[0], 254, atol=2)
    assert 80 < found[1].min() <= found[1].max() < 140


class Reformatter:
    """FFmpeg's, without the seconds it takes to bring colours over."""

    def __init__(self, error=None):
        self.asked, self.error = [], error

    def reformat(self, frame, *, dst_color_trc, dst_color_primaries, **form):
        self.asked.append((dst_color_trc, dst_color_primaries, form.get("src_colorspace")))
        if self.error:
            raise self.error
        return frame.reformat(**form)


@pytest.mark.parametrize("tags", [{"color_primaries": BT2020}, {"color_trc": PQ}])
def test_all_that_is_wide_is_brought_over(tmp_path, monkeypatch, tags):
    fake = Reformatter()
    monkeypatch.setattr(pictures, "_of_hdr", lambda: fake)
    path = write_colour(tmp_path / "clip.mkv", *[(520, 470, 580)] * 2, pixels="yuv420p10le", **tags)
    assert colours(path)[1] == [pictures.HDR]
    assert fake.asked == [(1, 1, BT2020)] * 2  # untagged, its matrix is that of wide colours too


def test_what_cannot_be_brought_over_is_taken_as_it_is(tmp_path, monkeypatch):
    fake = Reformatter(av.error.NotImplementedError(95, "not supported"))
    monkeypatch.setattr(pictures, "_of_hdr", lambda: fake)
    path = write_colour(
        tmp_path / "clip.mkv", *[(520, 512, 512)] * 3, pixels="yuv420p10le", color_trc=PQ
    )
    found, problems = colours(path)
    assert problems == [pictures.HDR_AS_IS]
    assert len(fake.asked) == 1
    np.testing.assert_allclose(found, 133, atol=2)


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(4, 3), (64, 128)),
        (Fraction(1, 2), (128, 96)),
        (Fraction(200, 201), (64, 96)),  # rounded by a container
        (Fraction(50, 1), (64, 96)),  # no camera has that
    ],
)
@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("mp4", "mpeg4")])
def test_pixels_are_made_square(tmp_path, suffix, codec, aspect, shape):
    path = write_tracks(tmp_path / f"clip.{suffix}", corners(3), codec, aspect=aspect)
    assert {frame.rgb.shape for frame in media.read_video(path)} == {(*shape, 3)}


def test_a_circle_stays_one_when_it_is_turned_too(tmp_path):
    y, x = np.mgrid[:120, :80]
    squeezed = (((x - 40) * 1.5) ** 2 + (y - 60) ** 2 < 40**2)[..., None] * np.uint8([255] * 3)
    path = write_tracks(tmp_path / "clip.mp4", [squeezed] * 3, aspect=Fraction(3, 2))
    set_display_matrix(path, 0, 1, -1, 0)
    rgb = next(media.read_video(path)).rgb
    assert rgb.shape == (120, 120, 3)
    inside = rgb[..., 1] > 128
    assert [np.ptp(np.flatnonzero(inside.any(axis=axis))) for axis in (0, 1)] == pytest.approx(
        [79, 79], abs=2
    )

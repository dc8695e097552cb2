"""Pictures one after the other: their times, and where scenes are cut."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import corners, tone, write_video

from mmadfer_jax.clips.timed import LATE_PICTURES, read_header
from mmadfer_jax.errors import UserError
from mmadfer_jax.videos.reading import pictures


def _room(seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    small = np.random.default_rng(seed).integers(40, 215, (4, 6, 3)).astype(np.uint8)
    return np.repeat(np.repeat(small, height // 4, axis=0), width // 6, axis=1)


def _read(path: Path) -> tuple[list, list[str]]:
    problems: list[str] = []
    return list(pictures(path, read_header(path), problems)), problems


def _cuts(tmp_path: Path, frames: list[np.ndarray]) -> list[int]:
    found, _ = _read(write_video(tmp_path / "a.mp4", frames))
    assert [picture.number for picture in found] == list(range(len(frames)))
    return [picture.number for picture in found if picture.cut]


def test_a_cut_is_where_another_room_is_shown(tmp_path):
    assert _cuts(tmp_path, [_room(0)] * 8 + [_room(1)] * 5 + [_room(2)] * 9) == [8, 13]


def test_a_cut_before_the_last_frame_is_one_too(tmp_path):
    assert _cuts(tmp_path, [_room(0)] * 6 + [_room(1)]) == [6]


def test_a_flash_is_no_cut(tmp_path):
    flash = np.full((64, 96, 3), 250, np.uint8)
    assert _cuts(tmp_path, [_room(0)] * 6 + [flash] + [_room(0)] * 6) == []


def test_a_pan_of_the_camera_and_a_brightening_room_are_no_cuts(tmp_path):
    wide = np.concatenate([_room(seed) for seed in range(4)], axis=1)
    assert _cuts(tmp_path, [wide[:, 9 * i : 9 * i + 96] for i in range(30)]) == []
    assert (
        _cuts(tmp_path, [(_room(0) * (0.3 + 0.02 * i)).astype(np.uint8) for i in range(30)]) == []
    )


def test_times_start_at_the_first_picture_and_it_is_said_where_that_is_late(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        audio = file.add_stream("aac", rate=16000, layout="mono")
        samples = av.AudioFrame.from_ndarray(tone(2, 16000), format="s16", layout="mono")
        samples.sample_rate = 16000
        for number, rgb in enumerate(corners(10)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = 25 + number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        file.mux(audio.encode(samples))
        file.mux(audio.encode(None))
    found, problems = _read(path)
    np.testing.assert_allclose([p.time for p in found], np.arange(10) / 25, atol=2e-3)
    assert any(problem.startswith(LATE_PICTURES) for problem in problems)


def test_times_that_start_anew_go_on(tmp_path):
    """Two recordings in one transport stream, the second of which starts at 0 again."""
    data = b""
    for part in range(2):
        data += write_video(tmp_path / f"{part}.ts", corners(25)).read_bytes()
    (tmp_path / "both.ts").write_bytes(data)
    found, _ = _read(tmp_path / "both.ts")
    times = np.array([picture.time for picture in found])
    assert len(times) >= 48
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(len(times) / 25, abs=0.2)


def test_a_cut_off_file_gives_what_there_is_of_it(tmp_path):
    whole = write_video(tmp_path / "whole.ts", corners(100, 192, 128))
    cut = tmp_path / "cut.mkv"
    write_video(cut, corners(100, 192, 128))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    found, problems = _read(cut)
    assert 10 < len(found) < 90
    assert any("cut off" in problem for problem in problems)
    assert len(_read(whole)[0]) == 100


def test_what_has_no_picture_at_all_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", corners(5))
    header = read_header(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 4000] = bytes(len(data[start : start + 4000]))
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.mp4"):
        list(pictures(path, header, []))
    sound = write_video(tmp_path / "a.wav", [], sound=tone(1, 16000), sound_codec="pcm_s16le")
    assert not read_header(sound).pictures
    assert read_header(sound).sound


def test_the_header_says_what_there_is(tmp_path):
    header = read_header(write_video(tmp_path / "a.mp4", corners(50), sound=tone(2, 16000)))
    assert (header.pictures, header.sound, header.rate) == (True, True, 25)
    assert header.duration == pytest.approx(2, abs=0.15)
    (tmp_path / "b.mp4").write_text("nothing")
    with pytest.raises(UserError, match=r"b\.mp4: not a video"):
        read_header(tmp_path / "b.mp4")

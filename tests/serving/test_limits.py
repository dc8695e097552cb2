from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import corners, tone, write_video

from mmadfer_jax.errors import UserError
from mmadfer_jax.serving.limits import Limits, check

LIMITS = Limits(megabytes=1, seconds=3, pixels=400 * 300, rate=30)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, corners(25, 320, 192), sound=tone(1.0, 16000))


def test_usual_clips_pass(clip, tmp_path):
    check(clip, LIMITS)
    check(write_video(tmp_path / "sound.mp4", (), sound=tone(2.9, 16000)), LIMITS)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(seconds=0.5), "longer than 0.5 s"),
        (Limits(seconds=2, rate=10), "with more than 10 pictures a second"),
        (Limits(pixels=320 * 191), "pictures of 320 x 192"),
        (Limits(megabytes=0.001), "MB; at most 0.001 MB"),
    ],
)
def test_too_much_is_refused(clip, limits, said):
    with pytest.raises(UserError, match=said):
        check(clip, limits)


def test_long_sound_is_refused(tmp_path):
    path = write_video(tmp_path / "sound.mp4", corners(5), sound=tone(4.0, 16000))
    with pytest.raises(UserError, match="longer than 3 s"):
        check(path, LIMITS)


def test_small_file_of_many_hours_is_refused(tmp_path):
    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in (0, 100, 200, 90_000_000):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert path.stat().st_size < 5000
    with pytest.raises(UserError, match="longer than 3 s"):
        check(path, LIMITS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"no video at all", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist|not a video"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "playlist|not a video"),
        (b"PK\x03\x04" + bytes(1000), "not a video"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "does not know"),
    ],
)
def test_other_files_are_refused(content, said, tmp_path):
    path = tmp_path / "evil.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        check(path, LIMITS)

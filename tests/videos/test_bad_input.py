"""What becomes of odd files: each has a row, and what is said of it in docs/timeline.md."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest
from scenes import RATE, Actor, Scene, still, write
from video_files import corners, set_display_matrix, tone, write_video
from watched import FACE, make_model

from mmadfer_jax.clips import media
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.videos import engine, quality, rows

PHOTO = Path(__file__).parent.parent / "clips" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model():
    return make_model()


class Case(NamedTuple):
    """An odd file.

    Attributes:
        write: Makes it from a path without an ending.
        people: How many are answered for; 0 is the sound alone, None nobody.
        seconds: Its length.
        said: What is said of the whole, each in a problem.
        noted: What is noted of every window.
        settings: Of the timeline.
    """

    write: Callable[[Path], Path]
    people: int | None
    seconds: float
    said: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    settings: dict[str, Any] = {}  # noqa: RUF012  not changed


def _faces(count: int = 75) -> list[np.ndarray]:
    return list(FACE.frames())[:count]


def _without_face(path: Path) -> Path:
    return write_video(path.with_suffix(".mp4"), corners(75), sound=tone(3, 16000))


def _without_sound(path: Path) -> Path:
    return write_video(path.with_suffix(".mp4"), _faces())


def _sound_alone(path: Path) -> Path:
    file = path.with_suffix(".wav")
    return write_video(file, [], sound=tone(3, 16000), sound_codec="pcm_s16le")


def _photo(path: Path) -> Path:
    path.with_suffix(".jpg").write_bytes(PHOTO.read_bytes())
    return path.with_suffix(".jpg")


def _still_picture(path: Path) -> Path:
    return write_video(path.with_suffix(".mp4"), _faces(1) * 75, sound=tone(3, 16000))


def _one_frame(path: Path) -> Path:
    return write_video(path.with_suffix(".mp4"), _faces(1))


def _black(path: Path) -> Path:
    black = np.zeros((180, 320, 3), np.uint8)
    return write_video(path.with_suffix(".mp4"), [black] * 75, sound=tone(3, 16000))


def _write_jpegs(file: Path, pictures: Iterable[bytes], shape: tuple[int, int], rate: int) -> Path:
    with av.open(str(file), "w") as output:
        video = output.add_stream("mjpeg", rate=rate)
        video.height, video.width = shape
        video.pix_fmt = "yuvj420p"
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.time_base = video, Fraction(1, rate)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            output.mux(packet)
    return file


def _long(path: Path) -> Path:
    """Three hours at a picture a second: the same one again and again."""
    picture = encode_jpeg(next(iter(corners(1))), 90)
    return _write_jpegs(path.with_suffix(".mkv"), [picture] * 3 * 3600, (64, 96), rate=1)


def _large_and_fast(path: Path) -> Path:
    """4K at 60 frames a second, for a fifth of one."""
    person = Actor(3, still(1900, 1100, 1500))
    (picture,) = Scene(1 / RATE, (person,), size=(3840, 2160)).frames()
    moving = (encode_jpeg(np.roll(picture, 3 * number, axis=1), 90) for number in range(12))
    return _write_jpegs(path.with_suffix(".mkv"), moving, (2160, 3840), rate=60)


def _changing_size(path: Path) -> Path:
    """The second half of a transport stream has another size."""
    whole = b""
    for size in (1.0, 0.5):
        frames = [cv2.resize(rgb, None, fx=size, fy=size) for rgb in _faces(50)]
        whole += write_video(path.with_suffix(f".{size}.ts"), frames).read_bytes()
    path.with_suffix(".ts").write_bytes(whole)
    return path.with_suffix(".ts")


def _variable_rate(path: Path) -> Path:
    """25 pictures a second, then 5, then one that stands for 4 seconds."""
    times = [*np.arange(50) / 25, *(2 + np.arange(10) / 5), 4, 8]
    file = path.with_suffix(".mkv")
    with av.open(str(file), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for time, rgb in zip(times, _faces(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return file


def _lying(path: Path) -> Path:
    """Stored lying on its side, and shown upright."""
    lying = [np.ascontiguousarray(np.rot90(rgb)) for rgb in _faces(50)]
    file = write_video(path.with_suffix(".mp4"), lying)
    set_display_matrix(file, 0, 1, -1, 0)
    return file


def _cut_off(path: Path) -> Path:
    file = write_video(path.with_suffix(".mkv"), _faces(75), sound=tone(3, 16000))
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    return file


def _damaged_end(path: Path) -> Path:
    """The bytes of the last pictures are others."""
    file = write(path.with_suffix(".mkv"), [FACE], voice=None)
    data = bytearray(file.read_bytes())
    start = int(0.8 * len(data))
    data[start:] = np.random.default_rng(0).integers(0, 256, len(data) - start, np.uint8).tobytes()
    file.write_bytes(data)
    return file


CASES = {
    "no face anywhere": Case(_without_face, None, 3.0, (rows.NOBODY,), (quality.NO_FACE,)),
    "no sound": Case(_without_sound, 1, 3.0, (engine.PICTURE_ALONE,), (quality.NO_SOUND,)),
    "sound alone": Case(_sound_alone, 0, 3.0, (engine.SOUND_ALONE,)),
    "a photo": Case(_photo, 1, 0.04, (), (quality.FEW_FRAMES,)),
    "a still picture": Case(_still_picture, 1, 3.0, (quality.UNMOVED,), (quality.UNMOVED,)),
    "one frame": Case(_one_frame, 1, 0.04, (), (quality.FEW_FRAMES,)),
    "black": Case(_black, None, 3.0, (rows.NOBODY,), (quality.NO_FACE,)),
    "three hours": Case(
        _long, None, 10800, (rows.NOBODY,), (), {"window": 60, "hop": 60, "detect_every": 60}
    ),
    "4K at 60": Case(_large_and_fast, 1, 0.2),
    "another size inside": Case(_changing_size, 1, 4.0),
    "a variable rate": Case(_variable_rate, 1, 8.04),
    "lying on its side": Case(_lying, 1, 2.0),
    "cut off": Case(_cut_off, 1, 1.8, ("cut off",)),
    "a damaged end": Case(_damaged_end, 1, 2.4),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_files_are_answered_for_and_it_is_said_how(model, tmp_path, name):
    case = CASES[name]
    found = model.timeline(case.write(tmp_path / "odd"), **{"hop": 1.0, **case.settings})
    people = {None: (), 0: (0,), 1: (1,)}[case.people]
    assert found.persons == people
    assert found.duration == pytest.approx(case.seconds, rel=0.15)
    for words in case.said:
        assert any(words in problem for problem in found.problems), found.problems
    for row, notes in enumerate(found.windows.notes):
        assert set(case.noted) <= set(notes), row
    _check(found, people)


def _check(found: Timeline, people: tuple[int, ...]) -> None:
    """What holds of any timeline."""
    windows = found.windows
    asked = np.isfinite(windows.probabilities).all(axis=1)
    assert (windows.person[asked] > 0).all() or people == (0,)
    np.testing.assert_allclose(windows.probabilities[asked].sum(axis=1), 1, rtol=1e-5)
    assert windows.start[0] == 0
    assert windows.end[-1] == pytest.approx(found.duration, abs=0.16)
    assert (windows.end > windows.start).all()
    assert bool(found.segments) == bool(people)
    width, height = found.size
    left, top, right, bottom = found.faces.box.T
    assert ((right > 0) & (bottom > 0) & (left < width) & (top < height)).all()
    assert (found.faces.frame < found.num_frames).all()


def test_where_a_picture_stands_still_there_are_windows_without_pictures(model, tmp_path):
    found = model.timeline(_variable_rate(tmp_path / "odd"), window=1.0, hop=1.0)
    assert found.windows.frames.tolist() == [25, 25, 5, 5, 1, 0, 0, 0, 1]
    assert found.windows.person.tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 1]
    assert found.windows.notes[5] == (quality.NO_PICTURES, quality.NO_SOUND)


@pytest.mark.parametrize("name", ["cut off", "another size inside", "a variable rate"])
def test_odd_files_are_annotated_in_step_with_their_timeline(model, tmp_path, name):
    video = CASES[name].write(tmp_path / "odd")
    found = model.timeline(video, hop=1.0)
    found.save(tmp_path / "out", ("video",), video)
    shown = list(media.read_video(tmp_path / "out" / "annotated.mp4"))
    assert len(shown) == found.num_frames
    times = np.array([frame.time for frame in shown])
    here = found.faces.person == 1
    frames, expected = found.faces.frame[here], found.faces.time[here]
    np.testing.assert_allclose(times[frames], expected, atol=2e-3)


def test_boxes_are_those_of_the_picture_as_it_is_shown(model, tmp_path):
    lying = model.timeline(_lying(tmp_path / "lying"))
    upright = model.timeline(write_video(tmp_path / "upright.mp4", _faces(50)))
    assert lying.size == upright.size == (320, 180)
    np.testing.assert_allclose(lying.faces.box, upright.faces.box, atol=6)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("words.mp4", b"not a video at all", "not a video or sound file"),
        ("empty.mp4", b"", "empty, 0 bytes"),
        ("zeros.mkv", bytes(5000), "not a video or sound file"),
    ],
)
def test_what_is_no_video_is_one_line(model, tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        model.timeline(tmp_path / name)


def test_nothing_may_be_left_of_a_file(model, tmp_path):
    with pytest.raises(UserError, match="holds no pictures; expected a video"):
        model.timeline(_sound_alone(tmp_path / "odd"), sound=False)
    with pytest.raises(UserError, match="holds no sound; expected some"):
        model.timeline(_without_sound(tmp_path / "odd"), picture=False)
    headless = write_video(tmp_path / "headless.mp4", corners(50))
    headless.write_bytes(headless.read_bytes()[: headless.stat().st_size // 2])
    with pytest.raises(UserError, match=r"headless\.mp4"):  # its index stood at its end
        model.timeline(headless)

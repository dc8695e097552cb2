import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from timelines_made import make_timeline
from video_files import Track, corners, set_display_matrix, tone, write_tracks, write_video

from mmadfer_jax.clips.media import read_sound, read_video
from mmadfer_jax.timelines.running import Running, class_colours, legend, stack
from mmadfer_jax.timelines.timeline import Timeline

SIZE = (320, 192)


def _annotate(timeline: Timeline, video: Path, folder: Path) -> Path:
    path = folder / "annotated.mp4"
    assert path in timeline.save(folder, ("video",), video)
    return path


def _streams(path: Path) -> dict[str, str]:
    with av.open(str(path)) as file:
        return {stream.type: stream.codec_context.name for stream in file.streams}


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Three seconds of 12 frames a second with sound."""
    path = tmp_path_factory.mktemp("video") / "a: 1.mp4"
    return write_video(path, corners(36, *SIZE), rate=12, sound=tone(3.0, 44100), sample_rate=44100)


def test_boxes_names_and_strip(video, tmp_path):
    timeline = make_timeline(3.0, people=1)
    path = _annotate(timeline, video, tmp_path)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    frames, before = list(read_video(path)), list(read_video(video))
    assert len(frames) == len(before) == 36
    height, width, _ = frames[0].rgb.shape
    assert (width, height % 2) == (480, 0)  # brought up so that the words can be read
    scale = 480 / 320
    assert height > 192 * scale + 40
    row, answer = 20, Running(timeline, 1).at(np.array([frames[20].time]))
    left, top, right, bottom = (timeline.faces.box[row] * scale).round().astype(int)
    colour = class_colours(timeline)[answer.probabilities[0].argmax()]
    expected = np.array(list(bytes.fromhex(colour[1:])), int)
    # Colours are stored for four pixels together, so a line of 2 pixels is not quite its own.
    for x, y in ((left, (top + bottom) // 2), (right, (top + bottom) // 2)):
        near = frames[row].rgb[y, x - 2 : x + 3].astype(int)
        assert np.abs(near - expected).sum(axis=1).min() < 120
    inside = frames[row].rgb[bottom - 25, left + 20]
    at = (bottom - 25) / scale, (left + 20) / scale
    np.testing.assert_allclose(inside, before[row].rgb[tuple(map(int, at))], atol=12)
    middle = frames[row].rgb[int(192 * scale) :, width // 2].astype(int)
    assert (middle > 200).all(axis=1).sum() >= 15  # the line of now in the band


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_sound_is_copied_where_mp4_may_hold_it(codec, tmp_path):
    video = tmp_path / "sound.mp4"
    write_video(
        video,
        corners(24, *SIZE),
        rate=12,
        sound=tone(2, 44100, 2),
        sample_rate=44100,
        sound_codec=codec,
    )
    path = _annotate(make_timeline(2.0), video, tmp_path)
    assert _packets(path) == _packets(video)


@pytest.mark.parametrize(
    ("codec", "channels", "rate"), [("pcm_s16le", 6, 48000), ("pcm_s16le", 1, 6000)]
)
def test_other_sound_becomes_aac(codec, channels, rate, tmp_path):
    video = tmp_path / "sound.mkv"
    sound = tone(2.0, rate, channels)
    write_video(
        video, corners(24, *SIZE), rate=12, sound=sound, sample_rate=rate, sound_codec=codec
    )
    path = _annotate(make_timeline(2.0), video, tmp_path)
    assert _streams(path)["audio"] == "aac"
    wave, found_rate = read_sound(path)
    assert len(wave) == min(channels, 2)
    assert wave.shape[1] / found_rate == pytest.approx(2.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(wave[0]))
    assert spectrum.argmax() * found_rate / wave.shape[1] == pytest.approx(440, abs=2)


def test_late_sound_stays_in_step(tmp_path):
    """Of AAC, copied, and of PCM, encoded: half a second late, as it came."""
    for name, codec in (("aac.mp4", "aac"), ("pcm.mkv", "pcm_s16le")):
        video = tmp_path / name
        track = Track(tone(1.0, 16000), codec=codec, start=0.5)
        write_tracks(video, corners(50, *SIZE), tracks=[track])
        path = _annotate(make_timeline(2.0), video, tmp_path / codec)
        for file in (video, path):
            wave, rate = read_sound(file)
            first = np.flatnonzero(np.abs(wave[0]) > 0.1)[0]
            assert first / rate == pytest.approx(0.5, abs=0.07), file


def test_frames_keep_their_times(tmp_path):
    video, times = tmp_path / "variable.mkv", [0, 40, 73, 500, 501, 520, 1900, 2000]
    with av.open(str(video), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for time, rgb in zip(times, corners(len(times), *SIZE), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    path = _annotate(make_timeline(2.0), video, tmp_path)
    found = [frame.time for frame in read_video(path)]
    assert found == pytest.approx([frame.time for frame in read_video(video)], abs=1e-4)
    assert found == pytest.approx([time / 1000 for time in times], abs=1e-3)
    assert "audio" not in _streams(path)


def test_turned_pictures_stand_upright(tmp_path):
    video = write_video(tmp_path / "turned.mp4", corners(12, *SIZE), rate=12)
    set_display_matrix(video, 0, 1, -1, 0)
    before = next(iter(read_video(video))).rgb
    assert before.shape == (320, 192, 3)
    timeline = make_timeline(1.0, people=0, size=(192, 320))
    frame = next(iter(read_video(_annotate(timeline, video, tmp_path)))).rgb
    assert frame.shape[1] == 480
    scale = 480 / 192
    for y, x in ((20, 20), (20, 172), (300, 20), (300, 172)):
        there = frame[int(y * scale), int(x * scale)]
        np.testing.assert_allclose(there, before[y, x], atol=12)


def test_a_face_outside_of_the_picture_is_drawn(video, tmp_path):
    timeline = make_timeline(3.0, people=1)
    box = timeline.faces.box + np.float32([-200, -150, 250, 160])
    faces = dataclasses.replace(timeline.faces, box=box)
    path = _annotate(dataclasses.replace(timeline, faces=faces), video, tmp_path)
    assert len(list(read_video(path))) == 36


def test_nothing_without_pictures_and_nothing_half_written(video, tmp_path):
    timeline = make_timeline(3.0)
    assert timeline.save(tmp_path / "a", ("video",)) == [tmp_path / "a" / "timeline.json"]
    deaf = dataclasses.replace(timeline, num_frames=0, size=(0, 0))
    assert len(deaf.save(tmp_path / "b", ("video",), video)) == 1
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:20000])
    with pytest.raises(Exception, match="broken"):
        timeline.save(tmp_path / "c", ("video",), broken)
    assert list((tmp_path / "c").iterdir()) == []


def test_running_probabilities():
    """Windows 0 to 2 s, 0.5 to 2.5 s and 4 to 6 s: middles 1, 1.5 and 5."""
    timeline = make_timeline(6.0, people=1, classes=("a", "b"))
    rows = [0, 1, 8]
    windows = timeline.windows
    columns = {
        field.name: getattr(windows, field.name)[rows]
        for field in dataclasses.fields(windows)
        if field.name != "notes"
    }
    columns["probabilities"] = np.array([[0.8, 0.2], [0.4, 0.6], [1, 0]], np.float32)
    windows = type(windows)(**columns, notes=((), ("blurred",), ()))
    running = Running(dataclasses.replace(timeline, windows=windows), 1)
    answer = running.at(np.array([0.0, 1.0, 1.25, 1.5, 2.4, 2.6, 3.9, 4.0, 6.0, 7.0]))
    expected = [0.8, 0.8, 0.6, 0.4, 0.4, np.nan, np.nan, 1, 1, np.nan]
    np.testing.assert_allclose(answer.probabilities[:, 0], expected, rtol=1e-6)
    assert answer.doubtful[[1, 3, 4, 7]].tolist() == [False, True, True, False]
    nobody = Running(timeline, 7).at(np.zeros(2))
    assert np.isnan(nobody.probabilities).all()


def test_more_classes_than_colours_share_one():
    classes = [f"c{k}" for k in range(43)]
    timeline = make_timeline(classes=classes)
    colours = class_colours(timeline)
    assert len(set(colours)) == 9
    named = dict(legend(timeline))
    assert len(named) == 9
    assert list(named)[-1] == "others"
    likely = timeline.windows.probabilities.mean(axis=0)
    own = [k for k in range(43) if colours[k] != named["others"]]
    assert min(likely[own]) >= max(np.delete(likely, own))
    shown, groups = stack(colours)
    assert shown == list(named.values())
    np.testing.assert_allclose((likely @ groups)[-1], np.delete(likely, own).sum(), rtol=1e-6)
    np.testing.assert_allclose((likely @ groups)[:-1], likely[own], rtol=1e-6)

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import RATE, break_packets, corners, set_display_matrix, tone, write_video

from mmadfer_jax.clips import media
from mmadfer_jax.errors import UserError

RED, GREEN, BLUE = 0, 1, 2


def quarters(rgb):
    """The strongest channel in the corners left top, right top, left bottom; None where grey."""
    height, width, _ = rgb.shape
    y, x = height // 4, width // 4
    picked = [rgb[y, x], rgb[y, -x], rgb[-y, x], rgb[-y, -x]]
    return [int(np.argmax(p)) if int(p.max()) - int(p.min()) > 80 else None for p in picked]


FORMATS = [
    ("mp4", "libx264", "aac"),
    ("mov", "libx265", "aac"),
    ("avi", "mpeg4", "libmp3lame"),
    ("mkv", "libx264", "aac"),
    ("webm", "libvpx-vp9", "libopus"),
    ("flv", "flv", "libmp3lame"),
]


@pytest.mark.parametrize(("suffix", "codec", "sound_codec"), FORMATS)
def test_every_format_gives_all_frames_and_the_sound(tmp_path, suffix, codec, sound_codec):
    rate = 48000 if sound_codec == "libopus" else 22050
    path = write_video(
        tmp_path / f"clip.{suffix}",
        corners(12),
        codec,
        sound=tone(12 / RATE, rate, channels=2),
        sample_rate=rate,
        sound_codec=sound_codec,
    )
    frames = list(media.read_video(path))
    assert len(frames) == 12
    for frame in frames:
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.shape == (64, 96, 3)
        assert quarters(frame.rgb) == [RED, GREEN, BLUE, None]
    # Frames come in order of time, although codecs store them in another.
    brightness = [frame.rgb[-16:, -16:].mean() for frame in frames]
    assert np.diff(brightness).min() > 3
    np.testing.assert_allclose(np.diff([f.time for f in frames]), 1 / RATE, atol=2e-3)

    wave, found = media.read_sound(path)
    assert found == rate
    assert wave.dtype == np.float32
    assert wave.shape[0] == 2
    assert abs(wave.shape[1] - 12 / RATE * rate) <= 2400  # encoders pad
    middle = wave[:, 4000:-4000] if rate > 44000 else wave[:, 2500:-2500]
    assert 0.4 < np.abs(middle[0]).max() < 0.6
    assert 0.2 < np.abs(middle[1]).max() < 0.3


def test_colours_are_exact_where_the_codec_is_lossless(tmp_path):
    path = tmp_path / "exact.avi"
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    with av.open(str(path), "w") as file:
        video = file.add_stream("rawvideo", rate=RATE)
        video.width, video.height, video.pix_fmt = 48, 32, "bgr24"
        file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(video.encode(None))
    np.testing.assert_array_equal(next(media.read_video(path)).rgb, frame)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [RED, GREEN, BLUE, None]),
        ((0, 1, -1, 0), [BLUE, RED, None, GREEN]),  # a quarter turn clockwise, a phone held upright
        ((-1, 0, 0, -1), [None, BLUE, GREEN, RED]),
        ((0, -1, 1, 0), [GREEN, None, RED, BLUE]),
        ((-1, 0, 0, 1), [GREEN, RED, None, BLUE]),  # mirrored, a selfie camera
        ((1, 0, 0, -1), [BLUE, None, RED, GREEN]),
    ],
)
def test_frames_are_turned_as_a_player_shows_them(tmp_path, matrix, expected):
    path = write_video(tmp_path / "turned.mp4", corners(3))
    set_display_matrix(path, *matrix)
    frames = list(media.read_video(path))
    assert frames[0].rgb.shape == ((64, 96, 3) if matrix[0] else (96, 64, 3))
    assert all(quarters(frame.rgb) == expected for frame in frames)


def test_names_with_spaces_colons_and_other_letters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a clip.mp4", "лицо 顔.mp4", "take:1.mp4", "100%.mp4"):
        write_video(tmp_path / name, corners(2), sound=tone(0.1, 16000))
        assert len(list(media.read_video(name))) == 2
        assert media.read_sound(name)[1] == 16000


def test_one_frame_is_a_video(tmp_path):
    assert len(list(media.read_video(write_video(tmp_path / "one.mp4", corners(1))))) == 1


def test_a_video_that_changes_size_keeps_its_first(tmp_path):
    first = write_video(tmp_path / "first.ts", corners(4), "mpeg2video")
    second = write_video(tmp_path / "second.ts", corners(4, 64, 48), "mpeg2video")
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(media.read_video(both))
    assert len(frames) > 4 + 1
    assert {frame.rgb.shape for frame in frames} == {(64, 96, 3)}
    assert quarters(frames[-1].rgb) == [RED, GREEN, BLUE, None]


@pytest.mark.parametrize(("suffix", "codec"), [("wav", "pcm_s16le"), ("flac", "flac")])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_files_are_exact(tmp_path, suffix, codec, channels):
    wave = tone(0.3, 44100, channels)
    path = tmp_path / f"sound.{suffix}"
    write_video(path, [], sound=wave, sample_rate=44100, sound_codec=codec)
    got, rate = media.read_sound(path)
    assert rate == 44100
    np.testing.assert_array_equal(got, wave / np.float32(32768))


def test_an_mp3_is_sound_and_no_video(tmp_path):
    path = tmp_path / "sound.mp3"
    write_video(path, [], sound=tone(0.3, 44100), sample_rate=44100, sound_codec="libmp3lame")
    assert media.read_sound(path)[1] == 44100
    with pytest.raises(UserError, match="no video, only: audio"):
        next(media.read_video(path))


def test_a_video_without_sound(tmp_path):
    assert media.read_sound(write_video(tmp_path / "silent.mp4", corners(3))) is None


def both_readers(path):
    errors = []
    for read in (lambda: list(media.read_video(path)), lambda: media.read_sound(path)):
        with pytest.raises(UserError) as error:
            read()
        errors.append(str(error.value))
    assert all(str(path) in message for message in errors)
    return errors


def test_what_is_no_media_file_is_named(tmp_path, capfd):
    empty, text, noise = (tmp_path / name for name in ("empty.mp4", "text.mp4", "noise.avi"))
    empty.touch()
    text.write_text("This is not a video.\n" * 40)
    noise.write_bytes(np.random.default_rng(0).bytes(4000))
    assert "empty, 0 bytes" in both_readers(empty)[0]
    assert "not a video or sound file" in both_readers(text)[0]
    assert "not a video or sound file" in both_readers(noise)[0]
    assert "no such file" in both_readers(tmp_path / "absent.mp4")[0]
    assert "not a file" in both_readers(tmp_path)[0]
    assert capfd.readouterr() == ("", "")  # FFmpeg keeps quiet


def test_text_files_are_not_taken_for_text_mode_art(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a.mp4 happy\n" * 40)
    with pytest.raises(UserError, match="a text file"):
        next(media.read_video(path))


def long_video(tmp_path, options=None):
    noise = np.random.default_rng(0).integers(0, 256, (75, 64, 96, 3), np.uint8)
    return write_video(tmp_path / "long.mp4", noise, sound=tone(3, 16000), options=options)


def test_a_file_cut_off_before_its_header(tmp_path):
    path = long_video(tmp_path)  # mp4 has its header at the end
    path.write_bytes(path.read_bytes()[:-2000])
    both_readers(path)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_file_cut_off_after_its_header(tmp_path, share):
    path = long_video(tmp_path, {"movflags": "faststart"})
    assert len(list(media.read_video(path))) == 75
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"cut off|broken"):
        list(media.read_video(path))


def simply(path):
    """The frames as FFmpeg gives them."""
    with av.open(str(path)) as file:
        return [f.reformat(format="rgb24").to_ndarray() for f in file.decode(video=0)]


@pytest.mark.parametrize(("suffix", "codec", "sound_codec"), FORMATS)
def test_ordinary_files_give_the_pixels_that_ffmpeg_gives(tmp_path, suffix, codec, sound_codec):
    path = write_video(tmp_path / f"clip.{suffix}", corners(30), codec)
    problems = []
    frames = [frame.rgb for frame in media.read_video(path, problems=problems)]
    assert problems == []
    np.testing.assert_array_equal(frames, simply(path))


def read(path):
    problems = []
    return list(media.read_video(path, problems=problems)), problems


def test_a_broken_packet_costs_its_picture(tmp_path, capfd):
    path = write_video(tmp_path / "clip.mp4", corners(75))
    whole, _ = read(path)
    break_packets(path, "video", [30, 31])
    frames, problems = read(path)
    assert problems == [
        f"{media.BROKEN_PICTURES}: 2 of 75 left out, those behind them may be smeared"
    ]
    assert {frame.time for frame in whole} > {frame.time for frame in frames}
    assert len(frames) == 73
    assert capfd.readouterr() == ("", "")  # FFmpeg keeps quiet


def gradients(count):
    """Pictures that no one would take for grey."""
    y, x = np.mgrid[:64, :96]
    for number in range(count):
        yield np.stack([2 * x, 3 * y, (x + 2 * number) % 200], axis=-1).astype(np.uint8)


def test_nothing_is_put_together_from_grey(tmp_path):
    """Some decoders take grey for a key frame that is lost, and say nothing."""
    path = write_video(tmp_path / "clip.mp4", gradients(40), "mpeg4")
    whole, _ = read(path)
    with av.open(str(path)) as file:
        keys = [n for n, p in enumerate(file.demux(video=0)) if p.is_keyframe]
    break_packets(path, "video", [0])
    frames, problems = read(path)
    assert problems == [
        f"{media.BROKEN_PICTURES}: {keys[1]} of 40 left out, those behind them may be smeared"
    ]
    assert len(frames) == 40 - keys[1]
    for frame, expected in zip(frames, whole[keys[1] :], strict=True):
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


def test_pictures_that_ffmpeg_calls_damaged_are_left_out(tmp_path):
    path = write_video(tmp_path / "clip.ts", gradients(60), "libx264")
    with av.open(str(path)) as file:
        place = [p.pos for p in file.demux(video=0) if p.size][20]
    data = bytearray(path.read_bytes())
    data[place + 188 : place + 3 * 188] = np.random.default_rng(0).bytes(2 * 188)
    path.write_bytes(data)
    with av.open(str(path)) as file:
        damaged = [frame.pts for frame in file.decode(video=0) if frame.is_corrupt]
    assert damaged
    frames, problems = read(path)
    assert len(problems) == 1
    assert not {frame.time for frame in frames} & {pts / 90000 for pts in damaged}
    assert len(frames) >= 50


def test_a_file_of_which_nearly_nothing_decodes_is_refused(tmp_path, capfd):
    path = write_video(tmp_path / "clip.mp4", corners(75))
    break_packets(path, "video", range(10, 70))
    with pytest.raises(UserError, match=r"clip\.mp4: broken, 60 of \d+ pictures cannot be decoded"):
        read(path)
    path = write_video(tmp_path / "clip.mp4", corners(75))
    break_packets(path, "video", [0])  # the one key frame
    with pytest.raises(UserError, match=r"clip\.mp4: broken"):
        read(path)
    assert capfd.readouterr() == ("", "")


def test_pictures_left_out_are_the_same_for_the_search_and_for_the_crops(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(40))
    break_packets(path, "video", [9, 20])
    all_times = [frame.time for frame in media.read_video(path)]
    assert [frame.time for frame in media.read_video(path, every=3)] == all_times[::3]


def test_times_may_be_irregular(tmp_path):
    path = tmp_path / "clip.mkv"
    places = [0, 3, 7, 8, 9, 37, 38, 97]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for place, rgb in zip(places, corners(len(places)), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    frames, problems = read(path)
    assert problems == []
    assert len(frames) == len(places)
    np.testing.assert_allclose(np.diff([f.time for f in frames]), np.diff(places) / RATE, atol=2e-3)


def test_a_longer_sound_track_is_no_cut(tmp_path):
    path = write_video(tmp_path / "clip.mp4", corners(5), sound=tone(4, 16000))
    assert len(list(media.read_video(path))) == 5

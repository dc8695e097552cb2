"""Sound in step with the pictures, whatever its track does."""

import av
import numpy as np
import pytest
from video_files import Track, break_packets, corners, tone, write_tracks, write_video

from mmadfer_jax.clips import clip, container, media, sound_track

RATE = 44100
CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("mpeg4", "aac"),
    "mkv": ("libx264", "aac"),
    "webm": ("libvpx-vp9", "libopus"),
    "flv": ("flv", "aac"),
    "ts": ("libx264", "aac"),
    "mpg": ("mpeg2video", "mp2"),
}


def write(tmp_path, suffix, pictures=0.0, **track):
    codec, sound_codec = CODECS[suffix]
    rate = 48000 if sound_codec == "libopus" else RATE
    made = Track(tone(2, rate), rate, sound_codec, **track)
    path = tmp_path / f"clip.{suffix}"
    return write_tracks(path, corners(50), codec, start=pictures, tracks=[made])


def heard(sound):
    """The seconds between which there is sound, and the seconds of it."""
    loud = np.abs(sound.wave[0]) > 0.05
    loud = loud[: len(loud) // 441 * 441].reshape(-1, 441).any(axis=1)
    places = np.flatnonzero(loud) * 441 / sound.rate
    return places[0], places[-1], loud.sum() * 441 / sound.rate


def kinds(problems):
    return [problem.partition(":")[0] for problem in problems]


def simply(path):
    """The samples one after the other, wherever they stand."""
    with av.open(str(path)) as file:
        resampler = av.AudioResampler(format="s16p")
        frames = [f for frame in file.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate([f.to_ndarray() for f in frames], axis=1) / np.float32(32768)


@pytest.mark.parametrize("suffix", [*CODECS, "avi"])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_ordinary_files_give_every_sample_as_it_comes(tmp_path, suffix, rate):
    """The start of AAC and the delay of B-frames are no reason to shift anything."""
    codec, sound_codec = CODECS.get(suffix, ("mpeg4", "libmp3lame"))
    rate = 48000 if sound_codec == "libopus" else rate
    path = tmp_path / f"clip.{suffix}"
    wave = tone(2, rate)
    write_video(path, corners(50), codec, sound=wave, sample_rate=rate, sound_codec=sound_codec)
    sound = media.read_sound_start(path, np.inf)
    assert sound.problems == []
    np.testing.assert_array_equal(sound.wave, simply(path))


def test_sound_a_frame_of_film_beside_the_pictures_is_left_alone(tmp_path):
    for pictures, start in ((0.04, 0.0), (0.08, 0.0), (0.0, 0.06)):
        path = write(tmp_path, "mp4", pictures, start=start)
        sound = media.read_sound_start(path, np.inf)
        assert sound.problems == []
        np.testing.assert_array_equal(sound.wave, simply(path))


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("late", [0.2, 0.8])
def test_silence_stands_before_sound_that_starts_later(tmp_path, suffix, late):
    sound = media.read_sound_start(write(tmp_path, suffix, start=late), np.inf)
    assert kinds(sound.problems) == [sound_track.LATE]
    first, last, seconds = heard(sound)
    assert first == pytest.approx(late, abs=0.04)
    assert last == pytest.approx(late + 2, abs=0.06)
    assert seconds == pytest.approx(2, abs=0.06)
    assert not sound.wave[0, : int((late - 0.06) * sound.rate)].any()


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_before_the_pictures_is_left_out(tmp_path, suffix):
    sound = media.read_sound_start(write(tmp_path, suffix, pictures=0.52), np.inf)
    assert kinds(sound.problems) == [sound_track.EARLY]
    first, _, seconds = heard(sound)
    assert first < 0.03
    assert seconds == pytest.approx(1.48, abs=0.06)


@pytest.mark.parametrize("suffix", CODECS)
def test_pictures_and_sound_that_start_late_together_are_in_step(tmp_path, suffix):
    path = write(tmp_path, suffix, pictures=1.0, start=1.0)
    sound = media.read_sound_start(path, np.inf)
    assert sound.problems == []
    np.testing.assert_array_equal(sound.wave, simply(path))


@pytest.mark.parametrize("suffix", CODECS)
def test_silence_stands_in_gaps(tmp_path, suffix):
    sound = media.read_sound_start(write(tmp_path, suffix, gap=(0.5, 1.0)), np.inf)
    assert kinds(sound.problems) == [sound_track.GAPS]
    assert sound.wave.shape[1] / sound.rate == pytest.approx(2, abs=0.06)
    _, last, seconds = heard(sound)
    assert last == pytest.approx(2, abs=0.06)
    assert seconds == pytest.approx(1.5, abs=0.08)
    assert not sound.wave[0, int(0.62 * sound.rate) : int(0.9 * sound.rate)].any()


def test_a_gap_of_an_hour_takes_no_memory(tmp_path):
    wave = np.concatenate([tone(1, 8000), tone(1, 8000)], axis=1)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        for second in (0, 1):
            part = np.ascontiguousarray(wave[:, 8000 * second : 8000 * (second + 1)])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 3600 * 8000 * second
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    sound = media.read_sound_start(path, 5.0)
    assert sound.wave.shape[1] == 5 * 8000
    assert sound.problems == [f"{sound_track.GAPS}: 1, 3599.00 s of silence put in"]


def piece(path, seconds, rate, channels, codec):
    made = Track(tone(seconds, rate, channels), rate, codec)
    return write_tracks(path, corners(25), "mpeg2video", tracks=[made]).read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [((44100, 2), (44100, 1)), ((44100, 1), (44100, 2)), ((44100, 2), (48000, 2)),
     ((48000, 1), (32000, 2))],
)  # fmt: skip
def test_later_pieces_take_the_rate_and_channels_of_the_first(tmp_path, first, second):
    part, path = tmp_path / "part.ts", tmp_path / "clip.ts"
    path.write_bytes(piece(part, 1, *first, "mp2") + piece(part, 1, *second, "mp2"))
    sound = media.read_sound_start(path, np.inf)
    assert kinds(sound.problems) == [sound_track.CHANGES]
    assert (sound.rate, len(sound.wave)) == first
    assert sound.wave.shape[1] / sound.rate == pytest.approx(2, abs=0.1)
    for start, stop in ((0.3, 0.8), (1.3, 1.8)):
        part = sound.wave[0, int(start * sound.rate) : int(stop * sound.rate)]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        assert spectrum.argmax() * sound.rate / len(part) == pytest.approx(440, abs=2)
        assert np.abs(part).max() == pytest.approx(0.49, abs=0.02)
    made, _, problems = clip.prepare_sound(path, clip.PrepareSettings())
    assert len(made) > 180
    assert kinds(problems) == [sound_track.CHANGES]


# AAC draws some noise anew each time: measured up to 0.004. Moved by a sample it would be 0.03.
def test_a_lost_packet_is_silence_and_the_rest_stays_in_place(tmp_path):
    path = write(tmp_path, "mp4")
    whole = media.read_sound_start(path, np.inf)
    break_packets(path, "audio", [30, 31])
    sound = media.read_sound_start(path, np.inf)
    assert sound.problems == [
        f"{sound_track.BROKEN}: 2 of 88 packets, silence stands in their place"
    ]
    assert sound.wave.shape == whole.wave.shape
    np.testing.assert_allclose(sound.wave[:, : 28 * 1024], whole.wave[:, : 28 * 1024], atol=0.01)
    np.testing.assert_allclose(sound.wave[:, 34 * 1024 :], whole.wave[:, 34 * 1024 :], atol=0.01)
    # Packet 0 is the start of AAC, heard before the first sample.
    assert not sound.wave[0, 29 * 1024 : 31 * 1024 - 2].any()


def test_a_lost_first_packet_is_silence_too(tmp_path):
    path = write(tmp_path, "mp4")
    whole = media.read_sound(path)[0]
    break_packets(path, "audio", [0, 1])
    sound = media.read_sound_start(path, np.inf)
    assert kinds(sound.problems) == [sound_track.BROKEN]
    assert sound.wave.shape == whole.shape
    np.testing.assert_allclose(sound.wave[:, 4096:], whole[:, 4096:], atol=0.01)


def test_sound_of_which_nearly_nothing_decodes_is_refused(tmp_path):
    path = write(tmp_path, "mp4")
    break_packets(path, "audio", range(5, 85))
    with pytest.raises(media.UserError, match=r"clip\.mp4: broken sound, 80 of 88 packets"):
        media.read_sound(path)


def write_two(path, first, second, **which):
    tracks = [
        Track(tone(1, 16000, hertz=440), 16000, "pcm_s16le", default=first),
        Track(tone(1, 22050, 2, hertz=1000), 22050, "pcm_s16le", default=second),
    ]
    return write_tracks(path, corners(25), tracks=tracks, **which)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_of_two_tracks_the_one_is_taken_that_ffmpeg_calls_best(tmp_path, first, second):
    path = write_two(tmp_path / "clip.mkv", first, second)
    with av.open(str(path)) as file:
        best = file.streams.audio.index(file.streams.best("audio"))
    assert best == int(second)
    rate = (16000, 22050)[best]
    sound = media.read_sound_start(path, np.inf)
    assert media.read_sound_rate(path) == media.read_sound(path)[1] == sound.rate == rate
    assert len(sound.wave) == best + 1
    expected = f"{container.SEVERAL_SOUNDS}: 2, track {best + 1} (pcm_s16le, {rate} Hz) taken"
    made = clip.prepare_clip(path, clip.PrepareSettings(image_size=32, faces="none"))
    assert sound.problems == made.problems == [expected]
    assert made.sample_rate == rate


def of_wave(tmp_path, wave, suffix="mkv", codec="pcm_s16le", rate=44100):
    path = tmp_path / f"clip.{suffix}"
    wave = wave.astype(np.int16)
    write_video(path, corners(25), sound=wave, sample_rate=rate, sound_codec=codec)
    return media.read_sound_start(path, np.inf).problems


LOUD = tone(1, 16000)
FLAT = np.zeros_like(LOUD)


@pytest.mark.parametrize("level", [0, 9000])
@pytest.mark.parametrize("channels", [1, 2])
def test_silent_sound_is_noted(tmp_path, level, channels):
    assert of_wave(tmp_path, np.repeat(FLAT + level, channels, axis=0)) == [sound_track.SILENT]


def test_silence_coded_by_aac_is_noted(tmp_path):
    assert of_wave(tmp_path, np.repeat(FLAT, 2, axis=0), "mp4", "aac") == [sound_track.SILENT]


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "libmp3lame"])
def test_one_sided_sound_is_noted(tmp_path, codec):
    left = of_wave(tmp_path, np.concatenate([LOUD, FLAT]), codec=codec)
    assert left == [f"{sound_track.ONE_SIDED}: channel 2 of 2 is silent"]
    (right,) = of_wave(tmp_path, np.concatenate([FLAT, LOUD]), codec=codec)
    assert right.startswith(
        f"{sound_track.ONE_SIDED}: channel 1 of 2, the one of which the log-mel"
    )


def test_a_silent_bass_channel_is_as_usual(tmp_path):
    six = np.repeat(LOUD, 6, axis=0)
    six[3] = 0
    assert of_wave(tmp_path, six) == []
    six[0] = 0
    assert kinds(of_wave(tmp_path, six)) == [sound_track.ONE_SIDED]


def test_clipped_sound_is_noted(tmp_path):
    wave = np.clip(LOUD.astype(int) * 3, -32768, 32767)
    (problem,) = of_wave(tmp_path, wave)
    share = np.mean(np.abs(wave) >= 32767)
    assert problem == f"{sound_track.CLIPPED}: {share:.1%} of the samples at full scale"
    assert of_wave(tmp_path, LOUD * 2) == []  # up to 32000


def test_sound_alone_starts_where_it_starts(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(LOUD, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 5 * 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    sound = media.read_sound_start(path, np.inf)
    np.testing.assert_array_equal(sound.wave, LOUD / np.float32(32768))
    assert sound.problems == []

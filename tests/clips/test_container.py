"""Cut-off files and lying headers, playlists, several tracks."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import RATE, Track, corners, cut, tone, write_tracks, write_video

from mmadfer_jax.clips import container, media
from mmadfer_jax.errors import UserError

FASTSTART = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
FORMATS = {
    "mp4": ("libx264", FASTSTART),
    "fragmented mp4": ("libx264", FRAGMENTED),
    "mov": ("mpeg4", FASTSTART),
    "3gp": ("mpeg4", FASTSTART),
    "mkv": ("libx264", {}),
    "webm": ("libvpx-vp9", {}),
    "avi": ("mpeg4", {}),
    "flv": ("flv", {}),
    "asf": ("wmv2", {}),
}


def noise(count=75):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), np.uint8)


def write(tmp_path, kind, **sound):
    codec, options = FORMATS[kind]
    path = tmp_path / f"clip.{kind.split()[-1]}"
    return write_video(path, noise(), codec, options=options, **sound)


def read(path):
    problems = []
    return len(list(media.read_video(path, problems=problems))), problems


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_cut_file_is_refused(tmp_path, kind, share):
    path = write(tmp_path, kind)
    assert read(path) == (75, [])
    with pytest.raises(UserError, match=rf"clip\.{kind.split()[-1]}: cut off, .* copy it again"):
        read(cut(path, share))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_cut_at_its_very_end_is_taken_and_noted(tmp_path, kind):
    count, problems = read(cut(write(tmp_path, kind), 0.97))
    assert 70 <= count <= 75
    assert container.CUT in problems


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_a_cut_through_sound_that_lies_behind_the_pictures_is_one_too(tmp_path, kind):
    """The pictures are whole, and reach the end that the header declares."""
    wave = np.random.default_rng(0).integers(-9999, 9999, (2, 3 * 44100), np.int16)
    pcm = {
        "sound": wave,
        "sample_rate": 44100,
        "sound_codec": "mp2" if kind == "mp4" else "pcm_s16le",
    }
    path = write(tmp_path, kind, **pcm)
    assert read(path) == (75, [])
    with pytest.raises(UserError, match="cut off"):
        read(cut(path, 0.7))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mkv", "libx264"), ("webm", "libvpx-vp9"), ("mp4", "libx264"), ("asf", "wmv2"),
     ("flv", "flv"), ("ts", "mpeg2video"), ("nut", "mpeg4"), ("avi", "mpeg4")],
)  # fmt: skip
@pytest.mark.parametrize("start", [1.0, 20.0])
def test_a_first_picture_that_comes_late_is_no_cut(tmp_path, suffix, codec, start):
    path = write_tracks(tmp_path / f"clip.{suffix}", corners(75), codec, start=start)
    assert read(path) == (75, [])


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("webm", "libvpx-vp9")])
def test_a_late_first_picture_does_not_hide_a_cut(tmp_path, suffix, codec):
    path = write_tracks(tmp_path / f"clip.{suffix}", noise(), codec, start=1.0)
    with pytest.raises(UserError, match="cut off"):
        read(cut(path, 0.6))


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("h264", "libx264"), ("hevc", "libx265"), ("m4v", "mpeg4"), ("mpeg1video", "mpeg1video"),
     ("mpeg2video", "mpeg2video"), ("mjpeg", "mjpeg")],
)  # fmt: skip
def test_raw_streams_are_whole(tmp_path, kind, codec):
    path = tmp_path / f"clip.{kind}"
    with av.open(str(path), "w", format=kind) as file:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = file.add_stream(codec, rate=RATE, options=quiet)
        stream.width, stream.height, stream.bit_rate = 96, 64, 2_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for rgb in noise():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))
    assert read(path) == (75, [])


def lie(path, tag, place, value):
    """Writes a value a few bytes behind a tag."""
    data = bytearray(path.read_bytes())
    start = data.index(tag) + len(tag) + place
    data[start : start + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("junk", [bytes(5000), b"\xff" * 5000, b"junk" * 1250])
def test_bytes_behind_the_end_are_no_cut(tmp_path, kind, junk):
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes() + junk)
    count, problems = read(path)
    assert count == 75
    assert container.CUT not in problems


LONG = (10_000_000).to_bytes(4, "little")
LIES = {
    "frames of an AVI stream": ("avi", b"strh", 32, (150).to_bytes(4, "little")),
    "frames of an AVI file": ("avi", b"avih", 20, (150).to_bytes(4, "little")),
    "size of an AVI file": ("avi", b"RIFF", 0, LONG),
    "size of an AVI film": ("avi", b"movi", -8, LONG),
    "no size of an AVI file": ("avi", b"RIFF", 0, bytes(4)),
    "no size of an AVI film": ("avi", b"movi", -8, bytes(4)),
    "seconds of an FLV file": ("flv", b"duration", 1, struct.pack(">d", 9.0)),
    "bytes of an FLV file": ("flv", b"filesize", 1, struct.pack(">d", 9e9)),
    "seconds of a Matroska file": ("mkv", b"\x44\x89\x88", 0, struct.pack(">d", 9000.0)),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lying_header_does_not_make_a_cut(tmp_path, what):
    kind, *where = LIES[what]
    path = write(tmp_path, kind, sound=tone(3, 16000))
    lie(path, *where)
    assert read(path) == (75, [])


@pytest.mark.parametrize("what", [what for what in LIES if not what.startswith("no ")])
def test_a_lying_header_does_not_hide_one(tmp_path, what):
    kind, *where = LIES[what]
    path = write(tmp_path, kind, sound=tone(3, 16000))
    lie(path, *where)
    with pytest.raises(UserError, match="cut off"):
        read(cut(path, 0.6))


@pytest.mark.parametrize(("kind", "codec"), [("mkv", "libx264"), ("flv", "flv")])
def test_a_file_in_which_ffmpeg_loses_its_way_is_refused(tmp_path, kind, codec):
    path = write(tmp_path, kind)
    with av.open(str(path)) as file:
        place = [packet.pos for packet in file.demux(video=0) if packet.size][30]
    data = bytearray(path.read_bytes())
    data[place : place + 400] = b"\xff" * 400  # the head of a block, after which none is found
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cut off|broken"):
        assert read(path)[0] > 70


INSIDE = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\ninner.ts\n#EXT-X-ENDLIST\n"
PLAYLISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile inner.ts\n",
    "concat.txt": "ffconcat version 1.0\nfile inner.ts\n",
    "hls.mp4": INSIDE,
    "hls.m3u8": INSIDE,
    "hls_of_a_url.m3u8": INSIDE.replace("inner", "http://127.0.0.1:9/inner"),
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize(
    "reads", [read, media.read_sound, media.read_header, media.read_sound_rate]
)
def test_a_playlist_opens_no_other_file(tmp_path, name, reads):
    write_video(tmp_path / "inner.ts", corners(75), sound=tone(3, 16000))
    path = tmp_path / name
    path.write_text(PLAYLISTS[name])
    with pytest.raises(UserError, match="not a video or sound file"):
        reads(path)


def test_a_protocol_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "inner.ts", corners(9))
    for name in (
        "concat:inner.ts",
        "http://127.0.0.1:9/inner.ts",
        "subfile,,start,0,end,0,,:inner.ts",
    ):
        with pytest.raises(UserError, match="no such file"):
            read(name)


def test_of_two_picture_tracks_the_one_is_taken_that_ffmpeg_calls_best(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("mpeg4", rate=RATE) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((96, 64), (48, 32)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        streams[1].disposition = av.stream.Disposition.default
        for stream in streams:
            for rgb in corners(12, stream.width, stream.height):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    problems = []
    frames = list(media.read_video(path, problems=problems))
    assert {frame.rgb.shape for frame in frames} == {(32, 48, 3)}
    assert problems == [f"{container.SEVERAL_VIDEOS}: 2, track 2 (mpeg4, 48x32) taken"]


def test_pictures_that_end_early_and_sound_that_goes_on(tmp_path):
    tracks = [Track(tone(4, 16000))]
    path = write_tracks(tmp_path / "clip.mkv", corners(20), tracks=tracks)
    assert read(path) == (20, [])
    assert media.read_sound(path)[0].shape[1] / 16000 == pytest.approx(4, abs=0.15)


def test_sound_with_a_cover_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libmp3lame", rate=44100)
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(next(iter(corners())), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        file.mux(cover.encode(picture))
        file.mux(cover.encode(None))
        samples = np.ascontiguousarray(tone(1, 44100, 2).T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(UserError, match="holds no video"):
        read(path)
    assert media.read_sound_start(path, np.inf).problems == []

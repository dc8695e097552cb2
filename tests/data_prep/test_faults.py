"""What comes out of every kind of file that people have: a record, or a reason why not.

A worker killed in the middle and a full disk are in test_run.py, folders of frames in
test_frame_folder.py, lists in GBK with those of MAFW.
"""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import (
    RATE,
    Track,
    break_packets,
    corners,
    set_display_matrix,
    tone,
    write_tracks,
    write_video,
)

from data_prep.__main__ import main
from data_prep.sources import FRAME_COUNTS
from mmadfer_jax.clips import audio
from mmadfer_jax.clips.clip import FEW_FRAMES, MANY_FRAMES, NO_SOUND, SHORT_SOUND
from mmadfer_jax.clips.container import SEVERAL_SOUNDS
from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.clips.media import BROKEN_PICTURES
from mmadfer_jax.clips.sound_track import CLIPPED, LATE, SILENT
from mmadfer_jax.data.records import RecordSource

COUNT = 20
LONG = 600  # seconds
SOUND = tone(COUNT / RATE, 16000)


def good(path, **options):
    return write_video(path, corners(COUNT), **{"sound": SOUND, **options})


def cut(path, share, **options):
    data = good(path, **options).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def other_kind(path):
    good(path.with_suffix(".mkv")).rename(path)


def picture(path):
    path.write_bytes(cv2.imencode(".jpg", next(iter(corners())))[1].tobytes())


def sound_only(path):
    write_video(path.with_suffix(".wav"), [], sound=SOUND, sound_codec="pcm_s16le").rename(path)


def with_sound(name):
    rate, wave, _ = SOUNDS[name]
    return lambda path: good(path, sound=wave, sample_rate=rate, sound_codec="pcm_s16le")


def changing_rate(path):
    """Frames 40 ms apart, then 200 ms."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, rgb in enumerate(corners(COUNT)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = 40 * number if number < 10 else 400 + 200 * (number - 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def rotated(path):
    set_display_matrix(good(path), 0, 1, -1, 0)


def lying_header(path):
    """Declares five frames more than there are."""
    data = bytearray(good(path, codec="mpeg4").read_bytes())
    place = data.index(b"strh") + 8 + 32  # past name, size and nine fields: the stream's length
    assert int.from_bytes(data[place : place + 4], "little") == COUNT
    data[place : place + 4] = (COUNT + 5).to_bytes(4, "little")
    path.write_bytes(data)


def ten_minutes(path):
    frames = (np.full((32, 48, 3), n % 200, np.uint8) for n in range(5 * LONG))
    write_video(path, frames, "mpeg4", sound=tone(LONG, 8000), sample_rate=8000, rate=5)


def large(path):
    write_video(path, corners(2, 3840, 2160), "mpeg4", sound=SOUND)


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


def broken_link(path):
    path.symlink_to(path.with_name("elsewhere.mp4"))


def linked(path):
    store = path.with_name("store")
    store.mkdir()
    path.symlink_to(good(store / "1.mp4"))


def late(path):
    """The first picture and sound at 1 s, from which Matroska does not count."""
    write_tracks(path, corners(COUNT), start=1.0, tracks=[Track(SOUND, start=1.0)])


def late_sound(path):
    write_tracks(path, corners(COUNT), tracks=[Track(SOUND, start=0.4)])


def two_tracks(path):
    right = Track(tone(COUNT / RATE, 22050), 22050, "pcm_s16le")
    comment = Track(SOUND, 16000, "pcm_s16le", default=False)
    write_tracks(path, corners(COUNT), tracks=[comment, right])


def broken_packet(path):
    break_packets(good(path), "video", [7])


def playlist(path):
    good(path.with_name("inner.ts"), codec="mpeg2video")
    path.write_text("ffconcat version 1.0\nfile inner.ts\n")


def text(path):
    path.write_text("no video\n" * 100)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def level(value):
    return np.full((1, 12800), value, np.int16)


def square(count):
    return np.where(np.arange(count) // 18 % 2, 32767, -32768).astype(np.int16)[None]


def loud(count):
    """Far above what 16 bits hold."""
    wave = 4 * 32767 * np.sin(2 * np.pi * 300 * np.arange(count) / 16000)
    return np.clip(wave, -32768, 32767).astype(np.int16)[None]


# Hz, samples and problems of clips whose log-mels are known: they are stored as they are.
SOUNDS = {
    "silent": (16000, level(0), [SILENT]),
    "constant": (16000, level(9000), [SILENT]),
    "clipped": (16000, loud(12800), [f"{CLIPPED}: 83.8% of the samples at full scale"]),
    "square": (16000, square(12800), [f"{CLIPPED}: 100.0% of the samples at full scale"]),
    "8_khz": (8000, tone(0.8, 8000), []),
    "96_khz": (96000, tone(0.8, 96000), []),
    "stereo": (48000, tone(0.8, 48000, 2), []),
    "5.1": (48000, tone(0.8, 48000, 6), []),
}

# Name, how it is made, and what comes out: (frames, Hz, problems), or the reason.
WRITTEN = [
    ("whole.mp4", good, (COUNT, 16000, [])),
    ("mislabelled.mp4", other_kind, (COUNT, 16000, [])),
    ("picture.mp4", picture, (1, 0, [NO_SOUND, FEW_FRAMES])),
    ("video_only.mp4", lambda p: good(p, sound=None), (COUNT, 0, [NO_SOUND])),
    ("changing_rate.mp4", changing_rate, (COUNT, 0, [NO_SOUND])),
    ("rotated.mp4", rotated, (COUNT, 16000, [])),
    ("one_frame.mp4", lambda p: write_video(p, corners(1)), (1, 0, [NO_SOUND, FEW_FRAMES])),
    ("ten_minutes.mp4", ten_minutes, (5 * LONG // 4, 8000, [MANY_FRAMES])),
    ("odd.mkv", lambda p: write_video(p, corners(20, 97, 65), "ffv1"), (20, 0, [NO_SOUND])),
    ("tiny.mkv", lambda p: write_video(p, corners(20, 2, 2), "ffv1"), (20, 0, [NO_SOUND])),
    ("4k.mp4", large, (2, 16000, [FEW_FRAMES])),
    *(
        (f"{name}.mkv", with_sound(name), (COUNT, rate, problems))
        for name, (rate, _, problems) in SOUNDS.items()
    ),
    ("late.mkv", late, (COUNT, 16000, [])),
    ("late_sound.mp4", late_sound, (COUNT, 16000, [f"{LATE}: 0.34 s of silence put in"])),
    (
        "two_tracks.mkv",
        two_tracks,
        (COUNT, 22050, [f"{SEVERAL_SOUNDS}: 2, track 2 (pcm_s16le, 22050 Hz) taken"]),
    ),
    (
        "broken_packet.mp4",
        broken_packet,
        (
            COUNT - 1,
            16000,
            [
                f"{BROKEN_PICTURES}: 1 of {COUNT} left out, those behind them may be smeared",
                FRAME_COUNTS,
            ],
        ),
    ),
    (
        "click.mkv",
        lambda p: good(p, sound=level(5)[:, :200], sound_codec="pcm_s16le"),
        (COUNT, 0, [SHORT_SOUND]),
    ),
    ("lying_header.avi", lying_header, (COUNT, 16000, [FRAME_COUNTS])),
    ("linked.mp4", linked, (COUNT, 16000, [])),
    ("CAPITALS.MP4", lambda p: good(p.with_suffix(".mp4")).rename(p), (COUNT, 16000, [])),
    ("flash.flv", lambda p: good(p, codec="flv", sound=None), (COUNT, 0, [NO_SOUND])),
    ("spaces  and (brackets) 'quotes' #1.mp4", good, (COUNT, 16000, [])),
    ("幸せな顔 – चेहरा – وجه.mp4", good, (COUNT, 16000, [])),
    ("percent%20sign:colon.mp4", good, (COUNT, 16000, [])),
]
SKIPPED = [
    ("zero.mp4", Path.touch, "empty, 0 bytes"),
    ("cut_before_its_index.mp4", lambda p: cut(p, 0.6), "not a video"),
    (
        "cut_after_its_index.mp4",
        lambda p: cut(p, 0.6, options={"movflags": "faststart"}),
        "cut off|broken",
    ),
    ("cut.mkv", lambda p: cut(p, 0.5), "cut off|broken"),
    ("cut_film.avi", lambda p: cut(p, 0.7, codec="mpeg4"), "cut off"),
    ("mostly_broken.mp4", lambda p: break_packets(good(p), "video", range(2, 18)), "broken"),
    ("playlist.mp4", playlist, "a playlist that names other files"),
    ("sound_only.mp4", sound_only, "holds no video, only: audio"),
    ("text.mp4", text, "not a video"),
    ("noise.mp4", noise, "not a video"),
    ("pointer.mp4", pointer, "a pointer of Git LFS"),
    ("broken_link.mp4", broken_link, "no such file"),
    ("folder.mp4", Path.mkdir, "no such file|not a file|without frames"),
    ("gone.mp4", lambda path: None, "no such file"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """All of them in one run."""
    folder = tmp_path_factory.mktemp("faults")
    table = "path,label,split\n"
    for number, (name, make, _) in enumerate(WRITTEN + SKIPPED):
        make(folder / name)
        table += f'"{name}",{"ab"[number % 2]},{("train", "test")[number % 4 // 2]}\n'
    (folder / "labels.csv").write_text(table, encoding="utf-8")
    out = folder / "out"
    places = [f"--source={folder}", f"--labels={folder / 'labels.csv'}", f"--out={out}"]
    main(["--dataset=folder", "--image_size=32", "--faces=none", "--workers=1", *places])
    lines = map(json.loads, (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    source = RecordSource(out, ["train", "test"])
    return {e["id"]: e for e in lines}, {record.id: record for record in source}


def named(cases):
    return pytest.mark.parametrize(
        ("name", "expected"),
        [(name, expected) for name, _, expected in cases],
        ids=[name.encode("ascii", "replace").decode() for name, *_ in cases],
    )


@named(WRITTEN)
def test_what_is_written(prepared, name, expected):
    manifest, records = prepared
    count, rate, problems = expected
    entry, record = manifest[name[:-4]], records[name[:-4]]
    assert (entry["status"], entry["reason"]) == ("written", None)
    assert entry["num_frames"] == record.num_frames == len(record.frames) == count
    assert entry["sample_rate"] == record.sample_rate == rate
    assert entry["problems"] == problems
    shapes = {decode_jpeg(data).shape for data in (record.frames[0], record.frames[-1])}
    assert shapes == {(32, 32, 3)}
    if rate:
        assert np.isfinite(record.spectrogram).all()
        assert record.spectrogram.shape[1] == 128


@named(SKIPPED)
def test_what_is_skipped_has_its_reason(prepared, name, expected):
    manifest, records = prepared
    entry = manifest[name[:-4]]
    assert entry["status"] == "skipped"
    assert name in entry["reason"]
    assert any(words in entry["reason"] for words in expected.split("|")), entry["reason"]
    assert entry["shard"] is None
    assert name[:-4] not in records


def test_nothing_is_lost(prepared):
    manifest, records = prepared
    assert len(manifest) == len(WRITTEN) + len(SKIPPED)
    assert len(records) == len(WRITTEN)


def pictures(record):
    return [decode_jpeg(data) for data in record.frames]


@pytest.mark.parametrize(
    "name", ["whole", "changing_rate", "mislabelled", "lying_header", "96_khz"]
)
def test_frames_are_in_order_of_time_and_none_stands_twice(prepared, name):
    grey = [picture[18:30, 18:30].mean() for picture in pictures(prepared[1][name])]
    np.testing.assert_allclose(np.diff(grey), 10, atol=3)  # it gets brighter by 10 a frame


@pytest.mark.parametrize("name", SOUNDS)
def test_log_mels_are_those_of_the_sound(prepared, name):
    rate, samples, _ = SOUNDS[name]
    wave = samples.astype(np.float32) / 32768
    expected = audio.log_mel(wave, rate, wave.mean(dtype=np.float64))
    assert len(expected) == 78
    np.testing.assert_allclose(prepared[1][name].spectrogram, expected, rtol=2e-3, atol=2e-3)


def test_a_rotated_clip_is_upright(prepared):
    _, records = prepared
    upright, turned = (decode_jpeg(records[name].frames[0]) for name in ("whole", "rotated"))
    assert upright[4, 4].argmax() == 0  # red
    assert turned[4, -4].argmax() == 0


def test_sound_without_any_energy_is_the_floor(prepared):
    _, records = prepared
    floor = np.float16(np.log(np.finfo(np.float32).eps))
    for name in ("silent", "constant"):
        np.testing.assert_array_equal(records[name].spectrogram, floor)
    assert records["ten_minutes"].spectrogram.shape == (512, 128)


def test_labels_that_are_not_utf8_are_refused_in_one_line(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_bytes("path,label\n幸福.mp4,happy\n".encode("gbk"))
    flags = [f"--source={tmp_path}", f"--labels={labels}", f"--out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit, match=r"^error: .*not a CSV file in UTF-8[^\n]*$"):
        main(["--dataset=folder", *flags])


def is_gone(group):
    """Whether the last process of a group ends within ten seconds."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_the_command_and_its_workers_at_once(tmp_path):
    """The terminal sends the signal to the whole group of processes."""
    for number in range(4):
        for name in "ab":
            (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
            write_video(tmp_path / "in" / name / f"{number}.mp4", corners(400, 640, 480), "mpeg4")
    out = tmp_path / "out"
    flags = ["--dataset=folder", f"--source={tmp_path / 'in'}", f"--out={out}", "--folds=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "data_prep", *flags, "--workers=2", "--shards=2"],
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 60
    while not list(out.glob(".*.tmp")) and time.monotonic() < limit:  # until it is at a shard
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert is_gone(process.pid)
    assert not [path for path in out.rglob("*") if "tfrecord" in path.name]

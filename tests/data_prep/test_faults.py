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
from video_files import RATE, corners, set_display_matrix, tone, write_video

from data_prep.__main__ import main
from mmadfer_jax.data.clip import FEW_FRAMES, MANY_FRAMES, NO_SOUND, SHORT_SOUND
from mmadfer_jax.data.frames import decode_jpeg
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


def with_sound(rate, wave):
    def write(path):
        good(path, sound=wave, sample_rate=rate, sound_codec="pcm_s16le")

    return write


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


def ten_minutes(path):
    frames = (np.full((32, 48, 3), n % 200, np.uint8) for n in range(5 * LONG))
    write_video(path, frames, "mpeg4", sound=tone(LONG, 8000), sample_rate=8000, rate=5)


def large(path):
    write_video(path, corners(2, 3840, 2160), "mpeg4", sound=SOUND)


def text(path):
    path.write_text("no video\n" * 100)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def level(value):
    return np.full((1, 12800), value, np.int16)


def square(count):
    return np.where(np.arange(count) // 18 % 2, 32767, -32768).astype(np.int16)[None]


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
    ("silent.mkv", with_sound(16000, level(0)), (COUNT, 16000, [])),
    ("constant.mkv", with_sound(16000, level(9000)), (COUNT, 16000, [])),
    ("clipped.mkv", with_sound(16000, square(12800)), (COUNT, 16000, [])),
    ("click.mkv", with_sound(16000, level(5)[:, :200]), (COUNT, 0, [SHORT_SOUND])),
    ("8_khz.mkv", with_sound(8000, tone(0.8, 8000)), (COUNT, 8000, [])),
    ("96_khz.mkv", with_sound(96000, tone(0.8, 96000)), (COUNT, 96000, [])),
    ("stereo.mkv", with_sound(48000, tone(0.8, 48000, 2)), (COUNT, 48000, [])),
    ("5.1.mkv", with_sound(48000, tone(0.8, 48000, 6)), (COUNT, 48000, [])),
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
    ("sound_only.mp4", sound_only, "holds no video, only: audio"),
    ("text.mp4", text, "not a video"),
    ("noise.mp4", noise, "not a video"),
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
        table += f'"{name}",{"ab"[number % 2]},all_of_them\n'
    (folder / "labels.csv").write_text(table, encoding="utf-8")
    out = folder / "out"
    places = [f"--source={folder}", f"--labels={folder / 'labels.csv'}", f"--out={out}"]
    main(["--dataset=folder", "--image_size=32", "--faces=none", "--workers=1", *places])
    lines = map(json.loads, (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    source = RecordSource(out, ["all_of_them"])
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

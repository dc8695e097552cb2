"""Names of files that are no UTF-8 come through the whole command."""

import io
import json
import os
import sys

from stand_ins import outcomes_here
from video_files import corners, write_video

from data_prep import run
from data_prep.__main__ import main
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource


def test_names_that_no_terminal_and_no_file_in_utf8_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "outcomes", outcomes_here)
    source, out = tmp_path / os.fsdecode(b"\xe0"), tmp_path / "out"
    names = [b"train/c\xe9/\xff.mp4", b"train/joie/2.mp4", b"test/c\xe9/3.mp4", b"test/joie/4.mp4"]
    paths = [source / os.fsdecode(name) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, corners(2))
    (source / os.fsdecode(b"test/c\xe9/\xfe.mp4")).write_text("no video\n" * 99)
    (source / os.fsdecode(b"test/c\xe9/\xfd.xyz")).touch()
    command = ["--dataset=folder", f"--source={source}", "--image_size=32", "--faces=none"]
    said = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", said)
    for more in (f"--out={tmp_path / 'look'}", "--check"), (f"--out={out}", "--shards=1"):
        main([*command, *more])
    said.flush()
    assert b"test/c%E9/%FD.xyz" in said.buffer.getvalue()
    records = RecordSource(out, ["train", "test"])
    assert {r.id for r in records} == {
        "train/c%E9/%FF",
        "train/joie/2",
        "test/c%E9/3",
        "test/joie/4",
    }
    assert DatasetInfo.load(out).classes == ("c%E9", "joie")
    lines = map(json.loads, (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    manifest = {entry["id"]: entry for entry in lines}
    entry = manifest["test/c%E9/%FE"]
    assert (entry["status"], entry["source"]) == ("skipped", "test/c%E9/%FE.mp4")
    assert "/%E0/test/c%E9/%FE.mp4: not a video" in entry["reason"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["left_out"] == {"test/c%E9/%FE": entry["reason"]}
    main([*command, f"--out={out}", "--shards=1", "--redo=train/c%E9/%FF"])

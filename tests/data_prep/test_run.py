import errno
import hashlib
import json
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import corners, tone, write_video

from data_prep import plan, run
from data_prep.__main__ import main
from data_prep.datasets import synthetic
from data_prep.datasets.folder import list_clips
from data_prep.plan import plan_shards
from mmadfer_jax.clips.clip import FEW_FRAMES, NO_FACE, NO_SOUND, PrepareSettings, prepare_clip
from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource, ShardWriter
from mmadfer_jax.errors import UserError

SETTINGS = PrepareSettings(image_size=32, faces="none")
GOOD, LABELS = 10, ("happy", "sad")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Ten good clips, one silent and one short among them; two bad ones and one absent."""
    folder = tmp_path_factory.mktemp("source of videos")
    rows = []
    for number in range(GOOD):
        path = f"{'sub/' if number % 2 else ''}клип {number}.mp4"
        (folder / path).parent.mkdir(exist_ok=True)
        frames = corners(3 if number == 7 else 17 + number)
        sound = None if number == 3 else tone(0.5, 16000, hertz=200 * (number + 1))
        write_video(folder / path, frames, sound=sound)
        rows.append((path, LABELS[number % 3 % 2]))
    (folder / "bad.mp4").write_text("not a video\n" * 50)
    (folder / "zero.mp4").touch()
    rows += [("bad.mp4", "sad"), ("zero.mp4", "happy"), ("absent.mp4", "happy")]
    table = "path,label,split\n"
    for number, (path, label) in enumerate(rows):
        table += f"{path},{label},{'part1' if number < 4 else 'part2'}\n"
    (folder / "labels.csv").write_text(table)
    return folder


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    """The whole command, with two processes."""
    out = tmp_path_factory.mktemp("prepared") / "folder"
    main([*flags(source, out), "--workers=2"])
    return out


def flags(source, out):
    return [
        "--dataset=folder",
        f"--source={source}",
        f"--labels={source / 'labels.csv'}",
        f"--out={out}",
        "--image_size=32",
        "--faces=none",
        "--shards=2",
    ]


def prepare(source, out, settings=SETTINGS, **options):
    listing = list_clips(source, source / "labels.csv")
    return run.prepare_dataset(listing, out, settings, **{"shards": 2, **options})


def contents(folder):
    """Checksums of all files but the reports."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.stem != "report"
    }


def manifest_of(folder):
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def test_records_hold_the_clips(source, prepared):
    records = RecordSource(prepared, ["part1", "part2"])
    assert len(records) == GOOD
    for record, label in zip(records, records.labels, strict=True):
        made = prepare_clip(source / record.source, SETTINGS)
        assert record.source == f"{record.id}.mp4"
        assert record.label == label == int(record.id[-1]) % 3 % 2
        assert record.num_frames == len(record.frames) == len(made.frames)
        assert record.sample_rate == made.sample_rate
        for data, rgb in zip(record.frames, made.frames, strict=True):
            assert np.abs(decode_jpeg(data).astype(int) - rgb).mean() < 6
        if made.spectrogram is None:
            assert record.spectrogram is None
        else:
            np.testing.assert_array_equal(record.spectrogram, made.spectrogram.astype(np.float16))


def test_dataset_json_says_how_it_was_made(prepared):
    info = DatasetInfo.load(prepared)
    assert info.name == "folder"
    assert info.classes == LABELS
    assert info.splits == {"part1": 4, "part2": 6}
    assert info.image_size == 32
    assert PrepareSettings.from_dict(info.preparation) == SETTINGS


def test_the_manifest_has_every_clip(source, prepared):
    manifest = manifest_of(prepared)
    assert len(manifest) == GOOD + 3
    skipped = {name: e["reason"] for name, e in manifest.items() if e["status"] == "skipped"}
    assert set(skipped) == {"bad", "zero", "absent"}
    assert "bad.mp4: not a video" in skipped["bad"]
    assert "zero.mp4: empty" in skipped["zero"]
    assert "absent.mp4: no such file" in skipped["absent"]
    assert manifest["sub/клип 3"]["problems"] == [NO_SOUND]
    assert manifest["sub/клип 7"]["problems"] == [FEW_FRAMES]
    assert manifest["клип 0"] == {
        "id": "клип 0",
        "source": "клип 0.mp4",
        "split": "part1",
        "label": 0,
        "status": "written",
        "reason": None,
        "problems": [],
        "num_frames": 17,
        "declared_frames": 17,
        "sample_rate": 16000,
        "face_share": 1.0,
        "sha256": hashlib.sha256((source / "клип 0.mp4").read_bytes()).hexdigest(),
        "shard": manifest["клип 0"]["shard"],
    }
    for name, entry in manifest.items():
        if entry["status"] == "written":
            index = json.loads((prepared / "index" / f"{entry['shard']}.json").read_text())
            assert name in index["ids"]


def test_tfds_opens_the_folder(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepared)
    assert builder.info.splits["part1"].num_examples == 4
    assert builder.info.splits["part2"].num_examples == 6
    assert tuple(builder.info.features["label"].names) == LABELS


def test_the_same_command_again_does_nothing(source, prepared, tmp_path, monkeypatch, capsys):
    out = tmp_path / "again"
    shutil.copytree(prepared, out)
    monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", None)  # nothing is left to prepare
    main([*flags(source, out), "--workers=1"])
    assert contents(out) == contents(prepared)
    said = capsys.readouterr()
    assert "written: 10 of 13 clips" in said.out
    assert "fault: 1 of 13 clips is not there\n  absent.mp4: no such file" in said.out
    assert "fault: 2 of 13 clips cannot be used\n" in said.out
    assert "13 of 13" in said.err


def test_a_lost_shard_is_made_again(source, prepared, tmp_path):
    out = tmp_path / "lost"
    shutil.copytree(prepared, out)
    (out / "index" / "folder-part1.tfrecord-00001-of-00002.json").unlink()
    (out / "folder-part2.tfrecord-00000-of-00002").unlink()
    prepare(source, out)
    assert contents(out) == contents(prepared)


class Stop:
    """Counts clips, and does something once so many are done."""

    def __init__(self, after, action):
        self.left, self.action = after, action

    def __call__(self, clips):
        self.left -= clips
        if self.left == 0:
            self.action()


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_no_half_shard_and_goes_on(source, prepared, tmp_path):
    out = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, advance=Stop(5, interrupt), workers=2)
    assert multiprocessing.active_children() == []
    kept = contents(out)
    shards = {name for name in kept if name.startswith("folder-")}
    assert shards == {f"folder-part1.tfrecord-0000{i}-of-00002" for i in range(2)}
    assert not [name for name in kept if name.endswith(".tmp")]
    assert "dataset.json" not in kept
    done = []
    prepare(source, out, advance=done.append)
    assert done[0] == 4  # of the two finished shards
    assert contents(out) == contents(prepared)


def test_a_killed_worker_is_an_error_that_names_clips(source, prepared, tmp_path):
    out = tmp_path / "killed"

    def kill():
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(UserError, match=r"worker process died, preparing one of: .*\.mp4.*goes on"):
        prepare(source, out, advance=Stop(2, kill))
    assert not [name for name in contents(out) if name.endswith(".tmp")]
    prepare(source, out)
    assert contents(out) == contents(prepared)


def test_a_full_disk_is_an_error_and_leaves_no_half_shard(source, prepared, tmp_path, monkeypatch):
    out = tmp_path / "full"
    write = ShardWriter.write

    def refuse(self, record):
        if self.path.name.startswith("folder-part2"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    monkeypatch.setattr(ShardWriter, "write", refuse)
    with pytest.raises(UserError, match=r"the disk of .*full is full.*same command"):
        prepare(source, out)
    assert not [name for name in contents(out) if "part2" in name or name.endswith(".tmp")]
    monkeypatch.undo()
    prepare(source, out)
    assert contents(out) == contents(prepared)


def test_too_small_a_disk_is_refused_before_the_work(source, prepared, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", None)
    with pytest.raises(UserError, match=r"0\.0 GB free"):
        prepare(source, tmp_path / "out")
    shutil.copytree(prepared, tmp_path / "done")
    prepare(source, tmp_path / "done")  # what is finished needs no room


def test_other_settings_do_not_go_into_the_same_folder(source, prepared):
    before = contents(prepared)
    with pytest.raises(UserError, match="image_size 32 there, 64 asked for"):
        prepare(source, prepared, PrepareSettings(image_size=64, faces="none"))
    with pytest.raises(UserError, match="part1 2 there, 3 asked for"):
        prepare(source, prepared, shards=3)
    assert contents(prepared) == before


def test_a_setting_that_is_no_longer_there_is_named():
    found = {"settings": {"face_model": "a.onnx", "face": "union"}}
    wanted = {"settings": {"face": "union"}}
    said = plan._differences(found, wanted, ["settings"])
    assert said == "face_model a.onnx there, none asked for"


def test_a_changed_table_does_not_go_into_the_same_folder(source, prepared, tmp_path):
    table = (source / "labels.csv").read_text()
    changed = tmp_path / "labels.csv"
    changed.write_text(table.replace("bad.mp4,sad", "bad.mp4,happy"))
    with pytest.raises(UserError, match="names, labels or splits have changed"):
        run.prepare_dataset(list_clips(source, changed), prepared, SETTINGS, shards=2)


def test_a_folder_with_something_else_is_left_alone(source, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"not empty \(thesis\.txt\)"):
        prepare(source, tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        prepare(source, tmp_path / "thesis.txt")


def test_a_second_command_says_who_is_at_work(source, prepared, tmp_path):
    out = tmp_path / "out"
    said = []

    def start_another():
        with pytest.raises(SystemExit) as stopped:
            main([*flags(source, out), "--workers=1"])
        said.append(stopped.value.code)

    prepare(source, out, advance=Stop(3, start_another))
    assert re.fullmatch(
        rf"error: {out}/\.preparation is in use by process {os.getpid()} on [^\n]*; wait until it "
        "has ended, end it, or use another folder",
        said[0],
    )
    assert contents(out) == contents(prepared)  # the first goes on
    assert not (out / ".preparation/.lock").exists()


def test_what_a_killed_run_left_half_written_is_swept(source, prepared, tmp_path):
    out = tmp_path / "out"
    for folder in (".", "index", ".preparation"):
        (out / folder).mkdir(exist_ok=True, parents=True)
        (out / folder / ".folder-part1.tfrecord.0123456789ab.tmp").write_bytes(b"half")
    shutil.copy(prepared / ".preparation/plan.json", out / ".preparation")
    (out / ".preparation/.lock").write_text("process 1 on elsewhere: data_prep")  # held by nobody
    prepare(source, out)
    assert contents(out) == contents(prepared)


def test_what_cannot_be_trained_on_is_refused_before_any_work(source, tmp_path, capsys):
    labels, out = tmp_path / "labels.csv", tmp_path / "out"
    labels.write_text((source / "labels.csv").read_text().replace("part2", "rest"))
    given = [*flags(source, out), f"--labels={labels}", "--workers=1"]
    with pytest.raises(SystemExit, match="splits part1, rest; expected train and test, or part1"):
        main(given)
    assert not out.exists()
    main([*given, "--check"])
    assert "fault: cannot be prepared as it is (dataset folder has" in capsys.readouterr().out


def test_a_split_without_a_usable_clip(source, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label,split\nклип 0.mp4,x,a\nbad.mp4,y,b\n")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"split 'b' has no usable clip.*bad\.mp4: not a video"):
        run.prepare_dataset(list_clips(source, labels), out, SETTINGS)
    assert manifest_of(out)["bad"]["status"] == "skipped"
    assert not (out / "dataset.json").exists()


def test_shards_mix_the_table_and_never_outnumber_the_clips(source):
    listing = list_clips(source, source / "labels.csv")
    whole = plan_shards(listing, None)
    assert [(shard.split, len(shard.clips)) for shard in whole] == [("part1", 4), ("part2", 9)]
    cut = plan_shards(listing, 6)
    assert [shard.split for shard in cut] == ["part1"] * 4 + ["part2"] * 6
    assert all(shard.clips for shard in cut)
    ids = [clip.id for shard in cut for clip in shard.clips]
    assert sorted(ids) == sorted(clip.id for clip in listing.clips)
    assert ids != [clip.id for clip in listing.clips]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--dataset=films"], "'films'"),
        (["--image_size=big"], "'big' is no whole number"),
        (["--image_size=100"], "image_size 100"),
        (["--sample_rate=16k"], "'16k'"),
        (["--sample_rate=10"], "sample_rate 10"),
        (["--detect_every=0"], "expected 1 or more"),
        (["--workers=0"], "expected 1 or more"),
        (["--classes=a,,b"], "'a,,b'"),
        (["--classes=happy,fear"], "label 'sad'"),
        (["--clips=4"], "--clips means nothing with --dataset=folder"),
        (["--folds=3"], "split column"),
        (["--label_base=1"], "--label_base=1 needs --classes"),
        (["--label_base=2", "--classes=a,b"], "--label_base"),
        (["--dataset=crema_d", "--classes=a,b"], "--labels means nothing with --dataset=crema_d"),
        (["--source=/absent"], "--source=/absent"),
        (["--labels=/absent.csv"], "--labels=/absent.csv"),
        (["--speed=9"], "--speed=9"),
    ],
)
def test_a_wrong_flag_is_one_line_before_any_work(source, tmp_path, capsys, changed, message):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        main([*flags(source, out), *changed])
    code = stopped.value.code
    said = capsys.readouterr().err if isinstance(code, int) else f"{code}\n"
    assert code != 0
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not out.exists()


def test_worker_processes_find_faces(tmp_path):
    photo = Path(__file__).parents[1] / "clips" / "astronaut.jpg"
    rgb = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    write_video(tmp_path / "face.mp4", [rgb] * 2)
    write_video(tmp_path / "none.mp4", corners(2))
    (tmp_path / "labels.csv").write_text("path,label,split\nface.mp4,x,a\nnone.mp4,y,a\n")
    out = tmp_path / "out"
    prepare(tmp_path, out, PrepareSettings(image_size=112), shards=1, workers=2)
    manifest = manifest_of(out)
    assert manifest["face"]["face_share"] == 1
    assert manifest["face"]["problems"] == [NO_SOUND, FEW_FRAMES]
    assert manifest["none"]["face_share"] == 0
    assert manifest["none"]["problems"] == [NO_FACE, NO_SOUND, FEW_FRAMES]


@pytest.mark.parametrize("dataset", ["folder", "dfew", "crema_d"])
def test_missing_flags_are_named(dataset, tmp_path):
    with pytest.raises(SystemExit, match=f"--dataset={dataset} needs --source"):
        main([f"--dataset={dataset}", f"--out={tmp_path / 'out'}"])


def test_synthetic_clips_are_not_rendered_to_a_url():
    with pytest.raises(SystemExit, match=r"memory://out/videos: videos are rendered to the disk"):
        main(["--dataset=synthetic", "--out=memory://out"])


@pytest.mark.parametrize("pair", [False, True])
def test_synthetic_clips_are_rendered_into_the_folder_and_prepared(
    pair, tmp_path, monkeypatch, capsys
):
    def render(folder: Path, *, clips, seed, workers, pair, progress):
        asked.append((clips, seed, workers, pair))
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        table = "path,label,split\n"
        for number in range(clips):
            path = f"clips/{number}.mp4"
            write_video(folder / path, corners(2))
            table += f"{path},{synthetic.CLASSES[number % 7]},{'test' if number < 7 else 'train'}\n"
            progress(number + 1)
        labels = folder / "labels.csv"
        labels.write_text(table)
        return labels

    asked = []
    monkeypatch.setattr(synthetic, "render_dataset", render)
    out = tmp_path / "out"
    command = [f"--out={out}", "--clips=14", "--seed=5", "--workers=1", "--faces=none"]
    main(["--dataset=synthetic", "--image_size=32", *command, *(["--pair"] if pair else [])])
    assert asked == [(14, 5, 1, pair)]
    info = DatasetInfo.load(out)
    assert info.name == "synthetic"
    assert info.classes == synthetic.CLASSES + (synthetic.PAIR if pair else ())
    assert info.splits == {"test": 7, "train": 7}
    assert len(RecordSource(out, ["train"])) == 7
    assert "rendering: 14 of 14 clips" in capsys.readouterr().err

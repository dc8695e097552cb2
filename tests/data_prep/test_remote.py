"""Sources, outputs and training reads behind URLs: a web server's, and fsspec's `memory://`."""

import json
import uuid

import cv2
import numpy as np
import pytest
from stand_ins import Here
from upath import UPath
from video_files import corners, tone, write_video
from web import served

from data_prep.__main__ import main
from mmadfer_jax import files
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.training import input as pipeline


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    (folder / "sub").mkdir()
    table = "path,label,split\n"
    for number in range(4):
        path = f"{'sub/' if number % 2 else ''}clip {number}.mp4"
        write_video(folder / path, corners(17), sound=tone(0.3, 16000, hertz=300 + number))
        table += f"{path},{'ab'[number // 2]},{'train' if number % 2 else 'test'}\n"
    (folder / "bad.mp4").write_text("no video\n" * 99)
    (folder / "labels.csv").write_text(table + "bad.mp4,a,train\ngone.mp4,a,train\n")
    return folder


def prepare(source, out):
    flags = ["--dataset=folder", "--image_size=32", "--faces=none", "--shards=2", "--workers=1"]
    main([*flags, f"--source={source}", f"--labels={source}/labels.csv", f"--out={out}"])


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(source, out)
    return out


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(files, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def memory():
    folder = UPath(f"memory://{uuid.uuid4()}")
    yield folder
    files.remove(folder)


def contents(folder, source=None):
    """The dataset's files, manifests as if the clips had come from `SOURCE`; not the report."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(source).encode(), b"SOURCE")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("report.")
    }


def test_the_same_bytes_come_out_behind_urls(source, prepared, memory, monkeypatch):
    with served(source.parent) as server:
        url = f"{server.url}/{source.name}"
        prepare(url, memory)
    assert contents(memory, url) == contents(prepared, source)
    manifest = (memory / "manifest.jsonl").read_text()
    assert f"{url}/bad.mp4: not a video" in manifest
    assert "gone.mp4: no such file" in manifest
    before = contents(memory)
    with served(source.parent) as server:
        # Nothing is left to prepare.
        monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", None)
        prepare(f"{server.url}/{source.name}", memory)
    assert contents(memory) == before


def test_a_server_that_fails_now_and_then_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.pool.ProcessPoolExecutor", Here)
    source = tmp_path / "in"
    for name in ("a/1", "b/2"):
        for number, rgb in enumerate(corners(3, 32, 32)):
            path = source / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rgb)
    for name in ("a/3.mp4", "b/4.mp4"):
        write_video(source / name, corners(17), sound=tone(0.3, 16000))
    (source / "labels.csv").write_text(
        "path,label,split\na/1,a,train\nb/2,b,test\na/3.mp4,a,test\nb/4.mp4,b,train\n"
    )
    flags = ["--dataset=folder", "--image_size=32", "--faces=none", "--workers=1"]

    def made(where, name, *more):
        out = tmp_path / name
        main([*flags, f"--source={where}", f"--labels={where}/labels.csv", f"--out={out}", *more])
        return contents(out, where)

    with served(source) as server:
        server.every = 7
        assert made(server.url, "flaky") == made(source, "steady")
        assert len(server.requests) > 40
        made(server.url, "checked", "--check")
    report = json.loads((tmp_path / "checked/report.json").read_text())
    assert report["clips"] == {"listed": 4, "usable": 4, "missing": 0, "faulty": 0}


def test_a_server_that_fails_is_told_from_a_file_that_is_not_there(source):
    with served(source) as server:
        there, gone = (files.as_path(f"{server.url}/{name}") for name in ("labels.csv", "gone"))
        server.refuse = 8
        assert files.is_file(there)
        server.requests.clear()
        assert not files.is_file(gone)
        assert len(server.requests) == 1  # and no more
        server.refuse = 10
        with pytest.raises(UserError, match=r"gone: failed 5 times"):
            files.is_file(gone)


def test_training_reads_parts_of_shards(prepared):
    local = RecordSource(prepared, ["train"])
    with served(prepared) as server:
        assert DatasetInfo.load(server.url) == DatasetInfo.load(prepared)
        remote = RecordSource(server.url, ["train"])
        assert remote.ids == local.ids
        assert not [path for path, _ in server.requests if path.endswith("of-00002")]
        assert remote[1].frames == local[1].frames
        shards = [part for path, part in server.requests if path.endswith("of-00002")]
        assert len(shards) == 1
        assert shards[0].startswith("bytes=")
        batches = [
            list(
                pipeline.eval_batches(
                    RecordSource(where, ["test"]),
                    Reading(num_frames=4, length=64),
                    batch_size=2,
                    num_workers=workers,
                )
            )
            for where, workers in ((prepared, 0), (server.url, 0), (server.url, 1))
        ]
    for other in batches[1:]:
        for one, two in zip(batches[0], other, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], two[name])


def test_a_server_that_fails_is_asked_again(prepared):
    with served(prepared) as server:
        remote = RecordSource(server.url, ["train"])
        server.refuse = 4
        assert remote[0].frames == RecordSource(prepared, ["train"])[0].frames
        server.refuse = 5
        with pytest.raises(UserError, match=r"tfrecord-0000.*failed 5 times.*503"):
            remote[0]
        server.ranges = False
        with pytest.raises(UserError, match=r"ignores byte ranges.*copy the dataset to the disk"):
            files.read_range(files.as_path(f"{server.url}/dataset.json"), 4, 8)


def test_a_corrupt_or_missing_shard_is_named_by_its_url(prepared, memory):
    for path in prepared.rglob("*"):
        if path.is_file():
            files.upload(path, memory / path.relative_to(prepared).as_posix())
    shard = next(path for path in memory.iterdir() if "train" in path.name)
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"memory://.*corrupt record at byte 0"):
        list(RecordSource(memory, ["train"]))
    shard.write_bytes(bytes(data[:-1]))
    with pytest.raises(UserError, match=r"memory://.* bytes, its index expects"):
        RecordSource(memory, ["train"])
    files.remove(shard)
    with pytest.raises(UserError, match=r"memory://.* is missing although its index is there"):
        RecordSource(memory, ["train"])
    with pytest.raises(UserError, match=r"memory://.* is no prepared dataset"):
        DatasetInfo.load(memory / "elsewhere")


def test_an_upload_that_fails_says_so_and_leaves_nothing_on_the_disk(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))

    def refuse(*arguments, **options):
        raise TimeoutError("no answer")

    path = memory / "deep" / "file.txt"
    with monkeypatch.context() as patch:
        patch.setattr(type(memory.fs), "put_file", refuse)
        with pytest.raises(UserError, match=r"memory://.*file\.txt: failed with TimeoutError"):
            files.write(path, "text")
    assert not files.is_file(path)
    files.write(path, "text")
    assert files.read_text(path) == "text"
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_the_program_keeps_its_traceback(memory):
    with pytest.raises(TypeError):
        files.attempt(memory, lambda: None + 1)


@pytest.mark.parametrize("url", ["nonsense://x/y", "gs//:x"])
def test_an_unknown_kind_of_url(url):
    if "://" in url:
        with pytest.raises(UserError, match="nonsense"):
            files.as_path(url)
    else:
        assert not files.is_remote(files.as_path(url))

"""The same dataset comes out of an Apache Beam pipeline, whatever happens on the way."""

import hashlib
import json
import signal
import sys
import uuid

import pytest
from apache_beam.options.pipeline_options import StandardOptions
from upath import UPath
from video_files import corners, tone, write_video

import data_prep
from data_prep import beam_runner
from data_prep.__main__ import main
from mmadfer_jax import files
from mmadfer_jax.data.records import ShardWriter

PROCESSES = "--beam_options=--direct_running_mode=multi_processing --direct_num_workers=2"
THREADS = "--beam_options=--direct_running_mode=multi_threading --direct_num_workers=2"
CLIPS = 10


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Eight good clips, one that is no video and one that is not there, in two splits."""
    folder = tmp_path_factory.mktemp("source")
    table = "path,label,split\n"
    for number in range(CLIPS - 2):
        sound = tone(0.2, 16000, hertz=300 + 50 * number)
        write_video(folder / f"{number}.mp4", corners(4 + number), sound=sound)
        table += f"{number}.mp4,{'ab'[number % 2]},{'train' if number < 5 else 'test'}\n"
    (folder / "bad.mp4").write_text("no video\n" * 99)
    (folder / "labels.csv").write_text(table + "bad.mp4,a,train\nabsent.mp4,b,test\n")
    return folder


def prepare(source, out, *more):
    flags = ["--dataset=folder", "--image_size=32", "--faces=none", "--shards=2", "--workers=1"]
    main([*flags, f"--source={source}", f"--labels={source}/labels.csv", f"--out={out}", *more])


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    """What the local pool makes of it."""
    out = tmp_path_factory.mktemp("local") / "out"
    prepare(source, out)
    return contents(out)


@pytest.fixture
def prepared(monkeypatch):
    """The names of the clips that are prepared in this process."""
    done, make = [], beam_runner.worker.prepare

    def note(clip):
        done.append(clip.id)
        return make(clip)

    monkeypatch.setattr(beam_runner.worker, "prepare", note)
    return done


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def entries(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def clips_of(out, shard):
    return [entry["id"] for entry in entries(out / ".preparation" / f"{shard}.jsonl")]


@pytest.mark.parametrize("options", [[], [THREADS], [PROCESSES]])
def test_the_same_bytes_as_the_local_pool(source, local, tmp_path, options):
    prepare(source, tmp_path, "--runner=beam", *options)
    assert contents(tmp_path) == local
    manifest = entries(tmp_path / "manifest.jsonl")
    reasons = {entry["id"]: entry["reason"] for entry in manifest if entry["reason"]}
    assert len(manifest) == CLIPS
    assert set(reasons) == {"bad", "absent"}
    assert "bad.mp4: not a video" in reasons["bad"]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_the_same_bytes_behind_a_url(source, local, tmp_path, kind):
    out = UPath(f"memory://{uuid.uuid4()}" if kind == "memory" else f"file://{tmp_path}/out")
    prepare(source, out, "--runner=beam")
    assert contents(out) == local
    files.remove(out)


def test_what_other_machines_wrote_is_seen(source, local, monkeypatch):
    """Clients of object stores remember what was not in a folder."""
    out, absent = UPath(f"memory://{uuid.uuid4()}"), set()
    system = type(out.fs)
    look = system.info

    def remember(self, path, **options):
        if path in absent:
            raise FileNotFoundError(path)
        try:
            return look(self, path, **options)
        except FileNotFoundError:
            absent.add(path)
            raise

    monkeypatch.setattr(system, "info", remember)
    monkeypatch.setattr(system, "invalidate_cache", lambda self, path=None: absent.clear())
    prepare(source, out, "--runner=beam")
    monkeypatch.undo()
    assert contents(out) == local
    files.remove(out)


def test_a_failure_keeps_what_is_finished_and_the_next_run_goes_on(
    source, local, tmp_path, monkeypatch, prepared
):
    write, started = ShardWriter.write, []

    def refuse(self, record):
        started.extend({self.path} - set(started))
        if len(started) == 3:
            raise OSError("no space left")
        write(self, record)

    monkeypatch.setattr(ShardWriter, "write", refuse)
    with pytest.raises(
        SystemExit, match=r"the Beam pipeline failed: .*no space left.*same command"
    ):
        prepare(source, tmp_path, "--runner=beam")
    kept = contents(tmp_path)
    assert {tmp_path / name for name in kept if name.startswith("folder-")} == set(started[:2])
    assert not [name for name in kept if name.endswith(".tmp") or name == "dataset.json"]
    monkeypatch.setattr(ShardWriter, "write", write)
    of_finished = {i for path in started[:2] for i in clips_of(tmp_path, path.name)}
    prepared.clear()
    prepare(source, tmp_path, "--runner=beam")
    assert len(prepared) == CLIPS - len(of_finished)
    assert not of_finished.intersection(prepared)
    assert contents(tmp_path) == local


def test_what_is_there_is_kept(source, local, tmp_path, prepared):
    prepare(source, tmp_path, "--runner=beam")
    assert len(prepared) == CLIPS
    prepared.clear()
    prepare(source, tmp_path, "--runner=beam")
    assert prepared == []
    assert contents(tmp_path) == local
    lost = "folder-train.tfrecord-00001-of-00002"
    (tmp_path / lost).unlink()
    prepare(source, tmp_path, "--runner=beam")
    assert prepared == clips_of(tmp_path, lost)
    with pytest.raises(SystemExit, match="image_size 32 there, 64 asked for"):
        prepare(source, tmp_path, "--runner=beam", "--image_size=64")
    assert contents(tmp_path) == local
    assert prepared == clips_of(tmp_path, lost)


def test_a_repeated_bundle_does_not_prepare_finished_shards_again(
    source, local, tmp_path, prepared
):
    prepare(source, tmp_path, "--runner=beam", "--beam_options=--direct_runner_bundle_repeat=2")
    assert len(prepared) == CLIPS
    assert contents(tmp_path) == local


@pytest.fixture
def limit():
    """Fails after a minute, where Beam itself would wait for ever."""

    def fail(signal_number, frame):
        raise TimeoutError("a minute is over")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# grpc's threads end with errors when the other side is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("limit")
def test_a_killed_process_is_an_error_and_the_next_run_goes_on(
    source, local, tmp_path, monkeypatch
):
    out, hooks = tmp_path / "out", tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def die(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('bad.mp4'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(die)\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hooks))
        with pytest.raises(
            SystemExit, match=r"Beam pipeline failed: a worker process died.*goes on"
        ):
            prepare(source, out, "--runner=beam", PROCESSES)
    assert "dataset.json" not in contents(out)
    prepare(source, out, "--runner=beam")
    assert contents(out) == local


def test_workers_that_write_elsewhere_are_an_error(source):
    out = UPath(f"memory://{uuid.uuid4()}")  # of each process alone
    with pytest.raises(SystemExit, match=r"4 of 4 shards are not in --out=memory://.*share"):
        prepare(source, out, "--runner=beam", PROCESSES)
    files.remove(out)


def test_what_beam_refuses_is_one_line_and_deletes_nothing(source, tmp_path, monkeypatch):
    prepare(source, tmp_path)
    before = contents(tmp_path)
    redo = ("--redo=all", "--runner=beam")
    with pytest.raises(SystemExit, match=r"^error: --beam_options=--direct_running_mode=x: .*'x'"):
        prepare(source, tmp_path, *redo, "--beam_options=--direct_running_mode=x")
    monkeypatch.setitem(sys.modules, "data_prep.beam_runner", None)  # which makes importing fail
    monkeypatch.delattr(data_prep, "beam_runner")
    with pytest.raises(SystemExit, match=r"error: --runner=beam needs Apache Beam .*pip install"):
        prepare(source, tmp_path, *redo)
    assert contents(tmp_path) == before


def test_options_of_beam_need_beam(source, tmp_path):
    with pytest.raises(SystemExit, match="--beam_options means nothing with --runner=local"):
        prepare(source, tmp_path / "out", "--beam_options=--x")


def test_nothing_is_downloaded_unless_a_runner_is_named():
    """Beam's DirectRunner fetches a program of its own and starts it."""

    def runner(*options):
        return beam_runner.parse_options(options).view_as(StandardOptions).runner

    assert runner() == runner("--direct_num_workers=2") == "FnApiRunner"
    assert runner("--runner=DataflowRunner") == "DataflowRunner"

"""Apache Beam is an extra: `pip install -r requirements-beam.txt` runs these too."""

import hashlib
import sys

import pytest
from video_files import corners, tone, write_video

import data_prep
from data_prep.__main__ import main
from mmadfer_jax.data.records import ShardWriter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for number in range(4):
        for name in "ab":
            (folder / name).mkdir(exist_ok=True)
            sound = tone(0.2, 16000, hertz=300 + 50 * number)
            write_video(folder / name / f"{number}.mp4", corners(4 + number), sound=sound)
    (folder / "a" / "bad.mp4").write_text("no video\n" * 99)
    return folder


def prepare(source, out, *more):
    flags = ["--dataset=folder", "--image_size=32", "--faces=none", "--shards=2", "--folds=2"]
    main([*flags, f"--source={source}", f"--out={out}", "--workers=1", *more])


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--beam_options=--direct_running_mode=multi_processing --direct_num_workers=2"],
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_same_bytes_as_the_local_pool(source, tmp_path, options):
    pytest.importorskip("apache_beam")
    prepare(source, tmp_path / "local")
    prepare(source, tmp_path / "beam", "--runner=beam", *options)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_failure_keeps_what_is_finished_and_the_next_run_goes_on(source, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    prepare(source, tmp_path / "local")
    out, write = tmp_path / "beam", ShardWriter.write

    def refuse(self, record):
        if "part2" in self.path.name:
            raise OSError("no space left")
        write(self, record)

    monkeypatch.setattr(ShardWriter, "write", refuse)
    with pytest.raises(
        SystemExit, match=r"the Beam pipeline failed: .*no space left.*same command"
    ):
        prepare(source, out, "--runner=beam")
    assert not [name for name in contents(out) if name.endswith(".tmp") or name == "dataset.json"]
    monkeypatch.undo()
    prepare(source, out)  # with the local pool
    assert contents(out) == contents(tmp_path / "local")


def test_without_beam_it_is_one_line(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "data_prep.beam_runner", None)  # which makes importing fail
    monkeypatch.delattr(data_prep, "beam_runner", raising=False)
    with pytest.raises(SystemExit, match=r"error: --runner=beam needs Apache Beam .*pip install"):
        prepare(source, tmp_path / "out", "--runner=beam")


def test_options_of_beam_need_beam(source, tmp_path):
    with pytest.raises(SystemExit, match="--beam_options means nothing with --runner=local"):
        prepare(source, tmp_path / "out", "--beam_options=--x")

import errno
import json
import os
import pickle
import resource
import threading
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from mmadfer_jax import files
from mmadfer_jax.data import dataset_info, records, tfrecord
from mmadfer_jax.errors import UserError


def make_record(number: int, frames: int = 3, sound: bool = True) -> records.Record:
    rng = np.random.default_rng(number)
    return records.Record(
        id=f"clip-{number}-ü",
        label=number % 7,
        frames=[rng.bytes(int(rng.integers(1, 400))) for _ in range(frames)],
        spectrogram=rng.normal(-4, 4, (20 + number, 128)).astype(np.float16) if sound else None,
        sample_rate=44100 if sound else 0,
        num_frames=frames,
        source=f"videos/{number}.mp4",
    )


def write_split(directory, split="train", counts=(3, 2), start=0, dataset="toy"):
    written = []
    for shard, count in enumerate(counts):
        with records.ShardWriter(directory, split, shard, len(counts), dataset) as writer:
            for _ in range(count):
                written.append(make_record(start + len(written), sound=len(written) % 2 == 0))
                writer.write(written[-1])
    return written


def assert_same(a: records.Record, b: records.Record):
    assert (a.id, a.label, a.frames, a.sample_rate, a.num_frames, a.source) == (
        (b.id, b.label, b.frames, b.sample_rate, b.num_frames, b.source)
    )
    assert (a.spectrogram is None) == (b.spectrogram is None)
    if a.spectrogram is not None:
        assert a.spectrogram.dtype == b.spectrogram.dtype == np.float16
        np.testing.assert_array_equal(a.spectrogram, b.spectrogram)


def corrupt(path, position: int):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def info_of(splits: dict[str, int]) -> dataset_info.DatasetInfo:
    return dataset_info.DatasetInfo("toy", tuple("abcdefg"), splits, 224, {"sample_rate": "native"})


@pytest.mark.parametrize("sound", [True, False])
def test_a_record_survives_encoding(sound):
    record = make_record(5, sound=sound)
    assert_same(records.decode_record(records.encode_record(record)), record)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_frames", 2),
        ("frames", []),
        ("sample_rate", 0),
        ("label", -1),
        ("spectrogram", np.zeros((4, 128), np.float32)),
        ("spectrogram", np.zeros((4, 64), np.float16)),
    ],
)
def test_a_record_that_contradicts_itself_is_not_written(field, value):
    fields = {**make_record(1).__dict__, field: value}
    with pytest.raises(ValueError, match="clip-1"):
        records.encode_record(records.Record(**fields))


def test_bytes_that_are_no_record_are_refused():
    for data in (b"", b"\xff" * 50):
        with pytest.raises(ValueError, match="not a record"):
            records.decode_record(data)


def test_the_checksum_is_the_published_one():
    # CRC32C of "123456789" is 0xE3069283; the mask is that of the TFRecord format.
    assert google_crc32c.value(b"123456789") == 0xE3069283
    rotated = ((0xE3069283 >> 15) | (0xE3069283 << 17)) & 0xFFFFFFFF
    assert tfrecord.masked_crc(b"123456789") == (rotated + 0xA282EAD8) % 2**32


def test_a_source_reads_every_clip_of_its_splits_in_order(tmp_path):
    first = write_split(tmp_path, "part1", counts=(3, 0, 2))
    second = write_split(tmp_path, "part2", counts=(4,), start=100)
    source = records.RecordSource(tmp_path, ["part2", "part1"])
    expected = second + first
    assert len(source) == 9
    for index in (8, 0, 3, 4, 5, 1, 2, 6, 7):
        assert_same(source[np.int64(index)], expected[index])
    assert source.ids == [record.id for record in expected]
    np.testing.assert_array_equal(source.labels, [record.label for record in expected])
    with pytest.raises(IndexError):
        source[9]


def test_a_source_can_be_pickled_after_it_was_read(tmp_path):
    written = write_split(tmp_path)
    source = records.RecordSource(tmp_path, ["train"])
    assert_same(source[1], written[1])
    copy = pickle.loads(pickle.dumps(source))
    del source
    assert_same(copy[4], written[4])


def test_threads_share_a_source(tmp_path):
    written = write_split(tmp_path, counts=(30, 30))
    source = records.RecordSource(tmp_path, ["train"])
    wrong = []

    def read(seed):
        for index in np.random.default_rng(seed).integers(0, 60, 200):
            if source[index].frames != written[index].frames:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_shards_than_files_may_be_open(tmp_path):
    written = write_split(tmp_path, counts=(1,) * 40)
    source = records.RecordSource(tmp_path, ["train"])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 20, before[1]))
    try:
        for index, record in enumerate(written):
            assert_same(source[index], record)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("part", ["length", "length checksum", "data", "data checksum"])
def test_any_flipped_bit_is_found(tmp_path, part):
    write_split(tmp_path, counts=(3,))
    path = tmp_path / "toy-train.tfrecord-00000-of-00001"
    index = json.loads((tmp_path / "index" / f"{path.name}.json").read_text())
    offset, length = index["offsets"][1], index["lengths"][1]
    shift = {"length": 0, "length checksum": 9, "data": 500, "data checksum": 12 + length}[part]
    corrupt(path, offset + shift)
    source = records.RecordSource(tmp_path, ["train"])
    with pytest.raises(UserError, match=rf"00000-of-00001.*byte {offset}.*clip-1") as error:
        source[1]
    assert "\n" not in str(error.value)
    assert source[0].label == 0
    assert source[2].label == 2


def test_a_shard_cut_while_it_is_read_is_found(tmp_path):
    write_split(tmp_path, counts=(3,))
    source = records.RecordSource(tmp_path, ["train"])
    path = tmp_path / "toy-train.tfrecord-00000-of-00001"
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(UserError, match="ends 5 bytes early"):
        source[2]


def test_a_short_or_missing_shard_is_named_at_once(tmp_path):
    write_split(tmp_path)
    path = tmp_path / "toy-train.tfrecord-00001-of-00002"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(UserError, match=r"00001-of-00002 has .* bytes"):
        records.RecordSource(tmp_path, ["train"])
    path.unlink()
    with pytest.raises(UserError, match="00001-of-00002 is missing"):
        records.RecordSource(tmp_path, ["train"])


def test_unfinished_and_mixed_preparations_are_refused(tmp_path):
    write_split(tmp_path)
    (tmp_path / "index" / "toy-train.tfrecord-00000-of-00002.json").unlink()
    with pytest.raises(UserError, match=r"lacks shards \[0\] of 2"):
        records.RecordSource(tmp_path, ["train"])
    write_split(tmp_path, counts=(1,))
    with pytest.raises(UserError, match="2 preparations"):
        records.RecordSource(tmp_path, ["train"])
    write_split(tmp_path, split="test", counts=(1,))
    write_split(tmp_path, split="test", counts=(1,), dataset="other")
    with pytest.raises(UserError, match="2 preparations"):
        records.RecordSource(tmp_path, ["test"])


def test_a_broken_index_is_named(tmp_path):
    write_split(tmp_path, counts=(2,))
    index = tmp_path / "index" / "toy-train.tfrecord-00000-of-00001.json"
    for text in ("{", "[]", '{"bytes": 3}'):
        index.write_text(text)
        with pytest.raises(UserError, match=r"00000-of-00001\.json is no index"):
            records.RecordSource(tmp_path, ["train"])


def test_unknown_and_empty_splits_name_those_there(tmp_path):
    write_split(tmp_path)
    write_split(tmp_path, "empty", counts=(0,))
    with pytest.raises(UserError, match=r"no split 'part1' in .*; those there: empty, train"):
        records.RecordSource(tmp_path, ["train", "part1"])
    with pytest.raises(UserError, match=r"'empty' in .* has no clips.*: train"):
        records.RecordSource(tmp_path, ["empty"])
    with pytest.raises(UserError, match="those there: none"):
        records.RecordSource(tmp_path / "nowhere", ["train"])
    with pytest.raises(UserError, match="at least one"):
        records.RecordSource(tmp_path, [])
    with pytest.raises(UserError, match="twice"):
        records.RecordSource(tmp_path, ["train", "train"])


def test_an_exception_leaves_no_trace_of_a_shard(tmp_path):
    def fail():
        with records.ShardWriter(tmp_path, "train", 0, 1, "toy") as writer:
            writer.write(make_record(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_goes_up_and_leaves_no_trace(tmp_path, monkeypatch, step):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(files.os, "fsync", refuse)
    else:
        monkeypatch.setattr(files.Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left") as error:
        write_split(tmp_path, counts=(2,))
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        info_of({"train": 2}).save(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_rewritten_shard_never_meets_its_older_index(tmp_path, monkeypatch):
    write_split(tmp_path, counts=(2,))
    index = tmp_path / "index" / "toy-train.tfrecord-00000-of-00001.json"

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path, counts=(1,))
    assert not index.exists()


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write_split(tmp_path / folder)
    for path in (tmp_path / "a").rglob("*-of-*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(("dataset", "split"), [("to-y", "train"), ("1x", "a"), ("x", "part-1")])
def test_names_that_tfds_cannot_open_are_refused(tmp_path, dataset, split):
    with pytest.raises(UserError, match="underscores"):
        records.ShardWriter(tmp_path, split, 0, 1, dataset)


def test_dataset_info_survives_saving(tmp_path):
    info = info_of({"part1": 3})
    info.save(tmp_path)
    assert dataset_info.DatasetInfo.load(tmp_path) == info
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.json"]


def test_missing_and_broken_dataset_info(tmp_path):
    with pytest.raises(UserError, match="no prepared dataset"):
        dataset_info.DatasetInfo.load(tmp_path)
    for text in ("{", "[]", '{"format_version": 2, "name": "x"}'):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(UserError, match="broken"):
            dataset_info.DatasetInfo.load(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format_version": 99}')
    with pytest.raises(UserError, match="format version 99"):
        dataset_info.DatasetInfo.load(tmp_path)


def test_tfds_opens_the_directory(tmp_path):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import example_parser

    written = write_split(tmp_path, "part1", counts=(3, 2))
    write_split(tmp_path, "part2", counts=(4,))
    info = info_of({"part1": 5, "part2": 4})
    info.save(tmp_path)
    (tmp_path / "manifest.jsonl").write_text("{}\n")
    (tmp_path / ".toy-part1.tfrecord-00000-of-00002.tmp").write_text("left by a killed run")
    dataset_info.write_tfds_metadata(tmp_path, info)

    builder = tfds.builder_from_directory(tmp_path)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == info.splits
    assert builder.info.splits["part1"].shard_lengths == [3, 2]
    assert builder.info.features["label"].names == list(info.classes)

    parser = example_parser.ExampleParserNp(builder.info.features.get_serialized_info())
    parsed = parser.parse_example(records.encode_record(written[2]))
    clip = builder.info.features.decode_example_np(parsed)
    assert clip["label"] == written[2].label
    assert list(clip["frames"]) == written[2].frames
    np.testing.assert_array_equal(clip["spectrogram"], written[2].spectrogram)


def test_tfds_metadata_needs_every_split(tmp_path):
    write_split(tmp_path)
    with pytest.raises(UserError, match="no split 'test'"):
        dataset_info.write_tfds_metadata(tmp_path, info_of({"train": 5, "test": 1}))

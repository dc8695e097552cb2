import itertools
import multiprocessing
import os
import signal
import threading

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmadfer_jax.clips import audio, frames
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data import dataset_info, records
from mmadfer_jax.errors import UserError
from mmadfer_jax.training import input as pipeline

SIZE, LENGTH, WANTED = 16, 8, 4
PARTS = {"part1": 7, "part2": 9, "part3": 6}
COUNT = sum(PARTS.values())


def gray(level: int) -> bytes:
    return frames.encode_jpeg(np.full((SIZE, SIZE, 3), level, np.uint8), 95)


JPEGS = [gray(8 * k) for k in range(30)]  # the level tells the frame


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """22 clips: the spectrogram tells the clip, the grey level the frame."""
    directory = tmp_path_factory.mktemp("dataset")
    number = 0
    for split, count in PARTS.items():
        with records.ShardWriter(directory, split, 0, 1, "toy") as writer:
            for _ in range(count):
                length = 1 + (5 * number) % 30
                spectrogram = np.full((3, audio.MEL_BINS), number, np.float16)
                writer.write(
                    records.Record(
                        id=f"clip{number}",
                        label=number % 5,
                        frames=JPEGS[:length],
                        spectrogram=spectrogram,
                        sample_rate=16000,
                        num_frames=length,
                        source="",
                    )
                )
                number += 1
    dataset_info.DatasetInfo("toy", tuple("abcde"), dict(PARTS), SIZE, {}).save(directory)
    return directory


READING, TEXT = Reading(WANTED, LENGTH), Reading(WANTED, LENGTH, "text")


def train(directory, **kwargs):
    settings = {"batch_size": 4, "seed": 3, "epochs": 2, "start_batch": 0, **kwargs}
    source = records.RecordSource(directory, list(PARTS))
    return pipeline.train_batches(source, READING, **settings)


def evaluate(directory, splits=tuple(PARTS), reading=READING, **kwargs):
    return pipeline.eval_batches(records.RecordSource(directory, splits), reading, **kwargs)


def clip_numbers(batch) -> list[int]:
    return np.rint(batch["spectrogram"][:, 0, 0]).astype(int).tolist()


def frame_numbers(batch) -> list[list[int]]:
    return np.rint(batch["frames"][:, :, 0, 0, 0] / 8).astype(int).tolist()


def assert_same(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


def test_batches_have_the_promised_shapes_and_types(dataset):
    batch = next(train(dataset))
    expected = {
        "frames": ((4, WANTED, SIZE, SIZE, 3), np.uint8),
        "spectrogram": ((4, LENGTH, 128), np.float32),
        "label": ((4,), np.int32),
        "mask": ((4,), np.bool_),
    }
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == expected
    assert batch["mask"].all()
    np.testing.assert_array_equal(batch["label"], [n % 5 for n in clip_numbers(batch)])


def test_an_epoch_takes_whole_batches_and_no_clip_twice(dataset):
    batches = list(train(dataset, epochs=3))
    source = records.RecordSource(dataset, list(PARTS))
    assert pipeline.batches_per_epoch(source, 4) == COUNT // 4 == 5
    assert len(batches) == 15
    numbers = [clip_numbers(batch) for batch in batches]
    epochs = [list(itertools.chain(*numbers[i : i + 5])) for i in (0, 5, 10)]
    assert [len(set(epoch)) for epoch in epochs] == [20, 20, 20]
    assert epochs[0] != epochs[1] != epochs[2]
    # The clips that are dropped differ between epochs, so every clip gets its turn.
    assert set(range(COUNT)) == set(epochs[0]) | set(epochs[1]) | set(epochs[2])


def test_frames_are_drawn_anew_in_each_epoch_one_of_each_segment(dataset):
    seen = {}
    for batch in train(dataset, epochs=8):
        for clip, picked in zip(clip_numbers(batch), frame_numbers(batch), strict=True):
            length = 1 + (5 * clip) % 30
            if length <= WANTED:
                assert picked == frames.test_indices(length, WANTED).tolist()
                continue
            width = length // WANTED
            assert [frame // width for frame in picked] == list(range(WANTED))
            seen.setdefault(clip, set()).add(tuple(picked))
    assert len(seen[17]) > 3  # of 26 frames


def test_a_seed_gives_one_order_and_another_seed_another(dataset):
    first = list(train(dataset))
    assert_same(train(dataset), first)
    others = list(train(dataset, seed=4))
    assert [clip_numbers(batch) for batch in others] != [clip_numbers(batch) for batch in first]


def test_going_on_gives_what_would_have_come(dataset):
    whole = list(train(dataset, epochs=3))
    for start in (0, 3, 5, 11, 15, 99):
        assert_same(train(dataset, epochs=3, start_batch=start), whole[start:])


def test_the_rows_of_a_batch_are_those_asked_for(dataset):
    whole = list(train(dataset, start_batch=2))
    for rows in ([0, 1], [1, 3], [2], [0, 1, 2, 3]):
        part = list(train(dataset, start_batch=2, rows=rows))
        assert_same(part, [{name: x[rows] for name, x in batch.items()} for batch in whole])
    whole = list(evaluate(dataset, batch_size=8))
    part = list(evaluate(dataset, batch_size=8, rows=[4, 5, 6, 7]))
    assert_same(part, [{name: x[4:] for name, x in batch.items()} for batch in whole])


@pytest.mark.parametrize("axes", [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize("backwards", [False, True])
def test_global_arrays_hold_the_rows_in_order_whatever_the_devices(dataset, axes, backwards):
    devices = np.array(jax.devices()[:: -1 if backwards else 1]).reshape(axes)
    sharding = NamedSharding(Mesh(devices, ("data", "tensor")), PartitionSpec("data"))
    rows = pipeline.local_rows(sharding, 8)
    np.testing.assert_array_equal(rows, np.arange(8))  # one process holds all
    batch = next(train(dataset, batch_size=8, rows=rows))
    placed = pipeline.to_global(batch, sharding, 8, rows)
    for name, array in placed.items():
        assert array.sharding == sharding
        np.testing.assert_array_equal(array, batch[name])


def test_a_batch_that_the_devices_cannot_share_is_refused():
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    with pytest.raises(UserError, match="the batch size is 6; expected a multiple"):
        pipeline.local_rows(sharding, 6)


def test_the_clips_of_a_batch_can_be_named(dataset):
    source = records.RecordSource(dataset, list(PARTS))
    for number, batch in enumerate(train(dataset)):
        names = pipeline.clips_of_batch(source, batch_size=4, seed=3, batch=number)
        assert names == [f"clip{n}" for n in clip_numbers(batch)]


def test_worker_processes_change_nothing(dataset):
    assert_same(
        train(dataset, epochs=1, start_batch=1, num_workers=2),
        train(dataset, epochs=1, start_batch=1),
    )


def test_evaluation_takes_every_clip_once_in_order(dataset):
    batches = list(evaluate(dataset, batch_size=8))
    assert [batch["mask"].sum() for batch in batches] == [8, 8, 6]
    real = [n for batch in batches for n in np.array(clip_numbers(batch))[batch["mask"]]]
    assert real == list(range(COUNT))
    for batch in batches:
        assert batch["frames"].shape == (8, WANTED, SIZE, SIZE, 3)
    for clip, picked in enumerate(itertools.chain(*map(frame_numbers, batches[:2]))):
        assert picked == frames.test_indices(1 + (5 * clip) % 30, WANTED).tolist()
    padding = {name: array[6:] for name, array in batches[-1].items()}
    assert not padding["mask"].any()
    assert not padding["frames"].any()
    assert not padding["spectrogram"].any()


def test_evaluation_takes_the_splits_asked_for(dataset):
    (batch,) = evaluate(dataset, ["part3", "part1"], batch_size=16)
    assert clip_numbers(batch)[:13] == [16, 17, 18, 19, 20, 21, 0, 1, 2, 3, 4, 5, 6]
    assert batch["mask"].tolist() == [True] * 13 + [False] * 3


def test_fewer_clips_than_a_batch_is_an_error_in_training_alone(dataset):
    with pytest.raises(UserError, match=r"22 clips in part1, part2, part3, fewer .* 23"):
        train(dataset, batch_size=23)
    assert len(list(evaluate(dataset, batch_size=23))) == 1


def copy_of(dataset, tmp_path, name):
    """The dataset's first part under another folder, so that it may be spoiled."""
    folder = tmp_path / name
    (folder / "index").mkdir(parents=True)
    shard = "toy-part1.tfrecord-00000-of-00001"
    for file in ("dataset.json", shard, f"index/{shard}.json"):
        (folder / file).write_bytes((dataset / file).read_bytes())
    return folder, folder / shard


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_corrupt_record_is_one_clear_error(dataset, tmp_path, num_workers):
    folder, shard = copy_of(dataset, tmp_path, "corrupt")
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data)
    batches = evaluate(folder, ["part1"], batch_size=4, num_workers=num_workers)
    with pytest.raises(UserError, match=r"corrupt record at byte .*clip clip6") as error:
        list(batches)
    assert "\n" not in str(error.value)


def test_frames_of_another_size_or_no_frames_are_one_clear_error(dataset, tmp_path):
    folder, _ = copy_of(dataset, tmp_path, "size")
    dataset_info.DatasetInfo("toy", tuple("abcde"), {"part1": 7}, 32, {}).save(folder)
    with pytest.raises(UserError, match=r"clip0 of toy has a frame of \(16, 16, 3\)"):
        list(evaluate(folder, ["part1"], batch_size=4))
    with records.ShardWriter(folder, "bad", 0, 1, "toy") as writer:
        writer.write(records.Record("x", 0, [b"no picture"], None, 0, 1, ""))
    with pytest.raises(UserError, match=r"clip x of toy: 10 bytes that are no JPEG"):
        list(evaluate(folder, ["bad"], batch_size=4))


def test_labels_beyond_the_classes_are_an_error_at_once(dataset, tmp_path):
    folder, _ = copy_of(dataset, tmp_path, "labels")
    dataset_info.DatasetInfo("toy", ("a", "b"), {"part1": 7}, SIZE, {}).save(folder)
    with pytest.raises(UserError, match=r"label 4, .* only 2 classes"):
        evaluate(folder, ["part1"], batch_size=4)


def test_closed_batches_are_at_their_end(dataset):
    batches = train(dataset)
    next(batches)
    batches.close()
    assert list(batches) == []
    batches.close()


def test_a_dead_worker_is_one_clear_error(dataset):
    batches = train(dataset, epochs=10_000, num_workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"a data worker has died .*exit code -9.*num_workers"):
        list(batches)


def test_a_read_that_hangs_is_one_clear_error(dataset, tmp_path, monkeypatch):
    folder, _ = copy_of(dataset, tmp_path, "hung")
    monkeypatch.setattr(pipeline, "_PATIENCE", 0.5)
    monkeypatch.setattr(pipeline, "_LAST_BATCH", 0.1)
    go_on = threading.Event()
    read = records.RecordSource.__getitem__

    def hung(source, place):
        go_on.wait()
        return read(source, place)

    monkeypatch.setattr(records.RecordSource, "__getitem__", hung)
    batches = evaluate(folder, ["part1"], batch_size=4)
    threading.Timer(1.5, go_on.set).start()  # so that Grain's threads can end
    with pytest.raises(UserError, match=r"no batch came for 0 s: a data worker hangs"):
        next(batches)
    assert list(batches) == []


def test_text_order_picks_other_frames_of_clips_with_more_than_ten(dataset):
    in_time = [batch["frames"][0] for batch in evaluate(dataset, batch_size=1)]
    as_text = [batch["frames"][0] for batch in evaluate(dataset, batch_size=1, reading=TEXT)]
    for number, (before, after) in enumerate(zip(in_time, as_text, strict=True)):
        length = 1 + (5 * number) % 30
        names = sorted(range(length), key=lambda i: f"{i}.jpg")
        picked = [names[i] for i in frames.test_indices(length, WANTED)]
        np.testing.assert_allclose(after[:, 0, 0, 0] / 8.0, picked, atol=0.2)
        assert np.array_equal(before, after) == (length <= 10)


def test_shuffled_frames_are_those_of_the_order_of_time(dataset):
    reading = Reading(WANTED, LENGTH, "shuffled")
    in_time = itertools.chain(*map(frame_numbers, evaluate(dataset, batch_size=4)))
    shuffled, again = (
        list(itertools.chain(*map(frame_numbers, evaluate(dataset, batch_size=4, reading=reading))))
        for _ in range(2)
    )
    assert shuffled == again
    pairs = list(zip(in_time, shuffled, strict=True))
    assert all(sorted(after) == sorted(before) for before, after in pairs)
    assert sum(after != before for before, after in pairs) > COUNT // 2
    source = records.RecordSource(dataset, list(PARTS))
    seen = {}
    for batch in pipeline.train_batches(source, reading, batch_size=4, seed=3, epochs=8):
        for clip, picked in zip(clip_numbers(batch), frame_numbers(batch), strict=True):
            seen.setdefault(clip, []).append(tuple(np.argsort(picked)))
    assert len(set(seen[17])) > 3  # orders of one clip

"""From prepared clips to batches: Grain over `RecordSource`, then one global `jax.Array`.

Which clips stand in global batch k, in which order and with which frames, follows from the seed
and k alone: not from the number of hosts, of workers or of batches taken before. So the place of a
run in its data is one number, and going on from it costs nothing.
"""

import functools
import gc
import os
import weakref
from collections.abc import Iterator, Sequence

import cv2
import grain
import jax
import numpy as np
from absl import flags

from mmadfer_jax.clips import audio, frames
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_splits  # noqa: F401  taken from here with the rest
from mmadfer_jax.errors import UserError

Batch = dict[str, np.ndarray]


def batches_per_epoch(directory: str | os.PathLike, splits: Sequence[str], batch_size: int) -> int:
    """Training batches an epoch; the last partial one is dropped.

    Raises:
        UserError: The splits have fewer clips than one batch, or are not there.
    """
    count = len(RecordSource(directory, splits))
    if count < batch_size:
        raise UserError(
            f"{directory} has {count} clips in {', '.join(splits)}, fewer than one batch of "
            f"{batch_size}; choose a smaller batch size"
        )
    return count // batch_size


class Batches(Iterator[Batch]):
    """An iterator over batches that ends its threads and workers.

    It does so after the last batch or an error, where it is dropped, and at the program's exit.
    """

    def __init__(self, iterator: grain.DatasetIterator, has_workers: bool):
        # In a list, so that whoever closes it takes the only reference.
        self._held = [iterator]
        self._finalizer = weakref.finalize(self, _close, self._held, has_workers)
        iterator.start_prefetch()

    def __next__(self) -> Batch:
        if not self._held:
            raise StopIteration
        try:
            return next(self._held[0])
        except StopIteration:
            end = StopIteration()
        except UserError as error:
            end = UserError(*error.args)
        # Raised anew, because the traceback of the old one holds what `close` wants to free.
        self.close()
        raise end

    def close(self) -> None:
        """Ends threads and workers; there are no more batches."""
        self._finalizer()


def _close(held: list[grain.DatasetIterator], has_workers: bool) -> None:
    held.pop().close()
    if has_workers:
        # Grain's iterators are cycles that hold the last clips in shared memory; Python would
        # report them as leaked at its exit.
        gc.collect()


def train_batches(
    directory: str | os.PathLike,
    splits: Sequence[str],
    *,
    batch_size: int,
    num_frames: int,
    spectrogram_length: int,
    seed: int,
    epochs: int,
    start_batch: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    frame_order: str = "time",
    missing_sound: str = "zeros",
) -> Batches:
    """Shuffled training batches, this process's rows of each; every epoch in a new order.

    Args:
        directory: The prepared dataset.
        splits: Names of its splits to train on.
        batch_size: Clips of a global batch, B.
        num_frames: Frames of a clip, T: one random frame of each of T segments.
        spectrogram_length: Time steps of a spectrogram, L.
        seed: Of order and frames.
        epochs: Passes over the data.
        start_batch: Global batches already taken, to go on after them.
        process_index: Which rows: those from `process_index * b` on, b = B / process_count.
        process_count: Processes that share a global batch.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        frame_order: "time" or "text", see `frames.in_order`.
        missing_sound: "zeros" or "mean", see `audio.model_input`.

    Returns:
        An iterator over frames uint8 [b, T, H, W, 3], spectrogram float32 [b, L, 128], label
        int32 [b] and mask bool [b], all True. Its `close()` ends threads and workers early.

    Raises:
        UserError: The data are not there, too few for a batch, or, while iterating, corrupt.
    """
    num_batches = epochs * batches_per_epoch(directory, splits, batch_size)
    clips = _Clips(
        directory,
        splits,
        rows=_Rows(batch_size, process_index, process_count, start_batch),
        num_batches=max(num_batches - start_batch, 0),
        num_frames=num_frames,
        spectrogram_length=spectrogram_length,
        frame_order=frame_order,
        missing_sound=missing_sound,
        seed=seed,
    )
    return _iterate(clips, num_workers)


def eval_batches(
    directory: str | os.PathLike,
    splits: Sequence[str],
    *,
    batch_size: int,
    num_frames: int,
    spectrogram_length: int,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    frame_order: str = "time",
    missing_sound: str = "zeros",
) -> Batches:
    """All clips once, in order, with the frames of test time; arguments as of `train_batches`.

    The last global batch is padded with empty clips where `mask` is False.
    """
    clips = _Clips(
        directory,
        splits,
        rows=_Rows(batch_size, process_index, process_count, 0),
        num_batches=None,
        num_frames=num_frames,
        spectrogram_length=spectrogram_length,
        frame_order=frame_order,
        missing_sound=missing_sound,
        seed=None,
    )
    return _iterate(clips, num_workers)


class _Rows:
    """Numbers the rows that one process takes of the stream of global batches."""

    def __init__(self, batch_size: int, process_index: int, process_count: int, start_batch: int):
        if batch_size < 1 or batch_size % process_count:
            raise UserError(
                f"the batch size is {batch_size}; expected a multiple of the {process_count} "
                "processes that share a batch"
            )
        self.batch_size = batch_size
        self.local = batch_size // process_count
        self.first = start_batch * batch_size + process_index * self.local

    def __getitem__(self, index: int) -> int:
        batch, row = divmod(index, self.local)
        return self.first + batch * self.batch_size + row


class _Clips:
    """The rows of one process in order, decoded; a data source for Grain.

    Without a seed, as for testing: all clips in order and padding after them. `num_batches` None
    are as many as hold them all.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        splits: Sequence[str],
        *,
        rows: _Rows,
        num_batches: int | None,
        num_frames: int,
        spectrogram_length: int,
        frame_order: str,
        missing_sound: str,
        seed: int | None,
    ):
        info = DatasetInfo.load(directory)
        self._source = RecordSource(directory, splits)
        if (found := int(self._source.labels.max())) >= len(info.classes):
            raise UserError(
                f"{directory} has a clip of label {found}, but dataset.json names only "
                f"{len(info.classes)} classes; prepare the dataset again"
            )
        if num_batches is None:
            num_batches = -(-len(self._source) // rows.batch_size)
        self._length = num_batches * rows.local
        self._rows, self._seed = rows, seed
        self._name, self._image_shape = info.name, (info.image_size, info.image_size, 3)
        self._num_frames, self._frame_order = num_frames, frame_order
        self._spectrogram_length, self._missing_sound = spectrogram_length, missing_sound

    @property
    def local_batch_size(self) -> int:
        return self._rows.local

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        row = self._rows[int(index)]
        if self._seed is None:
            return self._clip(row, None) if row < len(self._source) else self._padding()
        epoch_rows = len(self._source) // self._rows.batch_size * self._rows.batch_size
        epoch, place = divmod(row, epoch_rows)
        clip = int(_order(self._seed, epoch, len(self._source))[place])
        return self._clip(clip, np.random.default_rng([self._seed, epoch, clip]))

    def _clip(self, index: int, rng: np.random.Generator | None) -> Batch:
        record = self._source[index]
        order = frames.in_order(record.num_frames, self._frame_order)
        if rng is None:
            picked = frames.test_indices(record.num_frames, self._num_frames)
        else:
            picked = frames.train_indices(record.num_frames, self._num_frames, rng)
        picked = order[picked]
        # Filled as they come: holding all and stacking them takes as long as decoding them.
        pictures = np.empty((self._num_frames, *self._image_shape), np.uint8)
        for place, i in enumerate(picked):
            if place and i == picked[place - 1]:  # a short clip repeats its last frame
                pictures[place] = pictures[place - 1]
                continue
            try:
                if (shape := frames.jpeg_shape(record.frames[i])) != self._image_shape:
                    raise UserError(
                        f"clip {record.id} of {self._name} has a frame of {shape}, but "
                        f"dataset.json says {self._image_shape}; prepare the dataset again"
                    )
                frames.decode_jpeg(record.frames[i], out=pictures[place])
            except ValueError as error:
                raise UserError(f"clip {record.id} of {self._name}: {error}") from error
        return {
            "frames": pictures,
            "spectrogram": self._sound(record.spectrogram),
            "label": np.int32(record.label),
            "mask": np.bool_(True),
        }

    def _sound(self, spectrogram: np.ndarray | None) -> np.ndarray:
        return audio.model_input(spectrogram, self._spectrogram_length, self._missing_sound)

    def _padding(self) -> Batch:
        return {
            "frames": np.zeros((self._num_frames, *self._image_shape), np.uint8),
            "spectrogram": self._sound(None),
            "label": np.int32(0),
            "mask": np.bool_(False),
        }


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The epoch's order of the clips, int [length]."""
    # Raw bits are the one stream that NumPy promises never to change.
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(length)
    return np.argsort(bits, kind="stable")


def _iterate(clips: _Clips, num_workers: int) -> Batches:
    ahead = 2 * clips.local_batch_size  # clips decoded before they are asked for
    if num_workers == 0:
        threads = min(16, 2 * (os.cpu_count() or 1))
        reading = grain.ReadOptions(threads, max(ahead, threads))
    else:
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    dataset = grain.MapDataset.source(clips).to_iter_dataset(reading)
    if num_workers > 0:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its flags when it starts a worker
        options = grain.MultiprocessingOptions(num_workers, max(ahead // num_workers, 1))
        dataset = dataset.mp_prefetch(options, worker_init_fn=_init_worker)
    return Batches(iter(dataset.batch(clips.local_batch_size)), num_workers > 0)


def _init_worker(worker: int, num_workers: int) -> None:
    del worker, num_workers
    cv2.setNumThreads(0)  # the workers are the threads


def to_global(batch: Batch, sharding: jax.sharding.Sharding) -> dict[str, jax.Array]:
    """Makes global arrays of this process's rows.

    Args:
        batch: Arrays [b, ...], rows of a global batch as `train_batches` gives them.
        sharding: Splits the first axis over devices, the same over processes as in `train_batches`.

    Returns:
        Arrays [B, ...].
    """
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }

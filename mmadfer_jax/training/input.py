"""From prepared clips to batches: Grain over `RecordSource`, then one global `jax.Array`.

Which clips stand in global batch k, in which order and with which frames, follows from the seed
and k alone: not from the number of hosts, of workers or of batches taken before. So the place of a
run in its data is one number, and going on from it costs nothing.
"""

import contextlib
import functools
import gc
import multiprocessing
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence

import grain
import jax
import numpy as np
from absl import flags

from mmadfer_jax import files
from mmadfer_jax.clips import frames
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.errors import UserError

Batch = dict[str, np.ndarray]
# Of a clip as the model would see it, its record and its place in the source: as it shall see it.
Alteration = Callable[[Batch, Record, int], Batch]

_PATIENCE = 600.0  # seconds for a batch
_LAST_BATCH = 5.0  # seconds for the one that is being fetched when nobody wants more


def batches_per_epoch(source: RecordSource, batch_size: int) -> int:
    """Training batches an epoch; the last partial one is dropped.

    Raises:
        UserError: There are fewer clips than one batch.
    """
    if len(source) < batch_size:
        raise UserError(
            f"{source.directory} has {len(source)} clips in {', '.join(source.splits)}, fewer than "
            f"one batch of {batch_size}; choose a smaller batch size"
        )
    return len(source) // batch_size


def local_rows(sharding: jax.sharding.Sharding, batch_size: int) -> np.ndarray:
    """The rows of a global batch that this process's devices hold, int64, rising.

    Raises:
        UserError: The batch cannot be split evenly over the devices.
    """
    try:
        indices = sharding.addressable_devices_indices_map((batch_size,))
    except ValueError as error:
        raise UserError(
            f"the batch size is {batch_size}; expected a multiple of the number of parts into "
            f"which the mesh splits a batch ({error})"
        ) from error
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices.values()]))


class Batches(Iterator[Batch]):
    """An iterator over batches that ends its threads and workers.

    It does so after the last batch or an error, where it is dropped, and at the program's exit. A
    worker that has died or does not answer is an error.
    """

    def __init__(self, iterator: grain.DatasetIterator, has_workers: bool):
        # In a list, so that whoever closes it takes the only reference.
        self._held = [iterator]
        self._fetched: queue.Queue = queue.Queue(maxsize=1)
        iterator.start_prefetch()
        stop = threading.Event()
        fetcher = threading.Thread(
            target=_fetch, args=(iterator, self._fetched, stop), daemon=True, name="batches"
        )
        arguments = (self._held, has_workers, stop, fetcher, self._fetched)
        self._finalizer = weakref.finalize(self, _close, *arguments)
        fetcher.start()

    def __next__(self) -> Batch:
        if not self._held:
            raise StopIteration
        try:
            batch, error = self._fetched.get(timeout=_PATIENCE)
        except queue.Empty:
            text = (
                f"no batch came for {_PATIENCE:.0f} s: a data worker hangs, or the dataset's disk "
                "or bucket does not answer. Look at it, then give the same command again"
            )
            batch, error = None, UserError(text)
        if error is None:
            return batch
        self.close()
        raise error

    def close(self) -> None:
        """Ends threads and workers; there are no more batches."""
        self._finalizer()


def _fetch(iterator: grain.DatasetIterator, fetched: queue.Queue, stop: threading.Event) -> None:
    """Asks for batches in a thread of its own, so that whoever wants one need not wait for ever."""
    error = None
    while error is None and not stop.is_set():
        batch = None
        try:
            batch = next(iterator)
        except StopIteration:
            error = StopIteration()
        # Made anew, because the traceback of the old one holds what `_close` wants to free.
        except UserError as found:
            error = UserError(*found.args)
        except Exception as found:
            if "exit code" in str(found):  # what Grain says of a worker
                error = UserError(
                    f"a data worker has died ({' '.join(str(found).split())[:200]}). Exit code -9 "
                    "means killed, mostly for want of memory: lower config.data.num_workers. Then "
                    "give the same command again"
                )
            else:
                error = found
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                fetched.put((batch, error), timeout=0.1)
                break


def _close(
    held: list[grain.DatasetIterator],
    has_workers: bool,
    stop: threading.Event,
    fetcher: threading.Thread,
    fetched: queue.Queue,
) -> None:
    stop.set()
    fetcher.join(_LAST_BATCH)  # unless it hangs
    with contextlib.suppress(queue.Empty):
        fetched.get_nowait()
    held.pop().close()
    if has_workers:
        # Grain's iterators are cycles that hold the last clips in shared memory; Python would
        # report them as leaked at its exit.
        gc.collect()


def train_batches(
    source: RecordSource,
    reading: Reading,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    start_batch: int = 0,
    rows: Sequence[int] | None = None,
    num_workers: int = 0,
) -> Batches:
    """Shuffled training batches, this process's rows of each; every epoch in a new order.

    Args:
        source: The clips to train on.
        reading: How the model reads a clip: T frames, one random frame of each of T segments, and L
            time steps of sound.
        batch_size: Clips of a global batch, B.
        seed: Of order and frames.
        epochs: Passes over the data.
        start_batch: Global batches already taken, to go on after them.
        rows: Which b rows of each global batch to give, in rising order; None for all.
        num_workers: Processes that read and decode; 0 does it in threads of this one.

    Returns:
        An iterator over frames uint8 [b, T, H, W, 3], spectrogram float32 [b, L, 128], label
        int32 [b] and mask bool [b], all True. Its `close()` ends threads and workers early.

    Raises:
        UserError: The data are too few for a batch, or, while iterating, corrupt.
    """
    num_batches = epochs * batches_per_epoch(source, batch_size)
    clips = _Clips(
        source,
        reading,
        rows=_Rows(batch_size, rows, start_batch),
        num_batches=max(num_batches - start_batch, 0),
        seed=seed,
    )
    return _iterate(clips, num_workers)


def eval_batches(
    source: RecordSource,
    reading: Reading,
    *,
    batch_size: int,
    rows: Sequence[int] | None = None,
    num_workers: int = 0,
    alter: Alteration | None = None,
) -> Batches:
    """All clips once, in order, with the frames of test time; arguments as of `train_batches`.

    The last global batch is padded with empty clips where `mask` is False. `alter` changes every
    clip before it is seen; it goes to the workers, so it can be pickled.
    """
    clips = _Clips(
        source,
        reading,
        rows=_Rows(batch_size, rows, 0),
        num_batches=-(-len(source) // batch_size),
        seed=None,
        alter=alter,
    )
    return _iterate(clips, num_workers)


def clips_of_batch(source: RecordSource, *, batch_size: int, seed: int, batch: int) -> list[str]:
    """The names of the clips in a global training batch, counted from 0."""
    epoch, place = divmod(batch, batches_per_epoch(source, batch_size))
    order = _order(seed, epoch, len(source))
    return [source.ids[i] for i in order[place * batch_size : (place + 1) * batch_size]]


class _Rows:
    """Numbers the rows that one process takes of the stream of global batches."""

    def __init__(self, batch_size: int, rows: Sequence[int] | None, start_batch: int):
        self.batch_size = batch_size
        self._rows = np.arange(batch_size) if rows is None else np.asarray(rows)
        self._first = start_batch * batch_size

    @property
    def local(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> int:
        batch, row = divmod(index, self.local)
        return self._first + batch * self.batch_size + int(self._rows[row])


class _Clips:
    """The rows of one process in order, decoded; a data source for Grain.

    Without a seed, as for testing: all clips in order and padding after them.
    """

    def __init__(
        self,
        source: RecordSource,
        reading: Reading,
        *,
        rows: _Rows,
        num_batches: int,
        seed: int | None,
        alter: Alteration | None = None,
    ):
        info = source.info
        if (found := int(source.labels.max())) >= len(info.classes):
            raise UserError(
                f"{source.directory} has a clip of label {found}, but dataset.json names only "
                f"{len(info.classes)} classes; prepare the dataset again"
            )
        self._source, self._reading, self._rows, self._seed = source, reading, rows, seed
        self._length, self._alter = num_batches * rows.local, alter
        self._name, self._image_shape = info.name, (info.image_size, info.image_size, 3)

    @property
    def local_batch_size(self) -> int:
        return self._rows.local

    @property
    def are_remote(self) -> bool:
        return files.is_remote(files.as_path(self._source.directory))

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
        picked = self._reading.pick(record.num_frames, record.id, rng)
        # Filled as they come: holding all and stacking them takes as long as decoding them.
        pictures = np.empty((len(picked), *self._image_shape), np.uint8)
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
        clip = {
            "frames": pictures,
            "spectrogram": self._reading.sound(record.spectrogram),
            "label": np.int32(record.label),
            "mask": np.bool_(True),
        }
        return clip if self._alter is None else self._alter(clip, record, index)

    def _padding(self) -> Batch:
        return {
            "frames": np.zeros((self._reading.num_frames, *self._image_shape), np.uint8),
            "spectrogram": self._reading.sound(None),
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
    # A disk keeps the cores busy. Behind a URL a read takes tens of milliseconds, so that many have
    # to be under way (docs/scale.md).
    batches = 4 if clips.are_remote else 2  # decoded before they are asked for
    ahead = batches * clips.local_batch_size
    threads = 64 if clips.are_remote else min(16, 2 * (os.cpu_count() or 1))
    if num_workers == 0:
        reading = grain.ReadOptions(threads, max(ahead, threads))
    else:
        threads = max(threads // num_workers, 1) if clips.are_remote else 1
        reading = grain.ReadOptions(threads, threads)
    dataset = grain.MapDataset.source(clips).to_iter_dataset(reading)
    if num_workers > 0:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its flags when it starts a worker
        options = grain.MultiprocessingOptions(num_workers, max(ahead // num_workers, 1))
        dataset = dataset.mp_prefetch(options, _end_with_parent)
    return Batches(iter(dataset.batch(clips.local_batch_size)), num_workers > 0)


def _end_with_parent(*_: int) -> None:
    """Lets a worker end with the process it works for; one that was killed cannot tell it to."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def to_global(
    batch: Batch, sharding: jax.sharding.Sharding, batch_size: int, rows: np.ndarray
) -> dict[str, jax.Array]:
    """Makes global arrays of this process's rows.

    Args:
        batch: Arrays [b, ...], the rows of a global batch as `train_batches` gives them.
        sharding: Splits the first axis over devices.
        batch_size: B, rows of the global batch.
        rows: Which b rows these are, as `local_rows` gives them.

    Returns:
        Arrays [B, ...].
    """
    place = np.full(batch_size, -1)
    place[rows] = np.arange(len(rows))
    placed = {}
    for name, value in batch.items():
        shape = (batch_size, *value.shape[1:])
        indices = sharding.addressable_devices_indices_map(shape)
        # Rows are rising, so those of a device lie one after the other.
        wanted = [place[index[0]] for index in indices.values()]
        pieces = [value[mine[0] : mine[0] + len(mine)] for mine in wanted]
        pieces = jax.device_put(pieces, list(indices))
        placed[name] = jax.make_array_from_single_device_arrays(shape, sharding, pieces)
    return placed

"""A prepared dataset on disk: TFRecord shards, their index, and what they were made with.

A dataset is one directory::

    dataset.json                          name, classes, clips a split, settings of the preparation
    dfew-part1.tfrecord-00000-of-00004    tf.train.Example records, one a clip
    index/dfew-part1.tfrecord-00000-of-00004.json   where each record lies, its id and its label
    features.json, dataset_info.json      for `tfds.builder_from_directory`

Shards are plain TFRecord, so TensorFlow reads them; this project reads them at random places by the
index and checks both checksums of every record. Nothing here imports TensorFlow or jax.
"""

import copy
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.clips.audio import MEL_BINS
from mmadfer_jax.data import tfrecord
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.shards import index_path, load_split, shard_name
from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """One prepared clip.

    Attributes:
        id: The clip's name, unique in its dataset.
        label: Index into the dataset's classes.
        frames: JPEG files of one square size, all frames of the clip in order of time.
        spectrogram: float16 [n <= 512, 128] un-normalised log-mel; None where there is no sound.
        sample_rate: Hz of the sound the spectrogram was computed from; 0 where there is none.
        num_frames: Length of `frames`.
        source: The file the clip was prepared from.
    """

    id: str
    label: int
    frames: list[bytes]
    spectrogram: np.ndarray | None
    sample_rate: int
    num_frames: int
    source: str


def encode_record(record: Record) -> bytes:
    """Serialises a clip as a `tf.train.Example`, in the way TFDS lays features out.

    Raises:
        ValueError: A field contradicts another or has the wrong shape or type.
    """
    if not record.frames or record.num_frames != len(record.frames):
        raise ValueError(f"{record.id}: num_frames {record.num_frames}, {len(record.frames)} found")
    if (record.spectrogram is None) != (record.sample_rate == 0):
        raise ValueError(
            f"{record.id}: sample_rate must be 0 exactly where there is no spectrogram"
        )
    if record.label < 0:
        raise ValueError(f"{record.id}: label {record.label}, expected an index into the classes")
    sound = b""
    if (mel := record.spectrogram) is not None:
        if mel.dtype != np.float16 or mel.ndim != 2 or mel.shape[1] != MEL_BINS:
            raise ValueError(
                f"{record.id}: spectrogram {mel.dtype} {mel.shape}, not float16 [n, 128]"
            )
        sound = mel.astype("<f2").tobytes()
    features = {
        "id": _bytes_feature([record.id.encode()]),
        "label": _int_feature(record.label),
        "frames": _bytes_feature(record.frames),
        "spectrogram": _bytes_feature([sound]),
        "sample_rate": _int_feature(record.sample_rate),
        "num_frames": _int_feature(record.num_frames),
        "source": _bytes_feature([record.source.encode()]),
    }
    example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def decode_record(data: bytes) -> Record:
    """Reads what `encode_record` wrote.

    Raises:
        ValueError: The bytes are not such a record.
    """
    try:
        feature = tf_example_pb2.Example.FromString(data).features.feature
        missing = {"id", "label", "frames", "spectrogram", "sample_rate", "source"} - set(feature)
        if missing:
            raise ValueError(f"features {sorted(missing)} are missing")
        frames = list(feature["frames"].bytes_list.value)
        sample_rate = feature["sample_rate"].int64_list.value[0]
        sound = feature["spectrogram"].bytes_list.value[0]
        mel = np.frombuffer(sound, "<f2").reshape(-1, MEL_BINS).astype(np.float16)
        return Record(
            id=feature["id"].bytes_list.value[0].decode(),
            label=feature["label"].int64_list.value[0],
            frames=frames,
            spectrogram=mel if sample_rate else None,
            sample_rate=sample_rate,
            num_frames=len(frames),
            source=feature["source"].bytes_list.value[0].decode(),
        )
    # protobuf's DecodeError is no ValueError, an empty list an IndexError
    except Exception as error:
        raise ValueError(f"not a record of a clip: {error}") from error


def _bytes_feature(values: Sequence[bytes]) -> tf_feature_pb2.Feature:
    return tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=values))


def _int_feature(value: int) -> tf_feature_pb2.Feature:
    return tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[value]))


class ShardWriter:
    """Writes one shard and its index; a context manager.

    Nothing carries the shard's final name before the block has ended well; an exception, a full
    disk included, leaves nothing behind and goes up.

    Args:
        directory: The dataset's directory, made if need be.
        split: Name of the split, such as `part1`.
        shard: Number of this shard, from 0.
        num_shards: Number of shards of the split.
        dataset_name: Such as `dfew`.
    """

    def __init__(
        self,
        directory: str | os.PathLike | UPath,
        split: str,
        shard: int,
        num_shards: int,
        dataset_name: str,
    ):
        name = shard_name(dataset_name, split, shard, num_shards)
        self.path = files.as_path(directory) / name
        self.index_path = index_path(directory, name)
        self._columns: dict[str, list] = {"offsets": [], "lengths": [], "ids": [], "labels": []}
        self._offset = 0
        self._writing = files.writing(self.path)
        self._file: BinaryIO | None = None

    def __enter__(self) -> "ShardWriter":
        files.make_folder(self.index_path.parent)
        self._file = self._writing.__enter__()
        return self

    def write(self, record: Record) -> None:
        """Appends a clip."""
        data = encode_record(record)
        for part in tfrecord.frame(data):
            self._file.write(part)
        entry = {
            "offsets": self._offset,
            "lengths": len(data),
            "ids": record.id,
            "labels": record.label,
        }
        for column, value in entry.items():
            self._columns[column].append(value)
        self._offset += len(data) + tfrecord.FRAME_BYTES

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            files.remove(self.index_path)  # an older index must never meet the new shard
        self._writing.__exit__(kind, error, traceback)
        if kind is None:
            files.write(self.index_path, json.dumps({"bytes": self._offset, **self._columns}))


class RecordSource:
    """Random access to the clips of some splits; a data source for Grain.

    It can be pickled, and read from many threads and processes at once: each read opens its shard.

    Args:
        directory: The dataset's directory.
        splits: Names of the splits, read one after the other.
        info: Of the dataset; read where it is first asked for, if not given.

    Attributes:
        directory: The dataset's directory.
        splits: Names of the splits.
        labels: int32 [n], without reading a clip.
        ids: The n clips' names.

    Raises:
        UserError: A split is unknown or empty, a shard missing or short.
    """

    def __init__(
        self,
        directory: str | os.PathLike | UPath,
        splits: Sequence[str],
        info: DatasetInfo | None = None,
    ):
        if not splits or isinstance(splits, str):
            raise UserError(f"splits must be a list of at least one name, got {splits!r}")
        if len(set(splits)) != len(splits):
            raise UserError(f"splits name one twice: {list(splits)}")
        self.directory, self.splits, self._info = directory, tuple(splits), info
        shards = [shard for split in splits for shard in load_split(directory, split)]
        self._paths = [shard.path for shard in shards]
        self._shards = np.repeat(np.arange(len(shards)), [len(shard.ids) for shard in shards])
        self._offsets = np.concatenate([np.asarray(s.offsets, np.int64) for s in shards])
        self._lengths = np.concatenate([np.asarray(s.lengths, np.int64) for s in shards])
        self.labels = np.concatenate([np.asarray(s.labels, np.int32) for s in shards])
        self.ids = [clip for shard in shards for clip in shard.ids]

    @property
    def info(self) -> DatasetInfo:
        """What the dataset says of itself."""
        if self._info is None:
            self._info = DatasetInfo.load(self.directory)
        return self._info

    def only(self, clips: Sequence[int]) -> "RecordSource":
        """Some of the clips, by their places, in that order."""
        part, clips = copy.copy(self), np.asarray(clips, np.int64)
        for name in ("_shards", "_offsets", "_lengths", "labels"):
            setattr(part, name, getattr(self, name)[clips])
        part.ids = [self.ids[i] for i in clips]
        return part

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Record:
        """Reads a clip.

        Raises:
            UserError: The record is corrupt.
        """
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        shard, offset = int(self._shards[index]), int(self._offsets[index])
        length = int(self._lengths[index])
        raw = self._read(shard, offset, length + tfrecord.FRAME_BYTES)
        try:
            return decode_record(tfrecord.unframe(raw, length))
        except ValueError as error:
            raise UserError(
                f"{self._paths[shard]}: corrupt record at byte {offset}, clip {self.ids[index]}: "
                f"{error}; copy the shard again, or delete it with its index and prepare it again"
            ) from error

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        """The one place that reads a shard; returns fewer bytes than asked where the file ends."""
        if files.is_remote(self._paths[shard]):
            return files.read_range(self._paths[shard], offset, length)
        # Held open, the shards of a large dataset would be more files than a process may have.
        with self._paths[shard].open("rb") as file:
            file.seek(offset)
            return file.read(length)

"""What a prepared dataset says of itself: to this project and to TensorFlow Datasets."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.clips.audio import MEL_BINS
from mmadfer_jax.data.shards import load_split
from mmadfer_jax.errors import UserError

FORMAT_VERSION = 2
INFO_FILE = "dataset.json"


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a prepared dataset holds and how it was made: the file `dataset.json`.

    Attributes:
        name: Such as `dfew`.
        classes: Names of the K classes, in the order of the labels.
        splits: Number of clips in each split.
        image_size: Side of the JPEG frames in pixels.
        preparation: Every setting that steers the numbers: sound rate, faces, JPEG quality, ...
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, int]
    image_size: int
    preparation: dict[str, Any]

    def save(self, directory: str | os.PathLike | UPath) -> None:
        """Writes `directory/dataset.json`, whole or not at all."""
        fields = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        files.write(files.as_path(directory) / INFO_FILE, json.dumps(fields, indent=2) + "\n")

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "DatasetInfo":
        """Reads `directory/dataset.json`.

        Raises:
            UserError: It is missing, broken or of another format version.
        """
        path = files.as_path(directory) / INFO_FILE
        try:
            fields = json.loads(files.read_text(path))
            version = fields.pop("format_version")
            if version != FORMAT_VERSION:
                raise UserError(
                    f"{path} has format version {version}, this program reads {FORMAT_VERSION}; "
                    "prepare the dataset again"
                )
            info = cls(**{**fields, "classes": tuple(fields["classes"])})
            if not info.classes or not isinstance(info.splits, dict):
                raise ValueError("no classes or no splits")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{path} is not there: {directory} is no prepared dataset, or its preparation has "
                "not finished; make one with `python -m data_prep`"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is broken ({error}); prepare the dataset again") from error
        return info


def write_tfds_metadata(directory: str | os.PathLike | UPath, info: DatasetInfo) -> None:
    """Writes what `tfds.builder_from_directory` needs, from the shards' indices.

    Raises:
        UserError: A split of `info` is not there whole.
    """
    import tensorflow_datasets as tfds  # slow, and only preparation needs it

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(info.classes)),
            "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
            "spectrogram": tfds.features.Tensor(
                shape=(None, MEL_BINS), dtype=np.float16, encoding=tfds.features.Encoding.BYTES
            ),
            "sample_rate": tfds.features.Scalar(np.int64),
            "num_frames": tfds.features.Scalar(np.int64),
            "source": tfds.features.Text(),
        }
    )
    directory = files.as_path(directory)
    shards = {split: load_split(directory, split) for split in info.splits}
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.ids) for shard in found],
            num_bytes=sum(shard.size for shard in found),
        )
        for split, found in shards.items()
    ]
    # Written aside, because TFDS opens few kinds of URL, and not atomically. It wants to see the
    # shards' names.
    with tempfile.TemporaryDirectory() as folder:
        names = [shard.path.name for found in shards.values() for shard in found]
        for name in names:
            Path(folder, name).touch()
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=split_infos,
            check_data=False,
            description=json.dumps(info.preparation),
        )
        for file in sorted(Path(folder).iterdir()):
            if file.name not in names:
                files.write(directory / file.name, file.read_bytes())

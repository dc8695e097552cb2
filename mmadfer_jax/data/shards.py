"""Names, indices and completeness of a dataset's shards."""

import dataclasses
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError

INDEX_FOLDER = "index"
_READERS = 16  # of indices behind a URL, where every one is a round trip
_SHARD_NAME = re.compile(
    r"(?P<dataset>[a-zA-Z]\w*)-(?P<split>\w+)\.tfrecord-(?P<shard>\d{5})-of-(?P<count>\d{5})"
)


def shard_name(dataset_name: str, split: str, shard: int, num_shards: int) -> str:
    """The file name TFDS expects, such as `dfew-part1.tfrecord-00000-of-00004`.

    Raises:
        UserError: The dataset or the split has a name that TFDS cannot open.
    """
    name = f"{dataset_name}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"
    if not _SHARD_NAME.fullmatch(name):
        raise UserError(
            f"cannot name a shard of dataset {dataset_name!r}, split {split!r}: use letters, "
            "digits and underscores, and begin the dataset's name with a letter"
        )
    return name


def is_shard_name(name: str) -> bool:
    """Whether a file is called as a shard is."""
    return _SHARD_NAME.fullmatch(name) is not None


def index_path(directory: str | os.PathLike | UPath, name: str) -> Path | UPath:
    """Where the index of the shard called `name` lies. The shard is complete once it exists."""
    return files.as_path(directory) / INDEX_FOLDER / f"{name}.json"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard's file and its index."""

    path: Path | UPath
    size: int  # bytes
    offsets: list[int]
    lengths: list[int]
    ids: list[str]
    labels: list[int]


def _find_shards(directory: Path | UPath) -> dict[str, list[re.Match]]:
    """The names of every complete shard, by split."""
    splits: dict[str, list[re.Match]] = {}
    for name in files.names(directory / INDEX_FOLDER):
        if match := _SHARD_NAME.fullmatch(name.removesuffix(".json")):
            splits.setdefault(match["split"], []).append(match)
    return splits


def _load_shard(directory: Path | UPath, name: str) -> Shard:
    path, index = directory / name, index_path(directory, name)
    again = "prepare the dataset again"
    try:
        fields = json.loads(files.read_text(index))
        columns = [fields[key] for key in ("offsets", "lengths", "ids", "labels")]
        size = int(fields["bytes"])
        if len({len(column) for column in columns}) != 1:
            raise ValueError("columns of unequal length")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no index of a shard ({error}); {again}") from error
    if (found := files.size(path)) is None:
        raise UserError(f"{path} is missing although its index is there; {again}")
    if found != size:
        raise UserError(f"{path} has {found} bytes, its index expects {size}; {again}")
    return Shard(path, size, *columns)


def load_split(directory: str | os.PathLike | UPath, split: str) -> list[Shard]:
    """The shards of a split in order.

    Raises:
        UserError: The split is unknown or empty, or a shard is missing, short or has no good index.
    """
    directory = files.as_path(directory)
    splits = _find_shards(directory)
    if split not in splits:
        known = ", ".join(sorted(splits)) or "none"
        raise UserError(f"no split {split!r} in {directory}; those there: {known}")
    sets = sorted({(match["dataset"], int(match["count"])) for match in splits[split]})
    if len(sets) > 1:
        raise UserError(
            f"split {split!r} in {directory} has the shards of {len(sets)} preparations, (name, "
            f"shards): {sets}; delete the folder and prepare the dataset again"
        )
    absent = sorted(set(range(sets[0][1])) - {int(match["shard"]) for match in splits[split]})
    if absent:
        raise UserError(
            f"split {split!r} in {directory} lacks shards {absent} of {sets[0][1]}; "
            "run the preparation again, it takes up where it stopped"
        )
    with ThreadPoolExecutor(_READERS if files.is_remote(directory) else 1) as readers:
        found = readers.map(lambda match: _load_shard(directory, match[0]), splits[split])
        shards = list(found)
    if not any(shard.ids for shard in shards):
        known = ", ".join(sorted(set(splits) - {split})) or "none"
        raise UserError(f"split {split!r} in {directory} has no clips; other splits there: {known}")
    return shards

"""The plan of a preparation: its shards, and whether a folder may hold them."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep import listing as listings
from data_prep.listing import Clip, Listing, some
from mmadfer_jax.data.clip import PrepareSettings
from mmadfer_jax.data.records import index_path, shard_name, write_atomic
from mmadfer_jax.errors import UserError

PROGRESS_FOLDER = ".preparation"
PLAN_FILE = "plan.json"
VIDEO_FOLDER = "videos"  # where rendered videos may lie in a dataset's folder
CLIPS_PER_SHARD = 128  # some 200 MB; what an interruption costs at most


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard to be written and the clips meant for it."""

    split: str
    number: int
    count: int
    clips: tuple[Clip, ...]


def plan_shards(listing: Listing, shards: int | None) -> list[Shard]:
    """Cuts each split into shards; `None` makes about one for 128 clips."""
    plan = []
    for split, clips in listing.splits.items():
        mixed = listings.shuffled(clips)
        count = min(len(mixed), shards or -(-len(mixed) // CLIPS_PER_SHARD))
        edges = [len(mixed) * i // count for i in range(count + 1)]
        plan += [
            Shard(split, i, count, tuple(mixed[edges[i] : edges[i + 1]])) for i in range(count)
        ]
    return plan


def check_out(out: Path) -> None:
    """Makes sure that `out` is new or empty, or holds a preparation that may go on.

    Raises:
        UserError: It holds something else, or cannot be a folder.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out={out}: not a folder")
    ours = (VIDEO_FOLDER, PROGRESS_FOLDER)
    found = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if found and not Path(out, PROGRESS_FOLDER, PLAN_FILE).exists():
        raise UserError(
            f"--out={out} is not empty ({some(found)}) and holds no preparation that could go on; "
            "use an empty or a new folder"
        )


def claim(listing: Listing, out: Path, settings: PrepareSettings, plan: Sequence[Shard]) -> None:
    """Writes the plan into `out`, or makes sure that it is the one there.

    Raises:
        UserError: `out` holds another preparation or something else.
    """
    clips = [(c.id, c.label, c.split, c.source, c.missing is None) for c in listing.clips]
    wanted = {
        "dataset": listing.name,
        "classes": list(listing.classes),
        "settings": settings.to_dict(),
        "shards": {shard.split: shard.count for shard in plan},
        "clips": len(clips),
        "list of clips (SHA-256)": hashlib.sha256(repr(clips).encode()).hexdigest(),
    }
    path = Path(out, PROGRESS_FOLDER, PLAN_FILE)
    check_out(out)
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = {}
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        if differing:
            raise UserError(
                f"--out={out} holds a preparation with other {', '.join(differing)}: "
                f"{_differences(found, wanted, differing)}; use the old flags to go on with it, or "
                "another --out"
            )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(wanted, indent=2) + "\n")


def _differences(found: dict, wanted: dict, keys: Sequence[str]) -> str:
    pairs = []
    for key in keys:
        old, new = found.get(key), wanted[key]
        if isinstance(old, dict) and isinstance(new, dict):
            names = [name for name in new if old.get(name) != new[name]]
            pairs += [
                f"{name} {old.get(name, 'none')} there, {new[name]} asked for" for name in names
            ]
        elif "SHA" not in key:
            pairs.append(f"{key} {old} there, {new} asked for")
    return "; ".join(pairs) or "labels, splits or the files there have changed"


def check_space(clips: Iterable[Clip], out: Path) -> None:
    """Face crops take about as much room as the videos; refuses what is certain not to fit.

    Raises:
        UserError: `out` has room for a tenth of the videos or less.
    """
    videos = sum(clip.path.stat().st_size for clip in clips if not clip.missing)
    free = shutil.disk_usage(out).free
    if free < videos / 10:
        raise UserError(
            f"--out={out} has {free / 1e9:.1f} GB free, the videos take {videos / 1e9:.1f} GB and "
            "their crops about as much; make room or choose another disk"
        )


def shard_manifest(out: Path, name: str, shard: Shard) -> Path:
    """Where the manifest's lines of a shard lie until all are done."""
    file = shard_name(name, shard.split, shard.number, shard.count)
    return Path(out, PROGRESS_FOLDER, f"{file}.jsonl")


def is_complete(out: Path, name: str, shard: Shard) -> bool:
    """Whether an earlier run has finished the shard."""
    file = shard_name(name, shard.split, shard.number, shard.count)
    parts = Path(out, file), index_path(out, file), shard_manifest(out, name, shard)
    return all(part.exists() for part in parts)

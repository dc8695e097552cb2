"""The plan of a preparation: its shards, and whether a folder may hold them."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from upath import UPath

from data_prep import listing as listings
from data_prep.listing import Clip, Listing, some
from mmadfer_jax import files
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.data.dataset_info import INFO_FILE
from mmadfer_jax.data.shards import INDEX_FOLDER, index_path, is_shard_name, shard_name
from mmadfer_jax.errors import UserError

PROGRESS_FOLDER = ".preparation"
PLAN_FILE = "plan.json"
VIDEO_FOLDER = "videos"  # where rendered videos may lie in a dataset's folder
REPORT_FILES = "report.json", "report.html"  # which --check leaves alone there
CLIPS_PER_SHARD = 128  # some 200 MB; what an interruption costs at most
_SKIPPED = {"skipped"}
# What a preparation leaves in its folder beside the shards.
_WRITTEN = (
    INDEX_FOLDER,
    INFO_FILE,
    "manifest.jsonl",
    "features.json",
    "dataset_info.json",
    "label.labels.txt",
    *REPORT_FILES,
)


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


def check_out(out: Path | UPath) -> None:
    """Makes sure that `out` is new or empty, or holds a preparation that may go on.

    Raises:
        UserError: It holds something else, or cannot be a folder.
    """
    if isinstance(out, Path) and out.exists() and not out.is_dir():
        raise UserError(f"--out={out}: not a folder")
    ours = (VIDEO_FOLDER, PROGRESS_FOLDER, *REPORT_FILES)
    found = [name for name in files.names(out) if name not in ours]
    if found and files.size(out / PROGRESS_FOLDER / PLAN_FILE) is None:
        raise UserError(
            f"--out={out} is not empty ({some(found)}) and holds no preparation that could go on; "
            "use an empty or a new folder"
        )


def claim(
    listing: Listing,
    out: Path | UPath,
    settings: PrepareSettings,
    plan: Sequence[Shard],
    redo: Sequence[str] = (),
) -> None:
    """Writes the plan into `out`, or makes sure that it is the one there.

    Raises:
        UserError: `out` holds another preparation or something else, or has skipped clips that were
            not there and are now, and `redo` does not name them.
    """
    clips = [(c.id, c.label, c.split) for c in listing.clips]
    wanted = {
        "dataset": listing.name,
        "classes": list(listing.classes),
        "settings": settings.to_dict(),
        "shards": {shard.split: shard.count for shard in plan},
        "clips": len(clips),
        "media": sorted(
            {"frames" if c.is_frames else "video" for c in listing.clips if not c.missing}
        ),
        "list of clips (SHA-256)": hashlib.sha256(repr(clips).encode()).hexdigest(),
    }
    path = out / PROGRESS_FOLDER / PLAN_FILE
    check_out(out)
    if files.size(path) is not None and "all" not in redo:
        try:
            found = json.loads(files.read_text(path))
        except ValueError:
            found = {}
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        if differing:
            raise UserError(
                f"--out={out} holds a preparation with other {', '.join(differing)}: "
                f"{_differences(found, wanted, differing)}; use the old flags to go on with it, "
                "another --out, or --redo=all to prepare everything again in place of it"
            )
        _notice_new_files(listing.name, out, plan, redo)
    else:
        files.make_folder(path.parent)
        files.write(path, json.dumps(wanted, indent=2) + "\n")


def _differences(found: dict, wanted: dict, keys: Sequence[str]) -> str:
    pairs = []
    for key in keys:
        old, new = found.get(key), wanted[key]
        if isinstance(old, dict) and isinstance(new, dict):
            pairs += [
                f"{name} {old.get(name, 'none')} there, {new.get(name, 'none')} asked for"
                for name in {**old, **new}
                if old.get(name) != new.get(name)
            ]
        elif "SHA" not in key:
            pairs.append(f"{key} {old} there, {new} asked for")
    return "; ".join(pairs) or "the list's names, labels or splits have changed"


def _notice_new_files(
    name: str, out: Path | UPath, plan: Sequence[Shard], redo: Sequence[str]
) -> None:
    new = []
    for shard in plan:
        there = {clip.id for clip in shard.clips if not clip.missing}
        if there and is_complete(out, name, shard):
            lines = read_manifest(out, name, shard)
            new += [line["id"] for line in lines if line.get("missing") and line["id"] in there]
    left = [clip for clip in new if not _SKIPPED.intersection(redo) and clip not in redo]
    if left:
        raise UserError(
            f"{len(left)} clips that were not there when their shards were finished are there now: "
            f"{some(left)}; add --redo=skipped to prepare those shards again"
        )


def forget(name: str, out: Path | UPath, plan: Sequence[Shard], redo: Sequence[str]) -> None:
    """Deletes what an earlier run finished, so that it is prepared again.

    Args:
        name: Of the dataset.
        out: Its folder.
        plan: All its shards.
        redo: `all`, which also lets settings change; `skipped`, the shards with clips that could
            not be used; names of splits; names of clips, meaning their shards.

    Raises:
        UserError: There is no such split or clip.
    """
    if "all" in redo:
        check_out(out)
        for file in files.names(out):
            if file in _WRITTEN or is_shard_name(file) or files.is_temporary(file):
                files.remove(out / file)
        # The plan stays until the next one takes its place: it tells that the folder is ours.
        for file in files.names(out / PROGRESS_FOLDER):
            if file not in (PLAN_FILE, files.LOCK):
                files.remove(out / PROGRESS_FOLDER / file)
        return
    known = {shard.split for shard in plan} | {clip.id for shard in plan for clip in shard.clips}
    if unknown := set(redo) - known - _SKIPPED:
        raise UserError(
            f"--redo={some(sorted(unknown))}: neither a split nor a clip of the dataset, nor `all` "
            "or `skipped`"
        )
    for shard in plan:
        named = shard.split in redo or any(clip.id in redo for clip in shard.clips)
        if is_complete(out, name, shard) and (
            named
            or (
                _SKIPPED.intersection(redo)
                and any(line["reason"] for line in read_manifest(out, name, shard))
            )
        ):
            files.remove(out / INFO_FILE)  # the dataset is not whole until the end of the run
            file = shard_name(name, shard.split, shard.number, shard.count)
            files.remove(index_path(out, file))


def check_space(clips: Iterable[Clip], out: Path | UPath) -> None:
    """Face crops take about as much room as the videos; refuses what is certain not to fit.

    Raises:
        UserError: `out` has room for a tenth of the videos or less.
    """
    if not isinstance(out, Path):
        return
    paths = [clip.path for clip in clips if not clip.missing and not clip.is_frames]
    videos = sum(files.size(path) or 0 for path in paths if isinstance(path, Path))
    free = shutil.disk_usage(out).free
    if free < videos / 10:
        raise UserError(
            f"--out={out} has {free / 1e9:.1f} GB free, the videos take {videos / 1e9:.1f} GB and "
            "their crops about as much; make room or choose another disk"
        )


def shard_manifest(out: Path | UPath, name: str, shard: Shard) -> Path | UPath:
    """Where the manifest's lines of a shard lie until all are done."""
    file = shard_name(name, shard.split, shard.number, shard.count)
    return out / PROGRESS_FOLDER / f"{file}.jsonl"


def read_manifest(out: Path | UPath, name: str, shard: Shard) -> list[dict[str, Any]]:
    """The manifest's lines of a finished shard."""
    text = files.read_text(shard_manifest(out, name, shard))
    return [json.loads(line) for line in text.splitlines()]


def is_complete(out: Path | UPath, name: str, shard: Shard) -> bool:
    """Whether an earlier run has finished the shard."""
    file = shard_name(name, shard.split, shard.number, shard.count)
    parts = index_path(out, file), out / file, shard_manifest(out, name, shard)
    return all(files.size(part) is not None for part in parts)

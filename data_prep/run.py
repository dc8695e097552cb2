"""Prepares the clips of a listing in a pool of processes and writes the dataset."""

import collections
import contextlib
import errno
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from upath import UPath

from data_prep import pool, worker
from data_prep.listing import Clip, Listing, some
from data_prep.plan import (
    PROGRESS_FOLDER,
    Shard,
    check_out,
    check_space,
    claim,
    forget,
    is_complete,
    plan_shards,
    read_manifest,
)
from data_prep.shard import write_shard
from mmadfer_jax import files
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.data.dataset_info import DatasetInfo, write_tfds_metadata
from mmadfer_jax.data.shards import INDEX_FOLDER
from mmadfer_jax.errors import UserError

MANIFEST_FILE = "manifest.jsonl"


def prepare_dataset(
    listing: Listing,
    out: str | Path | UPath,
    settings: PrepareSettings,
    *,
    shards: int | None = None,
    workers: int = 1,
    advance: Callable[[int], None] = lambda clips: None,
    redo: Sequence[str] = (),
    beam_options: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Writes the dataset, or what an interrupted run left to be written.

    Args:
        listing: The clips.
        out: The dataset's folder, on the disk or a URL.
        settings: How clips are prepared.
        shards: Shards a split, or None for about one per 128 clips.
        workers: Processes.
        advance: Called with the number of clips done since the last call.
        redo: What an earlier run finished and is to be prepared again; see `plan.forget`.
        beam_options: Runs an Apache Beam pipeline with these options; None for a pool of processes.

    Returns:
        The manifest, one entry a clip.

    Raises:
        UserError: `out` belongs to something else, the disk is full, a worker died, or a split is
            left without a usable clip. What is finished by then stays; the same call goes on.
    """
    out = files.as_path(out)
    # Beam and its options are too, before anything is deleted.
    beam_runner = None if beam_options is None else _import_beam_runner()
    pipeline_options = beam_runner and beam_runner.parse_options(beam_options)
    check_out(out)
    with files.lock(out / PROGRESS_FOLDER):
        for folder in (out, out / INDEX_FOLDER):
            files.sweep(folder)
        plan = plan_shards(listing, shards)
        todo = _to_do(listing, out, settings, plan, redo)
        advance(sum(len(shard.clips) for shard in plan) - sum(len(shard.clips) for shard in todo))
        try:
            if todo and beam_runner:
                beam_runner.write_shards(todo, out, listing.name, settings, pipeline_options)
                advance(sum(len(shard.clips) for shard in todo))
            elif todo:
                clips = [clip for shard in todo for clip in shard.clips]
                ready = outcomes(clips, settings, min(workers, len(clips)))
                with contextlib.closing(ready):
                    for shard in todo:
                        write_shard(out, listing.name, shard, ready, advance)
            manifest = [line for shard in plan for line in read_manifest(out, listing.name, shard)]
            _finish(out, listing, settings, manifest)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"the disk of {out} is full ({error.strerror}); make room, then the same "
                    "command goes on with the shard it was at"
                ) from error
            raise
    return manifest


def _to_do(
    listing: Listing,
    out: Path | UPath,
    settings: PrepareSettings,
    plan: Sequence[Shard],
    redo: Sequence[str],
) -> list[Shard]:
    """Claims the folder, forgets what is to be prepared again, and says what is left to do."""
    if "all" in redo:
        forget(listing.name, out, plan, redo)
    claim(listing, out, settings, plan, redo)
    if redo and "all" not in redo:
        forget(listing.name, out, plan, redo)
    todo = [shard for shard in plan if not is_complete(out, listing.name, shard)]
    check_space([clip for shard in todo for clip in shard.clips], out)
    return todo


def outcomes(
    clips: Sequence[Clip], settings: PrepareSettings, workers: int
) -> Iterator[worker.Outcome]:
    """Prepares clips in parallel and yields what became of them, in order."""
    try:
        yield from pool.in_order(worker.prepare, clips, workers, worker.load, settings)
    except pool.WorkerDiedError as error:
        raise UserError(
            f"a worker process died, preparing one of: {some(clip.path for clip in error.tasks)}; "
            "the same command goes on from there (with fewer --workers if memory ran out; if it "
            "dies again, take the clip out of the list and use --redo=all)"
        ) from error


def _import_beam_runner() -> ModuleType:
    try:
        from data_prep import beam_runner  # an extra, and slow to import
    except ImportError as error:
        raise UserError(
            f"--runner=beam needs Apache Beam ({error}): pip install -r requirements-beam.txt"
        ) from error
    return beam_runner


def _finish(
    out: Path | UPath,
    listing: Listing,
    settings: PrepareSettings,
    manifest: list[dict[str, Any]],
) -> None:
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in manifest)
    files.write(out / MANIFEST_FILE, text)
    written = collections.Counter(e["split"] for e in manifest if e["status"] == "written")
    for split in listing.splits:
        if not written[split]:
            reasons = [e["reason"] for e in manifest if e["split"] == split]
            raise UserError(
                f"split {split!r} has no usable clip, all {len(reasons)} were skipped: "
                f"{some(reasons, 1)} (see {out / MANIFEST_FILE}); mend the files and give the same "
                "command with --redo=skipped"
            )
    info = DatasetInfo(
        name=listing.name,
        classes=listing.classes,
        splits={split: written[split] for split in listing.splits},
        image_size=settings.image_size,
        preparation=settings.to_dict(),
    )
    write_tfds_metadata(out, info)
    info.save(out)  # last: the dataset counts as prepared once it is there

"""Writes one shard of a preparation, whichever engine prepared its clips."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from data_prep.listing import Clip, readable
from data_prep.plan import Shard, shard_manifest
from data_prep.worker import Outcome
from mmadfer_jax import files
from mmadfer_jax.data.records import Record, ShardWriter


def write_shard(
    out: Path | UPath,
    name: str,
    shard: Shard,
    ready: Iterator[Outcome],
    advance: Callable[[int], None] = lambda clips: None,
) -> None:
    """Writes a shard, its index and its lines of the manifest, of outcomes in the shard's order."""
    lines = []
    with ShardWriter(out, shard.split, shard.number, shard.count, name) as writer:
        for clip in shard.clips:
            outcome = next(ready)
            if outcome.reason is None:
                writer.write(_record(outcome))
            lines.append(json.dumps(_entry(clip, outcome, writer.path.name), ensure_ascii=False))
            advance(1)
        # Before the writer closes: a shard counts as complete once its index is there, and then
        # its lines must be there too.
        files.write(shard_manifest(out, name, shard), "".join(f"{line}\n" for line in lines))


def _record(outcome: Outcome) -> Record:
    return Record(
        id=outcome.clip.id,
        label=outcome.clip.label,
        frames=outcome.frames,
        spectrogram=outcome.spectrogram,
        sample_rate=outcome.sample_rate,
        num_frames=len(outcome.frames),
        source=outcome.clip.source,
    )


def _entry(clip: Clip, outcome: Outcome, shard: str) -> dict[str, Any]:
    written = outcome.reason is None
    return {
        "id": clip.id,
        "source": clip.source,
        "split": clip.split,
        "label": clip.label,
        "status": "written" if written else "skipped",
        "reason": outcome.reason and readable(outcome.reason),
        **({"missing": True} if clip.missing else {}),
        "problems": list(outcome.problems),
        "num_frames": len(outcome.frames),
        "declared_frames": outcome.declared_frames,
        "sample_rate": outcome.sample_rate,
        "face_share": outcome.face_share,
        "sha256": outcome.sha256,
        "shard": shard if written else None,
    }

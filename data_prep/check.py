"""Looks at a dataset before it is prepared, and gathers what the report shows afterwards."""

import contextlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_prep import findings, page, run, sheets, sources
from data_prep.listing import Listing
from data_prep.plan import REPORT_FILES
from data_prep.sheets import Sheet
from mmadfer_jax.data.clip import PrepareSettings
from mmadfer_jax.data.records import RecordSource, write_atomic

REPORT_FILE, PAGE_FILE = REPORT_FILES


def look_at_all(
    listing: Listing,
    settings: PrepareSettings,
    workers: int,
    advance: Callable[[int], None] = lambda clips: None,
) -> tuple[list[dict[str, Any]], list[Sheet]]:
    """Inspects every clip's files, and prepares a few clips to see their faces and sound.

    Args:
        listing: The clips.
        settings: How clips would be prepared.
        workers: Processes, and threads for the inspection.
        advance: Called with the number of clips inspected since the last call.

    Returns:
        A line like the manifest's for each clip, `face_share` None where no faces were looked for;
        and the sheets of the few.
    """
    entries = []
    with ThreadPoolExecutor(workers) as pool:
        for entry in pool.map(sources.inspect, listing.clips):
            entries.append(entry)
            advance(1)
    clips = {clip.id: clip for clip in listing.clips}
    chosen = [entry for entry, _ in sheets.choose(entries)]
    drawn = {}
    ready = run.outcomes([clips[entry["id"]] for entry in chosen], settings, workers)
    with contextlib.closing(ready):
        for entry, outcome in zip(chosen, ready, strict=True):
            if outcome.reason is not None:
                entry |= {"status": "skipped", "reason": outcome.reason}
                continue
            entry["problems"] = list(dict.fromkeys([*outcome.problems, *entry["problems"]]))
            entry["face_share"] = outcome.face_share
            drawn[entry["id"]] = outcome.frames, outcome.spectrogram
            entry["num_frames"], entry["sample_rate"] = len(outcome.frames), outcome.sample_rate
    again = sheets.choose((e for e in chosen if e["id"] in drawn), together=len(drawn))
    return entries, [sheets.draw(entry, why, *drawn[entry["id"]]) for entry, why in again]


def sheets_of_prepared(out: Path, manifest: Iterable[dict[str, Any]]) -> list[Sheet]:
    """Sheets of the most doubtful and of some random clips of a prepared dataset."""
    chosen = sheets.choose(manifest)
    records = RecordSource(out, sorted({entry["split"] for entry, _ in chosen}))
    places = {name: place for place, name in enumerate(records.ids)}
    made = []
    for entry, why in chosen:
        record = records[places[entry["id"]]]
        made.append(sheets.draw(entry, why, record.frames, record.spectrogram))
    return made


def write(
    out: Path,
    listing: Listing,
    entries: list[dict[str, Any]],
    settings: PrepareSettings,
    stage: str,
    pictures: list[Sheet],
) -> dict[str, Any]:
    """Writes `report.json` and `report.html` into a folder; returns what the first has."""
    report = findings.assess(listing, entries, settings, stage)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_atomic(out / PAGE_FILE, page.render(report, pictures))
    return report

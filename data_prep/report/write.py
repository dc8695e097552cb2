"""Writes the report of a dataset that was looked at or prepared: `report.json`, `report.html`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_prep.listing import Listing
from data_prep.plan import REPORT_FILES
from data_prep.report import findings, page, sheets
from data_prep.report.sheets import Sheet
from mmadfer_jax import files
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.data.records import RecordSource

REPORT_FILE, PAGE_FILE = REPORT_FILES


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


def write_report(
    out: Path,
    listing: Listing,
    entries: list[dict[str, Any]],
    settings: PrepareSettings,
    stage: str,
    pictures: list[Sheet],
) -> dict[str, Any]:
    """Writes `report.json` and `report.html` into a folder; returns what the first has."""
    report = findings.assess(listing, entries, settings, stage)
    files.make_folder(out)
    files.write(out / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    files.write(out / PAGE_FILE, page.render(report, pictures))
    return report

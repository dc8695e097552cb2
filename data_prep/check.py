"""Looks at a dataset before it is prepared: all of its files, and a few clips as prepared."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data_prep import run, sources
from data_prep.listing import Listing, readable
from data_prep.report import sheets
from data_prep.report.sheets import Sheet
from mmadfer_jax.clips.clip import PrepareSettings


def inspect_all(
    listing: Listing, workers: int, advance: Callable[[int], None] = lambda clips: None
) -> list[dict[str, Any]]:
    """Looks at every clip's files; a line like the manifest's for each.

    Args:
        listing: The clips.
        workers: Threads.
        advance: Called with the number of clips looked at since the last call.
    """
    entries = []
    with ThreadPoolExecutor(workers) as pool:
        for entry in pool.map(sources.inspect, listing.clips):
            if entry["reason"]:
                entry["reason"] = readable(entry["reason"])
            entries.append(entry)
            advance(1)
    return entries


def choose_to_draw(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the few clips whose faces and sound the report shows."""
    return [entry for entry, _ in sheets.choose(entries)]


def draw(
    listing: Listing,
    chosen: Sequence[dict[str, Any]],
    settings: PrepareSettings,
    workers: int,
    advance: Callable[[int], None] = lambda clips: None,
) -> list[Sheet]:
    """Prepares a few clips to see their faces and sound, and adds what is found to their entries.

    Args:
        listing: The clips.
        chosen: Entries of the few.
        settings: How clips would be prepared.
        workers: Processes.
        advance: Called with the number of clips prepared since the last call.
    """
    clips = {clip.id: clip for clip in listing.clips}
    drawn = {}
    ready = run.outcomes([clips[entry["id"]] for entry in chosen], settings, workers)
    with contextlib.closing(ready):
        for entry, outcome in zip(chosen, ready, strict=True):
            advance(1)
            if outcome.reason is not None:
                entry |= {"status": "skipped", "reason": readable(outcome.reason)}
                continue
            entry["problems"] = list(dict.fromkeys([*outcome.problems, *entry["problems"]]))
            entry["face_share"] = outcome.face_share
            drawn[entry["id"]] = outcome.frames, outcome.spectrogram
            entry["num_frames"], entry["sample_rate"] = len(outcome.frames), outcome.sample_rate
    again = sheets.choose((e for e in chosen if e["id"] in drawn), together=len(drawn))
    return [sheets.draw(entry, why, *drawn[entry["id"]]) for entry, why in again]

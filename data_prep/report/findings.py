"""What a person should know of a dataset: counts beside the known ones, and all that is odd."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from data_prep.listing import Listing, some, unfit
from data_prep.names import key
from data_prep.report import media
from data_prep.report.finding import FAULT, GOOD, NOTE, WARNING, Entry, Finding, finding
from mmadfer_jax.clips.clip import PrepareSettings

_FIXED_SPLITS = {"train": 0, "val": 1, "test": 2}  # in the order in which people name them


def assess(
    listing: Listing, entries: Sequence[Entry], settings: PrepareSettings, stage: str
) -> dict[str, Any]:
    """Everything for `report.json`, the terminal and the page; the same for the same entries.

    Args:
        listing: The clips that were asked for.
        entries: A line of the manifest for each.
        settings: How clips are prepared.
        stage: `checked` or `prepared`.
    """
    usable = [entry for entry in entries if entry["status"] != "skipped"]
    missing = {clip.id for clip in listing.clips if clip.missing}
    looked_at = media.looked_at(usable, settings)
    shares = [entry["face_share"] for entry in looked_at]
    return {
        "dataset": listing.name,
        "stage": stage,
        "classes": list(listing.classes),
        "clips": {
            "listed": len(entries),
            "usable": len(usable),
            "missing": len(missing),
            "faulty": len(entries) - len(usable) - len(missing),
        },
        "listed": _counts(listing, entries),
        "usable": _counts(listing, usable),
        "known": listing.known
        and {
            "clips": listing.known.clips,
            "splits": dict(listing.known.splits),
            "classes": list(listing.known.classes),
        },
        "sample_rates": {
            str(rate): n
            for rate, n in sorted(Counter(e["sample_rate"] for e in usable).items())
            if rate
        },
        "left_out": {e["id"]: e["reason"] for e in entries if e["status"] == "skipped"},
        "frames": _spread([entry["num_frames"] for entry in usable]),
        "clips_searched_for_faces": len(shares),
        "face_share": _spread(shares),
        "findings": [
            *(finding(FAULT, "cannot be prepared as it is", why) for why in unfit(listing)),
            *_missing(entries, missing),
            *_known_counts(listing, entries),
            *_label_names(listing),
            *_duplicates(usable),
            *_empty_classes(listing, usable),
            *media.of_sound(listing, usable, settings),
            *media.of_problems(listing, usable, stage, len(shares)),
            *media.of_faces(looked_at),
            *(finding(NOTE, note) for note in listing.notes),
        ],
        "settings": settings.to_dict(),
    }


def _counts(listing: Listing, entries: Sequence[Entry]) -> dict[str, list[int]]:
    found = Counter((entry["split"], entry["label"]) for entry in entries)
    classes = range(len(listing.classes))
    splits = sorted(listing.splits, key=lambda split: (_FIXED_SPLITS.get(split, 0), split))
    return {split: [found[split, label] for label in classes] for split in splits}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "least": min(values),
        "median": statistics.median(values),
        "mean": round(statistics.fmean(values), 4),
        "most": max(values),
    }


def _missing(entries: Sequence[Entry], missing: set[str]) -> list[Finding]:
    skipped = [entry for entry in entries if entry["status"] == "skipped"]
    absent = [entry for entry in skipped if entry["id"] in missing]
    faulty = [entry for entry in skipped if entry["id"] not in missing]
    findings = []
    are = "is" if len(absent) == 1 else "are"
    for group, what in ((absent, f"{are} not there"), (faulty, "cannot be used")):
        if group:
            reasons = some((entry["reason"] for entry in group), 3)
            ids = [entry["id"] for entry in group]
            what = f"{len(group)} of {len(entries)} clips {what}"
            findings.append(finding(FAULT, what, reasons, ids))
    what = f"all {len(entries)} clips that are listed are there and can be used"
    return findings or [finding(GOOD, what)]


def _known_counts(listing: Listing, entries: Sequence[Entry]) -> list[Finding]:
    known = listing.known
    if known is None:
        return []
    findings = []
    if len(entries) != known.clips:
        what = f"{len(entries)} clips, published are {known.clips}"
        findings.append(finding(FAULT, what, "files or list lines are lacking, or too many"))
    splits = Counter(entry["split"] for entry in entries)
    differing = [
        f"{split} {splits[split]} for {count}"
        for split, count in known.splits.items()
        if splits[split] != count
    ]
    if differing:
        what = "splits differ from the published ones"
        findings.append(finding(FAULT, what, some(differing, len(differing))))
    if known.num_classes not in (None, len(listing.classes)):
        what = f"{len(listing.classes)} classes, published are {known.num_classes}"
        findings.append(finding(FAULT, what, "the lists are not whole, or have other names"))
    findings += _known_classes(listing, entries)
    if not findings:
        matched = [
            "all clips",
            *(["each split"] if known.splits else []),
            *(["each class"] if known.classes else []),
        ]
        findings.append(finding(GOOD, f"counts as published: {', '.join(matched)}"))
    return findings


def _known_classes(listing: Listing, entries: Sequence[Entry]) -> list[Finding]:
    known = listing.known.classes
    found = Counter(entry["label"] for entry in entries)
    counts = [found[label] for label in range(len(listing.classes))]
    if not known or counts == list(known):
        return []
    if sorted(counts) == sorted(known):
        detail = ", ".join(
            f"{name} has {count}, as {listing.classes[known.index(count)]} should"
            for name, count, right in zip(listing.classes, counts, known, strict=True)
            if count != right
        )
        return [finding(FAULT, "class counts as published, but in another order of labels", detail)]
    detail = ", ".join(
        f"{name} {count} for {right}"
        for name, count, right in zip(listing.classes, counts, known, strict=True)
        if count != right
    )
    return [finding(FAULT, "classes differ from the published ones", detail)]


def _label_names(listing: Listing) -> list[Finding]:
    """Labels against the folders clips lie in, where these have the names of classes."""
    keys = [key(name) for name in listing.classes]
    named, wrong = 0, []
    for clip in listing.clips:
        folders = {key(part) for part in PurePosixPath(clip.source).parts[:-1]}.intersection(keys)
        named += bool(folders)
        if folders and keys[clip.label] not in folders:
            wrong.append((clip.id, listing.classes[clip.label], min(folders)))
    if wrong:
        examples = some(f"{name} is labelled {label} in {folder}" for name, label, folder in wrong)
        what = f"{len(wrong)} clips lie in a folder called like another class than theirs"
        return [finding(FAULT, what, examples, (name for name, _, _ in wrong))]
    if named:
        return [finding(GOOD, f"labels fit the folders' names ({named} clips in such folders)")]
    return []


def _duplicates(entries: Sequence[Entry]) -> list[Finding]:
    same: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.get("sha256"):
            same[entry["sha256"]].append(entry)
    twins = [group for group in same.values() if len(group) > 1]
    across = [group for group in twins if len({entry["split"] for entry in group}) > 1]
    labels = [group for group in twins if len({entry["label"] for entry in group}) > 1]
    within = [group for group in twins if group not in across]
    findings = []
    for level, groups, what, detail in (
        (FAULT, across, "another split", "test clips that were trained on raise the figures"),
        (FAULT, labels, "another class", "one of the labels is wrong"),
        (WARNING, within, "the same split", "they count double"),
    ):
        if groups:
            pairs = some(" = ".join(entry["id"] for entry in group[:3]) for group in groups)
            clips = [entry["id"] for group in groups for entry in group]
            what = f"{len(clips)} clips have the content of a clip in {what}"
            findings.append(finding(level, what, f"{detail}: {pairs}", clips))
    return findings or [finding(GOOD, "no two clips have the same content")]


def _empty_classes(listing: Listing, usable: Sequence[Entry]) -> list[Finding]:
    by_split = _counts(listing, usable)
    nowhere, somewhere = [], []
    for label, name in enumerate(listing.classes):
        empty = [split for split, counts in by_split.items() if not counts[label]]
        if len(empty) == len(by_split):
            nowhere.append(f"{name} in no split")
        else:
            somewhere += [f"none of {name} in {split}" for split in empty]
    empty = nowhere + somewhere
    return [finding(WARNING, "classes without a clip", some(empty, 8))] if empty else []

"""What a person should know of a dataset: counts beside the known ones, and all that is odd."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from data_prep.listing import Listing, some
from data_prep.sources import FRAME_COUNTS, FRAME_ORDER
from mmadfer_jax.data.clip import (
    FEW_FRAMES,
    NATIVE,
    NO_FACE,
    NO_SOUND,
    SEVERAL_FACES,
    PrepareSettings,
)

CHECKED, PREPARED = "checked", "prepared"
FAULT, WARNING, GOOD, NOTE = "fault", "warning", "good", "note"

Entry = Mapping[str, Any]  # a line of the manifest
Finding = dict[str, Any]

# Each, and what a person should think of; clips with any other problem are listed as they are.
_PROBLEMS = {
    NO_FACE: "the middle of the picture was taken: look at the contact sheets",
    SEVERAL_FACES: "each face is small in the crop that holds all: look at the contact sheets",
    NO_SOUND: "the model sees silence for them",
    FEW_FRAMES: "",
    FRAME_COUNTS: "what is really there was taken; programs that trust the number would go wrong",
    FRAME_ORDER: "programs that sort names as text would shuffle these clips",
}


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
    looked_at = _looked_at(usable, settings)
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
        "frames": _spread([entry["num_frames"] for entry in usable]),
        "clips_searched_for_faces": len(shares),
        "face_share": _spread(shares),
        "findings": [
            *_missing(entries, missing),
            *_known_counts(listing, entries),
            *_label_names(listing),
            *_duplicates(usable),
            *_empty_classes(listing, usable),
            *_sound(usable, settings),
            *_problems(usable, stage, len(shares)),
            *_faces(looked_at),
            *({"level": NOTE, "what": note, "detail": "", "clips": []} for note in listing.notes),
        ],
        "settings": settings.to_dict(),
    }


def _finding(level: str, what: str, detail: str = "", clips: Iterable[str] = ()) -> Finding:
    return {"level": level, "what": what, "detail": detail, "clips": list(clips)}


def _counts(listing: Listing, entries: Sequence[Entry]) -> dict[str, list[int]]:
    found = Counter((entry["split"], entry["label"]) for entry in entries)
    classes = range(len(listing.classes))
    return {split: [found[split, label] for label in classes] for split in listing.splits}


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
    for group, what in ((absent, "are not there"), (faulty, "cannot be used")):
        if group:
            reasons = some((entry["reason"] for entry in group), 3)
            ids = [entry["id"] for entry in group]
            what = f"{len(group)} of {len(entries)} clips {what}"
            findings.append(_finding(FAULT, what, reasons, ids))
    return findings or [_finding(GOOD, f"all {len(entries)} clips are there and can be used")]


def _known_counts(listing: Listing, entries: Sequence[Entry]) -> list[Finding]:
    known = listing.known
    if known is None:
        return []
    findings = []
    if len(entries) != known.clips:
        what = f"{len(entries)} clips, published are {known.clips}"
        findings.append(_finding(FAULT, what, "files or list lines are lacking, or too many"))
    splits = Counter(entry["split"] for entry in entries)
    differing = [
        f"{split} {splits[split]} for {count}"
        for split, count in known.splits.items()
        if splits[split] != count
    ]
    if differing:
        what = "splits differ from the published ones"
        findings.append(_finding(FAULT, what, some(differing, len(differing))))
    findings += _known_classes(listing, entries)
    if not findings:
        matched = [
            "all clips",
            *(["each split"] if known.splits else []),
            *(["each class"] if known.classes else []),
        ]
        findings.append(_finding(GOOD, f"counts as published: {', '.join(matched)}"))
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
        return [
            _finding(FAULT, "class counts as published, but in another order of labels", detail)
        ]
    detail = ", ".join(
        f"{name} {count} for {right}"
        for name, count, right in zip(listing.classes, counts, known, strict=True)
        if count != right
    )
    return [_finding(FAULT, "classes differ from the published ones", detail)]


def _label_names(listing: Listing) -> list[Finding]:
    """Labels against the folders clips lie in, where these have the names of classes."""
    lower = {name.lower(): label for label, name in enumerate(listing.classes)}
    named, wrong = 0, []
    for clip in listing.clips:
        folders = {part.lower() for part in PurePosixPath(clip.source).parts[:-1]} & lower.keys()
        named += bool(folders)
        if folders and listing.classes[clip.label].lower() not in folders:
            wrong.append((clip.id, listing.classes[clip.label], min(folders)))
    if wrong:
        examples = some(f"{name} is labelled {label} in {folder}" for name, label, folder in wrong)
        what = f"{len(wrong)} clips lie in a folder called like another class than theirs"
        return [_finding(FAULT, what, examples, (name for name, _, _ in wrong))]
    if named:
        return [_finding(GOOD, f"labels fit the folders' names ({named} clips in such folders)")]
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
            findings.append(_finding(level, what, f"{detail}: {pairs}", clips))
    return findings or [_finding(GOOD, "no two clips have the same content")]


def _empty_classes(listing: Listing, usable: Sequence[Entry]) -> list[Finding]:
    empty = [
        f"{listing.classes[label]} in {split}"
        for split, counts in _counts(listing, usable).items()
        for label, count in enumerate(counts)
        if not count
    ]
    return [_finding(WARNING, "classes without a clip", some(empty, 8))] if empty else []


def _sound(usable: Sequence[Entry], settings: PrepareSettings) -> list[Finding]:
    rates = Counter(entry["sample_rate"] for entry in usable if entry["sample_rate"])
    met = ", ".join(f"{rate} Hz ({n} clips)" for rate, n in rates.most_common())
    if len(rates) > 1:
        return [
            _finding(
                WARNING,
                f"sound at {len(rates)} different rates",
                f"{met}; log-mels differ with the rate, --sample_rate=HZ makes them alike",
            )
        ]
    if rates.keys() == {16000} and settings.sample_rate == NATIVE:
        what = "all sound at 16000 Hz"
        detail = "published weights were trained at the clips' own rates; 16 kHz costs 2.6 UAR"
        return [_finding(NOTE, what, detail)]
    return [_finding(GOOD, f"sound at one rate: {met}")] if rates else []


def _problems(usable: Sequence[Entry], stage: str, searched: int) -> list[Finding]:
    by_problem: dict[str, list[str]] = defaultdict(list)
    for entry in usable:
        for problem in entry["problems"]:
            by_problem[problem].append(entry["id"])
    findings = []
    for problem, clips in sorted(by_problem.items(), key=lambda pair: -len(pair[1])):
        about_faces = problem in (NO_FACE, SEVERAL_FACES)
        of = searched if about_faces and stage == CHECKED else len(usable)
        level = NOTE if problem == FRAME_ORDER else WARNING
        what = f"{len(clips)} of {of} clips: {problem}"
        findings.append(_finding(level, what, _PROBLEMS.get(problem, ""), clips))
    return findings


def _looked_at(usable: Sequence[Entry], settings: PrepareSettings) -> list[Entry]:
    """The clips in which faces were looked for."""
    if settings.faces == "none":
        return []
    return [entry for entry in usable if entry["face_share"] is not None]


def _faces(looked_at: Sequence[Entry]) -> list[Finding]:
    low = [entry["id"] for entry in looked_at if 0 < entry["face_share"] < 0.5]
    if low:
        what = f"{len(low)} of {len(looked_at)} clips show a face in less than half of the frames"
        return [_finding(WARNING, what, "look at the contact sheets", low)]
    if looked_at and all(entry["face_share"] for entry in looked_at):
        what = f"a face in each of the {len(looked_at)} clips in which faces were looked for"
        return [_finding(GOOD, what)]
    return []

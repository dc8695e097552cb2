"""What a person should know of the clips themselves: sound, faces, frames."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from data_prep.listing import Listing
from data_prep.report.finding import CHECKED, GOOD, NOTE, WARNING, Entry, Finding, finding, number
from data_prep.sources import FRAME_COUNTS, FRAME_ORDER
from mmadfer_jax.clips import container, media, pictures, sound_track
from mmadfer_jax.clips.clip import (
    FEW_FRAMES,
    NATIVE,
    NO_FACE,
    NO_SOUND,
    SEVERAL_FACES,
    PrepareSettings,
)
from mmadfer_jax.clips.frame_folder import NOT_SQUARE

_LOW_RATE = 16000  # Hz; what sound is often resampled to
# Each kind, and what a person should think of; clips with any other problem are listed as they are.
_PROBLEMS = {
    NO_FACE: "the middle of the picture was taken: look at the contact sheets",
    SEVERAL_FACES: "each face is small in the crop that holds all: look at the contact sheets",
    NO_SOUND: "the model sees silence for them",
    NOT_SQUARE: "full frames in place of faces cost most of the accuracy: look at the contact "
    "sheets, or give the videos",
    FEW_FRAMES: "where a model sees more than there are, the last one is repeated",
    container.SEVERAL_SOUNDS: "FFmpeg's choice was taken: hear whether the right person speaks",
    container.SEVERAL_VIDEOS: "FFmpeg's choice was taken: look at the contact sheets",
    container.CUT: "what there is was taken; copy the files again",
    media.BROKEN_PICTURES: "copy the files again; pictures behind a lost one may be smeared",
    pictures.HDR_AS_IS: "convert them to BT.709 by another program",
    sound_track.BROKEN: "copy the files again",
    sound_track.LATE: "silence stands where none was recorded",
    sound_track.EARLY: "what was heard before the first picture is not in the log-mel",
    sound_track.GAPS: "silence stands in them",
    sound_track.CHANGES: "pieces put together by somebody?",
    sound_track.SILENT: "the model hears nothing in them, as if they had no sound",
    sound_track.ONE_SIDED: "the log-mel is made of channel 1 alone",
    sound_track.CLIPPED: "distorted where it was recorded or amplified",
    FRAME_COUNTS: "what is really there was taken; programs that trust the number would go wrong",
    FRAME_ORDER: "programs that sort names as text would shuffle these clips",
}


def looked_at(usable: Sequence[Entry], settings: PrepareSettings) -> list[Entry]:
    """The clips in which faces were looked for."""
    if settings.faces == "none":
        return []
    return [entry for entry in usable if entry["face_share"] is not None]


def of_sound(listing: Listing, usable: Sequence[Entry], settings: PrepareSettings) -> list[Finding]:
    """The rates met, and whether somebody may have resampled the sound."""
    rates = Counter(entry["sample_rate"] for entry in usable if entry["sample_rate"])
    if not rates:
        return []
    met = ", ".join(f"{rate} Hz ({number(n, 'clip')})" for rate, n in rates.most_common())
    right = listing.known and listing.known.sample_rate
    native = settings.sample_rate == NATIVE
    low = [entry["id"] for entry in usable if 0 < entry["sample_rate"] <= _LOW_RATE]
    findings = []
    if low and native and right is None:
        what = f"{len(low)} of {sum(rates.values())} clips have sound at {_LOW_RATE} Hz or less"
        detail = (
            "the published weights were trained at the clips' own rates; 16 kHz in their place "
            "costs 2.6 UAR without any error: if somebody resampled this sound, take the original"
        )
        findings.append(finding(WARNING, what, detail, low))
    if len(rates) == 1:
        what = f"sound at one rate: {met}"
        findings.append(finding(NOTE if findings else GOOD, what))
    else:
        detail = "log-mels differ with the rate, here as where the published weights were trained"
        findings.append(finding(NOTE, f"sound at {len(rates)} rates: {met}", detail))
    if right and native and rates.keys() != {right}:
        what = f"sound at {met}, released at {right} Hz"
        findings = [finding(WARNING, what, "somebody has resampled it, or it is another copy's")]
    return findings


def of_problems(
    listing: Listing, usable: Sequence[Entry], stage: str, searched: int
) -> list[Finding]:
    """What single clips have; `searched` is the number of those in which faces were looked for."""
    expected = {FRAME_ORDER, *([NO_SOUND] if _released_silent(listing) else [])}
    by_problem: dict[str, list[str]] = defaultdict(list)
    for entry in usable:
        for problem in entry["problems"]:
            kind, _, _ = problem.partition(": ")  # details differ from clip to clip
            by_problem[kind].append(entry["id"])
    findings = []
    for problem, clips in sorted(by_problem.items(), key=lambda pair: -len(pair[1])):
        about_faces = problem in (NO_FACE, SEVERAL_FACES)
        of = searched if about_faces and stage == CHECKED else len(usable)
        level = NOTE if problem in expected else WARNING
        what = f"{len(clips)} of {of} clips: {problem}"
        findings.append(finding(level, what, _PROBLEMS.get(problem, ""), clips))
    return findings


def _released_silent(listing: Listing) -> bool:
    return listing.known is not None and listing.known.sample_rate == 0


def of_faces(searched: Sequence[Entry]) -> list[Finding]:
    """The share of frames with a face, of the clips in which faces were looked for."""
    if not searched:
        return []
    findings = []
    low = [entry["id"] for entry in searched if 0 < entry["face_share"] < 0.5]
    if low:
        what = f"{len(low)} of {len(searched)} clips show a face in less than half of the frames"
        findings.append(finding(WARNING, what, "look at the contact sheets", low))
    shown = sum(entry["face_share"] > 0 for entry in searched)
    share = statistics.fmean(entry["face_share"] for entry in searched)
    all_show = shown == len(searched)
    of = f"{'each' if all_show else shown} of the {len(searched)} clips"
    what = f"a face in {of} in which faces were looked for, and in {share:.1%} of their frames"
    findings.append(finding(GOOD if all_show and not low else NOTE, what))
    return findings

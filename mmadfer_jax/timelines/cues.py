"""The segments of a timeline as the formats of other tools take them: milliseconds, clean names."""

import re
from typing import NamedTuple

from mmadfer_jax.timelines.timeline import PERSON, Timeline

# What XML cannot hold, and so neither ELAN.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Cue(NamedTuple):
    """A segment: whose it is, start and end in ms, the class, and as `Segment` has it the rest."""

    person: int
    start: int
    end: int
    label: str
    confidence: float
    doubtful: float

    @property
    def name(self) -> str:
        """Of the person."""
        return person_name(self.person)


def cues(timeline: Timeline) -> list[Cue]:
    """All segments in order of start, then person; none is shorter than a millisecond."""
    found = []
    for segment in timeline.segments:
        start, end = round(1000 * segment.start), round(1000 * segment.end)
        span = start, max(end, start + 1)
        found.append(
            Cue(
                segment.person,
                *span,
                one_line(segment.label),
                segment.confidence,
                segment.doubtful,
            )
        )
    return found


def person_name(person: int) -> str:
    """What a person is called; 0 is the sound alone."""
    return f"{PERSON} {person}" if person else "sound"


def one_line(text: str) -> str:
    """A name on one line, without characters that XML cannot hold."""
    return _FORBIDDEN.sub("", " ".join(text.split()))

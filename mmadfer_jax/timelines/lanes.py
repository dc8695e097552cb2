"""The lanes of the report: what each person shows over the whole video, as HTML and SVG."""

from collections.abc import Iterator
from html import escape

import numpy as np

from mmadfer_jax.timelines.cues import Cue, cues, person_name
from mmadfer_jax.timelines.drawing import readable_on
from mmadfer_jax.timelines.running import Running, class_colours, stack
from mmadfer_jax.timelines.timeline import Timeline

_HEIGHT = 100  # of the curves, in units of their own


def length(timeline: Timeline) -> float:
    """Seconds that are shown: of the video, or to the end of the last window; more than 0."""
    ends = timeline.windows.end
    return max(timeline.duration, float(ends.max()) if len(ends) else 0.0, 0.001)


def lane(timeline: Timeline, person: int, running: Running) -> str:
    """A person's segments, and under them the probabilities, one on the other."""
    seconds, colours = length(timeline), class_colours(timeline)
    colour = dict(zip(timeline.classes, colours, strict=True))
    blocks = [
        _segment(cue, seconds, colour[segment.label])
        for cue, segment in zip(cues(timeline), timeline.segments, strict=True)
        if cue.person == person
    ]
    spans = [
        f'<div class="span hatched" style="{_place(start, end, seconds)}" '
        f'title="{escape(", ".join(notes))}"></div>'
        for start, end, notes in running.doubts
    ]
    return (
        f'<div class="lane"><h3>{escape(person_name(person))}</h3>'
        f'<div class="row">{"".join(blocks)}</div>'
        f'<div class="area"><svg viewBox="0 0 {seconds:.3f} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(_areas(running, colours))}</svg>{"".join(spans)}</div></div>'
    )


def _segment(cue: Cue, seconds: float, colour: str) -> str:
    start, end = cue.start / 1000, cue.end / 1000
    doubt = f", doubtful in {cue.doubtful:.0%} of its windows" if cue.doubtful else ""
    title = f"{cue.label}, {start:.1f} to {end:.1f} s, {cue.confidence:.0%}{doubt}"
    hatched = " hatched" if cue.doubtful >= 0.5 else ""
    style = f"{_place(start, end, seconds)};background-color:{colour};color:{readable_on(colour)}"
    return (
        f'<button class="segment{hatched}" data-start="{start:.3f}" title="{escape(title)}" '
        f'style="{style}">{escape(cue.label)}</button>'
    )


def _areas(running: Running, colours: list[str]) -> Iterator[str]:
    shown, groups = stack(colours)
    for times, probabilities in running.runs:
        tops = _HEIGHT * (1 - np.cumsum(probabilities @ groups, axis=1))
        below = np.full(len(times), float(_HEIGHT))
        for k, colour in enumerate(shown):
            corners = [*zip(times, tops[:, k], strict=True)]
            corners += reversed([*zip(times, below, strict=True)])
            points = " ".join(f"{x:.3f},{y:.1f}" for x, y in corners)
            yield f'<polygon points="{points}" fill="{colour}"/>'
            below = tops[:, k]


def _place(start: float, end: float, seconds: float) -> str:
    return f"left:{100 * start / seconds:.4f}%;width:{100 * (end - start) / seconds:.4f}%"

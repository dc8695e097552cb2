"""`report.html`: the video beside its timeline, on one page that asks no network for anything."""

import json
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from upath import UPath

from mmadfer_jax import files, pages
from mmadfer_jax.timelines import annotated, document, honest, watching
from mmadfer_jax.timelines.cues import one_line, person_name
from mmadfer_jax.timelines.lanes import lane, length
from mmadfer_jax.timelines.running import Running, class_colours, legend
from mmadfer_jax.timelines.tables import summarise
from mmadfer_jax.timelines.timeline import Timeline

NAME = "report.html"
_PAGE = Path(__file__).parent / "page"
_BARS = 8  # of a person, the classes that are most probable on the whole

_FILES = {
    annotated.NAME: "the video with boxes, names and running probabilities",
    "timeline.csv": "a row a window and person",
    "faces.csv": "a row a frame and face, with OpenFace's column names",
    "timeline.vtt": "subtitles",
    "timeline.srt": "subtitles",
    "timeline.TextGrid": "tiers for Praat",
    "timeline.eaf": "tiers for ELAN",
    "timeline_events.tsv": "events for BIDS",
    "timeline_events.json": "what the columns of the events are",
    document.NAME: "all of it, for this program to read back",
}


def write_report(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes the page. It plays `annotated.mp4` where the folder has it, else the video itself."""
    there = [name for name in (*files.names(folder), document.NAME) if name in _FILES]
    running = {person: Running(timeline, person) for person in timeline.persons}
    source = _source(folder, video, there)
    name = Path(timeline.video).name
    body = "".join(
        [
            f"<h1>{escape(name)}</h1>",
            '<p class="soft">What each person shows, second by second.</p>',
            _words(timeline),
            _tiles(timeline),
            _problems(timeline),
            _stage(timeline, running, source),
            _timeline(timeline, running),
            _people(timeline) * bool(running),
            _files(there),
            "<h2>Settings</h2>",
            _settings(timeline),
            '<script type="application/json" id="data">',
            _data(timeline, running, folder),
            "</script>",
        ]
    )
    style, script = ((_PAGE / f"report.{kind}").read_text() for kind in ("css", "js"))
    path = folder / NAME
    files.write(path, pages.page(name, body, style, script).encode(errors="backslashreplace"))
    return [path]


def _source(folder: Path | UPath, video: Path | None, there: list[str]) -> str | None:
    """Where the page finds a video to play."""
    if annotated.NAME in there:
        return annotated.NAME
    if video is None or not isinstance(folder, Path):
        return None
    return quote(Path(os.path.relpath(video, folder)).as_posix())


def _words(timeline: Timeline) -> str:
    first, *others = map(pages.prose, honest.statements(timeline))
    return f'<div class="card words"><p>{first}</p><p>{" ".join(others)}</p></div>'


def _tiles(timeline: Timeline) -> str:
    windows, people = timeline.windows, sum(person > 0 for person in timeline.persons)
    doubtful = sum(map(bool, windows.notes)) / max(len(windows.notes), 1)
    sound = f"{timeline.sample_rate / 1000:g} kHz" if timeline.sample_rate else "none"
    width, height = timeline.size
    return pages.tiles(
        [
            (f"{timeline.duration:.1f} s", f"{timeline.num_frames:,} frames, {width} x {height}"),
            (str(people), "person" if people == 1 else "people"),
            (f"{len(windows.notes):,}", f"windows of {timeline.window:g} s"),
            (f"{doubtful:.0%}", "of them doubtful"),
            (sound, "sound"),
        ]
    )


def _problems(timeline: Timeline) -> str:
    if not timeline.problems:
        return ""
    lines = "".join(f"<li>{escape(problem)}</li>" for problem in timeline.problems)
    return f'<div class="card problems"><ul>{lines}</ul></div>'


def _stage(timeline: Timeline, running: dict[int, Running], source: str | None) -> str:
    """The video, and beside it what is said of each person just now."""
    hint = (
        "This browser cannot play the video. Save the timeline with the format <code>video</code> "
        "too; the page then plays <code>annotated.mp4</code>."
    )
    player = f'<div class="card unplayable"{" hidden" * bool(source)}>{hint}</div>'
    if source:
        player += f'<video controls preload="metadata" playsinline src="{escape(source)}"></video>'
    people = "".join(_now(timeline, person) for person in running)
    return (
        f'<div class="stage"><div>{player}</div><div class="card now"><div class="soft">at '
        f'<span class="clock">0:00.0</span></div>{people}</div></div>'
    )


def _now(timeline: Timeline, person: int) -> str:
    answers = timeline.windows.probabilities[timeline.windows.person == person]
    often = np.argsort(-np.nanmean(answers, axis=0), kind="stable")[:_BARS].tolist()
    colours = class_colours(timeline)
    lines = "".join(
        f'<li data-k="{k}"><span title="{escape(one_line(timeline.classes[k]))}">'
        f'{escape(one_line(timeline.classes[k]))}</span><div class="bar">'
        f'<i style="background:{colours[k]}"></i></div><span class="share"></span></li>'
        for k in sorted(often)
    )
    return (
        f'<section class="person"><h3>{escape(person_name(person))}</h3><ol>{lines}</ol>'
        '<div class="doubt"></div><img class="seen" hidden '
        'alt="the frames that the model saw, and the sound that it heard"></section>'
    )


def _timeline(timeline: Timeline, running: dict[int, Running]) -> str:
    colours = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in legend(timeline)
    )
    lanes = "".join(lane(timeline, person, own) for person, own in running.items())
    empty = '<p class="soft">No person was answered for.</p>' * (not running)
    return (
        f'<h2>Timeline</h2><div class="tools"><div class="legend">{colours}<span>'
        '<i class="hatched"></i>doubtful</span></div><div class="zoom">'
        '<button data-by="0.5" aria-label="show more">−</button>'
        '<button data-by="2" aria-label="show closer">+</button></div></div>'
        f'<div class="card lanes" tabindex="0" role="slider" aria-label="place in the video" '
        f'aria-valuemin="0" aria-valuemax="{length(timeline):.1f}"><div class="inner">'
        f'<div class="axis"></div>{lanes}{empty}<div class="head"></div></div></div>'
        f'<p class="soft">Click to go there. {escape(honest.DOUBT)}</p>'
    )


def _people(timeline: Timeline) -> str:
    rows = [row for row in summarise(timeline) if row["answered"]]
    head = ["person", "seen", "windows", "doubtful", *map(one_line, timeline.classes)]
    body = []
    for row in rows:
        cells = [
            person_name(row["person"]),
            f"{float(row['first']):.1f} to {float(row['last']):.1f} s",
            str(row["windows"]),
            str(row["doubtful"]),
            *(_percent(row[f"mean_{name}"]) for name in timeline.classes),
        ]
        body.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{line}</tr>" for line in body)
    return (
        '<h2>Each person on the whole</h2><div class="card scroll"><table><thead>'
        f"<tr>{titles}</tr></thead><tbody>{lines}</tbody>"
        '</table></div><p class="soft">Under each class the mean of its probability.</p>'
    )


def _percent(share: str) -> str:
    return f"{float(share):.0%}" if share else ""


def _files(there: list[str]) -> str:
    rows = "".join(
        f'<tr><th><a href="{quote(name)}">{escape(name)}</a></th><td>{escape(what)}</td></tr>'
        for name, what in _FILES.items()
        if name in there
    )
    return f'<h2>Files</h2><div class="card scroll files"><table class="plain">{rows}</table></div>'


def _settings(timeline: Timeline) -> str:
    """All but the model's card, which is long, and of which the words on top say the rest."""
    settings = {name: value for name, value in timeline.settings.items() if name != "card"}
    return pages.settings_table({"model": timeline.model, **settings})


def _data(timeline: Timeline, running: dict[int, Running], folder: Path | UPath) -> str:
    """What the script needs, as JSON that cannot end the element it stands in."""
    people = [
        {
            "runs": [
                {
                    "times": [round(time, 3) for time in times.tolist()],
                    "probabilities": (1000 * probabilities).round().astype(int).tolist(),
                }
                for times, probabilities in own.runs
            ],
            "doubts": [
                (round(start, 3), round(end, 3), ", ".join(notes))
                for start, end, notes in own.doubts
            ],
            "seen": watching.pictures(timeline, folder, person),
        }
        for person, own in running.items()
    ]
    data = {"seconds": length(timeline), "hop": timeline.hop, "people": people}
    return json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")

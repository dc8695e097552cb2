"""The report as one HTML file with its pictures inside, for a desk and for a telephone."""

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from data_prep.report.finding import CHECKED, FAULT, GOOD, NOTE, WARNING, number
from data_prep.report.sheets import Sheet

_SYMBOLS = {FAULT: "✕", WARNING: "!", GOOD: "✓", NOTE: "i"}
_ORDER = (FAULT, WARNING, GOOD, NOTE)
_MOST_NAMES = 60  # clips named under a finding; report.json has all

_STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #5d6878; --line: #dfe3e9;
  --fault: #c62f2f; --warning: #b26a00; --good: #1c7f4b; --note: #4a6fa5; --bar: #d6e2f3; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1b212a; --text: #e6e9ee; --soft: #9aa5b4; --line: #303946;
  --fault: #ff7b72; --warning: #e3a33b; --good: #56c98a; --note: #86aee8; --bar: #2a3b55; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
h3 { font-size: 1rem; margin: 22px 0 10px; }
.soft { color: var(--soft); }
.verdict { display: flex; flex-wrap: wrap; gap: 6px 20px; margin-top: 12px; font-weight: 600; }
.verdict span { display: flex; align-items: center; gap: 8px; }
p { margin: 4px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
  margin-top: 22px; }
.tile, .card, .finding { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.finding { display: flex; gap: 12px; padding: 10px 14px; margin-bottom: 8px; }
.finding > div { min-width: 0; overflow-wrap: anywhere; }
.mark { flex: none; width: 24px; height: 24px; border-radius: 50%; color: var(--card);
  font-weight: 700; font-size: 14px; line-height: 24px; text-align: center; }
.fault .mark { background: var(--fault); } .warning .mark { background: var(--warning); }
.good .mark { background: var(--good); } .note .mark { background: var(--note); }
.finding.fault { border-left: 4px solid var(--fault); }
.finding.warning { border-left: 4px solid var(--warning); }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
.names { font-size: .85rem; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .85rem; color: var(--soft); }
tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--card); }
td.less, td.differs { color: var(--fault); font-weight: 600; }
td.sum { font-weight: 600; }
td.bar { background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); }
.plain td, .plain th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.sheets { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: 16px; }
figure { margin: 0; padding: 12px; }
figure img { display: block; width: 100%; border-radius: 6px; }
figure .mel { height: 84px; margin-top: 8px; image-rendering: auto; }
.silent { margin-top: 8px; height: 84px; border-radius: 6px; border: 1px dashed var(--line);
  color: var(--soft); display: grid; place-items: center; font-size: .9rem; }
.axis { display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft); }
figcaption { overflow-wrap: anywhere; font-size: .9rem; margin-bottom: 8px; }
.tag { display: inline-block; border-radius: 999px; padding: 1px 10px; margin: 4px 6px 0 0;
  font-size: .8rem; border: 1px solid var(--line); }
.tag.bad { color: var(--warning); border-color: var(--warning); }
@media (max-width: 600px) { main { padding: 18px 12px 40px; } h1 { font-size: 1.35rem; }
  th, td { padding: 5px 8px; } figure { padding: 10px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; } .tile b { font-size: 1.25rem; } }
"""


def render(report: dict[str, Any], sheets: Sequence[Sheet]) -> str:
    """The page.

    Args:
        report: What `findings.assess` gave.
        sheets: The clips to show.
    """
    name = escape(report["dataset"])
    checked = report["stage"] == CHECKED
    title = f"{name}: {'before preparation' if checked else 'as prepared'}"
    worst = [sheet for sheet in sheets if sheet.why == "worst"]
    others = [sheet for sheet in sheets if sheet.why != "worst"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{title}</h1>",
            '<p class="soft">Are the clips all there, are faces faces, is sound sound?</p>',
            _verdict(report["findings"]),
            _tiles(report),
            "<h2>Findings</h2>",
            *(
                _finding(finding, report["left_out"])
                for finding in sorted(report["findings"], key=lambda f: _ORDER.index(f["level"]))
            ),
            "<h2>Clips by class and split</h2>",
            _counts(report),
            "<h2>Clips to look at</h2>",
            '<p class="soft">16 frames of each as the model sees them, row by row in order of ',
            "time; below, its sound as log-mel, low notes at the bottom.</p>",
            _sheets("Most likely to be wrong", worst, report),
            _sheets("Chosen at random", others, report),
            "<h2>Settings</h2>",
            _settings(report["settings"]),
            "</main></body></html>\n",
        ]
    )


def _verdict(findings: Sequence[dict[str, Any]]) -> str:
    counts = Counter(finding["level"] for finding in findings)
    shown = [level for level in (FAULT, WARNING) if counts[level]]
    if not shown:
        return f'<div class="verdict"><span class="good">{_mark(GOOD)}nothing wrong</span></div>'
    spans = (
        f'<span class="{level}">{_mark(level)}{number(counts[level], level)}</span>'
        for level in shown
    )
    return f'<div class="verdict">{"".join(spans)}</div>'


def _mark(level: str) -> str:
    return f'<b class="mark" aria-label="{level}">{_SYMBOLS[level]}</b>'


def _tiles(report: dict[str, Any]) -> str:
    clips, share, frames = report["clips"], report["face_share"], report["frames"]
    rates = [f"{int(rate) / 1000:g}" for rate in report["sample_rates"]]
    sound = f"{', '.join(rates)} kHz" if 0 < len(rates) <= 3 else f"{len(rates)} rates"
    pairs = [
        (f"{clips['usable']:,}", f"of {clips['listed']:,} clips usable"),
        (str(len(report["classes"])), "classes"),
        (str(len(report["usable"])), "splits"),
        (sound if rates else "none", "sound"),
    ]
    if frames:
        pairs.append(
            (f"{frames['median']:g}", f"frames a clip, {frames['least']} to {frames['most']}")
        )
    if share:
        what = f"of frames show a face ({report['clips_searched_for_faces']} clips searched)"
        pairs.append((f"{share['mean']:.1%}", what))
    tiles = (f'<div class="tile"><b>{b}</b><span class="soft">{s}</span></div>' for b, s in pairs)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _finding(finding: dict[str, Any], left_out: dict[str, str]) -> str:
    level, clips = finding["level"], finding["clips"]
    detail = f'<p class="soft">{escape(finding["detail"])}</p>' if finding["detail"] else ""
    names = ""
    if clips:
        reasons = all(clip in left_out for clip in clips)
        listed = [left_out[clip] if reasons else clip for clip in clips[:_MOST_NAMES]]
        if len(clips) > _MOST_NAMES:
            listed.append(f"and {len(clips) - _MOST_NAMES} more in report.json")
        text = ("<br>" if reasons else ", ").join(map(escape, listed))
        names = (
            f"<details><summary>{number(len(clips), 'clip')}</summary>"
            f'<div class="names">{text}</div></details>'
        )
    return (
        f'<div class="finding {level}">{_mark(level)}'
        f"<div>{escape(finding['what'])}{detail}{names}</div></div>"
    )


def _counts(report: dict[str, Any]) -> str:
    usable, listed, known = report["usable"], report["listed"], report["known"] or {}
    splits, classes = list(usable), report["classes"]
    by_class = known.get("classes") or []
    head = ["class", *splits, "all", *(["published"] if by_class else [])]
    totals = [sum(usable[split][label] for split in splits) for label in range(len(classes))]
    wholes = [sum(listed[split][label] for split in splits) for label in range(len(classes))]
    rows = []
    for label, name in enumerate(classes):
        cells = [_cell(usable[split][label], listed[split][label]) for split in splits]
        share = f"{100 * totals[label] / max(max(totals), 1):.0f}%"
        cells.append(_cell(totals[label], wholes[label], "bar", f"--share: {share}"))
        if by_class:
            cells.append(_published(by_class[label], wholes[label]))
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    sums = [_cell(sum(usable[s]), sum(listed[s]), "sum") for s in splits]
    sums.append(_cell(sum(totals), sum(wholes), "sum"))
    if by_class:
        sums.append(_published(known["clips"], sum(wholes)))
    rows.append(f'<tr><td class="sum">all</td>{"".join(sums)}</tr>')
    if known and (known["splits"] or not by_class):
        counts = {split: sum(listed[split]) for split in splits}
        cells = [
            _published(known["splits"][split], count) if split in known["splits"] else "<td></td>"
            for split, count in counts.items()
        ]
        cells += [_published(known["clips"], sum(wholes)), *(["<td></td>"] if by_class else [])]
        rows.append(f"<tr><td>published</td>{''.join(cells)}</tr>")
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        '<div class="card scroll"><table><thead><tr>'
        f"{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(usable: int, listed: int, kind: str = "", style: str = "") -> str:
    text = f"{usable:,} of {listed:,}" if usable < listed else f"{usable:,}"
    kinds = " ".join(filter(None, (kind, "less" if usable < listed else "")))
    return f'<td class="{kinds}" style="{style}">{text}</td>'


def _published(count: int, listed: int) -> str:
    return f'<td class="{"soft" if count == listed else "differs"}">{count:,}</td>'


def _sheets(title: str, sheets: Sequence[Sheet], report: dict[str, Any]) -> str:
    if not sheets:
        return ""
    figures = "".join(_figure(sheet, report) for sheet in sheets)
    return f'<h3>{title}</h3><div class="sheets">{figures}</div>'


def _figure(sheet: Sheet, report: dict[str, Any]) -> str:
    entry = sheet.entry
    tags = [(report["classes"][entry["label"]], False), (entry["split"], False)]
    tags.append((f"{entry['num_frames']} frames", False))
    if entry["face_share"] is not None and report["clips_searched_for_faces"]:
        tags.append((f"face in {entry['face_share']:.0%}", entry["face_share"] < 0.9))
    tags += [(problem, True) for problem in entry["problems"]]
    spans = "".join(
        f'<span class="tag{" bad" if bad else ""}">{escape(text)}</span>' for text, bad in tags
    )
    if sheet.log_mel is None:
        sound = '<div class="silent">no sound</div>'
    else:
        rate = f"{entry['sample_rate'] / 1000:g} kHz"
        sound = (
            f'<img class="mel" alt="log-mel of {escape(entry["id"])}" '
            f'src="{_data(sheet.log_mel)}"><div class="axis"><span>0 s</span><span>{rate}</span>'
            f"<span>{sheet.seconds:.1f} s</span></div>"
        )
    return (
        f'<figure class="card"><figcaption><b>{escape(entry["id"])}</b><br>{spans}</figcaption>'
        f'<img alt="16 frames of {escape(entry["id"])}" src="{_data(sheet.crops)}">{sound}</figure>'
    )


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _settings(settings: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(_text(value))}</td></tr>"
        for key, value in settings.items()
    )
    return f'<div class="card scroll"><table class="plain">{rows}</table></div>'


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return str(value)

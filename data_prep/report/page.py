"""The report as one HTML file with its pictures inside, for a desk and for a telephone."""

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from data_prep.report.finding import CHECKED, FAULT, GOOD, NOTE, WARNING, number
from data_prep.report.sheets import Sheet
from mmadfer_jax import pages

_SYMBOLS = {FAULT: "✕", WARNING: "!", GOOD: "✓", NOTE: "i"}
_ORDER = (FAULT, WARNING, GOOD, NOTE)
_MOST_NAMES = 60  # clips named under a finding; report.json has all

_STYLE = """
.verdict { display: flex; flex-wrap: wrap; gap: 6px 20px; margin-top: 12px; font-weight: 600; }
.verdict span { display: flex; align-items: center; gap: 8px; }
.finding { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  display: flex; gap: 12px; padding: 10px 14px; margin-bottom: 8px; }
.finding > div { min-width: 0; overflow-wrap: anywhere; }
.mark { flex: none; width: 24px; height: 24px; border-radius: 50%; color: var(--card);
  font-weight: 700; font-size: 14px; line-height: 24px; text-align: center; }
.fault .mark { background: var(--fault); } .warning .mark { background: var(--warning); }
.good .mark { background: var(--good); } .note .mark { background: var(--note); }
.finding.fault { border-left: 4px solid var(--fault); }
.finding.warning { border-left: 4px solid var(--warning); }
.names { font-size: .85rem; color: var(--soft); }
td.less, td.differs { color: var(--fault); font-weight: 600; }
td.sum { font-weight: 600; }
td.bar { background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); }
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
@media (max-width: 600px) { figure { padding: 10px; } }
"""


def render(report: dict[str, Any], sheets: Sequence[Sheet]) -> str:
    """The page.

    Args:
        report: What `findings.assess` gave.
        sheets: The clips to show.
    """
    checked = report["stage"] == CHECKED
    title = f"{report['dataset']}: {'before preparation' if checked else 'as prepared'}"
    worst = [sheet for sheet in sheets if sheet.why == "worst"]
    others = [sheet for sheet in sheets if sheet.why != "worst"]
    body = "".join(
        [
            f"<h1>{escape(title)}</h1>",
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
            pages.settings_table(report["settings"]),
        ]
    )
    return pages.page(title, body, _STYLE)


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
    return pages.tiles(pairs)


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

"""What the user sees: a progress bar, and tables of what was written and what was not."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from data_prep.report.finding import CHECKED, FAULT, GOOD, NOTE, WARNING

_PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
_MOST_REASONS = 8
_PLAIN_WIDTH = 160  # of tables in a file, which nobody can widen afterwards
_STYLES = {FAULT: "red", WARNING: "yellow", GOOD: "green", NOTE: ""}
_MARKS = list(_STYLES)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} clips/s" if task.speed else "")


@contextlib.contextmanager
def progress(total: int, verb: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, or a line every ten seconds where that is no terminal.

    Args:
        total: Number of clips.
        verb: What happens to them, such as `preparing`.

    Yields:
        What to call with the number of clips done since the last call.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(total, verb, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda clips: bar.advance(task, clips)


def _plain(total: int, verb: str, console: Console) -> Callable[[int], None]:
    done, said = 0, time.monotonic()

    def advance(clips: int) -> None:
        nonlocal done, said
        done += clips
        if done == total or time.monotonic() - said > _PLAIN_SECONDS:
            said = time.monotonic()
            console.print(f"{verb}: {done} of {total} clips", highlight=False)

    return advance


def steps(advance: Callable[[int], None]) -> Callable[[int], None]:
    """For callers that tell how many are done in all: passes on how many more that is."""
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        advance(done - told)
        told = done

    return tell


def show(report: dict[str, Any], manifest: list[dict[str, Any]]) -> None:
    """Prints clips by split and class, what was found, and why clips are left out."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    console.print(_table(report))
    reasons = {e["id"]: e["reason"] for e in manifest if e["status"] == "skipped"}
    for finding in sorted(report["findings"], key=lambda finding: _MARKS.index(finding["level"])):
        text = f"{finding['level']}: {finding['what']}"
        why = [reasons[name] for name in finding["clips"] if name in reasons]
        if finding["detail"] and finding["level"] in (FAULT, WARNING) and not why:
            text += f" ({finding['detail']})"
        style = _STYLES[finding["level"]]
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        for reason in why[:_MOST_REASONS]:
            console.print(f"  {reason}", markup=False, highlight=False, soft_wrap=True)
        if len(why) > _MOST_REASONS:
            more = len(why) - _MOST_REASONS
            console.print(f"  and {more} more, see the report", highlight=False)


def _table(report: dict[str, Any]) -> Table:
    clips, usable, listed = report["clips"], report["usable"], report["listed"]
    known = report["known"] or {}
    verb = "found" if report["stage"] == CHECKED else "written"
    title = f"{verb}: {clips['usable']} of {clips['listed']} clips"
    by_class, by_split = known.get("classes"), known.get("splits")
    table = Table("class", *usable, "all", *(["published"] if by_class else []), title=title)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for label, name in enumerate(report["classes"]):
        cells = [_cell(usable[split][label], listed[split][label]) for split in usable]
        total = sum(usable[split][label] for split in usable)
        whole = sum(listed[split][label] for split in usable)
        cells += [_cell(total, whole), *([str(by_class[label])] if by_class else [])]
        table.add_row(Text(name), *cells)
    sums = [_cell(sum(usable[split]), sum(listed[split])) for split in usable]
    sums += [_cell(clips["usable"], clips["listed"])]
    table.add_row("all", *sums, *([str(known["clips"])] if by_class else []))
    if by_split or (known and not by_class):
        table.add_row("published", *(str(by_split.get(s, "")) for s in usable), str(known["clips"]))
    return table


def _cell(usable: int, listed: int) -> Text:
    return Text(f"{usable} of {listed}", "red") if usable < listed else Text(str(usable))

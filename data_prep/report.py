"""What the user sees: a progress bar, and tables of what was written and what was not."""

import contextlib
import time
from collections import Counter
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

from data_prep.listing import Listing

_PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
_MOST_REASONS = 8


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


def summary(listing: Listing, manifest: list[dict[str, Any]]) -> None:
    """Prints clips by split and class, and what went wrong with how many."""
    console = Console()
    written = [entry for entry in manifest if entry["status"] == "written"]
    counts = Counter((entry["split"], entry["label"]) for entry in written)
    table = Table(
        "class", *listing.splits, "all", title=f"written: {len(written)} of {len(manifest)} clips"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for label, name in enumerate(listing.classes):
        row = [counts[split, label] for split in listing.splits]
        table.add_row(Text(name), *map(str, row), str(sum(row)))
    totals = [sum(n for (s, _), n in counts.items() if s == split) for split in listing.splits]
    table.add_row("all", *map(str, totals), str(sum(totals)))
    console.print(table)
    problems = Counter(problem for entry in written for problem in entry["problems"])
    for problem, count in problems.most_common():
        console.print(f"{count} of them: {problem}", markup=False, highlight=False)
    rates = Counter(entry["sample_rate"] for entry in written if entry["sample_rate"])
    if len(rates) > 1:
        found = ", ".join(f"{rate} Hz ({count})" for rate, count in rates.most_common())
        console.print(f"sound at different rates: {found}", markup=False, highlight=False)
    skipped = [entry for entry in manifest if entry["status"] == "skipped"]
    if skipped:
        console.print(f"skipped {len(skipped)} of {len(manifest)} clips:", highlight=False)
        for entry in skipped[:_MOST_REASONS]:
            console.print(f"  {entry['reason']}", markup=False, highlight=False, soft_wrap=True)
        if len(skipped) > _MOST_REASONS:
            more = len(skipped) - _MOST_REASONS
            console.print(f"  and {more} more, see manifest.jsonl", highlight=False)

"""What a user sees of a long video: how far it is, and how long it still takes."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, or a line now and then where that is no terminal.

    Args:
        name: Of the video.

    Yields:
        What to call with the share that is done, 0 to 1.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(name, console)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name.replace("[", r"\["), total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _plain(name: str, console: Console) -> Callable[[float], None]:
    start = said = time.monotonic()

    def show(share: float) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said > _PLAIN_SECONDS and 0 < share < 1:
            said = now
            left = round((now - start) * (1 - share) / share)
            text = f"{name}: {share:.0%}, {left // 60}:{left % 60:02} left"
            console.print(text, highlight=False, markup=False)

    return show

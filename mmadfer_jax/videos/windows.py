"""Which windows a video has."""

from collections.abc import Iterator
from typing import NamedTuple

# Containers round times to a millisecond: a frame belongs to a window that starts so little later.
ROUNDING = 1e-3  # seconds


class Span(NamedTuple):
    """A window in seconds; `end` is that of the video where `full_end` lies behind it."""

    start: float
    end: float
    full_end: float


class Spans:
    """Windows of a length, a hop apart from time 0 on, until one reaches the end.

    The last one is shorter where the video ends before it. With a hop above the length, the time
    between windows is left out.

    Args:
        length: Seconds.
        hop: Seconds.
    """

    def __init__(self, length: float, hop: float):
        self._length, self._hop = length, hop
        self._number = 0

    @property
    def start(self) -> float:
        """Of the next window, in seconds."""
        return self._number * self._hop

    def until(self, time: float) -> Iterator[Span]:
        """The next windows, those that end by a time in seconds."""
        while self.start + self._length <= time + ROUNDING:
            start, end = self.start, self.start + self._length
            self._number += 1
            yield Span(start, end, end)

    def rest(self, duration: float, step: float) -> Iterator[Span]:
        """The windows that are left at the end.

        Args:
            duration: Of the video, in seconds.
            step: Of a frame, in seconds; what reaches the end but for half of it reaches the end.
        """
        reached = self.start - self._hop + self._length if self._number else 0.0
        while (not self._number or reached < duration - step / 2) and self.start < duration:
            start, reached = self.start, self.start + self._length
            self._number += 1
            yield Span(start, min(reached, duration), reached)

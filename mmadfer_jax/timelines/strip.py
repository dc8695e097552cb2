"""The strip under an annotated video: the running probabilities of each person around now."""

import numpy as np

from mmadfer_jax.timelines.cues import one_line, person_name
from mmadfer_jax.timelines.drawing import DARK, LIGHT, put, rgb, said, words
from mmadfer_jax.timelines.running import DOUBT, Running, class_colours, legend, stack
from mmadfer_jax.timelines.timeline import Timeline

SECONDS = 12  # shown, now in the middle
_MOST_PEOPLE = 4
_EMPTY = "#2b323c"
_STRIPE = 4  # pixels


class Strip:
    """Draws the strip of one video.

    Attributes:
        height: In pixels, even.
    """

    def __init__(self, timeline: Timeline, width: int, size: int):
        """Prepares for a width in pixels and a size of the letters."""
        self._width, self._size = width, size
        # Even, as H.264 wants the height.
        self._gap, self._line, self._band = (
            2 * (size // 4),
            2 * (3 * size // 4),
            2 * (6 * size // 5),
        )
        self._names = [one_line(name) for name in timeline.classes]
        colours, self._groups = stack(class_colours(timeline))
        self._palette = np.array([rgb(colour) for colour in colours], np.uint8)
        rows = timeline.windows.person
        often = sorted(timeline.persons, key=lambda person: -np.count_nonzero(rows == person))
        people = sorted(often[:_MOST_PEOPLE])
        self._running = {person: Running(timeline, person) for person in people}
        more = len(timeline.persons) - len(people)
        self._legend = self._draw_legend(legend(timeline), f"and {more} more people" * bool(more))
        bands = (self._line + self._band + self._gap) * max(len(people), 1)
        self.height = self._gap + bands + len(self._legend)

    def draw(self, time: float) -> np.ndarray:
        """The strip at a time in seconds, uint8 [height, width, 3] RGB."""
        strip = np.full((self.height, self._width, 3), rgb(DARK), np.uint8)
        strip[-len(self._legend) :] = self._legend
        clock = words(f"{int(time // 60)}:{time % 60:04.1f}", self._size)
        put(strip, clock, self._width - clock.shape[1] - self._gap, self._gap, LIGHT)
        if not self._running:
            put(strip, words("nobody was answered for", self._size), self._gap, self._gap, LIGHT)
        top = self._gap
        for person, running in self._running.items():
            text = said(running.at(np.array([time])), self._names)
            put(strip, words(f"{person_name(person)}  {text}", self._size), self._gap, top, LIGHT)
            top += self._line
            strip[top : top + self._band] = self._bands(running, time)
            top += self._band + self._gap
        return strip

    def _bands(self, running: Running, time: float) -> np.ndarray:
        """Probabilities one on the other, a column a pixel; hatched where doubtful."""
        height, width = self._band, self._width
        times = time + (np.arange(width) + 0.5 - width / 2) * (SECONDS / width)
        probabilities, doubtful = running.at(times)
        known = ~np.isnan(probabilities[:, 0])
        heights = np.nan_to_num(probabilities) @ self._groups
        below = heights.cumsum(axis=1)[:, :-1]  # [width, G - 1]
        level = 1 - (np.arange(height) + 0.5) / height
        shown = self._palette[(level[:, None, None] > below).sum(axis=2)]
        shown[:, ~known] = rgb(_EMPTY)
        # The stripes move with the probabilities.
        along = np.floor(times * (width / SECONDS)) + np.arange(height)[:, None]
        stripes = (along % (2 * _STRIPE) < _STRIPE) & doubtful & known
        shown[stripes] = rgb(DOUBT)
        shown[:, width // 2 - 1 : width // 2 + 1] = 255
        return shown

    def _draw_legend(self, entries: list[tuple[str, str]], note: str) -> np.ndarray:
        """The names behind their colours, on as many lines as it takes."""
        size, gap, line = self._size, self._gap, self._line
        placed, left, top = [], gap, 0
        for name, colour in [*entries, (note, "")]:
            ink = words(name, size)
            if left + size + gap + ink.shape[1] > self._width and left > gap:
                left, top = gap, top + line
            placed.append((ink, colour, left, top))
            left += size + ink.shape[1] + 3 * gap
        drawn = np.full((top + line + gap, self._width, 3), rgb(DARK), np.uint8)
        for ink, colour, left, top in placed:
            if colour:
                square = slice(top + 2, top + size), slice(left, left + size - 2)
                drawn[square] = rgb(colour)
            put(drawn, ink, left + (size + gap // 2) * bool(colour), top, LIGHT)
        return drawn

"""Draws what is said of people into a picture: words, and boxes around faces."""

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmadfer_jax.timelines.cues import one_line, person_name
from mmadfer_jax.timelines.running import DOUBT, Answer, Running, class_colours
from mmadfer_jax.timelines.timeline import Timeline

DARK, LIGHT = "#161b22", "#e8ebef"

Colour = tuple[int, int, int]


def rgb(colour: str) -> Colour:
    """Of `#rrggbb`."""
    return tuple(bytes.fromhex(colour[1:]))


def readable_on(colour: str) -> str:
    """A dark or a light colour for letters, whichever can be read on another one."""
    linear = [(c / 255) ** 2.2 for c in rgb(colour)]
    bright = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))  # relative luminance
    return DARK if (bright + 0.05) / 0.058 > 1.05 / (bright + 0.05) else "#ffffff"


@functools.lru_cache(maxsize=2048)  # some 43 classes with 100 percentages are much
def words(text: str, size: int) -> np.ndarray:
    """Where there is ink, uint8 [size + size // 3, width]."""
    font = _font(size)
    sprite = Image.new("L", (max(1, round(font.getlength(text))), size + size // 3))
    ImageDraw.Draw(sprite).text((0, 0), text, fill=255, font=font)
    return np.asarray(sprite)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # It comes with matplotlib and knows the letters of most languages with letters.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def put(picture: np.ndarray, ink: np.ndarray, left: int, top: int, colour: str) -> None:
    """Writes words into a picture, in place; what lies outside of it is left out."""
    part = picture[max(top, 0) : top + len(ink), max(left, 0) : left + ink.shape[1]]
    ink = ink[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
    share = ink[..., None] / np.float32(255)
    part[:] = np.rint(share * np.float32(rgb(colour)) + (1 - share) * part)


def said(answer: Answer, names: Sequence[str]) -> str:
    """The most probable class of an answer at one time; nothing where there is none."""
    probabilities = answer.probabilities[0]
    if np.isnan(probabilities).any():
        return ""
    best = int(probabilities.argmax())
    return f"{names[best]} {probabilities[best]:.0%}{' ?' if answer.doubtful[0] else ''}"


class Boxes:
    """Draws the faces of one video, in the colour of the class that is most probable just then."""

    def __init__(self, timeline: Timeline, size: int):
        """Prepares; the size is that of the letters in pixels."""
        self._names = [one_line(name) for name in timeline.classes]
        self._colours = class_colours(timeline)
        self._running = {
            int(person): Running(timeline, person) for person in np.unique(timeline.faces.person)
        }
        self._size, self._line = size, max(1, size // 6)

    def draw(self, picture: np.ndarray, time: float, person: int, box: np.ndarray) -> None:
        """Draws a face into a frame, in place.

        Args:
            picture: uint8 [H, W, 3] RGB.
            time: Of the frame in seconds.
            person: Whose face it is.
            box: [4] left, top, right, bottom in pixels of the picture.
        """
        answer = self._running[person].at(np.array([time]))
        text = said(answer, self._names)
        sure = text and not answer.doubtful[0]
        colour = self._colours[int(answer.probabilities[0].argmax())] if sure else DOUBT
        left, top, right, bottom = np.rint(box).astype(int).tolist()
        corners = (left, top), (right, bottom)
        cv2.rectangle(picture, *corners, rgb(DARK), self._line + 2)
        cv2.rectangle(picture, *corners, rgb(colour), self._line)
        ink = words(f"{person_name(person)} {text}".strip(), self._size)
        pad = self._size // 4
        high, wide = ink.shape[0] + pad, ink.shape[1] + 2 * pad
        top = top - high if top >= high else bottom  # above the face, or below it
        top = min(max(top, 0), max(picture.shape[0] - high, 0))
        left = min(max(left, 0), max(picture.shape[1] - wide, 0))
        picture[top : top + high, left : left + wide] = rgb(colour)
        put(picture, ink, left + pad, top + pad // 2, readable_on(colour))

"""Boxes over time: one face followed through a clip, and the frames between those looked at."""

from collections.abc import Sequence

import numpy as np

SMOOTHED_OVER = 5  # frames looked at; an odd number


def follow(found: Sequence[np.ndarray]) -> np.ndarray:
    """Follows the largest face, forwards and backwards, by the box nearest the one before.

    The track is smoothed by a median, so that a single wrong box does not count.

    Args:
        found: Boxes [n, 4] (left, top, right, bottom) of each picture looked at, n may be 0.

    Returns:
        float32 [len(found), 4], NaN where it was not found.
    """
    track = np.full((len(found), 4), np.nan, np.float32)
    seen = [i for i, boxes in enumerate(found) if len(boxes)]
    if not seen:
        return track
    start = max(seen, key=lambda i: _areas(found[i]).max())
    track[start] = found[start][_areas(found[start]).argmax()]
    _follow_on(track, found, [i for i in seen if i > start], start)
    _follow_on(track, found, [i for i in reversed(seen) if i < start], start)
    return smoothed(track)


def _follow_on(
    track: np.ndarray, found: Sequence[np.ndarray], order: Sequence[int], last: int
) -> None:
    for i in order:
        nearest = found[i][np.abs(found[i] - track[last]).sum(axis=1).argmin()]
        # A face does not jump further than its own size from one picture to the next: that is
        # someone else, until so much time has passed that it may have got there.
        reach = (track[last, 2:] - track[last, :2]).max() * abs(i - last)
        if np.abs(_centre(nearest) - _centre(track[last])).max() <= reach:
            track[i] = nearest
            last = i


def around(boxes: np.ndarray) -> np.ndarray:
    """The smallest box [4] that holds all of boxes [n, 4]; NaN for none."""
    if not len(boxes):
        return np.full(4, np.nan, np.float32)
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def every_frame(boxes: np.ndarray, step: int) -> np.ndarray:
    """The boxes of all frames, interpolated between those looked at.

    Where one of the two around a frame has none, the nearer one counts.

    Args:
        boxes: [n, 4], of frames 0, step, 2 step, ...; NaN where there is none.
        step: Frames from one to the next.

    Returns:
        float32 [n step, 4], NaN where there is none.
    """
    frames = np.arange(len(boxes) * step)
    last = len(boxes) - 1
    before, after = frames // step, np.minimum(frames // step + 1, last)
    share = (frames % step / step)[:, None]
    between = boxes[before] * (1 - share) + boxes[after] * share
    nearest = boxes[np.minimum((frames + step // 2) // step, last)]
    return np.where(np.isnan(between), nearest, between).astype(np.float32)


def smoothed(track: np.ndarray) -> np.ndarray:
    """The running median of the boxes there are; fewer count towards the ends, equally on sides."""
    known = np.flatnonzero(~np.isnan(track[:, 0]))
    boxes, smooth = track[known], track.copy()
    for place, i in enumerate(known):
        reach = min(SMOOTHED_OVER // 2, place, len(known) - 1 - place)
        smooth[i] = np.median(boxes[place - reach : place + reach + 1], axis=0)
    return smooth


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2

"""One face followed through a clip, from the faces found in some of its frames."""

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
    return _smoothed(track)


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


def every_frame(track: np.ndarray, step: int, num_frames: int) -> np.ndarray:
    """The boxes of all frames, interpolated between those looked at, held at the ends.

    Args:
        track: [n, 4], boxes in frames 0, step, 2 step, ...; NaN where there is none.
        step: Frames from one to the next.
        num_frames: Frames of the clip, N.

    Returns:
        float32 [N, 4], or [0, 4] for a track without any box.
    """
    known = ~np.isnan(track[:, 0])
    if not known.any():
        return np.zeros((0, 4), np.float32)
    at = np.arange(len(track))[known] * step
    columns = [np.interp(np.arange(num_frames), at, column[known]) for column in track.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _smoothed(track: np.ndarray) -> np.ndarray:
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

import itertools

import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.videos.settings import TimelineSettings
from mmadfer_jax.videos.windows import ROUNDING, Spans


def _all(length: float, hop: float, duration: float, rate: float = 25.0) -> list:
    """As the engine asks for them: after each frame, and the rest at the end."""
    spans, found = Spans(length, hop), []
    for frame in range(round(duration * rate)):
        found += spans.until(frame / rate)
    return found + list(spans.rest(duration, 1 / rate))


@pytest.mark.parametrize("duration", [0.04, 0.52, 1.96, 2.0, 2.04, 2.56, 7.32])
@pytest.mark.parametrize(("length", "hop"), [(2.0, 0.5), (1.0, 0.3), (2.0, 2.0), (0.04, 0.04)])
def test_windows_hold_every_moment_and_end_with_the_video(length, hop, duration):
    spans = _all(length, hop, duration)
    np.testing.assert_allclose([span.start for span in spans], np.arange(len(spans)) * hop)
    assert spans[-1].end == pytest.approx(duration, abs=0.5 / 25)
    assert all(span.end == span.full_end for span in spans[:-1])
    assert all(span.full_end == pytest.approx(span.start + length) for span in spans)
    assert all(a.end < duration - ROUNDING for a in spans[:-1]), "one too many"
    gaps = [b.start - a.end for a, b in itertools.pairwise(spans)]
    assert max(gaps, default=0) <= max(0, hop - length) + ROUNDING


@pytest.mark.parametrize("duration", [0.04, 1.0, 3.0])
def test_a_window_as_long_as_the_video_is_the_only_one(duration):
    ((start, end, full_end),) = _all(3.0, 0.5, duration)
    assert (start, end, full_end) == (0, duration, 3.0)


def test_a_hop_above_the_length_leaves_time_out():
    assert [span[:2] for span in _all(1.0, 2.0, 5.0)] == [(0, 1), (2, 3), (4, 5)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window 0: expected seconds above 0, up to 60"),
        ({"window": float("nan")}, "window nan"),
        ({"window": 61}, "window 61"),
        ({"hop": 0}, "hop 0"),
        ({"hop": float("inf")}, "hop inf"),
        ({"person": 0}, "person 0: expected all, largest or a person's number"),
        ({"person": "smallest"}, "person 'smallest'"),
        ({"detect_every": 0}, "detect_every 0"),
        ({"min_face": 10}, "min_face 10: expected 20 or more"),
        ({"sound": False, "picture": False}, "nothing is left to answer from"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TimelineSettings(**settings)

import dataclasses
import itertools

import numpy as np
import pytest

from mmadfer_jax.timelines.timeline import Windows
from mmadfer_jax.videos import segments
from mmadfer_jax.videos.segments import find_segments

CLASSES = ("a", "b", "c")


def _windows(answers, hop=0.5, window=2.0, person=1, doubtful=(), start=0.0) -> Windows:
    """A row for each answer [n, 3]."""
    answers = np.asarray(answers, np.float32)
    n = len(answers)
    starts = start + np.arange(n) * hop
    empty = np.full(n, np.nan, np.float32)
    return Windows(
        start=starts,
        end=starts + window,
        person=np.full(n, person, np.int32),
        probabilities=answers,
        frames=np.full(n, 50, np.int32),
        **dict.fromkeys(
            ("face_share", "score", "face_size", "blur", "turned", "sound_level", "speech"), empty
        ),
        notes=tuple(("small face",) if i in doubtful else () for i in range(n)),
    )


def _sure(labels: str, p: float = 0.8) -> np.ndarray:
    """An answer for each letter."""
    other = (1 - p) / (len(CLASSES) - 1)
    return np.array([[p if name == letter else other for name in CLASSES] for letter in labels])


def _joined(*parts: Windows) -> Windows:
    columns = {}
    for field in dataclasses.fields(Windows):
        values = [getattr(part, field.name) for part in parts]
        columns[field.name] = sum(values, ()) if field.name == "notes" else np.concatenate(values)
    return Windows(**columns)


def test_a_class_that_never_changes_is_one_segment_from_start_to_end():
    (found,) = find_segments(_windows(_sure("bbbbb")), CLASSES, 2.0, 0.5)
    assert (found.person, found.start, found.end, found.label) == (1, 0.0, 4.0, "b")
    assert found.confidence == pytest.approx(0.8, abs=1e-6)
    assert found.doubtful == 0


def test_a_change_lies_where_the_windows_say():
    found = find_segments(_windows(_sure("aaaaaaaabbbbbbbb")), CLASSES, 2.0, 0.5)
    assert [s.label for s in found] == ["a", "b"]
    # The windows change from the one of 3.5 to 5.5 s to that of 4 to 6 s: the middle is at 4.75 s.
    assert found[0].end == found[1].start == pytest.approx(4.75, abs=0.5)


def test_one_window_that_disagrees_does_not_start_a_segment():
    found = find_segments(_windows(_sure("aaaaaabaaaaaa")), CLASSES, 2.0, 0.5)
    assert [s.label for s in found] == ["a"]
    assert found[0].confidence < 0.8


@pytest.mark.parametrize("seed", range(20))
def test_segments_share_out_the_time_in_which_there_are_answers(seed):
    rng = np.random.default_rng(seed)
    answers = rng.dirichlet(np.ones(3) * 0.5, 30)
    answers[rng.random(30) < 0.3] = np.nan
    hop, window = (0.5, 2.0) if seed % 2 else (0.5, 0.5)
    windows = _windows(answers, hop, window)
    found = find_segments(windows, CLASSES, window, hop)
    asked = np.isfinite(answers).all(axis=1)
    times = np.arange(0.25, 17, 0.5)
    held = np.array([any(s.start <= t < s.end for s in found) for t in times])
    starts, ends = windows.start[asked], windows.end[asked]
    assert held.tolist() == [bool(((starts <= t) & (t < ends)).any()) for t in times]
    for before, after in itertools.pairwise(found):
        assert before.end <= after.start
        assert before.end < after.start or before.label != after.label
    assert all(0 < s.confidence <= 1 and s.start < s.end for s in found)


@pytest.mark.parametrize("seed", range(10))
def test_a_dearer_change_never_makes_more_segments(seed, monkeypatch):
    answers = np.random.default_rng(seed).dirichlet(np.ones(3), 40)
    counts = []
    for cost in (0.0, 0.2, 0.5, 2.0, 50.0):
        monkeypatch.setattr(segments, "SWITCH_COST", cost)
        counts.append(len(find_segments(_windows(answers), CLASSES, 2.0, 0.5)))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_names_and_time_do_not_matter(seed):
    answers = np.random.default_rng(seed).dirichlet(np.ones(3), 20)
    found = find_segments(_windows(answers), CLASSES, 2.0, 0.5)
    order = [2, 0, 1]
    named = find_segments(_windows(answers[:, order]), tuple(CLASSES[i] for i in order), 2.0, 0.5)
    assert [s.label for s in named] == [s.label for s in found]
    later = find_segments(_windows(answers, start=5.0), CLASSES, 2.0, 0.5)
    assert [(s.start - 5, s.end - 5, s.label) for s in later] == [
        (s.start, s.end, s.label) for s in found
    ]


def test_people_do_not_mix_and_stand_in_order():
    both = _joined(_windows(_sure("aaaa"), person=2), _windows(_sure("ccccc"), person=1))
    found = find_segments(both, CLASSES, 2.0, 0.5)
    assert [(s.start, s.person, s.label) for s in found] == [(0, 1, "c"), (0, 2, "a")]


def test_the_last_window_may_be_shorter_and_doubt_is_counted():
    windows = _windows(_sure("aaa"), doubtful=(2,))
    windows.end[-1] = 2.6  # of a video of 2.6 s
    (found,) = find_segments(windows, CLASSES, 2.0, 0.5)
    assert found.end == pytest.approx(2.6)
    assert 0 < found.doubtful < 1


def test_windows_further_apart_than_their_length_are_segments_of_their_own():
    found = find_segments(_windows(_sure("aaa"), hop=3.0, window=1.0), CLASSES, 1.0, 3.0)
    assert [(s.start, s.end) for s in found] == [(0, 1), (3, 4), (6, 7)]


def test_without_an_answer_there_is_no_segment():
    nothing = _windows(np.full((4, 3), np.nan), person=0)
    assert find_segments(nothing, CLASSES, 2.0, 0.5) == ()

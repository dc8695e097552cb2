import sys

import numpy as np
import pytest
from timelines_made import make_timeline

from mmadfer_jax.errors import UserError


def test_tables_hold_what_the_timeline_does():
    timeline = make_timeline(people=2)
    windows = timeline.to_pandas()
    assert len(windows) == len(timeline.windows.start)
    names = [f"prob_{name}" for name in timeline.classes]
    np.testing.assert_array_equal(windows[names], timeline.windows.probabilities)
    np.testing.assert_array_equal(windows["person"], timeline.windows.person)
    assert windows["notes"].tolist() == ["; ".join(n) for n in timeline.windows.notes]
    faces = timeline.to_pandas("faces")
    np.testing.assert_array_equal(faces[["left", "top", "right", "bottom"]], timeline.faces.box)
    assert faces["detected"].dtype == bool
    segments = timeline.to_pandas("segments")
    assert segments["label"].tolist() == [segment.label for segment in timeline.segments]
    assert list(segments) == ["person", "start", "end", "label", "confidence", "doubtful"]


def test_without_anybody_there_are_windows_alone():
    timeline = make_timeline(people=0)
    assert timeline.to_pandas()["person"].unique().tolist() == [0]
    assert timeline.to_pandas("faces").empty
    assert timeline.to_pandas("segments").empty


def test_another_table_or_no_pandas_is_one_line(monkeypatch):
    timeline = make_timeline()
    with pytest.raises(UserError, match="table 'people': expected one of windows, faces"):
        timeline.to_pandas("people")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pandas is not installed"):
        timeline.to_pandas()
